"""The baselines against stock TRL, against themselves, and against a task."""

from dataclasses import replace
from itertools import chain

import pytest
import torch
from trl import GRPOConfig

from stock import stock_trainer
from training import SpokenCorridor, baseline_trainer, untrained
from trl_3spo import EpisodeGRPOTrainer, GiGPOTrainer, StepPOTrainer, ThreeSPOTrainer
from trl_3spo.algorithm.credit import whiten
from trl_3spo.baselines.critic import last_hidden_states

# Adam's first step is the gradient's sign: it would blow rounding up to the learning rate.
PLAIN_DESCENT = {"optim": "sgd", "learning_rate": 1.0}

METHODS = {
    "grpo": (EpisodeGRPOTrainer, {}),
    "gigpo": (GiGPOTrainer, {}),
    "group": (StepPOTrainer, {"value_source": "group"}),
    "history": (StepPOTrainer, {"value_source": "history"}),
    "critic": (
        StepPOTrainer,
        {"value_source": "critic", "critic_learning_rate": 1e-2, "discount": 0.95, "gae_lambda": 0.95},
    ),
}


def method_trainer(name, folder, **changes):
    trainer_class, settings = METHODS[name]
    return baseline_trainer(trainer_class, folder, **(settings | changes))


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def distance(one, other):
    return float((one - other).abs().max())


def played_by(trainer):
    """Return a list that will hold the episodes of each task of the trainer's next batch."""
    groups, credit = [], trainer.algorithm.credit

    def remember(episodes, steps):
        groups[:] = episodes
        return credit(episodes, steps)

    trainer.algorithm.credit = remember
    return groups


def plain(state):
    """Return nested dictionaries of arrays as lists, which compare with ==."""
    if isinstance(state, dict):
        return {name: plain(value) for name, value in state.items()}
    return state.tolist() if hasattr(state, "tolist") else state


def rows_by_step(trainer, groups):
    """Return, step by step, the rows of a group's episodes; one that has ended is filled up, with its own success."""
    rows = iter(trainer._rows)
    blocks = []
    for group in groups:
        steps = [[next(rows) for _ in range(x.num_steps)] for x in group]
        for t in range(max(map(len, steps))):
            step = [x[t] if t < len(x) else replace(x[-1], is_padding=True) for x in steps]
            blocks.append([replace(row, reward=float(x.success)) for row, x in zip(step, group, strict=True)])
    return list(chain.from_iterable(blocks))


@pytest.mark.parametrize("loss_type", ["dapo", "bnpo"])
@pytest.mark.parametrize("advantage_scaling", ["group", "none"])
def test_one_update_equals_stock_grpo_on_the_same_episodes(tmp_path, loss_type, advantage_scaling):
    """The oracle: TRL's own trainer compares the episodes of a task, once for every step they took."""
    ours = baseline_trainer(
        EpisodeGRPOTrainer, tmp_path / "ours", loss_type=loss_type, advantage_scaling=advantage_scaling, **PLAIN_DESCENT
    )
    before = parameters(ours.model).clone()
    groups = played_by(ours)
    ours.train()
    rows = rows_by_step(ours, groups)
    assert any(row.is_padding for row in rows)
    derived = {"generation_batch_size", "steps_per_generation"}
    names = {name for name, field in GRPOConfig.__dataclass_fields__.items() if field.init} - derived
    settings = {name: getattr(ours.args, name) for name in names}
    changes = {
        "output_dir": str(tmp_path / "stock"),
        "per_device_train_batch_size": len(rows),
        "scale_rewards": advantage_scaling,
    }
    stock = stock_trainer(
        GRPOConfig(**(settings | changes)),
        ours.processing_class,
        rows,
        masks=[[int(not row.is_padding)] * len(row.sample.completion_ids) for row in rows],
        rewards=[row.reward for row in rows],
    )
    stock.train()
    assert distance(parameters(ours.model), before) > 1e-3
    assert distance(parameters(ours.model), parameters(stock.model)) < 1e-6


