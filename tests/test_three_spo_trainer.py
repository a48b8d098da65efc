"""The trainer against stock TRL, against itself, and against a task."""

import inspect
import statistics
from dataclasses import replace
from functools import partial
from itertools import groupby

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl import GRPOConfig, GRPOTrainer

from search_options import FRONTIER, STEPWISE
from stock import stock_trainer
from training import SpokenCorridor, WordsEnv, config_for, corridor_trainer, tokenizer_for, untrained
from trl_3spo import ThreeSPOTrainer
from trl_3spo.algorithm.credit import group_relative
from trl_3spo.algorithm.records import digest
from trl_3spo.algorithm.scorer import StateScorer
from trl_3spo.algorithm.three_spo import ThreeSPO
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.training.agent_config import AgentConfig
from trl_3spo.training.agent_trainer import AgentTrainer


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def distance(one, other):
    return float((one - other).abs().max())


# Adam's first step is the gradient's sign: it would blow rounding up to the learning rate.
PLAIN_DESCENT = {"optim": "sgd", "learning_rate": 1.0}


def stock_config(config, **changes):
    """Return the part of a configuration that is GRPO's own."""
    derived = {"generation_batch_size", "steps_per_generation"}
    names = {name for name, field in GRPOConfig.__dataclass_fields__.items() if field.init} - derived
    return GRPOConfig(**({name: getattr(config, name) for name in names} | changes))


def remember_successes(trainer):
    """Give the first states of half the tasks a past, so that group sizes differ."""
    for task in trainer.train_tasks[::2]:
        observation = trainer.env.reset(task)
        for _ in range(3):
            trainer.algorithm.history.observe(dict.fromkeys({digest(key) for key in observation.score_keys}, 1.0))


def blocks_of(rows, size):
    """Return the rows of each state, filled up to one block of `size` rows, the fillers without a reward."""
    blocks = []
    for _, group in groupby((row for row in rows if not row.is_padding), key=lambda row: row.group):
        real = list(group)
        filler = replace(real[0], is_padding=True)
        blocks.append([*real, *[filler] * (size - len(real))])
    return blocks


@pytest.mark.parametrize(("loss_type", "accumulation"), [("dapo", 1), ("dapo", 2), ("bnpo", 1)])
@pytest.mark.parametrize("prefix_sharing", ["auto", "off"])
def test_one_update_equals_stock_grpo_on_the_same_groups(tmp_path, loss_type, accumulation, prefix_sharing):
    """The oracle: TRL's own trainer, given the same state groups through its `rollout_func`."""
    trainer = corridor_trainer(
        tmp_path / "ours",
        per_device_train_batch_size=32 // accumulation,
        gradient_accumulation_steps=accumulation,
        advantage_scaling="group",
        baseline="group",
        loss_type=loss_type,
        prefix_sharing=prefix_sharing,
        **STEPWISE | {"novelty_weight": 0.3},
        **PLAIN_DESCENT,
    )
    before = parameters(trainer.model).clone()
    remember_successes(trainer)
    trainer.train()
    blocks = blocks_of(trainer._rows, trainer.num_generations)
    assert len({sum(not row.is_padding for row in block) for block in blocks}) > 1
    if len(blocks) % accumulation:
        blocks.append([replace(row, is_padding=True) for row in blocks[0]])
    rows = [row for block in blocks for row in block]

    size = len(rows) // accumulation
    stock = stock_trainer(
        stock_config(trainer.args, output_dir=str(tmp_path / "stock"), per_device_train_batch_size=size),
        trainer.processing_class,
        rows,
        masks=[[int(not row.is_padding)] * len(row.sample.completion_ids) for row in rows],
        rewards=[None if row.is_padding else row.reward for row in rows],
    )
    stock.train()
    assert distance(parameters(trainer.model), before) > 1e-3
    assert distance(parameters(trainer.model), parameters(stock.model)) < 1e-6


