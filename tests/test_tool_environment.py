"""Classes written for TRL, unchanged: as environments, and beside GRPOTrainer's own loop."""

import asyncio
import dataclasses
import inspect
import json

import pytest
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from byte_tokenizer import TEMPLATES, byte_tokenizer
from trl_3spo import EpisodeGRPOConfig, EpisodeGRPOTrainer
from trl_3spo.environments.adapters.plain_keys import plain_key, told
from trl_3spo.environments.adapters.tool_environment import ToolEnvironment
from trl_3spo.environments.base import Turn
from trl_3spo.testing import check_environment
from trl_3spo.tiny import tiny_model

CALLS = ("guess(number=1)", "guess(3)", "hint()", '{"name": "guess", "arguments": {"number": 5}}', "guess()")


class GuessNumber:
    """As one would write it for TRL."""

    def reset(self, number: int, **kwargs) -> str:
        self.number, self.guesses, self.done = number, [], False
        return " I am thinking of a number."

    def guess(self, number: int) -> str:
        """
        Guess the number.

        Args:
            number: Your guess.
        """
        self.guesses.append(number)
        self.done = number == self.number
        if number > 100:
            raise ValueError("Too large.")
        return "Right!" if self.done else "Higher." if number < self.number else "Lower."

    def hint(self) -> str:
        """Ask for a hint."""
        return "It is even." if self.number % 2 == 0 else "It is odd."

    def get_reward(self) -> float:
        return float(self.done)

    def _private(self) -> None:
        raise AssertionError


class Slow(GuessNumber):
    """The same, to be awaited."""

    async def guess(self, number: int) -> str:
        """
        Guess the number.

        Args:
            number: Your guess.
        """
        await asyncio.sleep(0)
        return super().guess(number)

    async def get_reward(self) -> float:
        await asyncio.sleep(0)
        return super().get_reward()


class Echo:
    """In the manner of TRL's OpenEnv page: the reward is an attribute that reward functions read."""

    def reset(self, **kwargs) -> None:
        self.reward = 0.0

    def echo(self, message: str) -> str:
        """
        Echo a message.

        Args:
            message: The message.
        """
        self.reward = 0.1 * len(message)
        return message


def echoed(environments, **kwargs):
    return [environment.reward for environment in environments]


async def asked_politely(completions, polite, **kwargs):
    return [float(word in json.dumps(x)) if word else None for x, word in zip(completions, polite, strict=True)]


ROWS = [{"prompt": f"Guess {index}.", "number": number, "kind": "odd"} for index, number in enumerate([1, 3, 5])]


@pytest.fixture
def env():
    return ToolEnvironment(GuessNumber, {"train": ROWS, "test": ROWS[:1]})


def test_keeps_the_contract(env):
    report = check_environment(env, actions=CALLS)
    assert report.remarks == ()
    assert sum(check_environment(env, actions=CALLS, steps=25, seed=seed).num_ends for seed in range(3)) > 0
    check_environment(ToolEnvironment(Slow, {"train": ROWS}), actions=CALLS)
    env.close()


def test_tools_are_those_that_trl_would_take():
    """The rule of GRPOTrainer, restated: public functions of the class apart from reset and get_reward."""
    functions = inspect.getmembers(GuessNumber, predicate=inspect.isfunction)
    names = [name for name, _ in functions if name not in ("reset", "get_reward") and not name.startswith("_")]
    env = ToolEnvironment(GuessNumber, {"train": ROWS})
    assert [tool.__name__ for tool in env.tools(env.tasks()[0])] == names == ["guess", "hint"]


def test_calls_lead_to_the_reward_and_an_answer_without_one_to_the_end(env):
    assert env.reset(env.tasks()[1]).text == " I am thinking of a number."
    start = env.snapshot()
    assert env.step("guess(1)").observation.text == "Higher."
    right = env.step('<tool_call>{"name": "guess", "arguments": {"number": 3}}</tool_call>')
    assert (right.observation.text, right.is_final) == ("Right!", False)
    won = env.step("It is 3.")
    assert (won.reward, won.terminated, won.success) == (1.0, True, True)
    assert won.info["reward_parts"] == {"GuessNumber": 1.0}
    env.restore(start)
    lost = env.step("It is 3.")
    assert (lost.reward, lost.terminated, lost.success) == (0.0, True, False)


def test_the_object_may_end_an_episode_itself():
    env = ToolEnvironment(GuessNumber, {"train": ROWS}, is_done=lambda world: world.done)
    env.reset(env.tasks()[1])
    won = env.step("guess(3)")
    assert (won.reward, won.terminated, won.success) == (1.0, True, True)


