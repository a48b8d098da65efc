"""The trainer's model as an algorithm sees it: visits in, samples out."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig

from trl_3spo.algorithm.asking import Prompt, ask_briefly, ask_each, parse
from trl_3spo.algorithm.base import Metrics, Row, Sample
from trl_3spo.algorithm.records import Visit
from trl_3spo.environments.failures import NoAction
from trl_3spo.environments.plain_text import encodable_messages
from trl_3spo.evaluation.model_checks import num_positions, require_positions
from trl_3spo.reliability.ranks import announce_generation, gather, generating_equally
from trl_3spo.training.engine import is_collective, is_for_all

if TYPE_CHECKING:
    from trl_3spo.training.agent_trainer import AgentTrainer

logger = logging.getLogger(__name__)

Asked = tuple[Prompt, list[int]]
"""A prompt and its token ids."""


class PolicySampler:
    """Samples actions from a trainer's model, through GRPOTrainer's own generation.

    Args:
        trainer: Owns model, tokenizer and engine.
    """

    def __init__(self, trainer: "AgentTrainer[Any]") -> None:
        self.latest: Sample | None = None
        self._trainer = trainer
        self._synced_step: int | None = None
        self._num_tokens = 0
        self._num_shortened = 0
        self._warned: set[bool] = set()
        self._phase: str | None = None
        self._seconds: defaultdict[str, float] = defaultdict(float)  # by phase

    # -- what an algorithm calls ---------------------------------------------------------------------------------------

    def sample(self, visits: Sequence[Visit], num_samples: Sequence[int]) -> list[list[Sample]]:
        """Sample so many actions at every visit, within `phase`; where nothing can be asked they are `NoAction`s."""
        with self.timed("generation"):
            asked = self._ask(visits)
        pairs = list(zip(asked, num_samples, strict=True))
        rows = [x for x, count in pairs for _ in range(count) if not isinstance(x, NoAction)]
        answers = iter(self._answers(rows) if rows else ())
        return [
            [self.unasked(x) if isinstance(x, NoAction) else next(answers) for _ in range(count)] for x, count in pairs
        ]

    @contextmanager
    def phase(self) -> Iterator[None]:
        """Sample as often as need be while all ranks do, see [`~trl_3spo.reliability.ranks.generating_equally`].

        Raises:
            TooManyFailedEpisodesError: On all ranks at once.
        """
        with generating_equally(self.idle):
            yield
            done = time.perf_counter()
        self._trainer.failures.check()
        self._seconds["waiting"] += time.perf_counter() - done

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Time the collecting phase; what neither generation nor waiting takes of it is the environment's."""
        before, began = sum(self._seconds.values()), time.perf_counter()
        yield
        in_phases = sum(self._seconds.values()) - before
        self._seconds["environment"] += time.perf_counter() - began - in_phases

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Log the seconds of what is done within as those of a phase."""
        began = time.perf_counter()
        self._phase = phase
        yield
        self._phase = None
        self._seconds[phase] += time.perf_counter() - began

    def metrics(self) -> Metrics:
        """Return what is logged of the sampling since the last call; a collective."""
        own = (self._num_tokens, self._num_shortened)
        self._num_tokens = self._num_shortened = 0
        num_tokens, num_shortened = map(sum, zip(*gather(own), strict=True))
        metrics = {"sampled_tokens": [float(num_tokens)]} | self._trainer.failures.metrics()
        if num_shortened:
            metrics["shortened_prompts"] = [float(num_shortened)]
        metrics |= {f"seconds/{phase}": [seconds] for phase, seconds in self._seconds.items()}
        self._seconds.clear()
        if self._trainer.use_vllm:
            metrics["sampling/staleness"] = [float(self.staleness)]
        return metrics

    # -- what an evaluation calls --------------------------------------------------------------------------------------

    def complete(self, prompts: list[Prompt]) -> list[str]:
        """Answer prompts, within `generating_equally`; nothing of it is counted."""
        if not prompts:
            return []
        prompt_ids = self.prompt_ids(prompts)
        announce_generation()
        completions, _ = self._generate(prompt_ids)
        return self._decode(completions)

    def ask(self, visits: Sequence[Visit]) -> list[Prompt | NoAction]:
        """Return for every visit a prompt that fits the model, or why there is none."""
        return [x if isinstance(x, NoAction) else x[0] for x in self._ask(visits)]

    def idle(self) -> None:
        """Take part in a generation that only other ranks need; a whole engine of its own needs none."""
        if not self._trainer.use_vllm or is_collective(self._trainer):
            self._generate([[self._trainer._tokenizer.pad_token_id]])

    @contextmanager
    def evaluating(self, temperature: float) -> Iterator[None]:
        """Switch the model to evaluation and the generation to a temperature; 0 is greedy."""
        trainer = self._trainer
        was_training = trainer.model.training
        trainer.model.eval()
        try:
            with self._engine_at(temperature) if trainer.use_vllm else self._generation_at(temperature):
                yield
        finally:
            trainer.model.train(was_training)

    @contextmanager
    def _engine_at(self, temperature: float) -> Iterator[None]:
        engine = self._trainer.vllm_generation
        usual, engine.temperature = engine.temperature, temperature
        try:
            yield
        finally:
            engine.temperature = usual

    @contextmanager
    def _generation_at(self, temperature: float) -> Iterator[None]:
        trainer = self._trainer
        config, kwargs = trainer.generation_config, trainer.generation_kwargs
        changes = {"do_sample": temperature > 0, "temperature": temperature if temperature > 0 else 1.0}
        trainer.generation_kwargs = kwargs | changes
        trainer.generation_config = GenerationConfig(**trainer.generation_kwargs, disable_compile=True)
        try:
            yield
        finally:
            trainer.generation_config, trainer.generation_kwargs = config, kwargs

    # -- the model -----------------------------------------------------------------------------------------------------

    def cut_prompt_ids(self, prompts: list[Prompt]) -> list[list[int]]:
        """Tokenize prompts, without the beginning of those that do not fit the model."""
        room = self._room
        return [ids[-room:] if room else ids for ids in self.prompt_ids(prompts)]

    @property
    def _room(self) -> int:
        """Tokens that a prompt may have beside its answer; 0 where there is no limit."""
        limit = num_positions(self._trainer.model)
        return max(limit - int(self._trainer.max_completion_length), 1) if limit else 0

    def prompt_ids(self, prompts: list[Prompt]) -> list[list[int]]:
        """Tokenize prompts."""
        prompt_ids: list[list[int]] = self._trainer._tokenize_prompts(list(map(encodable_messages, prompts)))[0]
        return prompt_ids

    def _ask(self, visits: Sequence[Visit]) -> list[Asked | NoAction]:
        """Return for every visit a prompt that fits the model and its tokens, or why there is none."""
        prompts = ask_each(self._trainer.guard, visits)
        written = [prompt for prompt in prompts if not isinstance(prompt, NoAction)]
        ids, room = iter(self.prompt_ids(written) if written else ()), self._room
        asked: list[Asked | NoAction] = []
        for visit, prompt in zip(visits, prompts, strict=True):
            if isinstance(prompt, NoAction):
                asked.append(prompt)
                continue
            prompt_ids = next(ids)
            is_short = not room or len(prompt_ids) <= room
            asked.append((prompt, prompt_ids) if is_short else self._ask_briefly(visit, len(prompt_ids), room))
        return asked

    def _ask_briefly(self, visit: Visit, size: int, room: int) -> Asked | NoAction:
        """Ask without the oldest turns, or say that this does not help either."""
        if visit.depth == 0 and self.latest is None:  # not one prompt has fitted so far
            require_positions(self._trainer.model, size, self._trainer.max_completion_length)
        prompt = ask_briefly(self._trainer.guard, visit, lambda prompt: len(self.prompt_ids([prompt])[0]) <= room)
        if (is_over := isinstance(prompt, NoAction)) not in self._warned:
            self._warned.add(is_over)
            logger.warning(
                "The prompt of task %r after %d steps has %d tokens; the model has room for %d beside an answer. %s "
                "This is said once; overflowing_prompts and shortened_prompts count it.",
                visit.task.id,
                visit.depth,
                size,
                room,
                "Its episode ends here." if is_over else "Its oldest turns are left out.",
            )
        if isinstance(prompt, NoAction):
            return prompt
        self._num_shortened += 1
        return prompt, self.prompt_ids([prompt])[0]

    def _answers(self, asked: list[Asked]) -> list[Sample]:
        with self.timed("waiting"):
            announce_generation()
        with self.timed("generation"):
            completions, logps = self._generate([prompt_ids for _, prompt_ids in asked])
            texts = self._decode(completions)
        samples = []
        for row, (prompt, prompt_ids) in enumerate(asked):
            action = parse(self._trainer.guard, texts[row])
            row_logps = None if logps is None else logps[row]
            samples.append(Sample(prompt, prompt_ids, completions[row], action, row_logps))
            self._num_tokens += len(prompt_ids) + len(completions[row])
        self.latest = samples[-1]
        return samples

    def unasked(self, why: NoAction) -> Sample:
        """Return what stands for a sample of a policy that was not asked."""
        pad = self._trainer._tokenizer.pad_token_id
        return Sample([{"role": "user", "content": ""}], [pad], [pad], why)

    def padding(self) -> Row:
        """Return a row that fills a batch up."""
        nothing = NoAction("padding", is_failure=False)
        return Row(self.latest or self.unasked(nothing), is_padding=True)

    def describe(self) -> str:
        """Say what is being waited for."""
        if (doing := self._trainer.guard.tries.doing) is not None:
            what, way = doing
            return f"the environment's {what}. {way or ''}"
        waits = {"waiting": "the other processes.", "generation": "the model's answers.", "critic": "the critic."}
        return waits.get(self._phase or "", "the search or the update.")

    def _generate(self, prompt_ids: list[list[int]]) -> tuple[list[list[int]], list[list[float]] | None]:
        size = len(prompt_ids)
        if self._trainer.use_vllm:
            self._keep_engine_weights()
            if is_for_all(self._trainer):
                filler = [[self._trainer._tokenizer.pad_token_id]]
                prompt_ids = prompt_ids + filler * (max(gather(size)) - size)
        completions, logps = self._trainer._generate_single_turn(prompt_ids, None, {}, 1)
        return completions[:size], logps if logps is None else logps[:size]

    def _decode(self, completions: list[list[int]]) -> list[str]:
        return list(self._trainer.processing_class.batch_decode(completions, skip_special_tokens=True))

    def _keep_engine_weights(self) -> None:
        """Count vLLM's weights as up to date, so that GRPOTrainer leaves them, while `vllm_sync_steps` allows it."""
        trainer = self._trainer
        allowed = trainer.args.vllm_sync_steps if trainer.model.training else 1
        is_due = self._synced_step is None or self.staleness >= allowed
        if is_due:
            self._synced_step = trainer.state.global_step
        trainer._last_loaded_step = -1 if is_due else trainer.state.global_step

    @property
    def staleness(self) -> int:
        """Optimizer steps made since vLLM got its weights."""
        return 0 if self._synced_step is None else int(self._trainer.state.global_step) - self._synced_step