@pytest.mark.parametrize("accumulation", [1, 2])
def test_one_update_by_walks_equals_stock_grpo_with_the_same_advantages(tmp_path, accumulation):
    """Stock GRPOTrainer gets every row with a masked copy. Rewards of 2 · A and 0 give the row the advantage A."""
    trainer = corridor_trainer(
        tmp_path / "ours",
        env=SpokenCorridor(),
        per_device_train_batch_size=256 // accumulation,
        gradient_accumulation_steps=accumulation,
        **PLAIN_DESCENT,
    )
    before = parameters(trainer.model).clone()
    trainer.train()
    assert len({round(row.advantage, 6) for row in trainer._rows}) > 4
    rows = trainer._rows[: len(trainer._rows) // accumulation * accumulation]
    assert not any(row.advantage for row in trainer._rows[len(rows) :])
    pairs = [x for row in rows for x in (row, replace(row, is_padding=True))]

    stock = stock_trainer(
        stock_config(
            trainer.args,
            output_dir=str(tmp_path / "stock"),
            per_device_train_batch_size=len(pairs) // accumulation,
            num_generations=2,
            scale_rewards="none",
        ),
        trainer.processing_class,
        pairs,
        masks=[[int(i % 2 == 0 and not rows[i // 2].is_padding)] for i in range(len(pairs))],
        rewards=[2 * row.advantage * (i % 2 == 0) for i, row in enumerate(pairs)],
    )
    stock.train()
    assert distance(parameters(trainer.model), before) > 1e-3
    assert distance(parameters(trainer.model), parameters(stock.model)) < 1e-6


def test_reduces_to_grpo_without_scores_and_with_fixed_groups(tmp_path):
    """In a world of one step, with success alone rewarded, everything is GRPO's, samples included."""
    env = WordsEnv(num_tasks=4)
    tokenizer = tokenizer_for(env)
    config = config_for(
        tmp_path / "ours",
        success_weight=1.0,
        baseline="group",
        advantage_scaling="group",
        prefix_sharing="off",
        shuffle_dataset=False,
        **STEPWISE | {"novelty_weight": 0.0},
        **PLAIN_DESCENT,
    )
    algorithm = ThreeSPO(
        env,
        env.tasks(),
        config,
        seed=config.seed,
        make_scorer=partial(EqualScores, min_group_size=config.num_generations),
        # Success is worth one half of GRPO's reward, in mean and spread alike.
        advantages=lambda rewards, _: group_relative(rewards, delta=1e-4 / 2),
    )
    ours = ThreeSPOTrainer(untrained(tokenizer), env, config, processing_class=tokenizer, algorithm=algorithm)
    ours.train()
    order = [ours.algorithm.order.at(i) for i in range(4)]
    stock = GRPOTrainer(
        untrained(tokenizer),
        lambda completions, **_: [float(_succeeds(env, c[0]["content"])) for c in completions],
        args=stock_config(config, output_dir=str(tmp_path / "stock")),
        train_dataset=Dataset.from_list([{"prompt": env.prompt(t, env.reset(t), [])} for t in order]),
        processing_class=tokenizer,
    )
    stock.train()
    assert distance(parameters(ours.model), parameters(stock.model)) < 1e-6
    assert sum(row.advantage != 0 for row in ours._rows) == 32


class EqualScores(StateScorer):
    """No state has more to teach than another."""

    def score(self, visit):
        return 0.0

    def next_score(self, visit, outcome=None):
        return 0.0


def _succeeds(env, completion):
    env.reset(env.tasks()[0])
    return env.step(env.parse_action(completion)).success


def test_two_seeded_runs_are_equal(tmp_path):
    runs = []
    for name in ("a", "b"):
        trainer = corridor_trainer(tmp_path / name, max_steps=4, novelty_weight=0.3)
        trainer.train()
        trainer.evaluate()
        runs.append((parameters(trainer.model), _log_without_times(trainer)))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


def _log_without_times(trainer):
    timed = ("seconds/", "step_time", "train_runtime", "per_second")
    return [
        {name: value for name, value in entry.items() if not any(word in name for word in timed)}
        for entry in trainer.state.log_history
    ]


def test_evaluating_in_between_does_not_change_the_training(tmp_path):
    plain = corridor_trainer(tmp_path / "plain", max_steps=3, novelty_weight=0.3)
    plain.train()
    watched = corridor_trainer(
        tmp_path / "watched", max_steps=3, novelty_weight=0.3, eval_strategy="steps", eval_steps=1, eval_temperature=1.0
    )
    watched.train()
    assert sum("eval_success_rate" in entry for entry in watched.state.log_history) == 3
    assert torch.equal(parameters(plain.model), parameters(watched.model))


def test_every_parameter_moves(tmp_path):
    trainer = corridor_trainer(tmp_path, max_steps=3, novelty_weight=0.3)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    unmoved = [name for name, p in trainer.model.named_parameters() if torch.equal(p, before[name])]
    assert unmoved == []


FADING_NOVELTY = {"baseline": "group", "novelty_weight": 0.1, "novelty_decay_rate": 0.1}


@pytest.mark.parametrize(
    ("options", "batch_size", "rate"),
    [
        ({"novelty_weight": 0.1}, 128, 1e-3),
        (FRONTIER | {"novelty_weight": 0.02}, 256, 2e-3),
        (STEPWISE | FADING_NOVELTY, 128, 1e-3),
    ],
)
def test_learns_the_corridor(tmp_path, options, batch_size, rate):
    trainer = corridor_trainer(
        tmp_path,
        env=CorridorEnv(length=3, max_steps=5),
        per_device_train_batch_size=batch_size,
        learning_rate=rate,
        lr_scheduler_type="constant",
        max_steps=120,
        eval_temperature=1.0,
        **options,
    )
    many = [*trainer.env.tasks()] * 20
    before = trainer.evaluate(many)["eval_success_rate"]
    trainer.train()
    after = trainer.evaluate(many)["eval_success_rate"]
    assert before < 0.2
    assert after > 0.9


def test_resumes_into_the_same_next_groups(tmp_path):
    settings = {"novelty_weight": 0.3, "lr_scheduler_type": "constant"}
    whole = corridor_trainer(tmp_path / "whole", max_steps=6, save_strategy="steps", save_steps=3, **settings)
    whole.train()
    rest = corridor_trainer(tmp_path / "rest", max_steps=6, **settings)
    rest.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert _rows(rest) == _rows(whole)
    assert rest.algorithm.state_dict() == whole.algorithm.state_dict()
    assert torch.equal(parameters(rest.model), parameters(whole.model))


def _rows(trainer):
    return [(row.sample.prompt_ids, row.sample.completion_ids, row.reward, row.advantage) for row in trainer._rows]


def test_a_checkpoint_without_search_starts_the_search_afresh(tmp_path, caplog):
    first = corridor_trainer(tmp_path / "first", max_steps=1, novelty_weight=0.3, save_strategy="steps", save_steps=1)
    first.train()
    folder = tmp_path / "first" / "checkpoint-1"
    for file in folder.glob("algorithm_*"):
        file.unlink()
    second = corridor_trainer(tmp_path / "second", max_steps=2, novelty_weight=0.3)
    second.train(resume_from_checkpoint=str(folder))
    assert "start afresh" in caplog.text
    assert second.state.global_step == 2


def test_no_optimizer_step_without_signal(tmp_path, caplog):
    """A model that never says a word of the world's has equal rewards everywhere."""
    trainer = corridor_trainer(tmp_path, max_steps=5, max_idle_rounds=3)
    trainer.env.parse_action = lambda completion: "nothing"
    before = parameters(trainer.model).clone()
    trainer.train()
    assert torch.equal(parameters(trainer.model), before)
    assert trainer.state.global_step == 1
    assert "nothing to learn from" in caplog.text


def test_batches_of_walks_fit_and_are_relative_to_their_mean(tmp_path):
    settings = {"max_steps": 8, "per_device_train_batch_size": 64, "num_generations": 4} | FRONTIER
    trainer = corridor_trainer(tmp_path, env=SpokenCorridor(), **settings)
    batches = []
    collect = trainer._collect
    trainer._collect = lambda capacity: batches.append(collect(capacity)) or batches[-1]
    trainer.train()
    assert len(batches) == 8
    assert max(map(len, batches)) <= 64
    assert statistics.mean(map(len, batches)) > 16
    for rows in batches:
        advantages = [row.advantage for row in rows]
        assert statistics.mean(advantages) == pytest.approx(0.0, abs=1e-6)
        assert statistics.stdev(advantages) == pytest.approx(1.0, abs=1e-3)
    # Searched to their ends, trees leave nothing behind for the next update.
    assert not trainer.algorithm.forest.trees
    assert any("predictive_gain/all" in entry for entry in trainer.state.log_history)


def test_batches_too_small_for_a_tree_are_pointed_out(tmp_path, caplog):
    trainer = corridor_trainer(tmp_path, env=SpokenCorridor(), max_steps=4, per_device_train_batch_size=8)
    trainer.train()
    assert caplog.text.count("A batch of 8 actions has room for a single tree") == 1
    assert max(entry.get("rows_left_out", 0) for entry in trainer.state.log_history) > 0


def test_flat_groups_stay_out_of_the_batch(tmp_path):
    trainer = corridor_trainer(tmp_path, max_steps=3, **FRONTIER | {"novelty_weight": 0.3})
    trainer.train()
    for block in blocks_of(trainer._rows, 8):
        assert any(row.advantage != 0 for row in block)
    log = trainer.state.log_history[0]
    assert 0 < log["batch_fill"] <= 1
    assert sum(log[f"group_size/{n}"] for n in range(1, 9)) == pytest.approx(1)


def test_batches_are_nearly_full_whatever_the_group_sizes(tmp_path):
    batch = {"per_device_train_batch_size": 64, "baseline": "group"} | STEPWISE
    trainer = corridor_trainer(tmp_path, env=SpokenCorridor(), max_steps=8, **batch)
    trainer.train()
    logs = [log for log in trainer.state.log_history if "batch_fill" in log]
    assert len(logs) == 8
    assert statistics.mean(log["batch_fill"] for log in logs) >= 0.9
    assert sum(any(log[f"group_size/{n}"] > 0 for log in logs) for n in range(1, 9)) >= 4


@pytest.mark.parametrize(("kl", "loss_type"), [(0.1, "grpo"), (0.0, "dr_grpo"), (0.1, "cispo")])
def test_kl_and_loss_types_are_inherited(tmp_path, kl, loss_type):
    reference = corridor_trainer(tmp_path / "reference")
    reference.save_model(tmp_path / "model")
    model = str(tmp_path / "model")
    trainer = corridor_trainer(
        tmp_path / "run", model=model, beta=kl, loss_type=loss_type, max_steps=2, novelty_weight=0.3
    )
    trainer.train()
    assert trainer.state.global_step == 2
    assert ("kl" in trainer.state.log_history[1]) == (kl > 0)


def test_peft_is_inherited(tmp_path):
    from peft import LoraConfig

    env = CorridorEnv(length=4)
    tokenizer = tokenizer_for(env)
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = ThreeSPOTrainer(
        untrained(tokenizer),
        env,
        config_for(tmp_path, novelty_weight=0.3, beta=0.05, max_steps=2),
        processing_class=tokenizer,
        peft_config=lora,
    )
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    moved = {name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved
    assert all("lora" in name for name in moved)


def test_saved_models_load_with_transformers(tmp_path):
    trainer = corridor_trainer(tmp_path / "run", novelty_weight=0.3)
    trainer.train()
    trainer.save_model(tmp_path / "saved")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(parameters(loaded), parameters(trainer.model))


def test_model_card_names_method_environment_panel_and_result(tmp_path):
    trainer = corridor_trainer(tmp_path, novelty_weight=0.3)
    trainer.train()
    trainer.evaluate()
    trainer.create_model_card(model_name="corridor")
    card = (tmp_path / "README.md").read_text()
    assert "3SPO" in card
    assert "2606.09961" in card
    assert "CorridorEnv" in card
    assert trainer.evaluation.panel in card
    assert f"{trainer.evaluation.success.rate:.1%}" in card
    assert "DeepSeekMath" not in card


def test_budgets_that_do_not_adapt_are_pointed_out(tmp_path, caplog):
    corridor_trainer(tmp_path / "default", score_annealing_rate=50.0)
    corridor_trainer(tmp_path / "frontier", **FRONTIER)
    assert "whatever its success rate" not in caplog.text
    corridor_trainer(tmp_path / "published", score_annealing_rate=50.0, **FRONTIER)
    assert "n = 1 samples, whatever its success rate" in caplog.text


def test_environments_may_be_given_as_callables(tmp_path):
    env = CorridorEnv(length=4)
    tokenizer = tokenizer_for(env)
    config = config_for(tmp_path)
    trainer = ThreeSPOTrainer(untrained(tokenizer), lambda: CorridorEnv(length=4), config, processing_class=tokenizer)
    assert isinstance(trainer.env, CorridorEnv)


def test_a_tokenizer_without_chat_template_is_refused(tmp_path):
    env = CorridorEnv(length=4)
    tokenizer = tokenizer_for(env)
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match=r"no chat template.*instruction-tuned"):
        ThreeSPOTrainer(untrained(tokenizer), env, config_for(tmp_path), processing_class=tokenizer)


@pytest.mark.parametrize("name", ["train_dataset", "rollout_func", "environment_factory"])
def test_what_the_environment_replaces_is_refused(tmp_path, name):
    with pytest.raises(TypeError, match=f"does not take {name}"):
        ThreeSPOTrainer("model", CorridorEnv(), config_for(tmp_path), **{name: []})


def test_tasks_without_end_are_not_needed(tmp_path):
    env = CorridorEnv(length=4)
    tokenizer = tokenizer_for(env)
    with pytest.raises(ValueError, match="no tasks to train on"):
        ThreeSPOTrainer(untrained(tokenizer), env, config_for(tmp_path), train_tasks=[], processing_class=tokenizer)


def test_it_is_a_grpo_trainer_whose_arguments_can_be_read_off(tmp_path):
    trainer = corridor_trainer(tmp_path)
    assert isinstance(trainer, GRPOTrainer)
    parameters = inspect.signature(ThreeSPOTrainer).parameters
    assert list(parameters)[:3] == ["model", "env", "args"]
    assert {
        "train_tasks",
        "eval_tasks",
        "algorithm",
        "processing_class",
        "callbacks",
        "peft_config",
    } <= parameters.keys()


def test_arguments_nobody_knows_are_refused(tmp_path):
    with pytest.raises(TypeError, match="ThreeSPOTrainer got an unexpected keyword argument 'rewards'"):
        ThreeSPOTrainer("model", CorridorEnv(), config_for(tmp_path), rewards=1)


def test_a_trainer_without_algorithm_asks_for_one(tmp_path):
    env = CorridorEnv(length=4)
    tokenizer = tokenizer_for(env)
    config = config_for(tmp_path, AgentConfig)
    with pytest.raises(TypeError, match="AgentTrainer has no algorithm of its own"):
        AgentTrainer(untrained(tokenizer), env, config, processing_class=tokenizer)
