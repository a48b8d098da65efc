"""Charts of what a run logged, drawn by pygal when the page is made: the page itself needs no library."""

import base64
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from trl_3spo.environments.plain_text import printable
from trl_3spo.recording.reading import RecordedRun

EVALUATED = re.compile(r"eval_(?:(?P<panel>.+)_)?success_rate(?:/(?P<kind>[^/]+))?")
MEAN_OF = 9
"""Logged training steps that a point of the training curve is the mean of: a single one has a few episodes."""
MOST_DOTS = 40
SERIES_COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#db2777", "#0891b2", "#65a30d", "#dc2626")
# An image follows the reader's colour scheme by itself. pygal's own rules name the chart, so these have to insist.
SCHEME = """inline:
text { fill: #57606a !important; }
.series .line { stroke-width: 2px !important; }
.axis .line, .guides .line { stroke: #d8dee4 !important; stroke-dasharray: none !important; }
@media (prefers-color-scheme: dark) {
  text { fill: #9da7b3 !important; }
  .axis .line, .guides .line { stroke: #30363d !important; }
}
"""

Points = list[tuple[float, float]]
Series = dict[str, Points]


def success_series(runs: Sequence[RecordedRun]) -> Series:
    """Return success rates by optimizer step: of training as a running mean, of evaluations by panel."""
    series: Series = {}
    for run, prefix in zip(runs, prefixes(runs), strict=True):
        panels: defaultdict[str, dict[float, float]] = defaultdict(dict)
        training: Points = []
        for step, metrics in _logged(run):
            if "success_rate" in metrics:
                training.append((step, metrics["success_rate"]))
            for panel, kind, rate in _evaluated(metrics):
                if kind is None:
                    panels[panel][step] = rate  # of several at a step the latest
        for panel, rates in panels.items():
            series[f"{prefix}evaluation{panel and f' ({panel})'}"] = sorted(rates.items())
        if training:
            series[f"{prefix}training, running mean"] = running_mean(training)
    return series


def kind_series(run: RecordedRun) -> Series:
    """Return success rates of evaluations by kind of task, by optimizer step."""
    kinds: defaultdict[str, dict[float, float]] = defaultdict(dict)
    for step, metrics in _logged(run):
        for panel, kind, rate in _evaluated(metrics):
            if kind is not None:
                kinds[f"{kind}{panel and f' ({panel})'}"][step] = rate
    return {kind: sorted(rates.items()) for kind, rates in sorted(kinds.items())}


def prefixes(runs: Sequence[RecordedRun]) -> list[str]:
    """Return what tells the series of several runs apart."""
    return [""] if len(runs) == 1 else [f"{'AB'[i]}: " for i in range(len(runs))]


def running_mean(points: Points) -> Points:
    """Return the points, each the mean of the last `MEAN_OF`."""
    last = [points[max(0, i - MEAN_OF + 1) : i + 1] for i in range(len(points))]
    return [(window[-1][0], sum(y for _, y in window) / len(window)) for window in last]


def _logged(run: RecordedRun) -> list[tuple[float, dict[str, float]]]:
    entries = [(float(record["step"]), record["metrics"]) for record in run.log]
    return [(step, {k: x for k, x in metrics.items() if isinstance(x, int | float)}) for step, metrics in entries]


def _evaluated(metrics: Mapping[str, float]) -> list[tuple[str, str | None, float]]:
    matches = [(EVALUATED.fullmatch(name), rate) for name, rate in metrics.items()]
    return [(x["panel"] or "", x["kind"], rate) for x, rate in matches if x is not None]


def draw(series: Series) -> str:
    """Return a chart of shares by optimizer step as the address of an image.

    Raises:
        ImportError: pygal is not installed.
    """
    pygal, style = _pygal()
    chart: Any = pygal.XY(
        style=style,
        css=["file://style.css", "file://graph.css", SCHEME],
        js=[],
        width=680,
        height=280,
        margin=8,
        range=(0, 1),
        y_labels=[0, 0.25, 0.5, 0.75, 1],
        value_formatter=lambda rate: f"{rate:.0%}",
        x_value_formatter=lambda step: f"{step:.0f}",
        x_title="optimizer step",
        dots_size=2.5,
        show_legend=False,
        show_x_guides=False,
        disable_xml_declaration=True,
    )
    for name, points in series.items():
        chart.add(printable(name), points, show_dots=len(points) < MOST_DOTS)
    picture: str = chart.render(is_unicode=True)
    picture = re.sub(
        r"<script.*?</script>", "", picture, flags=re.DOTALL
    )  # settings of tooltips, which images have not
    return "data:image/svg+xml;base64," + base64.b64encode(picture.encode("utf-8", "replace")).decode("ascii")


def _pygal() -> tuple[Any, Any]:
    try:
        import pygal
        from pygal.style import Style
    except ImportError as error:
        raise ImportError(
            "The page's charts are drawn by pygal, which is not installed. Install it with the extra that needs it: "
            "pip install 'trl_3spo[view]'."
        ) from error
    style = Style(
        background="transparent",
        plot_background="transparent",
        foreground="#57606a",
        foreground_strong="#57606a",
        foreground_subtle="#57606a",
        colors=SERIES_COLOURS,
        font_family="system-ui, sans-serif",
        label_font_size=11,
        major_label_font_size=11,
        legend_font_size=12,
        title_font_size=12,
        opacity="1",
    )
    return pygal, style
