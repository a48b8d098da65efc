"""A saved policy is asked and sampled as it was in its training, wherever it is evaluated."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rank_training import UnevenEnv, evaluate_alone, on_ranks
from training import SpokenCorridor, config_for, corridor_trainer, tokenizer_for, untrained
from trl_3spo import ThreeSPOTrainer, cli
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.evaluation.policies import evaluate_checkpoint, load_policy, load_tokenizer, merge_adapter
from trl_3spo.evaluation.policy_settings import FILE, PolicySettings

SWITCHED = (
    "{% for m in messages %}<|turn|> {{ m['role'] }} {{ m['content'] }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|turn|> {{ 'left' if enable_thinking else 'right' }} {% endif %}"
)
SAMPLED = {
    "eval_temperature": 1.5,
    "top_p": 0.9,
    "top_k": 7,
    "min_p": 0.02,
    "max_completion_length": 3,
    "chat_template_kwargs": {"enable_thinking": True},
    "max_turns": 1,
    "seed": 5,
}


class Told(SpokenCorridor):
    """A corridor whose rules can be said in a message of the system."""

    def __init__(self, system_prompt=""):
        super().__init__(max_steps=4)
        self.system_prompt = system_prompt


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train an update with everything that makes answers different from the defaults'; return the trainer."""
    folder, env = tmp_path_factory.mktemp("trained"), Told("red left blue")
    tokenizer = tokenizer_for(env)
    tokenizer.chat_template = SWITCHED
    args = config_for(folder, save_strategy="steps", save_steps=1, num_generations_eval=4, **SAMPLED)
    trainer = ThreeSPOTrainer(untrained(tokenizer), env, args, processing_class=tokenizer)
    trainer.train()
    trainer.save_model()
    trainer.evaluate()
    return trainer


def episodes(trainer):
    return {"num_episodes": 4 * len(trainer.eval_tasks), "batch_size": 8, "seed": 5}


# -- what is saved -----------------------------------------------------------------------------------------------------


def test_every_checkpoint_and_the_final_model_say_how_they_are_asked(trained):
    folder = trained.args.output_dir
    said = [json.loads(Path(folder, place, FILE).read_text(encoding="utf-8")) for place in (".", "checkpoint-1")]
    assert said[0] == said[1]
    assert {name: said[0][name] for name in SAMPLED if name != "seed"} == {
        name: value for name, value in SAMPLED.items() if name != "seed"
    }
    assert said[0]["system_prompt"] == "red left blue"
    assert said[0]["end_tokens"] == trained.eos_token_ids
    assert PolicySettings.beside(folder) == trained.policy_settings


@pytest.mark.parametrize("place", [".", "checkpoint-1"])
def test_without_a_word_it_is_evaluated_as_by_its_trainer(trained, place):
    # The environment has no system prompt of its own here.
    evaluation = evaluate_checkpoint(f"{trained.args.output_dir}/{place}", Told(), **episodes(trained))
    assert evaluation == trained.evaluation


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.0},
        {"top_k": 1},
        {"max_completion_length": 1},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"system_prompt": ""},
    ],
)
def test_what_is_given_wins(trained, changes):
    evaluation = evaluate_checkpoint(trained.args.output_dir, Told(), **episodes(trained), **changes)
    assert evaluation != trained.evaluation


def test_the_command_does_so_too(trained, tmp_path, capsys):
    command = ["evaluate", "--model", trained.args.output_dir, "--environment", "test_parity:Told", "--seed", "5"]
    command += ["--num-episodes", str(4 * len(trained.eval_tasks)), "--batch-size", "8"]
    cli.main(command)
    result = json.loads(capsys.readouterr().out)
    assert result["success"]["rate"] == trained.evaluation.success.rate
    assert result["tokens_per_episode"] == trained.evaluation.tokens_per_episode
    assert (result["policy"]["top_k"], result["policy"]["system_prompt"]) == (7, "red left blue")
    cli.main([*command, "--top-k", "1", "--environment_options", "system_prompt=own"])
    result = json.loads(capsys.readouterr().out)
    assert (result["policy"]["top_k"], result["policy"]["system_prompt"]) == (1, "own")


