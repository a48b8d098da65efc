"""[`Remedies`]: one warning for each of the most frequent problems of a training, with a remedy."""

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from trl_3spo.training.agent_trainer import AgentTrainer

logger = logging.getLogger(__name__)

EPISODES_WITHOUT_SUCCESS = 256
"""Number of ended episodes without any success in this run, after which a warning follows."""
COLLAPSED_ENTROPY = 0.1
"""Share of the run's first entropy below which the entropy counts as collapsed, unless tasks are solved."""
SOLVED = 0.9
"""Success rate from which a low entropy is expected."""
CUT_OFF = 0.99
"""Share of answers cut off from which all of them count as cut off."""
WITHOUT_SIGNAL = 0.5
"""Share of groups without signal, over `WINDOW` logs, above which a warning follows."""
WINDOW = 5


class Remedies(TrainerCallback):
    """Looks at the logs on the first process, and warns.

    Args:
        trainer: Trainer whose logs are watched.
    """

    def __init__(self, trainer: "AgentTrainer[Any]") -> None:
        self._trainer = trainer
        self._said: set[str] = set()
        self._has_succeeded = False
        self._first_entropy: float | None = None
        self._without_signal: deque[float] = deque(maxlen=WINDOW)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Look at the logs of an update."""
        if not (state.is_world_process_zero and logs and "success_rate" in logs):
            return
        success: float = logs["success_rate"] or 0.0
        self._has_succeeded = self._has_succeeded or success > 0
        self._look_at_success()
        self._look_at_entropy(logs.get("entropy"), success)
        self._look_at_answers(logs.get("cut_off_share"))
        shares = (logs.get(name) for name in ("frac_groups_without_signal", "frac_sampled_groups_without_signal"))
        self._look_at_signal(max((x for x in shares if x is not None), default=0.0), success)

    def _look_at_success(self) -> None:
        num_episodes = self._trainer.guard.counts["ended_episodes"] * self._trainer.ranks.num_ranks
        if not self._has_succeeded and num_episodes >= EPISODES_WITHOUT_SUCCESS:
            self._say(
                "success",
                "None of the first %d episodes has succeeded, and without a success there is nothing to reinforce. "
                "malformed_share and inadmissible_share say whether the policy knows the form of an action. Begin with "
                "a policy that succeeds now and then (`trl-3spo demos` writes demonstrations for SFTTrainer), with "
                "easier tasks or more steps, or with objective='reward' where the environment pays for parts.",
                num_episodes,
            )

    def _look_at_entropy(self, entropy: float | None, success: float) -> None:
        if entropy is None:
            return
        self._first_entropy = self._first_entropy or entropy
        if entropy < COLLAPSED_ENTROPY * self._first_entropy and success < SOLVED:
            self._say(
                "entropy",
                "Entropy is %.3g, below a tenth of the %.3g it began with, and the success rate is %.2f: the policy "
                "explores no more and the tasks are not solved. Resume from an earlier checkpoint with a lower "
                "learning_rate, with beta above 0, or with a higher temperature.",
                entropy,
                self._first_entropy,
                success,
            )

    def _look_at_answers(self, cut_off_share: float | None) -> None:
        size = self._trainer.args.max_completion_length
        if cut_off_share is not None and cut_off_share >= CUT_OFF and size > 1:
            self._say(
                "answers",
                "%.0f %% of the answers were cut off at max_completion_length=%d; most name no action or half of one. "
                "Raise it; or switch thinking off, chat_template_kwargs={'enable_thinking': False}; or see that the "
                "model's end token is known (tokenizer.eos_token).",
                100 * cut_off_share,
                size,
            )

    def _look_at_signal(self, share: float, success: float) -> None:
        self._without_signal.append(share)
        mean = sum(self._without_signal) / len(self._without_signal)
        if len(self._without_signal) == WINDOW and mean > WITHOUT_SIGNAL:
            self._say(
                "signal",
                "%.0f %% of the groups of the latest %d logs had no signal: all their samples were worth the same, so "
                "sampling them taught nothing. The success rate is %.2f. %s",
                100 * mean,
                WINDOW,
                success,
                "Take harder tasks, or end here."
                if success > 0.5
                else "Take easier tasks or a better policy to begin with; raise temperature or num_generations (with "
                "search='branch', max_episodes_per_tree).",
            )

    def _say(self, about: str, message: str, *values: object) -> None:
        if about not in self._said:
            self._said.add(about)
            logger.warning(message, *values)
