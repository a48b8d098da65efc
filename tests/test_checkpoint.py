"""A checkpoint is evaluated without a trainer, and as a trainer would."""

from pathlib import Path

import peft
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from training import config_for, tokenizer_for, untrained
from trl_3spo import ThreeSPOTrainer
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.evaluation import panel_hash
from trl_3spo.evaluation.policies import evaluate_checkpoint, load_policy, load_tokenizer

TEMPERATURE = 1.5


@pytest.fixture(scope="module")
def env():
    return CorridorEnv(length=4)


@pytest.fixture(scope="module")
def checkpoint(env, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = tokenizer_for(env)
    untrained(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def options(**changes):
    return {"max_completion_length": 1, "batch_size": 8} | changes


def trainer(checkpoint, env, folder, **changes):
    config = config_for(folder, per_device_eval_batch_size=8, num_eval_tasks=1000, **changes)
    return ThreeSPOTrainer(checkpoint, env, config, processing_class=load_tokenizer(checkpoint))


def test_greedy_it_gives_what_the_trainer_gives(checkpoint, env, tmp_path):
    trained = trainer(checkpoint, env, tmp_path)
    trained.evaluate()
    evaluation = evaluate_checkpoint(checkpoint, env, **options())
    assert evaluation == trained.evaluation
    assert evaluation.panel == panel_hash(task.id for task in env.tasks())
    assert evaluation == evaluate_checkpoint(checkpoint, env, **options(seed=9))


def test_sampled_it_gives_what_the_trainer_gives_with_its_seed(checkpoint, env, tmp_path):
    trained = trainer(checkpoint, env, tmp_path, eval_temperature=TEMPERATURE, seed=3, num_generations_eval=4)
    trained.evaluate()
    sampled = options(num_episodes=4 * len(env.tasks()), temperature=TEMPERATURE)
    evaluation = evaluate_checkpoint(checkpoint, env, **sampled, seed=3)
    assert evaluation == trained.evaluation
    assert evaluation.success.num_episodes == 4 * len(env.tasks())
    assert evaluation != evaluate_checkpoint(checkpoint, env, **sampled, seed=4)


def test_random_generators_are_left_alone(checkpoint, env):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    evaluate_checkpoint(checkpoint, env, env.tasks()[:2], **options(temperature=1.0))
    assert torch.equal(torch.rand(3), expected)


def test_an_adapter_is_evaluated_on_its_base(checkpoint, env, tmp_path):
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(checkpoint)
    adapted = peft.get_peft_model(base, peft.LoraConfig(target_modules=["q_proj", "o_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    load_tokenizer(checkpoint).save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    load_tokenizer(checkpoint).save_pretrained(tmp_path / "merged")
    prompts = [env.prompt(task, env.reset(task), []) for task in env.tasks()]
    answers = {name: load_policy(name, max_completion_length=8)(prompts) for name in map(str, tmp_path.iterdir())}
    assert answers[str(tmp_path / "adapter")] == answers[str(tmp_path / "merged")]
    assert answers[str(tmp_path / "adapter")] != load_policy(checkpoint, max_completion_length=8)(prompts)


def test_own_settings_of_generation_are_put_aside(checkpoint, env, tmp_path):
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    model.generation_config = GenerationConfig(do_sample=True, top_k=1, repetition_penalty=9.0, max_new_tokens=3)
    model.save_pretrained(tmp_path)
    load_tokenizer(checkpoint).save_pretrained(tmp_path)
    sampled = options(temperature=TEMPERATURE, num_episodes=40)
    assert evaluate_checkpoint(str(tmp_path), env, **sampled) == evaluate_checkpoint(checkpoint, env, **sampled)


WARM_STARTS = Path(__file__).parents[1] / "examples" / "warm_start"


def test_a_saved_tokenizer_splits_as_it_did(checkpoint, env):
    text = "go to shelf 1, left red door <|end|> unknown"
    expected = tokenizer_for(env)(text)["input_ids"]
    for saved in (load_tokenizer(checkpoint), AutoTokenizer.from_pretrained(checkpoint)):
        assert saved(text)["input_ids"] == expected


@pytest.mark.parametrize("name", ["alfworld", "webshop"])
def test_anybody_loads_the_demos_tokenizer_as_it_was_saved(name):
    text = "<|turn|> user you are in the middle of a room: go to shelf 3, search[red shoes] <|end|>"
    saved = Tokenizer.from_file(str(WARM_STARTS / name / "tokenizer.json"))
    assert AutoTokenizer.from_pretrained(WARM_STARTS / name)(text)["input_ids"] == saved.encode(text).ids


def test_a_missing_checkpoint_is_named(env):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint \./runs/none; give the folder"):
        evaluate_checkpoint("./runs/none", env)


def test_folders_have_no_revisions(checkpoint):
    with pytest.raises(ValueError, match="is a folder, which has none"):
        load_policy(checkpoint, revision="main")


@pytest.mark.parametrize("changes", [{"temperature": -0.1}, {"max_completion_length": 0}])
def test_options_out_of_range_are_refused_before_anything_is_loaded(env, changes):
    with pytest.raises(ValueError, match=r"temperature is .* at least 0 \(greedy\)"):
        evaluate_checkpoint("nobody/nothing", env, **changes)


def test_prompts_must_fit(checkpoint, env):
    with pytest.raises(ValueError, match="the model has positions for 4096"):
        evaluate_checkpoint(checkpoint, env, max_completion_length=4096)


def test_a_tokenizer_without_template_is_refused(env, tmp_path):
    tokenizer = tokenizer_for(env)
    untrained(tokenizer).save_pretrained(tmp_path)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no chat template"):
        load_policy(str(tmp_path))