def test_the_environment_keeps_its_own_system_prompt(trained):
    env = Told("own")
    evaluate_checkpoint(trained.args.output_dir, env, env.tasks()[:1])
    assert env.system_prompt == "own"


def test_files_of_later_versions_are_refused(tmp_path):
    PolicySettings().save(tmp_path)
    said = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps(said | {"format": 99}))
    with pytest.raises(ValueError, match=r"policy.json of .* its format is another than 1"):
        PolicySettings.beside(str(tmp_path))


def test_a_merged_adapter_keeps_its_settings(tmp_path):
    import peft

    env = CorridorEnv(length=4)
    untrained(tokenizer_for(env)).save_pretrained(tmp_path / "base")
    args = config_for(tmp_path / "adapter", max_completion_length=2, top_k=3)
    adaptation = {"peft_config": peft.LoraConfig(target_modules=["q_proj"]), "processing_class": tokenizer_for(env)}
    trainer = ThreeSPOTrainer(str(tmp_path / "base"), env, args, **adaptation)
    trainer.save_model()
    merge_adapter(tmp_path / "adapter", tmp_path / "merged")
    assert PolicySettings.beside(str(tmp_path / "merged")) == trainer.policy_settings != PolicySettings()


# -- where it is evaluated ---------------------------------------------------------------------------------------------


def saved(folder, env, *, without=()):
    tokenizer = tokenizer_for(env)
    model = untrained(tokenizer)
    model.save_pretrained(folder)
    for name in without:
        setattr(tokenizer, name, None)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_tokenizers_without_a_token_for_padding(tmp_path):
    env = SpokenCorridor()
    expected = evaluate_checkpoint(saved(tmp_path / "whole", env), env, max_completion_length=3)
    for i, without in enumerate([["pad_token"], ["pad_token", "eos_token"]]):
        folder = saved(tmp_path / str(i), env, without=without)
        assert load_tokenizer(folder).pad_token is None
        assert evaluate_checkpoint(folder, env, max_completion_length=3) == expected


def test_a_prompt_that_does_not_fit_ends_its_own_episode(tmp_path):
    class Wordy(SpokenCorridor):
        def prompt(self, task, observation, turns):
            (message,) = super().prompt(task, observation, turns)
            return [message | {"content": message["content"] + " left" * (5000 if task.kind == "left" else 1)}]

    env = Wordy()
    evaluation = evaluate_checkpoint(saved(tmp_path, env), env, max_completion_length=1)
    num_left = sum(task.kind == "left" for task in env.tasks())
    assert evaluation.stop_reasons["prompt_overflow"] == num_left < len(env.tasks())
    assert evaluation.success_by_kind["left"].rate == 0.0


def test_processes_share_the_episodes_out(tmp_path):
    folder = saved(tmp_path, UnevenEnv())
    alone = evaluate_alone(0, folder, 11)
    shared = on_ranks(2, evaluate_alone, folder, 11)
    assert shared == [alone, alone]
    assert alone.success.num_episodes == 11


def test_progress_counts_every_episode(tmp_path):
    from trl_3spo.evaluation import evaluate_policy

    env, counts = CorridorEnv(length=4), []
    evaluate_policy(lambda x: ["left"] * len(x), env, env.tasks(), num_episodes=9, batch_size=2, progress=counts.append)
    assert sum(counts) == 9


@pytest.fixture
def vllm(monkeypatch):
    """In vLLM's place: what its `LLM` does with token ids, by transformers, greedy."""
    asked = []

    class LLM:
        def __init__(self, model, tokenizer, seed, **options):
            self.model, self.options = model, options

        def generate(self, prompts, params, use_tqdm, lora_request=None):
            asked.append(params)
            if lora_request is not None:
                assert self.options == {"enable_lora": True, "max_lora_rank": 32}
            self.network = AutoModelForCausalLM.from_pretrained(lora_request or self.model)
            return [SimpleNamespace(outputs=[self.complete(x["prompt_token_ids"], params)]) for x in prompts]

        def complete(self, ids, params):
            ends = {"eos_token_id": params.stop_token_ids, "max_new_tokens": params.max_tokens, "do_sample": False}
            found = self.network.generate(torch.tensor([ids]), **ends, pad_token_id=0)
            return SimpleNamespace(token_ids=found[0, len(ids) :].tolist())

    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, lambda **params: SimpleNamespace(**params)
    request = ModuleType("vllm.lora.request")
    request.LoRARequest = lambda name, number, path: path
    for name, part in {"vllm": module, "vllm.lora": ModuleType("vllm.lora"), "vllm.lora.request": request}.items():
        monkeypatch.setitem(sys.modules, name, part)
    return asked


