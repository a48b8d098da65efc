"""What users bring: environments, tasks and reward functions in the forms they have them in."""

import logging
from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig

from training import SpokenCorridor, WordsEnv, config_for, tokenizer_for, untrained
from trl_3spo import EpisodeGRPOConfig, EpisodeGRPOTrainer, ThreeSPOTrainer
from trl_3spo.algorithm.records import digest, first_visit, next_visit
from trl_3spo.environments.answers import Malformed
from trl_3spo.environments.base import Observation, StepResult, Task, Turn
from trl_3spo.environments.conversation import conversation
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.environments.mixed import MixedEnvironment
from trl_3spo.evaluation.results import kinds_of
from trl_3spo.testing import check_environment
from trl_3spo.tiny import word_tokenizer
from trl_3spo.training.task_choice import chosen_tasks
from trl_3spo.training.text_rewards import TextRewards


def trainer_in(env, folder, trainer_class=ThreeSPOTrainer, *, known=None, arguments=(), **changes):
    tokenizer = tokenizer_for(known or env)
    args = config_for(folder, trainer_class._config_class, **changes)
    return trainer_class(untrained(tokenizer), env, args, processing_class=tokenizer, **dict(arguments))


def parameters(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


# -- score keys --------------------------------------------------------------------------------------------------------


def test_an_environment_without_score_keys_is_scored_by_state_kind_and_time():
    class Plain(CorridorEnv):
        def _observe(self, state, num_steps):
            return replace(super()._observe(state, num_steps), score_keys=())

    env = Plain(length=4)
    task = env.tasks()[0]
    first = first_visit(env, task)
    second = next_visit(env, next_visit(env, first, "dance"), "dance")
    key = first.observation.state_key
    assert first.keys == tuple(map(digest, ((key, 0), (task.kind, 0), (0,))))
    assert second.keys == tuple(map(digest, ((key, 2), (task.kind, 2), (2,))))
    assert first.state_digest == second.state_digest == digest(key)
    plain = first_visit(WordsEnv(), WordsEnv().tasks()[0])
    assert plain.keys == tuple(map(digest, ((plain.observation.state_key, 0), (0,))))


# -- reward functions --------------------------------------------------------------------------------------------------


def short(completions, **kwargs):
    return [-float(len(completion[0]["content"])) for completion in completions]


async def even(task, action, trainer_state, **kwargs):
    return [None if trainer_state is None else float(len(x) % 2 == 0) for x in action]


def test_texts_are_rewarded_with_weights(tmp_path):
    trainer = trainer_in(
        WordsEnv(), tmp_path, arguments={"reward_funcs": [short, even]}.items(), reward_weights=[0.01, 0.5], max_steps=2
    )
    assert trainer.args.reward_weights == [0.01, 0.5]
    trainer.train()
    log = trainer.state.log_history[0]
    assert log["text_rewards/short"] < 0
    assert 0 < log["text_rewards/even"] < 1


@pytest.mark.parametrize("trainer_class", [ThreeSPOTrainer, EpisodeGRPOTrainer])
def test_a_text_can_be_taught_where_the_environment_pays_nothing(trainer_class, tmp_path):
    class Silent(WordsEnv):
        def step(self, action):
            return StepResult.ended(self._observe(action), success=False)

    def says_left(action, **kwargs):
        return [float(x == "left") for x in action]

    trainer = trainer_in(
        Silent(),
        tmp_path,
        trainer_class,
        arguments={"reward_funcs": says_left}.items(),
        max_steps=40,
        learning_rate=3e-3,
        logging_steps=40,
    )
    trainer.train()
    assert trainer.state.log_history[0]["text_rewards/says_left"] > 0.3
    with trainer.sampler.phase():
        (last,) = trainer.sampler.sample([_first(trainer)], [32])
    assert sum(sample.action == "left" for sample in last) > 24


def _first(trainer):
    return first_visit(trainer.guard, trainer.train_tasks[0])


@pytest.mark.parametrize(
    ("functions", "weights", "error", "sentence"),
    [
        (["some/model"], None, TypeError, "functions are required"),
        (torch.nn.Linear(1, 1), None, TypeError, "functions are required"),
        ([short], [0.5, 0.5], ValueError, "2 reward_weights for 1 reward_funcs"),
    ],
)
def test_what_does_not_reward_texts_is_refused(functions, weights, error, sentence):
    with pytest.raises(error, match=sentence):
        TextRewards(functions, weights)


# -- arguments ---------------------------------------------------------------------------------------------------------


def test_grpos_configuration_is_refused_in_one_sentence(tmp_path):
    args = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False)
    with pytest.raises(TypeError, match="got a GRPOConfig as args; a ThreeSPOConfig is required"):
        ThreeSPOTrainer("./nowhere", WordsEnv(), args)
    with pytest.raises(TypeError, match="got a EpisodeGRPOConfig"):
        ThreeSPOTrainer("./nowhere", WordsEnv(), config_for(tmp_path, EpisodeGRPOConfig))


