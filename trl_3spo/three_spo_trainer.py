"""[`ThreeSPOTrainer`]: GRPOTrainer with state groups from a search in place of prompts from a dataset."""

import logging
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, chain
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from trl_3spo.algorithm.credit import whiten
from trl_3spo.algorithm.forest import Expansion, Rollout
from trl_3spo.algorithm.predictive_gain import PredictiveGain
from trl_3spo.algorithm.records import Episode, Group
from trl_3spo.algorithm.scorer import group_sizes
from trl_3spo.environments.base import Environment
from trl_3spo.three_spo_config import ThreeSPOConfig
from trl_3spo.training.agent_trainer import model_name
from trl_3spo.training.batch import Row
from trl_3spo.training.ranks import gather
from trl_3spo.training.rollout_trainer import RolloutTrainer

logger = logging.getLogger(__name__)


def state_score_reward(transition_reward: list[float], **_: Any) -> list[float]:
    """Pass the transitions' rewards on, for TRL's logs; the advantages are those of the state groups."""
    return transition_reward


class ThreeSPOTrainer(RolloutTrainer):
    """
    Trainer for State-Score-Supervised Policy Optimization (3SPO, arXiv 2606.09961).

    A [`~trl.GRPOTrainer`] whose samples come from search trees in an environment. For every generation batch it asks
    the search for states, samples n(s) actions from each, takes them in the environment and ranks them, until the walks
    of some trees have ended (with `outcome_weight=0` after every step), and updates the policy on the groups.
    Everything after the samples (log-probabilities, KL, clipping, loss types, PEFT, vLLM, accelerate) is GRPOTrainer's.

    Overridden hooks: none here. [`RolloutTrainer`] overrides `_generate_and_score_completions` (collect state groups,
    hand them to the original through TRL's own `rollout_func`, put in their advantages), `_compute_loss` (padding does
    not count) and `_save_checkpoint` / `_load_optimizer_and_scheduler` (history and search beside the rest);
    [`AgentTrainer`] overrides `evaluate` (full episodes on a panel of tasks), `create_model_card` and
    `_generate_single_turn` (when vLLM gets the weights), [`PrefixSharingTrainer`] that as well,
    `_get_per_token_logps_and_entropies` and `_prepare_inputs` (equal prompts once).

    Args:
        model (`str` or [`~transformers.PreTrainedModel`]):
            As in GRPOTrainer. With `beta` above 0 pass a name or path, from which the reference model is loaded.
        env ([`~trl_3spo.environments.base.Environment`] or callable without arguments that makes one):
            The world to train in. One instance serves all search trees of a process.
        args ([`ThreeSPOConfig`], *optional*):
            Configuration.
        train_tasks, eval_tasks (sequence of [`~trl_3spo.environments.base.Task`], *optional*):
            In place of the environment's own tasks of `args.train_split` and `args.eval_split`.
        **kwargs:
            GRPOTrainer's keyword arguments except those the environment takes the place of: `reward_funcs`,
            `train_dataset`, `eval_dataset`, `rollout_func`, `tools`, `environment_factory`.
    """

    _tag_names = ["trl", "3spo"]
    _name = "3SPO"
    _paper = {
        "title": "State-Score-Supervised Policy Optimization",
        "id": "2606.09961",
        "citation": textwrap.dedent("""\
            @article{threespo2026,
                title  = {{State-Score-Supervised Policy Optimization}},
                year   = 2026,
                eprint = {arXiv:2606.09961},
            }"""),
    }

    def __init__(
        self,
        model: str | PreTrainedModel,
        env: Environment | Callable[[], Environment],
        args: ThreeSPOConfig | None = None,
        **kwargs: Any,
    ) -> None:
        args = args or ThreeSPOConfig(f"{model_name(model)}-3SPO")
        super().__init__(model, env, args, reward_func=state_score_reward, **kwargs)
        self.rollout: Rollout = Rollout(
            self.env,
            args,
            self.train_tasks,
            max_group_size=args.num_generations,
            seed=args.seed,
            rank=self.accelerator.process_index,
            num_ranks=self.accelerator.num_processes,
            is_scaled=args.scale_rewards == "group",
        )
        self._has_warned_of_small_batch = False
        self._predictive_gain = PredictiveGain(self.rollout.history, args.discount)
        _warn_of_equal_budgets(args)

    # -- one training step ---------------------------------------------------------------------------------------------

    def _collect(self, capacity: int) -> list[Row]:
        """Sample state groups, the same rounds on every rank."""
        collect = self._collect_walks if self.args.outcome_weight > 0 else self._collect_groups
        return self._centred(collect(capacity)) or [self._spare_row]

    def _collect_groups(self, capacity: int) -> list[Row]:
        """Sample state groups until those with signal fill the batch far enough, the same rounds on every rank."""
        groups: list[list[Row]] = []
        num_sampled = 0
        for num_rounds in range(1, self.args.max_idle_rounds + 1):
            size, with_signal = self._sample_round(_num_to_sample(capacity, _num_rows(groups), num_sampled))
            num_sampled += size
            groups = _fitting(groups + with_signal, capacity)
            num_rows = gather(_num_rows(groups))
            # Where one rank has no room for another group, none goes on.
            is_full = sum(num_rows) >= self._wanted(capacity) or max(num_rows) > capacity - self.num_generations
            if is_full or (num_rounds >= self.args.max_fill_rounds and sum(num_rows) > 0):
                break
        if sum(num_rows) == 0:
            self._stop_without_signal("No state group")
        self._log_groups(sum(num_rows) / (capacity * len(num_rows)))
        return list(chain.from_iterable(groups))

    def _collect_walks(self, capacity: int) -> list[Row]:
        """Walk trees to their ends, about as many as fill the batch, until any group has signal on any rank."""
        for _ in range(self.args.max_idle_rounds):
            num_trees = self.rollout.num_trees_for(capacity)
            with self._in_step():
                samples, groups = self._walk(num_trees)
            episodes = self.rollout.take_ended()
            with_signal = _with_signal(samples, self.rollout.judge(groups, episodes))
            self._take_in(episodes)
            rows = _largest(with_signal, capacity)
            num_rows = sum(gather(len(rows)))
            if num_rows > 0:
                break
        else:
            self._stop_without_signal("No walk")
        self._log_left_out(_num_rows(with_signal), len(rows), num_trees)
        self._log_groups(num_rows / (capacity * self.accelerator.num_processes))
        return rows

    def _walk(self, num_trees: int) -> tuple[list[list[Row]], list[Group]]:
        """Search the trees of some tasks; return their groups with the rows sampled for each."""
        samples: list[list[Row]] = []
        groups: list[Group] = []
        self.rollout.start(num_trees)
        while plan := self.rollout.plan_living():
            sampled, reached = self._sample_plan(plan)
            samples += sampled
            groups += reached
        return samples, groups

    def _wanted(self, capacity: int) -> float:
        return float(max(self.args.min_batch_fill * capacity * self.accelerator.num_processes, 1))

    def _sample_round(self, capacity: int) -> tuple[int, list[list[Row]]]:
        """Advance the trees by at most `capacity` actions; return how many, and the rows of the groups with signal."""
        with self._in_step():
            with self._timed("environment"):
                plan = self.rollout.plan(capacity)
            samples, groups = self._sample_plan(plan)
        self._take_in(self.rollout.take_ended())
        return sum(map(len, samples)), _with_signal(samples, groups)

    def _sample_plan(self, plan: Sequence[Expansion]) -> tuple[list[list[Row]], list[Group]]:
        samples = self._sample([x.visit for x in plan], [x.num_samples for x in plan])
        with self._timed("environment"):
            groups = self.rollout.record(plan, [self._actions(sampled) for sampled in samples])
        self._spare_row = replace(samples[0][0], is_padding=True)
        return samples, groups

    def _centred(self, rows: list[Row]) -> list[Row]:
        """Return the rows with advantages relative to all rows of all ranks, where `scale_rewards` is "batch"."""
        if self.args.scale_rewards != "batch":
            return rows
        own = np.array([row.advantage for row in rows])
        among = np.concatenate(gather(own))
        if not rows:  # there is no mean of nothing
            return rows
        relative = whiten(own, among)
        return [replace(row, advantage=advantage) for row, advantage in zip(rows, relative.tolist(), strict=True)]

    def _take_in(self, episodes: Sequence[Episode]) -> None:
        for name, gain in self._predictive_gain.of(episodes).items():
            self._log_metric_now(f"predictive_gain/{name}", gain)
        self._observe_episodes(self.rollout.history, episodes, self.args.discount)
        self._log_episodes(episodes)

    # -- logging -------------------------------------------------------------------------------------------------------

    def _log_left_out(self, num_with_signal: int, num_kept: int, num_trees: int) -> None:
        num_left_out = num_with_signal - num_kept
        self._log_metric_now("rows_left_out", sum(gather(num_left_out)))
        if num_trees == 1 and num_left_out > 0 and not self._has_warned_of_small_batch:
            self._has_warned_of_small_batch = True
            logger.warning(
                "A single tree has %d samples with signal, and the batch had room for %d; what is over is sampled in "
                "vain. Raise gradient_accumulation_steps or per_device_train_batch_size, or lower num_generations or "
                "max_episodes_per_tree.",
                num_with_signal,
                num_kept,
            )

    def _log_groups(self, batch_fill: float) -> None:
        total = self._log_collected()
        num_groups = max(total["groups"], 1)
        self._log_metric_now("batch_fill", batch_fill)
        self._log_metric_now("pruned_states", total["pruned"])
        self._log_metric_now("frac_groups_without_signal", total["groups_without_signal"] / num_groups)
        for n in range(1, self.num_generations + 1):
            self._log_metric_now(f"group_size/{n}", total[f"size_{n}"] / num_groups)
        self._log_metric_now("frontier_size", sum(gather(self.rollout.num_waiting)))


