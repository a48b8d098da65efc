"""WebShop as an environment that can be rewound."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from trl_3spo.environments.base import Message, Observation, PromptStyle, StepResult, Task, Turn
from trl_3spo.environments.limited import LimitedEnvironment, Snapshot
from trl_3spo.environments.prompting import ask, check_prompt_options, converse, told
from trl_3spo.environments.webshop import prompting
from trl_3spo.environments.webshop.catalogue.goals import Goal
from trl_3spo.environments.webshop.score_keys import score_keys
from trl_3spo.environments.webshop.scoring.reward import Reward
from trl_3spo.environments.webshop.shop.original import OriginalShop
from trl_3spo.environments.webshop.shop.shop import Shop
from trl_3spo.environments.webshop.state import DONE, ShopState
from trl_3spo.environments.webshop.world import World


class WebShopEnv(LimitedEnvironment[ShopState]):
    """Shopping by instruction, in a shop of our own that answers as WebShop does.

    Buying ends an episode; it is a success if the reward WebShop gives for it is 1. The result's `info` then has the
    parts of the reward. An action that does nothing counts as a step, and `info["no_op"]` says why.

    Args:
        world: Products and goals. Many environments can share one `World` at almost no cost.
        mode: `sane`, or `compat` for WebShop's own oddities (`OriginalShop`).
        observation: `text`, or `text_rich` where buttons and clicked values are marked.
        shows_attributes: Whether products have a button that leads to their attributes, as in WebShop with human goals.
        split: `train`, `eval`, `test`, or `None` for all goals.
        only_attainable: Whether to leave out goals whose own product can never earn the full reward
            (`World.unattainable`), of every split.
        shows_selected_options: Whether, in mode `sane`, pages of a product say which options are chosen. Without it
            different states may look alike.
        reward: `score` rewards a purchase with WebShop's reward in [0, 1], `success` with 1 if that is 1, else with 0.
        max_steps: Steps after which an episode is truncated, at least 1.
        prompt_format: `think` asks for `<think>…</think><action>…</action>`; `action` asks for an action alone in few
            tokens.
        prompt_style: `window` asks in one message with the last turns. `conversation` keeps every turn as messages of
            its own, and each prompt begins with the one before, which is not computed again.
        history_length: Number of past turns in a window, at least 0.
        shows_admissible_actions: Whether the prompt lists what can be clicked.
        show_attributes: Former name of `shows_attributes`; refused.

    Raises:
        TypeError: An option is given by its former name.
        ValueError: An option is none of these, or the split has no goals.
    """

    expert = "trl_3spo.environments.webshop.expert.demonstrations:demonstrate"

    def __init__(
        self,
        world: World,
        *,
        mode: str = "sane",
        observation: str = "text",
        shows_attributes: bool = False,
        split: str | None = "train",
        only_attainable: bool = False,
        shows_selected_options: bool = True,
        reward: str = "score",
        max_steps: int = 15,
        prompt_format: str = "think",
        prompt_style: PromptStyle = "window",
        history_length: int = 2,
        shows_admissible_actions: bool = True,
        show_attributes: None = None,
    ) -> None:
        if show_attributes is not None:
            raise TypeError(f"WebShopEnv has no option show_attributes: write shows_attributes={show_attributes!r}.")
        _check_choice("mode", mode, ("sane", "compat"))
        _check_choice("observation", observation, ("text", "text_rich"))
        _check_choice("reward", reward, ("score", "success"))
        check_prompt_options(prompt_format, history_length, prompt_style)
        super().__init__(max_steps)
        self.world = world
        self.mode = mode
        self.observation = observation
        self.prompt_format = prompt_format
        self.prompt_style = prompt_style
        self.history_length = history_length
        self.shows_admissible_actions = shows_admissible_actions
        make_shop = OriginalShop if mode == "compat" else partial(Shop, shows_selected_options=shows_selected_options)
        self.shop = make_shop(world, is_rich=observation == "text_rich", shows_attributes=shows_attributes)
        self._split = split
        self._only_attainable = only_attainable
        self._is_graded = reward == "score"
        self.tasks()

    @classmethod
    def from_files(
        cls, items: str | None = None, attributes: str | None = None, human: str | None = None, **options: Any
    ) -> "WebShopEnv":
        """Open a shop of WebShop's data files, or the bundled one where none are named.

        Args:
            items: Products, such as `items_shuffle_1000.json`.
            attributes: Their attributes, such as `items_ins_v2_1000.json`.
            human: Instructions that people wrote, such as `items_human_ins.json`.
            options: The environment's own.

        Raises:
            ValueError: Products or attributes are named alone.
        """
        if (items is None) != (attributes is None):
            raise ValueError(f"items is {items!r} and attributes {attributes!r}; name both files, or neither.")
        world = World.bundled() if items is None or attributes is None else World.from_files(items, attributes, human)
        return cls(world, **options)

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the tasks of a split, or those the environment was made with.

        Raises:
            ValueError: There is no such split, or it is empty.
        """
        return self.world.tasks(self._split if split is None else split, only_attainable=self._only_attainable)

    def describe(self) -> Mapping[str, Any]:
        """Return the numbers of products and of goals: results of shops of different sizes are not comparable."""
        return {"products": len(self.world.products), "goals": len(self.world.goals)}

    def reset(self, task: Task | int) -> Observation:
        """Start a task, or the goal of an index in the order of `World.goals`, and return the page with the search bar.

        Raises:
            ValueError: There is no such task.
        """
        index = self.world.goal_index(task.id if isinstance(task, Task) else task)
        return super().reset(self.world.task(index))

    def _begin(self, task: Task) -> tuple[ShopState, Observation]:
        state = ShopState()
        return state, self._observe(task, state, 0)

    def _act(self, now: Snapshot[ShopState], action: str) -> tuple[ShopState, StepResult]:
        state, no_op = self.shop.act(now.state, action)
        observation = self._observe(now.task, state, now.num_steps + 1)
        if state.page != DONE:
            return state, StepResult.going_on(observation, info={"no_op": no_op} if no_op else {})
        worth = self._worth(self.world.goal_index(now.task.id), state)
        reward = worth.total if self._is_graded else None
        return state, StepResult.ended(observation, success=worth.total == 1, reward=reward, info=worth.as_original())

    def clickables(self) -> tuple[str, ...]:
        """Return what can be clicked as WebShop lists it, which is not all of it of use.

        Raises:
            RuntimeError: There was no reset yet.
        """
        return self.shop.clickables(self.snapshot().state)

    def prompt(self, task: Task, observation: Observation, turns: Sequence[Turn]) -> list[Message]:
        """Return one user message: task, number of actions taken, the last turns, the page, what can be done.

        A conversation has the task in a message of the system, and every turn after it.

        Raises:
            ValueError: The task is not one of this environment's.
        """
        instruction = self.world.goal(self.world.goal_index(task.id)).instruction
        if self.prompt_style == "conversation":
            return converse(prompting.opening(instruction, self.prompt_format), observation, turns)
        actions = observation.admissible_actions if self.shows_admissible_actions else None
        write = prompting.WRITERS[self.prompt_format]
        return ask(write, instruction, turns, self.history_length, observation.text, actions)

    def parse_action(self, completion: str) -> str:
        """Return the action a completion names; see `prompting.parse_action`."""
        return prompting.parse_action(completion, self.prompt_format)

    def _worth(self, index: int, state: ShopState) -> Reward:
        assert state.asin is not None
        return self.world.score(index, state.asin, tuple(sorted(state.options)))

    def _observe(self, task: Task, state: ShopState, num_steps: int) -> Observation:
        index = self.world.goal_index(task.id)
        goal: Goal = self.world.goal(index)
        worth = self._worth(index, state) if state.asin is not None else None
        text = self.shop.show(goal.instruction, state, worth.total if worth is not None else 0.0)
        key = (self.world.task_id(index), *state.key)
        keys = score_keys(key, goal, state, self.shop.shown_products(state), worth, self._span(num_steps))
        actions = self.shop.admissible_actions(state)
        messages: tuple[Message, ...] = ()
        if self.prompt_style == "conversation":
            listed = actions if self.shows_admissible_actions else None
            messages = told(prompting.turn(goal.instruction, text, listed, self.prompt_format))
        return Observation(text, key, actions, keys, messages)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; required is {' or '.join(choices)}.")