def test_the_other_order_is_understood(tmp_path):
    env = WordsEnv()
    tokenizer = tokenizer_for(env)
    trainer = ThreeSPOTrainer(untrained(tokenizer), config_for(tmp_path), env, processing_class=tokenizer)
    assert trainer.env is env


@pytest.mark.parametrize("env", ["alfworld", None, 3])
def test_what_is_no_environment_is_refused(env, tmp_path):
    with pytest.raises(TypeError, match="an environment is required"):
        ThreeSPOTrainer("./nowhere", env, config_for(tmp_path))


def test_tasks_may_be_ids_or_rows():
    env = CorridorEnv(length=4)
    tasks = list(env.tasks())
    ids = [task.id for task in tasks]
    assert chosen_tasks(env, ids) == chosen_tasks(env, tasks) == tasks
    assert chosen_tasks(env, Dataset.from_list([{"id": name} for name in ids])) == tasks
    assert chosen_tasks(env, [tasks[0], ids[1], {"id": ids[2]}]) == tasks[:3]


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        (["no such task"], ValueError, "no task 'no such task' among 2 tasks, such as"),
        ([3], TypeError, "3 is no task: a Task, the id of one"),
        ([{"prompt": "x"}], TypeError, "a row with a column id"),
        ("train", TypeError, "set train_split"),
        (3, TypeError, "a list of tasks"),
    ],
)
def test_what_is_no_task_is_refused(given, error, sentence):
    with pytest.raises(error, match=sentence):
        chosen_tasks(CorridorEnv(length=3), given)


def test_panels_have_names(tmp_path):
    env = CorridorEnv(length=4)
    tasks = list(env.tasks())
    trainer = trainer_in(
        env,
        tmp_path,
        arguments={"eval_tasks": {"seen": tasks[:2], "unseen": [tasks[2].id]}}.items(),
        eval_temperature=1.0,
    )
    metrics = trainer.evaluate()
    assert {"eval_seen_success_rate", "eval_unseen_success_rate", "eval_unseen_episode_return"} <= metrics.keys()
    assert "eval_success_rate" in trainer.evaluate(tasks)
    assert trainer.eval_tasks == tasks[:3]
    with pytest.raises(ValueError, match="panel 'unseen' has no tasks"):
        trainer_in(env, tmp_path, arguments={"eval_tasks": {"unseen": []}}.items())


# -- conversations -----------------------------------------------------------------------------------------------------


class Chatting(SpokenCorridor):
    """A corridor in which all that was said is shown again."""

    prompt_style = "conversation"
    system_prompt = "You are in a corridor ."


def test_the_default_prompt_may_be_a_conversation():
    env = Chatting()
    task = env.tasks()[0]
    first = env.reset(task)
    second = env.step("left").observation
    assert env.prompt(task, second, [Turn(first.text, "left", "<think>so</think> left")]) == [
        {"role": "system", "content": env.system_prompt},
        {"role": "user", "content": first.text},
        {"role": "assistant", "content": "<think>so</think> left"},
        {"role": "user", "content": second.text},
    ]
    assert conversation([], Observation("", 0), []) == []


