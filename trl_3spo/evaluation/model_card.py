"""What a model card says of 3SPO training."""

import html
import re

from trl_3spo._version import __version__
from trl_3spo.environments.base import Environment
from trl_3spo.environments.plain_text import printable
from trl_3spo.evaluation.results import Evaluation
from trl_3spo.evaluation.statistics import Interval

_MARKDOWN = re.compile(r"[\\`*\[\]|~!#]")


def environment_section(env: Environment, evaluation: Evaluation | None) -> str:
    """Return the card's section on the environment, with the latest evaluation if there was one."""
    lines = [
        "",
        "",
        "## Environment",
        "",
        f"Trained with trl_3spo {__version__} in `{type(env).__module__}.{type(env).__qualname__}`.",
    ]
    if evaluation is not None:
        num_episodes = evaluation.success.num_episodes
        lines += ["", f"Evaluated on panel `{evaluation.panel}` in {num_episodes} episodes:", "", *_table(evaluation)]
    return "\n".join([*lines, ""])


def _table(evaluation: Evaluation) -> list[str]:
    rows = {"all": evaluation.success} | {kind: x for kind, x in evaluation.success_by_kind.items() if kind}
    head = ["| task type | episodes | success rate | 95 % interval |", "|---|---|---|---|"]
    return head + [_row(kind, interval) for kind, interval in rows.items()]


def _row(kind: str, success: Interval) -> str:
    return f"| {_cell(kind)} | {success.num_episodes} | {success.rate:.1%} | {success.low:.1%} to {success.high:.1%} |"


def _cell(text: str) -> str:
    """Return a text as it stands, for a cell of a Markdown table: it may be anything an environment says."""
    line = " ".join(printable(text).split())
    return _MARKDOWN.sub(r"\\\g<0>", html.escape(line, quote=False))
