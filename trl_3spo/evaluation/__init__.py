"""Full episodes on a fixed panel of tasks. `policies` plays them with a saved model, `metric` is for `evaluate`."""

from trl_3spo.evaluation.panel import Generate, evaluate_policy, play, play_panel
from trl_3spo.evaluation.panel_sample import sample_panel
from trl_3spo.evaluation.results import EpisodeResult, Evaluation, panel_hash, summarize
from trl_3spo.evaluation.statistics import Interval, MeanInterval, wilson_interval

__all__ = [
    "EpisodeResult",
    "Evaluation",
    "Generate",
    "Interval",
    "MeanInterval",
    "evaluate_policy",
    "panel_hash",
    "play",
    "play_panel",
    "sample_panel",
    "summarize",
    "wilson_interval",
]