@pytest.mark.parametrize("name", METHODS)
def test_learns_the_way_to_a_door(tmp_path, name):
    (task,) = [task for task in SpokenCorridor().tasks() if task.kind == "left"]
    trainer = method_trainer(name, tmp_path, train_tasks=[task], learning_rate=4e-3, max_steps=40, eval_temperature=1.0)
    before = trainer.evaluate([task] * 50)["eval_success_rate"]
    trainer.train()
    after = trainer.evaluate([task] * 50)["eval_success_rate"]
    assert before < 0.4
    assert after > 0.7


@pytest.mark.parametrize("name", ["gigpo", "history", "critic"])
def test_resumes_into_the_same_next_batch(tmp_path, name):
    settings = {"max_steps": 4, "lr_scheduler_type": "constant", "per_device_train_batch_size": 16}
    whole = method_trainer(name, tmp_path / "whole", save_strategy="steps", save_steps=2, **settings)
    whole.train()
    rest = method_trainer(name, tmp_path / "rest", **settings)
    rest.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert _rows(rest) == _rows(whole)
    assert plain(rest.algorithm.state_dict()) == plain(whole.algorithm.state_dict())
    assert torch.equal(parameters(rest.model), parameters(whole.model))


def _rows(trainer):
    return [(row.sample.prompt_ids, row.sample.completion_ids, row.reward, row.advantage) for row in trainer._rows]


def test_a_checkpoint_without_critic_starts_the_critic_afresh(tmp_path, caplog):
    settings = {"per_device_train_batch_size": 8}
    method_trainer("group", tmp_path / "first", save_strategy="steps", save_steps=1, **settings).train()
    second = method_trainer("critic", tmp_path / "second", max_steps=2, **settings)
    second.train(resume_from_checkpoint=str(tmp_path / "first" / "checkpoint-1"))
    assert "holds no critic; the critic starts afresh" in caplog.text


@pytest.mark.parametrize("loss_type", ["grpo", "dapo"])
def test_padding_rows_change_nothing(tmp_path, loss_type):
    """A batch in three parts has to be filled up; one in one part has not."""
    updated = []
    for parts in (1, 3):
        trainer = baseline_trainer(
            StepPOTrainer,
            tmp_path / str(parts),
            loss_type=loss_type,
            per_device_train_batch_size=24 // parts,
            gradient_accumulation_steps=parts,
            seed=11,
            **PLAIN_DESCENT,
        )
        trainer.train()
        updated.append(parameters(trainer.model))
    assert sum(not row.is_padding for row in trainer._rows) % 3 != 0
    assert distance(*updated) < 1e-6
    assert distance(updated[0], parameters(untrained(trainer.processing_class))) > 1e-3


def test_the_order_of_rows_changes_nothing(tmp_path):
    class Reversed(StepPOTrainer):
        def _collect(self, capacity):
            return super()._collect(capacity)[::-1]

    updated = []
    for trainer_class in (StepPOTrainer, Reversed):
        trainer = baseline_trainer(trainer_class, tmp_path / trainer_class.__name__, **PLAIN_DESCENT)
        trainer.train()
        updated.append(parameters(trainer.model))
    assert distance(*updated) < 1e-6


def test_a_steps_ratio_does_not_depend_on_its_length(tmp_path):
    trainer = baseline_trainer(StepPOTrainer, tmp_path, epsilon=0.2, prefix_sharing="off")
    trainer.train()
    ids = torch.arange(20).reshape(2, 10)
    advantages = torch.tensor([1.0, -0.5])
    for lengths in ((2, 6), (6, 6), (1, 3)):
        mask = (torch.arange(6) < torch.tensor(lengths)[:, None]).long()
        everything = torch.cat([torch.ones(2, 4, dtype=torch.long), mask], dim=1)
        with torch.no_grad():
            logps, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, everything, 6)
        # Ratios of the tokens that differ, with a geometric mean of 1.1 over each answer.
        noise = torch.linspace(-0.5, 0.5, 6) * mask
        noise = (noise - noise.sum(1, keepdim=True) / mask.sum(1, keepdim=True)) * mask
        loss = trainer._compute_loss(
            trainer.model,
            {
                "prompt_ids": ids[:, :4],
                "prompt_mask": torch.ones(2, 4, dtype=torch.long),
                "completion_ids": ids[:, 4:],
                "completion_mask": mask,
                "advantages": advantages,
                "num_items_in_batch": mask.sum(),
                "old_per_token_logps": logps - torch.log(torch.tensor(1.1)) - noise,
            },
        )
        assert float(loss.detach()) == pytest.approx(-1.1 * (1.0 - 0.5) / 2, abs=1e-5)


