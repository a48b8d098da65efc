"""Success of agents as a metric of the `evaluate` library, one episode a row.

    metric = evaluate.load(trl_3spo.evaluation.metric.__file__)
    metric.add(task="game 1", kind="pick_and_place_simple", success=True, num_steps=12, num_inadmissible=0)
    metric.compute()

Loading reads this file and nothing from the network. Needs `trl_3spo[evaluate]`.
"""

from dataclasses import MISSING, fields
from typing import Any

import evaluate
from datasets import Features, Value

from trl_3spo.evaluation.results import EpisodeResult, Evaluation, summarize

_TYPES = {str: "string", bool: "bool", int: "int64"}
COLUMNS = {
    field.name: _TYPES[field.type]
    for field in fields(EpisodeResult)
    if isinstance(field.type, type) and field.default is MISSING
}
"""What every episode has to say. What it may say besides has a default, and no place in a table."""


class SuccessMetric(evaluate.Metric):
    """Success rate with its 95 % interval, overall and by task type, mean steps, inadmissible share, panel hash."""

    def _info(self) -> Any:
        return evaluate.MetricInfo(
            description=str(Evaluation.__doc__),
            inputs_description=str(EpisodeResult.__doc__),
            citation="",
            features=Features({name: Value(kind) for name, kind in COLUMNS.items()}),
        )

    def _compute(self, **columns: Any) -> dict[str, Any]:
        rows = zip(*(columns[name] for name in COLUMNS), strict=True)
        return summarize([EpisodeResult(*row) for row in rows]).to_dict()
