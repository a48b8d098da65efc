"""The page: template, style, scripts, charts and data in one file that loads nothing and runs nothing else."""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from trl_3spo.environments.plain_text import encodable
from trl_3spo.recording.reading import RecordedRun, read_run
from trl_3spo.view.chart import SERIES_COLOURS, Series, draw, kind_series, success_series
from trl_3spo.view.data import run_data

SCRIPTS = ("parts.js", "tree.js", "replay.js", "page.js")
MEGABYTES = 80.0
"""Megabytes of records that a page is made of by default: browsers open the file at once."""


def write_page(folders: Sequence[Path], output: Path, *, megabytes: float = MEGABYTES) -> int:
    """Write the page of one run, or of two side by side; return how many trees and episodes it leaves out.

    Args:
        folders: The output folders of the runs, one or two.
        output: The file.
        megabytes: Approximate limit on the records of all runs. Above it, some trees and tasks are left out.

    Raises:
        FileNotFoundError: A folder has no records.
        ImportError: pygal is not installed.
        ValueError: There are not one or two folders, or records are of a later version.
    """
    if not 1 <= len(folders) <= 2:
        raise ValueError(f"There are {len(folders)} runs; a page shows one, or two side by side.")
    runs = [read_run(folder) for folder in folders]
    data = [run_data(run, int(megabytes * 1e6 / len(runs))) for run in runs]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(runs, data), encoding="utf-8")
    return sum(run["left_out"] for run in data)


def page(runs: Sequence[RecordedRun], data: Sequence[dict[str, Any]]) -> str:
    """Return the HTML of runs and of their data."""
    style, script = _source("page.css"), "".join(_source(name) for name in SCRIPTS)
    title = " and ".join(run["name"] for run in data)
    return Template(_source("page.html")).substitute(
        policy=f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'",
        title=html.escape(encodable(title)),
        style=style,
        script=script,
        charts=_charts(runs),
        data=as_script({"runs": list(data)}),
    )


def as_script(data: Any) -> str:
    """Return data as JSON that can stand in a script element: nothing in it ends the element or begins another."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII, so U+2028 and surrogates are escaped
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _charts(runs: Sequence[RecordedRun]) -> str:
    charts = [("Success by optimizer step", success_series(runs))]
    if len(runs) == 1:
        charts.append(("Evaluation by kind of task", kind_series(runs[0])))
    drawn = [_chart(title, series) for title, series in charts if series]
    return "".join(drawn) or "<p>Nothing was logged in this run.</p>"


def _chart(title: str, series: Series) -> str:
    """Return a figure with its numbers as a table, for those who do not see it and for those who want to know."""
    steps = sorted({step for points in series.values() for step, _ in points})
    known = {name: dict(points) for name, points in series.items()}
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in series)
    rows = "".join(
        f'<tr><th scope="row">{step:g}</th>{"".join(_cell(known[name].get(step)) for name in series)}</tr>'
        for step in steps
    )
    legend = "".join(
        f'<li class="series-{i % len(SERIES_COLOURS)}">{_text(name)}</li>' for i, name in enumerate(series)
    )
    return (
        f'<figure class="chart"><figcaption>{_text(title)}</figcaption><ul class="series">{legend}</ul>'
        f'<img src="{draw(series)}" alt="{_text(title)}: {_text(", ".join(series))}. The numbers are below.">'
        f'<details><summary>Numbers</summary><div class="scroll"><table><thead><tr><th scope="col">step</th>{head}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div></details></figure>"
    )


def _cell(rate: float | None) -> str:
    return "<td></td>" if rate is None else f"<td>{rate:.1%}</td>"


def _text(text: str) -> str:
    return html.escape(encodable(text))


def _source(name: str) -> str:
    return files("trl_3spo.view").joinpath(name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