@pytest.mark.parametrize("trainer_class", [ThreeSPOTrainer, EpisodeGRPOTrainer])
def test_conversations_go_on_from_the_tokens_of_the_answers(trainer_class, tmp_path):
    env = Chatting()
    trainer = trainer_in(env, tmp_path, trainer_class, max_completion_length=2)
    prompts, answers = [], []
    generate = trainer._generate_single_turn

    def watched(prompt_ids, *args):
        completions, logps = generate(prompt_ids, *args)
        prompts.extend(map(tuple, prompt_ids))
        answers.extend(tuple(x + y) for x, y in zip(prompt_ids, completions, strict=True))
        return completions, logps

    trainer._generate_single_turn = watched
    trainer.train()
    assistant = trainer._tokenizer.convert_tokens_to_ids("assistant")
    later = [prompt for prompt in prompts if prompt.count(assistant) > 1]
    assert len(later) > 10
    assert all(any(prompt[: len(answer)] == answer for answer in answers) for prompt in later)


@pytest.mark.parametrize("trainer_class", [ThreeSPOTrainer, EpisodeGRPOTrainer])
def test_conversations_are_computed_once_and_trained_alike(trainer_class, tmp_path):
    """Steps of an episode share their tokens in generation and in the update, and nothing else changes."""
    losses, numbers = {}, {}
    for sharing, room in (("off", 0.0), ("tree", 0.1)):
        folder = tmp_path / sharing
        options = {
            "prefix_sharing": sharing,
            "kept_prefixes_gib": room,
            "max_completion_length": 2,
            "num_iterations": 2,
        }
        trainer = trainer_in(Chatting(), folder, trainer_class, max_steps=6, **options)
        seen = []
        trainer.model.get_input_embeddings().register_forward_hook(
            lambda _, x, __, seen=seen: seen.append(x[0].numel())
        )
        trainer.train()
        losses[sharing] = [(x["loss"], x["entropy"], x["grad_norm"]) for x in trainer.state.log_history if "loss" in x]
        numbers[sharing] = sum(seen)
    assert len(losses["off"]) == 6
    assert losses["tree"] == [pytest.approx(x, rel=1e-3, abs=1e-5) for x in losses["off"]]
    assert numbers["tree"] < 0.5 * numbers["off"]


def test_only_the_latest_turns_and_so_many_tokens_are_asked_with(tmp_path):
    trainer = trainer_in(Chatting(), tmp_path, max_turns=1, max_steps=2)
    sizes = []
    generate = trainer._generate_single_turn
    trainer._generate_single_turn = lambda ids, *args: sizes.extend(map(len, ids)) or generate(ids, *args)
    trainer.train()
    longest, sizes[:] = max(sizes), []
    trainer = trainer_in(Chatting(), tmp_path / "other", max_prompt_tokens=longest - 1, max_steps=2)
    generate = trainer._generate_single_turn
    trainer._generate_single_turn = lambda ids, *args: sizes.extend(map(len, ids)) or generate(ids, *args)
    trainer.train()
    assert max(sizes) < longest
    assert any("shortened_prompts" in entry for entry in trainer.state.log_history)


@pytest.mark.parametrize("changes", [{"max_turns": 0}, {"max_prompt_tokens": 0}])
def test_limits_that_leave_nothing_are_refused(changes, tmp_path):
    with pytest.raises(ValueError, match="must be at least 1, or None"):
        config_for(tmp_path, **changes)


def test_malformed_answers_are_counted(tmp_path, caplog):
    class Strict(SpokenCorridor):
        def parse_action(self, completion):
            return Malformed() if sum(map(ord, completion)) % 2 else super().parse_action(completion)

    trainer = trainer_in(Strict(), tmp_path, eval_temperature=1.0, invalid_action_penalty=0.1)
    with caplog.at_level(logging.INFO):
        trainer.train()
    assert 0.2 < trainer.state.log_history[0]["malformed_share"] < 0.8
    assert 0.1 < trainer.evaluate()["eval_malformed_share"] < 0.9