def test_advantages_are_whitened_over_the_steps_of_the_batch(tmp_path):
    trainer = method_trainer("group", tmp_path)
    trainer.train()
    advantages = torch.tensor([row.advantage for row in trainer._rows if not row.is_padding], dtype=torch.float64)
    assert advantages.mean().item() == pytest.approx(0, abs=1e-9)
    assert advantages.std().item() == pytest.approx(1, abs=1e-6)
    assert advantages.numpy() == pytest.approx(whiten(advantages.numpy(), advantages.numpy()), abs=1e-6)


def test_the_critic_reads_the_prompt_of_each_step_and_of_where_an_episode_was_cut_off(tmp_path):
    trainer = method_trainer("critic", tmp_path, per_device_train_batch_size=16)
    groups = played_by(trainer)
    trainer.train()
    rows = iter(row.sample for row in trainer._rows)
    episodes = list(chain.from_iterable(groups))
    steps = [[next(rows) for _ in range(x.num_steps)] for x in episodes]
    cut_off = [i for i, x in enumerate(episodes) if x.end.result.truncated]
    assert 0 < len(cut_off) < 16
    for i in (cut_off[0], next(i for i in range(16) if i not in cut_off)):
        path = episodes[i].end.path()
        asked = path if i in cut_off else path[:-1]
        prompts = [trainer.env.prompt(x.task, x.observation, x.turns()) for x in asked]
        ids = trainer.sampler.chat.prompt_ids(prompts)
        expected = last_hidden_states(trainer.model, ids, pad_id=trainer._tokenizer.pad_token_id, batch_size=1)
        assert (trainer.algorithm.values.features(groups, steps)[i][: len(asked)] - expected).abs().max() < 1e-5


def test_actions_are_counted_and_outcomes_logged_as_in_3spo(tmp_path):
    trainer = method_trainer("grpo", tmp_path)
    groups = played_by(trainer)
    trainer.train()
    log = trainer.state.log_history[0]
    episodes = list(chain.from_iterable(groups))
    assert log["sampled_actions"] == sum(x.num_steps for x in episodes) == sum(not x.is_padding for x in trainer._rows)
    assert log["success_rate"] == pytest.approx(sum(x.success for x in episodes) / 32)
    assert log["episode_length"] == pytest.approx(sum(x.num_steps for x in episodes) / 32)
    assert log["unique_states"] == trainer.algorithm.tally.num_states
    names = {"frac_states_revisited", "seconds/generation", "seconds/environment", "frac_groups_without_signal"}
    assert names <= log.keys()


@pytest.mark.parametrize("name", METHODS)
def test_no_optimizer_step_without_signal(tmp_path, caplog, name):
    env = SpokenCorridor(max_steps=2)
    env.parse_action = lambda completion: "nothing"
    trainer = method_trainer(name, tmp_path, env=env, max_steps=5, max_idle_rounds=2, per_device_train_batch_size=8)
    before = parameters(trainer.model).clone()
    trainer.train()
    assert torch.equal(parameters(trainer.model), before)
    assert trainer.state.global_step == 1
    assert "nothing to learn from" in caplog.text


@pytest.mark.parametrize("name", ["grpo", "gigpo", "group"])
def test_model_cards_name_the_method(tmp_path, name):
    trainer = method_trainer(name, tmp_path)
    trainer.create_model_card(model_name="corridor")
    card = (tmp_path / "README.md").read_text()
    assert trainer._name in card
    assert trainer._paper["id"] in card
    assert "SpokenCorridor" in card
    assert trainer._name != ThreeSPOTrainer._name
