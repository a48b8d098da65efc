"""[`RolloutTrainer`]: the way of samples from a rollout through GRPOTrainer's update, its logs and its checkpoints."""

import json
import logging
import time
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer

from trl_3spo.algorithm.history import StateHistory
from trl_3spo.algorithm.records import Episode, Visit
from trl_3spo.algorithm.task_order import Collector
from trl_3spo.environments.base import Message
from trl_3spo.training.agent_trainer import AgentTrainer
from trl_3spo.training.batch import Row, num_padding, pad_rows, rollout_output, with_credit
from trl_3spo.training.ranks import failing_together, gather, go_on, in_step

logger = logging.getLogger(__name__)

HISTORY_FILE = "rollout_history.npz"
ROLLOUT_FILE = "rollout_{}.npz"  # one for every rank

MEANS_OVER_ROWS = ("grpo", "dr_grpo", "luspo", "sapo")
"""Losses that divide by the number of rows, padding included."""


class RolloutTrainer(AgentTrainer):
    """
    An [`AgentTrainer`] that samples actions in its environment, gives them credit, and updates the policy on them.

    Subclasses set `rollout` and say in `_collect` which actions are sampled and what each is credited with. Their rows
    go to GRPOTrainer through its own `rollout_func`, and their advantages take the place of its own.

    Overridden hooks: `_generate_and_score_completions`, `_generate_single_turn` (counts tokens), `_compute_loss`
    (padding does not count as rows), and `_save_checkpoint` / `_load_optimizer_and_scheduler` (the rollout's state
    beside the rest).
    """

    rollout: Collector

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rollout_func = self._hand_over
        self._rows: list[Row] = []
        self._padding_correction = 1.0
        self._seconds: defaultdict[str, float] = defaultdict(float)  # by phase
        self._update_began: float | None = None

    @abstractmethod
    def _collect(self, capacity: int) -> list[Row]:
        """Return this rank's rows with their credit, at least one; the same calls of collectives on every rank.

        Args:
            capacity: Size of this rank's part of the generation batch.
        """

    # -- one training step ---------------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self._update_began is not None:
            self._log_metric_now("seconds/update", time.perf_counter() - self._update_began)
        rows = self._collect(capacity=len(inputs))
        # Equal on every rank, or the collectives of the loss hang; a multiple of what the batch is split into.
        size = _round_up(max(gather(len(rows))), self.args.steps_per_generation)
        # GRPOTrainer reshapes rewards to whole groups of num_generations before its advantages are replaced.
        self._rows = pad_rows(rows, _round_up(size, self.num_generations))
        self._correct_for_padding(self._rows[:size])
        batch = super()._generate_and_score_completions([{"prompt": row.prompt} for row in self._rows])
        self._log_advantages()
        self._update_began = time.perf_counter()
        return with_credit(batch, self._rows[:size])

    def _hand_over(self, prompts: list[list[Message]], trainer: GRPOTrainer) -> dict[str, Any]:
        return rollout_output(self._rows)

    def _correct_for_padding(self, rows: Sequence[Row]) -> None:
        if self.loss_type in MEANS_OVER_ROWS:
            num_rows = len(rows) * self.accelerator.num_processes
            self._padding_correction = num_rows / max(num_rows - sum(gather(num_padding(rows))), 1)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss: Tensor = super()._compute_loss(model, inputs)
        return loss * self._padding_correction

    def _log_advantages(self) -> None:
        """Put the rows' own advantages in the completions table in place of those of GRPOTrainer's blocks."""
        advantages = list(chain.from_iterable(gather([row.advantage for row in self._rows])))
        logged = self._logs["advantages"]
        for _ in range(min(len(advantages), len(logged))):
            logged.pop()
        logged.extend(advantages)

    # -- sampling ------------------------------------------------------------------------------------------------------

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any
    ) -> tuple[list[list[int]], Any]:
        completions, logps = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        if self.model.training:  # evaluations cost nothing
            self.rollout.counts["sampled_tokens"] += sum(map(len, [*prompt_ids, *completions]))
        return completions, logps

    def _sample(self, visits: Sequence[Visit], num_samples: Sequence[int]) -> list[list[Row]]:
        """Sample so many actions at every visit, within `_in_step`; return their rows, still without credit."""
        with self._timed("environment"):
            prompts = [self.env.prompt(visit.task, visit.observation, visit.turns()) for visit in visits]
        owners = [i for i, count in enumerate(num_samples) for _ in range(count)]
        with self._timed("generation"):
            prompt_ids = self._prompt_ids(prompts)
        with self._timed("waiting"):
            go_on()
        with self._timed("generation"):
            completions, logps = self._generate_single_turn([prompt_ids[i] for i in owners], None, {}, 1)
        samples: list[list[Row]] = [[] for _ in visits]
        for row, i in enumerate(owners):
            row_logps = None if logps is None else logps[row]
            samples[i].append(Row(prompts[i], prompt_ids[i], completions[row], row_logps))
        return samples

    def _actions(self, sampled: Sequence[Row]) -> list[str]:
        ids = [row.completion_ids for row in sampled]
        return [self.env.parse_action(x) for x in self.processing_class.batch_decode(ids, skip_special_tokens=True)]

    @contextmanager
    def _in_step(self) -> Iterator[None]:
        """Sample as often as need be while all ranks do, see [`~trl_3spo.training.ranks.in_step`]."""
        with in_step(self._idle):
            yield
            done = time.perf_counter()
        self._seconds["waiting"] += time.perf_counter() - done

    def _observe_episodes(self, history: StateHistory, episodes: Sequence[Episode], discount: float) -> None:
        """Write ended episodes to a history: those of all ranks, in the same order everywhere.

        So every rank has the history of all, bit by bit, without ever sending it.
        """
        for worths in chain.from_iterable(gather([x.worths(discount) for x in episodes])):
            history.observe(worths)

    def _stop_without_signal(self, what: str) -> None:
        logger.warning(
            "%s of the last %d sampling rounds had rewards that differ, so there is nothing to learn from and training "
            "ends. If the success rate is near 0, start from a better policy or easier tasks; if it is near 1, the "
            "tasks are solved.",
            what,
            self.args.max_idle_rounds,
        )
        self.control.should_training_stop = True
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0  # the optimizer step of this empty batch would still move by momentum

    # -- logging -------------------------------------------------------------------------------------------------------

    def _log_metric_now(self, name: str, value: float) -> None:
        self._metrics["train"][name].append(float(value))

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._seconds[phase] += time.perf_counter() - began

    def _log_episodes(self, episodes: Sequence[Episode]) -> None:
        for success, num_steps in chain.from_iterable(gather([(x.success, x.num_steps) for x in episodes])):
            self._log_metric_now("success_rate", success)
            self._log_metric_now("episode_length", num_steps)

    def _log_collected(self) -> Counter[str]:
        """Log what was sampled since the last call, and return the rollouts' counts, summed over all ranks."""
        counts, self.rollout.counts = self.rollout.counts, Counter()
        total = sum(gather(counts), Counter[str]())
        self._log_metric_now("sampled_actions", total["sampled_actions"])
        self._log_metric_now("sampled_tokens", total["sampled_tokens"])
        self._log_metric_now("frac_states_revisited", total["revisits"] / max(total["sampled_actions"], 1))
        self._log_metric_now("unique_states", sum(gather(self.rollout.num_states)))
        if self.use_vllm:
            self._log_metric_now("sampling/staleness", self.staleness)
        for phase, seconds in self._seconds.items():
            self._log_metric_now(f"seconds/{phase}", seconds)
        self._seconds.clear()
        return total

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Before the rest, which may be pushed to the Hub as soon as it is there.
        folder = self._checkpoint_folder(trial)
        state = self.rollout.state_dict()
        history, states = state.pop("history", {}), state.pop("states")
        if self.accelerator.is_main_process:
            np.savez(folder / HISTORY_FILE, **history)
        file = folder / ROLLOUT_FILE.format(self.accelerator.process_index)
        np.savez(file, states=states, plain=json.dumps(state))
        super()._save_checkpoint(model, trial)

    def _checkpoint_folder(self, trial: Any) -> Path:
        folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        history = Path(checkpoint) / HISTORY_FILE
        files = list(takewhile(Path.exists, (history.with_name(ROLLOUT_FILE.format(rank)) for rank in count())))
        if not (history.exists() and files):
            logger.warning("%s holds no %s and its like; history and search start afresh.", checkpoint, HISTORY_FILE)
            return
        rank = self.accelerator.process_index
        own = rank % len(files)
        with np.load(history) as counts, np.load(files[own]) as saved:
            state = json.loads(str(saved["plain"])) | {"history": dict(counts), "states": saved["states"]}
        if rank != own:  # more processes than before: the history and the order of tasks go on, with new trees
            state |= {"trees": [], "states": [], "next_task": state["next_task"] + rank - own}
        with failing_together():  # the environment replays the way to every waiting state
            self.rollout.load_state_dict(state)
        gather(None)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
