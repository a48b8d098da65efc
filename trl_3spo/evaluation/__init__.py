"""Full episodes on a fixed panel of tasks. `policies` plays them with a saved model, `metric` is for `evaluate`."""

from trl_3spo.evaluation.panel import (
    EpisodeResult,
    Evaluation,
    Generate,
    Interval,
    evaluate_policy,
    panel_hash,
    play,
    play_panel,
    summarize,
    wilson_interval,
)

__all__ = [
    "EpisodeResult",
    "Evaluation",
    "Generate",
    "Interval",
    "evaluate_policy",
    "panel_hash",
    "play",
    "play_panel",
    "summarize",
    "wilson_interval",
]
