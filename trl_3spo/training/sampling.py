"""The trainer's model in the form that an algorithm uses: visits in, samples out."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig

from trl_3spo.algorithm.base import Metrics, Row
from trl_3spo.algorithm.records import Sample, Visit
from trl_3spo.environments.failures import NoAction
from trl_3spo.evaluation.asker import Asked, Asker
from trl_3spo.evaluation.chat import Chat
from trl_3spo.evaluation.model_checks import num_positions, require_positions
from trl_3spo.reliability.ranks import announce_generation, gather, generating_equally
from trl_3spo.training.engine import is_collective, is_for_all
from trl_3spo.training.start_checks import model_name

if TYPE_CHECKING:
    from trl_3spo.training.agent_trainer import AgentTrainer


class PolicySampler:
    """Samples actions from a trainer's model, through GRPOTrainer's own generation.

    Args:
        trainer: Trainer with model, tokenizer and engine.
    """

    def __init__(self, trainer: "AgentTrainer[Any]") -> None:
        self.latest: Sample | None = None
        self._trainer = trainer
        self._synced_step: int | None = None
        self._num_tokens = self._num_answers = self._num_cut_off = 0
        has_tools = any(trainer.guard.tools(task) for task in trainer.train_tasks)
        self.chat = Chat(
            trainer._tokenizer,
            trainer.chat_template_kwargs,
            name=model_name(trainer.accelerator.unwrap_model(trainer.model)),
            end_tokens=trainer.eos_token_ids,
            has_tools=has_tools,
        )
        self.asker = Asker(
            trainer.guard, self.chat, self._room, max_turns=trainer.args.max_turns, refuse=self._require_positions
        )
        self._phase: str | None = None
        self._seconds: defaultdict[str, float] = defaultdict(float)  # by phase

    # -- what an algorithm calls ---------------------------------------------------------------------------------------

    def sample(self, visits: Sequence[Visit], num_samples: Sequence[int]) -> list[list[Sample]]:
        """Sample the given number of actions at each visit, within `phase`; `NoAction`s if a visit has no prompt."""
        with self.timed("generation"):
            asked = self.asker.ask(visits)
        pairs = list(zip(asked, num_samples, strict=True))
        rows = [x for x, count in pairs for _ in range(count) if not isinstance(x, NoAction)]
        answers = iter(self._answers(rows) if rows else ())
        sampled = [
            self.unasked(x) if isinstance(x, NoAction) else next(answers) for x, count in pairs for _ in range(count)
        ]
        places = [visit for visit, count in zip(visits, num_samples, strict=True) for _ in range(count)]
        rewarded = iter(self._trainer.text_rewards.rewarded(places, sampled))
        return [list(islice(rewarded, count)) for count in num_samples]

    @contextmanager
    def phase(self) -> Iterator[None]:
        """Sample inside as often as needed, on all ranks; see [`~trl_3spo.reliability.ranks.generating_equally`].

        Raises:
            TooManyFailedEpisodesError: Too many episodes failed. All ranks raise it at once.
        """
        with generating_equally(self.idle):
            yield
            done = time.perf_counter()
        self._trainer.failures.check()
        self._seconds["waiting"] += time.perf_counter() - done

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Time the sampling phase; its time outside generation and waiting counts as the environment's."""
        self._trainer.forget_prefixes()
        before, began = sum(self._seconds.values()), time.perf_counter()
        yield
        self._trainer.forget_prefixes()  # the update has other uses for the memory
        in_phases = sum(self._seconds.values()) - before
        self._seconds["environment"] += time.perf_counter() - began - in_phases

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Log the seconds spent inside under the name of a phase."""
        began = time.perf_counter()
        self._phase = phase
        yield
        self._phase = None
        self._seconds[phase] += time.perf_counter() - began

    def metrics(self) -> Metrics:
        """Return the metrics of sampling since the last call; a collective."""
        own = (self._num_tokens, self.asker.num_shortened, self._num_answers, self._num_cut_off)
        self._num_tokens = self.asker.num_shortened = self._num_answers = self._num_cut_off = 0
        num_tokens, num_shortened, num_answers, num_cut_off = map(sum, zip(*gather(own), strict=True))
        metrics = {"sampled_tokens": [float(num_tokens)]} | self._trainer.failures.metrics()
        if num_answers:
            metrics["cut_off_share"] = [num_cut_off / num_answers]
        if self._trainer.text_rewards:
            for values in gather(self._trainer.text_rewards.metrics()):
                metrics |= {name: metrics.get(name, []) + rewards for name, rewards in values.items()}
        if num_shortened:
            metrics["shortened_prompts"] = [float(num_shortened)]
        metrics |= {f"seconds/{phase}": [seconds] for phase, seconds in self._seconds.items()}
        self._seconds.clear()
        if self._trainer.use_vllm:
            metrics["sampling/staleness"] = [float(self.staleness)]
        return metrics

    # -- what an evaluation calls --------------------------------------------------------------------------------------

    def answer(self, visits: Sequence[Visit]) -> list[Sample]:
        """Answer once at every visit, within `generating_equally`, without counting."""
        asked = self.asker.ask(visits)
        rows = [x for x in asked if not isinstance(x, NoAction)]
        if rows:
            announce_generation()
        answers = iter(self._read(rows) if rows else ())
        return [self.unasked(x) if isinstance(x, NoAction) else next(answers) for x in asked]

    def idle(self) -> None:
        """Take part in a generation that only other ranks need. A rank with an engine of its own need not."""
        if not self._trainer.use_vllm or is_collective(self._trainer):
            self._generate([[self._trainer._tokenizer.pad_token_id]])

    @contextmanager
    def evaluating(self, temperature: float) -> Iterator[None]:
        """Switch the model to evaluation and the generation to a temperature; 0 is greedy."""
        trainer = self._trainer
        trainer.forget_prefixes()
        was_training = trainer.model.training
        trainer.model.eval()
        try:
            with self._engine_at(temperature) if trainer.use_vllm else self._generation_at(temperature):
                yield
        finally:
            trainer.model.train(was_training)
            trainer.forget_prefixes()

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

    def prompt_ids_at(self, visit: Visit) -> list[int] | None:
        """Return the tokens of the prompt at a visit, or None if there is none."""
        (asked,) = self.asker.ask([visit])
        return None if isinstance(asked, NoAction) else asked.ids

    def _room(self) -> int:
        """Return the largest prompt length in tokens; 0 means no limit."""
        args, limit = self._trainer.args, num_positions(self._trainer.model)
        rooms = [args.max_prompt_tokens, limit and max(limit - int(args.max_completion_length), 1)]
        return min((room for room in rooms if room), default=0)

    def _require_positions(self, size: int) -> None:
        require_positions(self._trainer.model, size, self._trainer.max_completion_length)

    def _answers(self, asked: list[Asked]) -> list[Sample]:
        with self.timed("waiting"):
            announce_generation()
        with self.timed("generation"):
            samples = self._read(asked)
        self._num_tokens += sum(len(x.prompt_ids) + len(x.completion_ids) for x in samples)
        self._num_answers += len(samples)
        self._num_cut_off += sum(x.is_cut_off for x in samples)
        self.latest = samples[-1]
        self._trainer.display.sampled(len(samples))
        return samples

    def _read(self, asked: list[Asked]) -> list[Sample]:
        completions, logps = self._generate([x.ids for x in asked])
        return [
            self.asker.read(x, completions[row], None if logps is None else logps[row]) for row, x in enumerate(asked)
        ]

    def unasked(self, why: NoAction) -> Sample:
        """Return a placeholder for a sample of a policy that was not asked."""
        pad = self._trainer._tokenizer.pad_token_id
        return Sample([{"role": "user", "content": ""}], [pad], [pad], why)

    def padding(self) -> Row:
        """Return a padding row."""
        nothing = NoAction("padding", is_failure=False)
        return Row(self.latest or self.unasked(nothing), is_padding=True)

    def describe(self) -> str:
        """Return a description of the current activity."""
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

    def _keep_engine_weights(self) -> None:
        """Count vLLM's weights as up to date while `vllm_sync_steps` allows it, so that GRPOTrainer keeps them."""
        trainer = self._trainer
        allowed = trainer.args.vllm_sync_steps if trainer.model.training else 1
        is_due = self._synced_step is None or self.staleness >= allowed
        if is_due:
            self._synced_step = trainer.state.global_step
        trainer._last_loaded_step = -1 if is_due else trainer.state.global_step

    @property
    def staleness(self) -> int:
        """Number of optimizer steps since vLLM got its weights."""
        return 0 if self._synced_step is None else int(self._trainer.state.global_step) - self._synced_step