def _warn_of_equal_budgets(args: ThreeSPOConfig) -> None:
    sizes = group_sizes(args, args.num_generations, num_episodes=100)
    if args.has_adaptive_group_size and len(set(sizes)) == 1:
        logger.warning(
            "After 100 episodes every state that ever succeeded gets n = %d samples, whatever its success rate. For "
            "sizes in between lower score_annealing_rate (%s) or score_sharpness (%s).",
            sizes[0],
            args.score_annealing_rate,
            args.score_sharpness,
        )


def _with_signal(samples: Sequence[Sequence[Row]], groups: Sequence[Group]) -> list[list[Row]]:
    """Return the rows of the groups that have signal, with their credit."""
    pairs = zip(samples, groups, strict=True)
    return [_credited(sampled, group) for sampled, group in pairs if group.has_signal]


def _credited(sampled: Sequence[Row], group: Group) -> list[Row]:
    credits = zip(sampled, group.transitions, strict=True)
    return [replace(row, reward=x.reward, advantage=x.advantage) for row, x in credits]


def _num_to_sample(capacity: int, num_rows: int, num_sampled: int) -> int:
    """Return how many actions it takes to fill a batch up if as many of them have signal as so far."""
    share = num_rows / num_sampled if num_rows else 1.0
    return min(round((capacity - num_rows) / share), capacity)


def _num_rows(groups: Sequence[Sequence[Row]]) -> int:
    return sum(map(len, groups))


def _largest(groups: list[list[Row]], capacity: int) -> list[Row]:
    """Return the rows of the groups while they fit, those first in which an advantage is largest."""
    by_size = sorted(groups, key=lambda group: -max(abs(row.advantage) for row in group))
    return list(chain.from_iterable(_fitting(by_size, capacity)))


def _fitting(groups: list[list[Row]], capacity: int) -> list[list[Row]]:
    """Return the groups while they fit, in their order; what is over was sampled in vain, but for the search."""
    ends = accumulate(map(len, groups))
    return [group for group, end in zip(groups, ends, strict=True) if end <= capacity]
