"""What a policy is asked at a visit and what it answers there, in tokens: for training and for evaluation alike."""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from trl_3spo.algorithm.asking import Prompt, ask, ask_briefly, parse
from trl_3spo.algorithm.records import Sample, Visit
from trl_3spo.environments.base import Environment, Task, Tool
from trl_3spo.environments.failures import NoAction
from trl_3spo.evaluation.chat import Chat, calls_as_text

logger = logging.getLogger(__name__)


class Asked(NamedTuple):
    """A prompt.

    Args:
        messages: The chat messages.
        ids: P token ids.
        task: The episode's task.
        tools: Tools of the tasks.
    """

    messages: Prompt
    ids: list[int]
    task: Task
    tools: Sequence[Tool]


class Asker:
    """Asks a policy at visits and reads its answers.

    A prompt that begins with the prompt before it and the answer to that keeps the tokens of both. Where a prompt does
    not fit, its oldest turns are left out; where that does not help, the episode ends there.

    Args:
        env: Writes prompts and reads actions.
        chat: The model's own form.
        room: Returns the tokens that a prompt may have; 0 sets no limit.
        max_turns: Number of past turns to ask with, the latest; `None` is all of them.
        refuse: Called with a prompt's number of tokens, where not one has fitted so far. It may raise.
    """

    def __init__(
        self,
        env: Environment,
        chat: Chat,
        room: Callable[[], int],
        *,
        max_turns: int | None = None,
        refuse: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.num_shortened = 0
        self._env = env
        self._chat = chat
        self._room = room
        self._max_turns = max_turns
        self._refuse = refuse
        self._has_fitted = False
        self._warned: set[bool] = set()

    def ask(self, visits: Sequence[Visit]) -> list[Asked | NoAction]:
        """Return for every visit a prompt that fits the model, or why there is none."""
        prompts = [ask(self._env, visit, self._max_turns) for visit in visits]
        asked = self._tokenized(visits, prompts)
        room = self._room()
        fitting = [self._fit(visit, prompt, room) for visit, prompt in zip(visits, asked, strict=True)]
        self._has_fitted = self._has_fitted or any(isinstance(x, Asked) for x in fitting)
        return fitting

    def _tokenized(self, visits: Sequence[Visit], prompts: Sequence[Prompt | NoAction]) -> list[Asked | NoAction]:
        asked: list[Asked | NoAction | None] = []
        for visit, prompt in zip(visits, prompts, strict=True):
            asked.append(prompt if isinstance(prompt, NoAction) else self._continued(visit, prompt))
        pairs = zip(visits, prompts, asked, strict=True)
        new = [(x, prompt) for x, prompt, known in pairs if known is None and not isinstance(prompt, NoAction)]
        written = iter(self._write([prompt for _, prompt in new], [x.task for x, _ in new]))
        return [next(written) if known is None else known for known in asked]

    def _write(self, prompts: Sequence[Prompt], tasks: Sequence[Task]) -> list[Asked]:
        tools = [self._env.tools(task) for task in tasks]
        ids = self._chat.prompt_ids(prompts, tools) if prompts else []
        return [Asked(*each) for each in zip(prompts, ids, tasks, tools, strict=True)]

    def _continued(self, visit: Visit, prompt: Prompt) -> Asked | None:
        """Return a prompt that keeps the tokens of the one before it, or None if it does not begin with that."""
        sample = visit.sample
        if sample is None or not sample.completion_ids:
            return None
        before = [*sample.prompt, {"role": "assistant", "content": sample.text}]
        further = prompt[len(before) :]
        if prompt[: len(before)] != before or not further or any(x["role"] == "assistant" for x in further):
            return None
        ids = self._chat.ids_after(sample.completion_ids, further)
        if ids is None:
            return None
        kept = [*sample.prompt_ids, *sample.completion_ids, *ids]
        return Asked(prompt, kept, visit.task, self._env.tools(visit.task))

    def _fit(self, visit: Visit, asked: Asked | NoAction, room: int) -> Asked | NoAction:
        if isinstance(asked, NoAction) or not room or len(asked.ids) <= room:
            return asked
        if visit.depth == 0 and not self._has_fitted:
            self._refuse(len(asked.ids))

        def fits(prompt: Prompt) -> bool:
            return len(self._write([prompt], [visit.task])[0].ids) <= room

        prompt = ask_briefly(self._env, visit, fits, self._max_turns)
        self._say(visit, len(asked.ids), room, is_over=isinstance(prompt, NoAction))
        if isinstance(prompt, NoAction):
            return prompt
        self.num_shortened += 1
        return self._write([prompt], [visit.task])[0]

    def _say(self, visit: Visit, size: int, room: int, *, is_over: bool) -> None:
        if is_over in self._warned:
            return
        self._warned.add(is_over)
        logger.warning(
            "The prompt of task %r after %d steps has %d tokens; there is room for %d beside an answer. %s This is "
            "said once; overflowing_prompts and shortened_prompts count it.",
            visit.task.id,
            visit.depth,
            size,
            room,
            "Its episode ends here." if is_over else "Its oldest turns are left out.",
        )

    def read(self, asked: Asked, completion_ids: list[int], logps: list[float] | None = None) -> Sample:
        """Return the answer to a prompt, with the action that it names."""
        text = self._chat.text_of(completion_ids, asked.ids)
        calls = self._chat.calls_in(completion_ids, asked.ids, asked.tools) if asked.tools else []
        action = parse(self._env, asked.task, calls_as_text(calls) if calls else text)
        is_cut_off = not self._chat.has_ended(completion_ids)
        return Sample(asked.messages, asked.ids, completion_ids, action, text, logps, is_cut_off=is_cut_off)
