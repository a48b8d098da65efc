"""Demonstrations are the expert's answers to the environment's own prompts, wherever noise has led."""

from itertools import pairwise

import pytest
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.expert.demonstrations import demonstrate
from trl_3spo.environments.base import Turn
from trl_3spo.tiny import tiny_model, word_tokenizer


@pytest.fixture
def env():
    return AlfworldEnv(generated=12, seed=3, num_receptacles=(4, 8), num_objects=(4, 10), prompt_format="action")


def play_back(env, task, steps):
    """Take the demonstrated actions from the start, as long as the prompts agree."""
    observation, turns = env.reset(task), []
    for step in steps:
        if step["prompt"] != env.prompt(task, observation, turns):
            return None
        action = step["completion"][0]["content"]
        assert action in observation.admissible_actions
        turns.append(Turn(observation.text, action))
        result = env.step(action)
        observation = result.observation
    return result


def test_without_noise_they_solve_every_task(env):
    for task in env.tasks():
        steps = list(demonstrate(env, [task]))
        result = play_back(env, task, steps)
        assert result.success
        assert steps[0]["prompt"][0]["role"] == "user"
        assert steps[0]["completion"][0]["role"] == "assistant"


@pytest.mark.parametrize("prompt_format", ["action", "think"])
def test_in_a_conversation_every_prompt_goes_on_from_the_answer_before(prompt_format):
    env = AlfworldEnv(generated=2, prompt_format=prompt_format, prompt_style="conversation")
    for task in env.tasks():
        steps = list(demonstrate(env, [task]))
        assert len(steps) > 2
        for before, step in pairwise(steps):
            begun = [*before["prompt"], *before["completion"]]
            assert step["prompt"][: len(begun)] == begun
            assert len(step["prompt"]) == len(begun) + 1


def test_noise_is_taken_but_not_demonstrated(env):
    strayed = 0
    for task in env.tasks():
        steps = list(demonstrate(env, [task], noise=0.5, seed=1))
        strayed += play_back(env, task, steps) is None
        shortest = len(list(demonstrate(env, [task])))
        assert len(steps) >= shortest
        assert not any(step["completion"][0]["content"] in ("help", "inventory") for step in steps)
    assert strayed >= 10


def test_noise_may_be_demonstrated(env):
    steps = list(demonstrate(env, env.tasks(), noise=1.0, demonstrates_noise=True, keeps_lost=True))
    assert len(steps) > 6 * len(env.tasks())
    assert {"look", "inventory"} <= {step["completion"][0]["content"] for step in steps}
    for task in env.tasks():
        assert (
            play_back(env, task, list(demonstrate(env, [task], noise=0.5, demonstrates_noise=True, keeps_lost=True)))
            is not None
        )


def test_lost_episodes_are_left_out_unless_wanted(env, caplog):
    kept = [list(demonstrate(env, [task], noise=0.9, keeps_lost=True)) for task in env.tasks()]
    is_lost = [len(steps) == env.max_steps for steps in kept]  # none is won by the last of 50 actions
    assert 2 <= sum(is_lost) <= 10
    won = [list(demonstrate(env, [task], noise=0.9)) for task in env.tasks()]
    assert won == [[] if lost else steps for lost, steps in zip(is_lost, kept, strict=True)]
    assert caplog.messages == ["1 of 1 demonstrated episodes did not succeed and were left out."] * sum(is_lost)


def num_prompts_answered_in_two_ways(env, **options):
    answers = {}
    for seed in range(40):
        for step in demonstrate(env, env.tasks()[::6], noise=0.3, seed=seed, **options):
            answers.setdefault(step["prompt"][0]["content"], set()).add(step["completion"][0]["content"])
    return sum(len(different) > 1 for different in answers.values())


def test_whoever_plays_by_the_prompt_answers_equal_prompts_equally(env):
    assert num_prompts_answered_in_two_ways(env, plays_by_prompt=True) == 0
    assert num_prompts_answered_in_two_ways(env) > 0


def test_seeded(env):
    runs = [list(demonstrate(env, env.tasks(), noise=0.3, seed=seed)) for seed in (4, 4, 5)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("noise", [-0.1, 1.1])
def test_noise_is_a_share(env, noise):
    with pytest.raises(ValueError, match=f"noise is {noise}"):
        next(demonstrate(env, env.tasks(), noise=noise))


def test_where_a_thought_is_asked_for_one_is_given_and_the_answer_is_read_back():
    env = AlfworldEnv(generated=6, seed=3, num_receptacles=(4, 8), num_objects=(4, 10), prompt_format="think")
    bare = AlfworldEnv(generated=6, seed=3, num_receptacles=(4, 8), num_objects=(4, 10), prompt_format="action")
    for thinking, acting in zip(demonstrate(env, env.tasks()), demonstrate(bare, bare.tasks()), strict=True):
        answer, action = thinking["completion"][0]["content"], acting["completion"][0]["content"]
        assert env.parse_action(answer) == action
        assert answer.startswith(("<think>I ", "<think>The "))
        assert answer.endswith(f".</think><action>{action}</action>")


def test_a_random_action_is_demonstrated_without_a_reason():
    env = AlfworldEnv(generated=6, seed=3, num_receptacles=(4, 8), num_objects=(4, 10), prompt_format="think")
    steps = list(demonstrate(env, env.tasks(), noise=1.0, demonstrates_noise=True, keeps_lost=True))
    assert sum(step["completion"][0]["content"].startswith("<think></think>") for step in steps) > 0.7 * len(steps)


def test_a_dataset_of_them_is_what_sft_trainer_takes(env, tmp_path):
    steps = list(demonstrate(env, env.tasks()[:4], noise=0.2, seed=1))
    tokenizer = word_tokenizer(step[part][0]["content"] for step in steps for part in ("prompt", "completion"))
    config = SFTConfig(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=len(steps),
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        tiny_model(tokenizer, hidden_size=16),
        config,
        train_dataset=Dataset.from_list(steps),
        processing_class=tokenizer,
    )
    (batch,) = trainer.get_train_dataloader()
    learned = tokenizer.batch_decode([labels[labels != -100] for labels in batch["labels"]], skip_special_tokens=True)
    assert sorted(learned) == sorted(step["completion"][0]["content"] for step in steps)
    assert trainer.train().training_loss > 0
