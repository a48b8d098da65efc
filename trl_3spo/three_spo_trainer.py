"""[`ThreeSPOTrainer`]: GRPOTrainer with state groups from a search in place of prompts from a dataset."""

import json
import logging
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from transformers import PreTrainedModel
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer

from trl_3spo.agent_trainer import AgentTrainer, model_name
from trl_3spo.batch import Row, pad_rows, rollout_output, with_credit
from trl_3spo.environments.base import Environment, Message
from trl_3spo.episode import Episode, Group
from trl_3spo.evaluation import play
from trl_3spo.rollout import Expansion, Rollout
from trl_3spo.state_scorer import group_sizes
from trl_3spo.three_spo_config import ThreeSPOConfig

logger = logging.getLogger(__name__)

HISTORY_FILE = "three_spo_history.npz"
SEARCH_FILE = "three_spo_search_{}.npz"  # one for every rank


def state_score_reward(transition_reward: list[float], **_: Any) -> list[float]:
    """Pass the transitions' rewards on, for TRL's logs; the advantages are those of the state groups."""
    return transition_reward


class ThreeSPOTrainer(AgentTrainer):
    """
    Trainer for State-Score-Supervised Policy Optimization (3SPO, arXiv 2606.09961).

    A [`~trl.GRPOTrainer`] whose samples come from search trees in an environment. Before every generation batch it
    asks the search for states, samples n(s) actions from each, takes them in the environment, ranks them, and updates
    the policy on the groups right away. Everything after the samples (log-probabilities, KL, clipping, loss types,
    PEFT, vLLM, accelerate) is GRPOTrainer's.

    Overridden hooks: `_generate_and_score_completions` (collect state groups, hand them to the original through TRL's
    own `rollout_func`, put in their advantages) and `_save_checkpoint` / `_load_optimizer_and_scheduler` (history and
    search beside the rest). [`AgentTrainer`] overrides `evaluate` (full episodes on a panel of tasks),
    `create_model_card`, and `_generate_single_turn` / `_get_per_token_logps_and_entropies` (equal prompts once).

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
        self.rollout_func = self._hand_over
        self.rollout = Rollout(
            self.env,
            args,
            self.train_tasks,
            max_group_size=args.num_generations,
            seed=args.seed,
            rank=self.accelerator.process_index,
            num_ranks=self.accelerator.num_processes,
            is_scaled=args.scale_rewards == "group",
        )
        _warn_of_equal_budgets(args)
        self._rows: list[Row] = []
        self._seconds = {"generation": 0.0, "environment": 0.0}
        self._update_began: float | None = None

    # -- one training step ---------------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self.rollout.history.num_episodes == 0:
            self._begin_history()
        rows = self._collect(capacity=len(inputs))
        # Equal on every rank, or the collectives of the loss hang; a multiple of what the batch is split into.
        size = _round_up(max(self._gather(len(rows))), self.args.steps_per_generation)
        # GRPOTrainer reshapes rewards to whole groups of num_generations before its advantages are replaced.
        self._rows = pad_rows(rows, _round_up(size, self.num_generations))
        batch = super()._generate_and_score_completions([{"prompt": row.prompt} for row in self._rows])
        self._log_advantages()
        self._update_began = time.perf_counter()
        return with_credit(batch, self._rows[:size])

    def _log_advantages(self) -> None:
        """Put the groups' own advantages in the completions table in place of those of GRPOTrainer's blocks."""
        advantages = gather_object([row.advantage for row in self._rows])
        logged = self._logs["advantages"]
        for _ in range(min(len(advantages), len(logged))):
            logged.pop()
        logged.extend(advantages)

    def _begin_history(self) -> None:
        """Let the initial policy play, so that the first groups are judged by what usually happens.

        Without it the first episodes to end decide, and those are the quick successes.
        """
        tasks = self.rollout.next_tasks(-(-self.args.num_initial_episodes // self.accelerator.num_processes))
        episodes = play(self._complete, self.env, tasks, batch_size=self.args.per_device_eval_batch_size)
        self.rollout.counts["sampled_actions"] += sum(episode.num_steps for episode in episodes)
        self._observe_episodes(episodes)

    def _hand_over(self, prompts: list[list[Message]], trainer: GRPOTrainer) -> dict[str, Any]:
        return rollout_output(self._rows)

    def _collect(self, capacity: int) -> list[Row]:
        """Sample state groups until those with signal fill the batch far enough, the same rounds on every rank."""
        started = time.perf_counter()
        if self._update_began is not None:
            self._log_metric_now("seconds/update", started - self._update_began)
        groups: list[list[Row]] = []
        num_sampled = 0
        for num_rounds in range(1, self.args.max_idle_rounds + 1):
            size, with_signal = self._sample_round(_num_to_sample(capacity, _num_rows(groups), num_sampled))
            num_sampled += size
            groups = _fitting(groups + with_signal, capacity)
            num_rows = self._gather(_num_rows(groups))
            # Where one rank has no room for another group, none goes on.
            is_full = sum(num_rows) >= self._wanted(capacity) or max(num_rows) > capacity - self.num_generations
            if is_full or (num_rounds >= self.args.max_fill_rounds and sum(num_rows) > 0):
                break
        if sum(num_rows) == 0:
            self._stop_without_signal()
        self._log_collected(sum(num_rows) / (capacity * len(num_rows)))
        return list(chain.from_iterable(groups)) or [self._spare_row]

    def _wanted(self, capacity: int) -> float:
        return float(max(self.args.min_batch_fill * capacity * self.accelerator.num_processes, 1))

    def _sample_round(self, capacity: int) -> tuple[int, list[list[Row]]]:
        """Advance the trees by at most `capacity` actions; return how many, and the rows of the groups with signal."""
        began = time.perf_counter()
        plan = self.rollout.plan(capacity)
        prompts = [self.env.prompt(x.visit.task, x.visit.observation, x.visit.turns()) for x in plan]
        planned = time.perf_counter()
        samples = self._sample(plan, prompts)
        generated = time.perf_counter()
        groups = self.rollout.record(plan, [self._actions(sampled) for sampled in samples])
        self._observe_episodes(self.rollout.take_ended())
        self._spare_row = replace(samples[0][0], is_padding=True)
        self._seconds["generation"] += generated - planned
        self._seconds["environment"] += planned - began + time.perf_counter() - generated
        pairs = zip(samples, groups, strict=True)
        return sum(map(len, samples)), [_credited(sampled, group) for sampled, group in pairs if group.has_signal]

    def _sample(self, plan: Sequence[Expansion], prompts: list[list[Message]]) -> list[list[Row]]:
        """Return n(s) rows, still without credit, for every state of the plan."""
        prompt_ids = self._prompt_ids(prompts)
        owners = [i for i, expansion in enumerate(plan) for _ in range(expansion.num_samples)]
        completions, logps = self._generate_single_turn([prompt_ids[i] for i in owners], None, {}, 1)
        samples: list[list[Row]] = [[] for _ in plan]
        for row, i in enumerate(owners):
            row_logps = None if logps is None else logps[row]
            samples[i].append(Row(prompts[i], prompt_ids[i], completions[row], row_logps))
        return samples

    def _actions(self, sampled: Sequence[Row]) -> list[str]:
        ids = [row.completion_ids for row in sampled]
        return [self.env.parse_action(x) for x in self.processing_class.batch_decode(ids, skip_special_tokens=True)]

    def _observe_episodes(self, episodes: Sequence[Episode]) -> None:
        """Write ended episodes to the history: those of all ranks, in the same order everywhere."""
        ended = [(sorted(x.keys()), x.success, x.num_steps) for x in episodes]
        for keys, success, num_steps in gather_object(ended):
            self.rollout.history.observe(keys, success)
            self._log_metric_now("success_rate", success)
            self._log_metric_now("episode_length", num_steps)

    def _stop_without_signal(self) -> None:
        logger.warning(
            "No state group of the last %d sampling rounds had rewards that differ, so there is nothing to learn from "
            "and training ends. If the success rate is near 0, start from a better policy or easier tasks; if it is "
            "near 1, the tasks are solved.",
            self.args.max_idle_rounds,
        )
        self.control.should_training_stop = True
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0  # the optimizer step of this empty batch would still move by momentum

    # -- logging -------------------------------------------------------------------------------------------------------

    def _log_metric_now(self, name: str, value: float) -> None:
        self._metrics["train"][name].append(float(value))

    def _log_collected(self, batch_fill: float) -> None:
        counts, self.rollout.counts = self.rollout.counts, Counter()
        sizes = [f"size_{n}" for n in range(1, self.num_generations + 1)]
        names = ["groups", "groups_without_signal", "revisits", "pruned", "sampled_actions", *sizes]
        total = dict(zip(names, np.sum(gather_object([[counts[name] for name in names]]), axis=0), strict=True))
        num_groups = max(total["groups"], 1)
        self._log_metric_now("batch_fill", batch_fill)
        self._log_metric_now("sampled_actions", total["sampled_actions"])
        self._log_metric_now("pruned_states", total["pruned"])
        self._log_metric_now("frac_groups_without_signal", total["groups_without_signal"] / num_groups)
        self._log_metric_now("frac_states_revisited", total["revisits"] / max(total["sampled_actions"], 1))
        for n, size in enumerate(sizes, start=1):
            self._log_metric_now(f"group_size/{n}", total[size] / num_groups)
        self._log_metric_now("unique_states", sum(self._gather(self.rollout.num_states)))
        self._log_metric_now("frontier_size", sum(self._gather(self.rollout.num_waiting)))
        for phase, seconds in self._seconds.items():
            self._log_metric_now(f"seconds/{phase}", seconds)
        self._seconds = dict.fromkeys(self._seconds, 0.0)

    def _gather(self, value: int) -> list[int]:
        return [int(x) for x in gather_object([value])]

    # -- checkpoints ------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Before the rest, which may be pushed to the Hub as soon as it is there.
        folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        folder.mkdir(parents=True, exist_ok=True)
        state = self.rollout.state_dict()
        if self.accelerator.is_main_process:
            np.savez(folder / HISTORY_FILE, **state["history"])
        searches = json.dumps({name: state[name] for name in ("trees", "next_task")})
        np.savez(folder / SEARCH_FILE.format(self.accelerator.process_index), searches=searches, states=state["states"])
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        history, searches = Path(checkpoint) / HISTORY_FILE, Path(checkpoint) / SEARCH_FILE
        files = [searches.with_name(searches.name.format(rank)) for rank in range(self.accelerator.num_processes)]
        missing = [file.name for file in (history, *files) if not file.exists()]
        if missing:
            # The same on every rank: histories that differ would take the ranks apart.
            logger.warning("%s holds no %s; history and search start afresh.", checkpoint, ", ".join(missing))
            return
        with np.load(history) as counts, np.load(files[self.accelerator.process_index]) as saved:
            searches = json.loads(str(saved["searches"]))
            self.rollout.load_state_dict(searches | {"history": dict(counts), "states": saved["states"]})


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


def _credited(sampled: Sequence[Row], group: Group) -> list[Row]:
    credits = zip(sampled, group.transitions, strict=True)
    return [replace(row, reward=x.reward, advantage=x.advantage) for row, x in credits]


def _num_to_sample(capacity: int, num_rows: int, num_sampled: int) -> int:
    """Return how many actions it takes to fill a batch up if as many of them have signal as so far."""
    share = num_rows / num_sampled if num_rows else 1.0
    return min(round((capacity - num_rows) / share), capacity)


def _num_rows(groups: Sequence[Sequence[Row]]) -> int:
    return sum(map(len, groups))


def _fitting(groups: list[list[Row]], capacity: int) -> list[list[Row]]:
    """Return the groups while they fit, in their order; what is over was sampled in vain, but for the search."""
    ends = accumulate(map(len, groups))
    return [group for group, end in zip(groups, ends, strict=True) if end <= capacity]


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