def test_what_was_earned_until_a_limit_counts():
    env = ToolEnvironment(GuessNumber, {"train": ROWS}, max_steps=1)
    env.reset(env.tasks()[1])
    cut_off = env.step("guess(3)")
    assert (cut_off.reward, cut_off.truncated, cut_off.success) == (1.0, True, False)


def test_what_the_policy_has_been_told_is_part_of_the_state(env):
    task = env.tasks()[0]
    start = env.reset(task)
    once = env.step("hint()").observation
    assert once.state_key != start.state_key
    assert env.step("hint()").observation.state_key == once.state_key
    assert env.step("guess(7)").observation.state_key != once.state_key
    assert env.reset(task).state_key == start.state_key
    assert env.reset(env.tasks()[1]).state_key != start.state_key
    assert told(told((), "a", "b"), "c") == told(told((), "c"), "a", "b")


def test_score_keys_hold_the_time_and_coarse_ones(env):
    env.reset(env.tasks()[0])
    first, second = env.step("hint()").observation, env.step("hint()").observation
    assert all(key not in second.score_keys for key in first.score_keys)
    assert first.score_keys[-2:] == (("odd", 1, 1), (1,))


def shown(error):
    return str({"error": error})


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        ("fly()", shown("Tool fly not found.")),
        ("_private()", shown("Tool _private not found.")),
        ("reset(number=1)", shown("Tool reset not found.")),
        ("guess(digit=1)", shown("GuessNumber.guess() got an unexpected keyword argument 'digit'")),
        ("guess(number=101)", shown("Too large.")),
    ],
)
def test_errors_are_shown_as_trl_shows_them(env, action, answer):
    env.reset(env.tasks()[0])
    result = env.step(action)
    assert result.observation.text == answer
    assert not result.is_final


def test_the_prompt_is_the_conversation(env):
    task = env.tasks()[0]
    first = env.reset(task)
    opening = {"role": "user", "content": "Guess 0. I am thinking of a number."}
    assert env.prompt(task, first, []) == [opening]
    answer = "So:\n```json\n" + json.dumps([{"name": "guess", "arguments": {"number": 5}}, {"name": "hint"}]) + "\n```"
    turns = [Turn(first.text, env.parse_action(answer), answer, first.messages)]
    second = env.step(env.parse_action(answer)).observation
    results = [
        {"role": "tool", "name": "guess", "content": "Lower."},
        {"role": "tool", "name": "hint", "content": "It is odd."},
    ]
    assert env.prompt(task, second, turns) == [opening, {"role": "assistant", "content": answer}, *results]
    assert second.text == "Lower.\nIt is odd."
    # Without the oldest turns the task is still told.
    assert env.prompt(task, second, []) == [{"role": "user", "content": "Guess 0.\nLower.\nIt is odd."}]
    assert task.kind == "odd"


def test_messages_before_the_last_one_are_kept():
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Guess."}]
    env = ToolEnvironment(GuessNumber, {"train": [{"prompt": prompt, "number": 2}]})
    messages = env.prompt(env.tasks()[0], env.reset(env.tasks()[0]), [])
    assert messages == [prompt[0], {"role": "user", "content": "Guess. I am thinking of a number."}]


def test_reward_functions_have_trls_signature():
    rows = [{"prompt": "Say hi.", "polite": "please"}, {"prompt": "Say hi.", "polite": None}]
    env = ToolEnvironment(
        Echo, {"train": rows}, reward_funcs=[echoed, asked_politely], reward_weights=[1.0, 0.5], reward_range=(0.0, 3.0)
    )
    first, second = env.tasks()
    env.reset(first)
    env.step("echo('hi, please')")
    assert env.step("Done.").info["reward_parts"] == pytest.approx({"echoed": 1.0, "asked_politely": 0.5})
    env.reset(second)
    env.step("echo('hi')")
    result = env.step("Done.")
    assert result.info["reward_parts"] == pytest.approx({"echoed": 0.2})
    assert result.reward == pytest.approx(0.2)


def test_what_rewards_nothing_is_refused():
    with pytest.raises(
        ValueError, match="Echo has no get_reward, and there are no reward_funcs: every reward would be 0"
    ):
        ToolEnvironment(Echo, {"train": [{"prompt": "Say hi."}]})
    with pytest.raises(ValueError, match="1 reward_weights for 2 reward_funcs"):
        ToolEnvironment(Echo, {"train": [{}]}, reward_funcs=[echoed, asked_politely], reward_weights=[1.0])


def test_plain_values_become_keys():
    @dataclasses.dataclass
    class Point:
        x: float
        names: set[str]

    key = plain_key({"b": [1, None, b"c"], "a": Point(float("inf"), {"z", "y"})})
    assert key == (("a", (("x", "inf"), ("names", ("y", "z")))), ("b", (1, None, b"c")))
    with pytest.raises(TypeError, match="made of a object: pass state_key"):
        plain_key([object()])