# -- several environments ----------------------------------------------------------------------------------------------


class Paying(WordsEnv):
    """Pays two for an even word, and takes one for another."""

    reward_range = (-1.0, 2.0)

    def tasks(self, split=None):
        if split not in (None, "train"):
            raise ValueError(f"There is no split {split!r}.")
        return super().tasks(split)

    def reset(self, task):
        if task not in self._tasks:
            raise ValueError(f"Task {task.id!r} is unknown.")
        return super().reset(task)

    def step(self, action):
        result = super().step(action)
        return StepResult.ended(result.observation, success=result.success, reward=2.0 if result.success else -1.0)

    def parse_action(self, completion):
        return completion.upper()


def mixed(**weights):
    return MixedEnvironment({"corridor": SpokenCorridor(), "words": Paying()}, weights or None)


def test_several_environments_keep_the_contract():
    env = MixedEnvironment({"short": CorridorEnv(length=3, max_steps=4), "long": CorridorEnv(length=5, max_steps=9)})
    assert check_environment(env, tasks=100).num_ends > 4


def test_each_task_is_its_environments():
    env = mixed()
    tasks = env.tasks()
    assert {task.id.split("/")[0] for task in tasks} == {"corridor", "words"}
    word = tasks[-1]
    shown = env.reset(word)
    assert shown.state_key[0] == "words"
    assert env.parse_answer(word, "left") == "LEFT"
    assert env.prompt(word, shown, []) == Paying().prompt(word.data, Paying().reset(word.data), [])
    assert env.reward_range == (-1 / 3, 1.0)
    assert env.step("LEFT").reward == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="not one of this environment"):
        env.reset(Task("words/0"))
    with pytest.raises(ValueError, match="no split"):
        env.tasks("no such split")


def test_weights_are_shares_of_the_training():
    env = mixed(corridor=3.0, words=1.0)
    tasks = env.training_tasks()
    shares = [sum(task.id.startswith(name) for task in tasks) for name in ("corridor", "words")]
    assert shares[0] == pytest.approx(3 * shares[1], abs=1)
    assert set(tasks) == set(env.tasks())
    assert len(mixed().training_tasks()) == len(env.tasks())


@pytest.mark.parametrize(
    ("environments", "weights", "sentence"),
    [
        ({}, None, "without a slash"),
        ({"a/b": WordsEnv()}, None, "without a slash"),
        ({"a": WordsEnv()}, {"b": 1.0}, "one above 0"),
        ({"a": WordsEnv()}, {"a": 0.0}, "one above 0"),
    ],
)
def test_what_cannot_be_mixed_is_refused(environments, weights, sentence):
    with pytest.raises(ValueError, match=sentence):
        MixedEnvironment(environments, weights)


def test_a_kind_belongs_to_those_before_its_slashes():
    assert kinds_of("shop/shoes") == ["shop", "shop/shoes"]
    assert kinds_of("shop/") == ["shop"]
    assert kinds_of("heat") == ["heat"]
    assert kinds_of("") == [""]


def test_several_environments_are_trained_together_and_logged_by_name(tmp_path):
    env = {"corridor": SpokenCorridor(), "words": Paying()}
    known = mixed()
    texts = [known.prompt(task, known.reset(task), [])[0]["content"] for task in known.tasks()]
    tokenizer = word_tokenizer([*texts, "of cellar place 1 2 3"])
    trainer = ThreeSPOTrainer(
        untrained(tokenizer),
        env,
        config_for(tmp_path, objective="reward", max_steps=6, eval_temperature=1.0),
        processing_class=tokenizer,
    )
    trainer.train()
    logged = set().union(*trainer.state.log_history)
    assert {"success_rate", "success_rate/corridor", "success_rate/words"} <= logged
    metrics = trainer.evaluate()
    assert {"eval_success_rate/corridor", "eval_success_rate/words"} <= metrics.keys()
    assert any(name.startswith("eval_success_rate/corridor/") for name in metrics)
