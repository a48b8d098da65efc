"""Run the walk-throughs of docs/sft_to_hub.md and docs/why_did_it_fail.md, and keep what they print.

    python benchmarks/walkthroughs.py --json benchmarks/results/walkthroughs.json --picture docs/why_did_it_fail.png

The commands run in the folder of the repository, in processes for which `tests/hub_stand_in.py` is the Hub. The picture
is the page of `trl-3spo view`, at the tree that the second walk-through reads.
"""

import argparse
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import browser
from provenance import provenance
from view_screenshots import picture

from trl_3spo.recording.reading import read_run

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
from hub_stand_in import environment, hub_stand_in  # noqa: E402

RUN = "runs/sft_to_hub"
GAMES = "generated=200 seed=11 'num_receptacles=[4,8]' 'num_objects=[4,10]' prompt_format=action history_length=3"
COMMANDS = {
    "sft_to_hub": "python examples/sft_to_hub.py",
    "why_did_it_fail": f"python examples/why_did_it_fail.py {RUN}",
    "more_steps": f"trl-3spo evaluate --model {RUN} --batch_size 200 --environment_options {GAMES} max_steps=40",
}


def run(command: str, variables: dict[str, str]) -> dict[str, Any]:
    """Run a command of this repository and return what it prints to standard output, with its processor seconds."""
    program, *words = shlex.split(command)
    start = [sys.executable] if program == "python" else [sys.executable, "-m", "trl_3spo.cli"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*start, *words], cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"command": command, "cpu_seconds": round(seconds), "output": done.stdout.splitlines()}


def show_the_tree(page: Any, output: list[str]) -> None:
    """Choose the tree that the walk-through reads, and the failed step where its walks part."""
    text = "\n".join(output)
    (name,) = re.findall(r"(?m)^Step \d+, tree ([\w-]+):", text)
    first = next(tree.first for tree in read_run(ROOT / RUN).trees if tree.first["tree"] == name)
    page.locator("#filters [name=part]").select_option("training")
    page.locator("#filters [name=task]").fill(first["task"]["id"])
    for end in ("from", "to"):
        page.locator(f"#filters [name={end}]").fill(str(first["step"]))
    page.locator("[role=option]").first.click()
    page.get_by_role("button", name="Open all").click()
    ((advantage, action),) = re.findall(r"(?m)^.*-(\d\.\d\d)  (.+)  \(0 of \d walks solved\)", text)[:1]
    page.get_by_role("treeitem").filter(has_text=action).filter(has_text=f"\N{MINUS SIGN}{advantage}").last.click()


def main() -> None:
    """Run them and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    parser.add_argument(
        "--only", choices=COMMANDS, nargs="+", default=list(COMMANDS), help="keep the others as they are"
    )
    options = parser.parse_args()
    if "sft_to_hub" in options.only:
        shutil.rmtree(ROOT / RUN, ignore_errors=True)  # or the records of the run before are pushed too
    result = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
    with hub_stand_in() as hub, tempfile.TemporaryDirectory() as home:
        variables = os.environ | environment(hub, home) | {"PYTHONPATH": str(ROOT)}
        for name in options.only:
            result[name] = run(COMMANDS[name], variables)
            versions = provenance("torch", "transformers", "trl", "huggingface_hub")
            options.json.write_text(json.dumps(result | versions, indent=1) + "\n", encoding="utf-8")
    if options.picture:
        output = result["why_did_it_fail"]["output"]
        with browser.browser() as running:
            picture(running, [ROOT / RUN], options.picture, lambda page: show_the_tree(page, output), "light", 950)


if __name__ == "__main__":
    main()