def test_a_key_can_be_given_where_the_attributes_do_not_do():
    class Opaque(GuessNumber):
        def reset(self, **row):
            self.thing = object
            return super().reset(**row)

    env = ToolEnvironment(Opaque, {"train": ROWS})
    with pytest.raises(TypeError, match="pass state_key"):
        env.reset(env.tasks()[0])
    env = ToolEnvironment(Opaque, {"train": ROWS}, state_key=lambda world: (world.number, tuple(world.guesses)))
    check_environment(env, actions=CALLS)


def test_a_tool_may_be_called_close():
    class Doors(GuessNumber):
        def close(self, door: str) -> str:
            """Close a door."""
            return door

    env = ToolEnvironment(Doors, {"train": ROWS})
    env.reset(env.tasks()[0])
    assert env.step("close('left')").observation.text == "left"
    env.close()


@pytest.mark.parametrize(
    ("members", "row", "sentence"),
    [
        ({"reset": lambda self: ""}, {}, "reset and one to call are required"),
        ({"guess": lambda self: ""}, {}, "reset and one to call are required"),
        ({"reset": lambda self: "", "guess": lambda self: ""}, {"prompt": [{"content": [{}]}]}, "a list of messages"),
    ],
)
def test_bad_input_is_named(members, row, sentence):
    with pytest.raises(ValueError, match=sentence):
        ToolEnvironment(type("World", (), members), {"train": [row]})


# -- beside GRPOTrainer's own loop -------------------------------------------------------------------------------------

SCRIPTS = {
    1: ["<think>\nHm.\n</think>\n\n{guess 7}", "{guess 1}", "It is 1."],
    3: ["{guess 7}{hint}", "{fly}", "{guess 200}", "I give up."],
    5: ["I do not know."],
}


def scripted(tokenizer, prompt_ids):
    """Answer as the script of the prompt's number has it, by how many answers there have been."""
    text = tokenizer.decode(prompt_ids)
    number = {"Guess 0.": 1, "Guess 1.": 3, "Guess 2.": 5}[
        next(x for x in ("Guess 0.", "Guess 1.", "Guess 2.") if x in text)
    ]
    step = text.count("<|im_start|>assistant") - 1
    answer = SCRIPTS[number][step]
    for call in ("guess 7", "guess 1", "guess 200", "hint", "fly"):
        name, *digits = call.split()
        body = json.dumps({"name": name, "arguments": {"number": int(digits[0])} if digits else {}})
        answer = answer.replace("{" + call + "}", f"<tool_call>\n{body}\n</tool_call>")
    return [*tokenizer.encode(answer), tokenizer.eos_token_id]


def conversations(trainer):
    """Train on one batch and return all prompts and answers, as tokens."""
    seen = []

    def generate(prompt_ids, *args, **kwargs):
        answers = [scripted(trainer._tokenizer, ids) for ids in prompt_ids]
        seen.extend(zip(map(tuple, prompt_ids), map(tuple, answers), strict=True))
        return answers, None

    trainer._generate_single_turn = generate
    trainer.train()
    return seen


@pytest.mark.parametrize("world", [GuessNumber, Slow])
@pytest.mark.parametrize("template", ["qwen3", "qwen2_5"])
def test_conversations_are_those_of_grpotrainer_token_by_token(world, template, tmp_path):
    def parts():
        tokenizer = byte_tokenizer((TEMPLATES / f"{template}.jinja").read_text())
        model = tiny_model(tokenizer, hidden_size=16, num_layers=1, num_heads=2)
        model.config.max_position_embeddings = 8192
        return model, tokenizer

    settings = {
        "output_dir": str(tmp_path),
        "max_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "num_generations": 2,
        "per_device_train_batch_size": 6,
        "max_completion_length": 4000,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "learning_rate": 1e-5,
    }
    model, tokenizer = parts()
    theirs = GRPOTrainer(
        model,
        args=GRPOConfig(**settings),
        train_dataset=Dataset.from_list(
            [row | {"prompt": [{"role": "user", "content": row["prompt"]}]} for row in ROWS]
        ),
        processing_class=tokenizer,
        environment_factory=world,
    )
    model, tokenizer = parts()
    ours = EpisodeGRPOTrainer(
        model,
        ToolEnvironment(world, {"train": ROWS}),
        EpisodeGRPOConfig(**settings, max_idle_rounds=1),  # equal episodes have no signal
        processing_class=tokenizer,
    )
    expected, found = conversations(theirs), conversations(ours)
    assert len(expected) == 2 * (3 + 4 + 1)
    assert sorted(found) == sorted(expected)
    assert theirs.state.log_history[0]["reward"] == pytest.approx(1 / 3)
    assert ours.state.log_history[-1]["episode_return"] == pytest.approx(1 / 3)