def test_vllm_is_asked_alike(vllm, tmp_path):
    env = SpokenCorridor()
    folder = saved(tmp_path, env)
    PolicySettings(top_p=0.8, min_p=0.1, max_completion_length=3).save(folder)
    assert evaluate_checkpoint(folder, env, use_vllm=True) == evaluate_checkpoint(folder, env)
    assert (vllm[0].temperature, vllm[0].top_p, vllm[0].min_p, vllm[0].max_tokens) == (0.0, 0.8, 0.1, 3)


def test_vllm_puts_an_adapter_on_its_base(vllm, tmp_path):
    import peft

    env = SpokenCorridor()
    base = AutoModelForCausalLM.from_pretrained(saved(tmp_path / "base", env))
    config = peft.LoraConfig(r=20, target_modules=["q_proj", "o_proj"], init_lora_weights=False)
    peft.get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    tokenizer_for(env).save_pretrained(tmp_path / "adapter")
    folders = [str(tmp_path / name) for name in ("adapter", "base")]
    adapted, plain = (load_policy(x, max_completion_length=3, engine_seed=0) for x in folders)
    prompts = [env.prompt(task, env.reset(task), []) for task in env.tasks()]
    assert adapted(prompts) == load_policy(folders[0], max_completion_length=3)(prompts) != plain(prompts)


def test_vllm_has_to_be_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ImportError, match="vLLM is asked for"):
        load_policy(saved(tmp_path, CorridorEnv(length=4)), engine_seed=0)


# -- a trainer's hooks -------------------------------------------------------------------------------------------------


def test_predict_plays_the_panel(tmp_path):
    often = {"num_generations_eval": 16, "per_device_eval_batch_size": 16, "eval_temperature": 1.5}
    trainer = corridor_trainer(tmp_path, env=SpokenCorridor(), **often)
    found = trainer.predict()
    metrics = trainer.evaluate()
    del metrics["epoch"]  # which logging adds
    assert 0 < found.predictions.mean() < 1
    assert found.predictions.mean() == found.metrics["test_success_rate"] == metrics["eval_success_rate"]
    assert found.label_ids.tolist() == [task.id for task in trainer.eval_tasks] * 16
    assert found.predictions.dtype == np.float64
    assert found.metrics == {name.replace("eval_", "test_", 1): value for name, value in metrics.items()}
    names = [name for entry in trainer.state.log_history for name in entry]
    assert not any(name.startswith("test_") for name in names)
    by_name = trainer.predict({"few": trainer.eval_tasks[:1]}, metric_key_prefix="held")
    assert by_name.metrics["held_few_success_rate"] == by_name.predictions.mean()


@pytest.mark.parametrize(
    ("panels", "metric"), [(None, "eval_success_rate"), ({"seen": "train", "new": "test"}, "eval_seen_success_rate")]
)
def test_the_best_model_is_that_of_the_most_success(tmp_path, panels, metric):
    env = CorridorEnv(length=4)
    often = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    args = config_for(tmp_path, load_best_model_at_end=True, max_steps=2, **often)
    tokenizer = tokenizer_for(env)
    trainer = ThreeSPOTrainer(untrained(tokenizer), env, args, eval_tasks=panels, processing_class=tokenizer)
    trainer.train()
    assert (args.metric_for_best_model, args.greater_is_better) == (metric, True)
    assert trainer.state.best_metric == max(x[metric] for x in trainer.state.log_history if metric in x)
    assert set(trainer.evaluations) == set(panels or {""})
    assert trainer.evaluation is next(iter(trainer.evaluations.values()))
