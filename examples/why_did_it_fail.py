"""Why did it fail? From the counts of a run's last evaluation to a single step, as docs/why_did_it_fail.md explains.

python examples/why_did_it_fail.py runs/sft_to_hub
"""

import argparse
from collections import Counter
from pathlib import Path

from trl_3spo.recording.reading import read_run

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", nargs="?", type=Path, default=Path("runs/sft_to_hub"), help="output folder of a training")
options = parser.parse_args()

run = read_run(options.run)
played = [tree.first for tree in run.trees if tree.first["phase"] == "eval"]
last = [episode for episode in played if episode["step"] == max(x["step"] for x in played)]
solved = [episode for episode in last if episode["success"]]
failed = [episode for episode in last if not episode["success"]]
counts = Counter((episode["task"]["kind"], episode["stop_reason"]) for episode in failed)
print(f"After step {last[0]['step']}, {len(failed)} of {len(last)} episodes failed:")
for (kind, reason), count in counts.most_common():
    print(f"{count:4}  {kind}: {reason}")


for episode in last:
    known = {episode["root"]["state"]}
    for step in episode["steps"]:
        step["is_repeated"] = step["state"] in known
        known.add(step["state"])
print(f"{'share of steps':16}{'failed':>8}{'solved':>8}")
for flaw in ("malformed", "cut_off", "inadmissible", "repeated"):
    flaws = [[step[f"is_{flaw}"] for episode in episodes for step in episode["steps"]] for episodes in (failed, solved)]
    print(f"{flaw:16}" + "".join(f"{sum(x) / max(len(x), 1):8.1%}" for x in flaws))

if not failed:
    parser.exit(message="No episode of the last evaluation failed.\n")
(kind, _), _ = counts.most_common(1)[0]
example = next(episode for episode in failed if episode["task"]["kind"] == kind)
print(example["root"]["observation"].split("\n\n", 1)[-1])
for number, step in enumerate(example["steps"], 1):
    notes = [flaw for flaw in ("inadmissible", "repeated") if step[f"is_{flaw}"]]
    print(f"{number:4}  {step['action']:36} {', '.join(notes)}".rstrip())

trees = [tree for tree in run.trees if tree.first["phase"] == "train"]
mixed = [tree for tree in trees if {episode["success"] for episode in tree.episodes} == {True, False}]
choices = [[tree for tree in group if tree.first["task"]["kind"] == kind] for group in (mixed, trees)]
if not trees:
    parser.exit(message="No search tree is recorded, so this is no folder of a training.\n")
tree = (choices[0] or mixed or choices[1] or trees)[-1]
lost = next(episode for episode in tree.episodes[::-1] if not episode["success"] or not mixed)
steps_from = {node.parent: node.step for node in tree.nodes.values() if node.step}  # by the visit they were taken in
path = tree.path(lost["end"])
print(f"Step {tree.first['step']}, tree {tree.first['tree']}: {tree.first['root']['observation'].splitlines()[-1]}")
print(f"{'visit':>6}{'p':>6}{'advantage':>11}  action")


def row(node):
    """Return a line about the first sample that led to a node."""
    answer, before = node.answers[0], steps_from[node.parent]
    p, advantage = ("" if x is None else f"{x:.2f}" for x in (before["value"], answer["advantage"]))
    note = "  (inadmissible)" * answer["is_inadmissible"]
    return f"{node.visit:6}{p:>6}{advantage:>11}  {answer['action']}{note}"


for node in path[1:]:
    print(row(node))

if not mixed:
    parser.exit(message="No recorded tree has a solved walk and a failed one.\n")


def alike(walk):
    """Return how many first actions a walk has in common with the failed one."""
    pairs = [(x.answers[0]["action"], y.answers[0]["action"]) for x, y in zip(path[1:], walk[1:], strict=False)]
    return next((number for number, (lost, won) in enumerate(pairs) if lost != won), len(pairs))


won = max((tree.path(episode["end"]) for episode in tree.episodes if episode["success"]), key=alike)
print(f"The failed walk and a solved one act alike for {alike(won)} steps. Then they differ:")
for node in path[alike(won) + 1 :][:1] + won[alike(won) + 1 :][:1]:
    ends = [episode["success"] for episode in tree.episodes if node in tree.path(episode["end"])]
    print(f"{row(node)}  ({sum(ends)} of {len(ends)} walks solved)")
