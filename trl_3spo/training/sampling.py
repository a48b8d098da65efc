"""The trainer's model as an algorithm sees it: visits in, samples out."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig

from trl_3spo.algorithm.base import Metrics, Sample
from trl_3spo.algorithm.records import Visit
from trl_3spo.environments.base import Message
from trl_3spo.environments.plain_text import encodable_messages
from trl_3spo.evaluation.model_checks import require_positions
from trl_3spo.training.ranks import announce_generation, gather, generating_equally

if TYPE_CHECKING:
    from trl_3spo.training.agent_trainer import AgentTrainer


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
        self._seconds: defaultdict[str, float] = defaultdict(float)  # by phase

    # -- what an algorithm calls ---------------------------------------------------------------------------------------

    def sample(self, visits: Sequence[Visit], num_samples: Sequence[int]) -> list[list[Sample]]:
        """Sample so many actions at every visit, within `phase`."""
        env = self._trainer.env
        prompts = [env.prompt(visit.task, visit.observation, visit.turns()) for visit in visits]
        owners = [i for i, count in enumerate(num_samples) for _ in range(count)]
        with self.timed("generation"):
            prompt_ids = self.prompt_ids(prompts)
        with self.timed("waiting"):
            announce_generation()
        with self.timed("generation"):
            completions, logps = self._generate([prompt_ids[i] for i in owners])
            texts = self._decode(completions)
        samples: list[list[Sample]] = [[] for _ in visits]
        for row, i in enumerate(owners):
            row_logps = None if logps is None else logps[row]
            action = env.parse_action(texts[row])
            samples[i].append(Sample(prompts[i], prompt_ids[i], completions[row], action, row_logps))
            self._num_tokens += len(prompt_ids[i]) + len(completions[row])
        self.latest = samples[-1][-1] if owners else self.latest
        return samples

    @contextmanager
    def phase(self) -> Iterator[None]:
        """Sample as often as need be while all ranks do, see [`~trl_3spo.training.ranks.generating_equally`]."""
        with generating_equally(self.idle):
            yield
            done = time.perf_counter()
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
        yield
        self._seconds[phase] += time.perf_counter() - began

    def metrics(self) -> Metrics:
        """Return what is logged of the sampling since the last call; a collective."""
        num_tokens, self._num_tokens = self._num_tokens, 0
        metrics = {"sampled_tokens": [float(sum(gather(num_tokens)))]}
        metrics |= {f"seconds/{phase}": [seconds] for phase, seconds in self._seconds.items()}
        self._seconds.clear()
        if self._trainer.use_vllm:
            metrics["sampling/staleness"] = [float(self.staleness)]
        return metrics

    # -- what an evaluation calls --------------------------------------------------------------------------------------

    def complete(self, prompts: list[list[Message]]) -> list[str]:
        """Answer prompts, within `generating_equally`; nothing of it is counted."""
        prompt_ids = self.prompt_ids(prompts)
        announce_generation()
        completions, _ = self._generate(prompt_ids)
        return self._decode(completions)

    def idle(self) -> None:
        """Take part in a generation that only other ranks need; engines are each rank's own."""
        trainer = self._trainer
        if not trainer.use_vllm:
            trainer._generate_single_turn([[trainer._tokenizer.pad_token_id]], None, {}, 1)

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

    def prompt_ids(self, prompts: list[list[Message]]) -> list[list[int]]:
        """Tokenize prompts, or say which does not fit the model together with its answer."""
        trainer = self._trainer
        prompt_ids: list[list[int]] = trainer._tokenize_prompts(list(map(encodable_messages, prompts)))[0]
        require_positions(trainer.model, max(map(len, prompt_ids)), trainer.max_completion_length)
        return prompt_ids

    def _generate(self, prompt_ids: list[list[int]]) -> tuple[list[list[int]], list[list[float]] | None]:
        if self._trainer.use_vllm:
            self._keep_engine_weights()
        generated: tuple[list[list[int]], list[list[float]] | None]
        generated = self._trainer._generate_single_turn(prompt_ids, None, {}, 1)
        return generated

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
