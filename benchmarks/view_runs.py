"""Recorded runs made up for the page: of any size, and with any text."""

from pathlib import Path

from trl_3spo.recording.files import FOLDER, append_line

HOSTILE = "</script><script>document.title = 'broken'</script><img src=x onerror=alert(1)>\u2028&amp;\x1b[2J\ud800 "


def entry(visit, parent, text, **changes):
    """Return an answer as it is recorded."""
    return {
        "visit": visit,
        "parent": parent,
        "completion": text,
        "action": text,
        "is_malformed": False,
        "is_inadmissible": False,
        "is_cut_off": False,
        "num_tokens": [20, 4],
        "is_final": False,
        "paid": 0.0,
        "observation": f"seen at {visit}",
        "state": f"{visit:016x}",
        "reward": 0.25,
        "reward_parts": {"novelty": 0.05, "score": 0.2},
        "advantage": 0.5,
        "is_trained_on": True,
        "score_after": 0.5,
    } | changes


def step(visit, parent, text, others=(), **changes):
    """Return a step as it is recorded."""
    origin = {"prompt": [0], "group_size": 1 + len(others), "score_before": 0.75, "value": 0.25, "num_visits": 3.0}
    return entry(visit, parent, text, **changes) | origin | {"others": list(others)}


def record(steps, *, task="find the key", kind="find", tree="0-0-1", episode=0, branch=0, **changes):
    """Return a record."""
    root = {"observation": "You are in a room.", "state": "0" * 16, "score": 1.0, "value": 0.0, "num_visits": 0.0}
    return {
        "schema": 1,
        "run": "run",
        "phase": "train",
        "rank": 0,
        "seed": 0,
        "time": 0.0,
        "step": 0,
        "panel": "",
        "tree": tree,
        "episode": episode,
        "task": {"id": task, "kind": kind},
        "branch": branch,
        **({"root": root} if episode == 0 or tree is None else {}),
        "messages": [{"role": "user", "content": f"Your task: {task}"}],
        "steps": steps,
        "end": steps[-1]["visit"] if steps else branch,
        "num_steps": len(steps),
        "success": False,
        "stop_reason": "max_steps",
        "return": 0.0,
        "share": 1.0,
    } | changes


def write_run(folder, records, rates=(0.2, 0.6)):
    """Write a run's folder and return it."""
    folder = Path(folder)
    for each in records:
        append_line(folder / FOLDER / f"run-{each['phase']}-0.jsonl", each)
    for number, rate in enumerate(rates):
        metrics = {"eval_success_rate": rate, "eval_success_rate/find": rate, "success_rate": rate}
        line = {"schema": 1, "run": "run", "step": number * 10, "time": 0.0, "metrics": metrics}
        append_line(folder / FOLDER / "run-log-0.jsonl", line)
    return folder


def small_run(folder, text="open the drawer"):
    """Write a run of one tree with a side branch and a branch that is backtracked to, and two evaluated episodes."""
    tree = [
        record([step(1, 0, "go north", [entry(2, 0, "go south", advantage=-0.5)]), step(3, 1, text, paid=1.0)]),
        record([step(4, 2, "look")], episode=1, branch=2, success=True, stop_reason="success", **{"return": 1.0}),
    ]
    later = [each | {"step": 10, "tree": "10-0-1"} for each in tree]
    solved = {"success": True, "stop_reason": "success", "return": 1.0}
    evaluated = [
        record([step(1, 0, "wait")], tree=None, phase="eval", evaluation=1, kind="put", task="put the key away"),
        record([step(1, 0, "take it")], tree=None, phase="eval", evaluation=2, step=10, **solved),
    ]
    return write_run(folder, [*tree, *later, *evaluated])


def large_run(folder, num_nodes, size=2500):
    """Write a run with so many nodes, `size` of them in every tree: a walk, and three side branches at each step."""
    trees = []
    for number in range(num_nodes // size):
        steps, visit, parent = [], 1, 0
        for _ in range((size - 1) // 4):
            others = [entry(visit + 1 + i, parent, f"turn back {i}", advantage=-0.1) for i in range(3)]
            steps.append(step(visit, parent, f"walk on, for the {visit}th time", others))
            parent, visit = visit, visit + 4
        rest = size - 1 - 4 * len(steps)
        steps += [step(visit + i, visit + i - 1 if i else parent, "rest") for i in range(rest)]
        trees.append(record(steps, tree=f"{number}-0-1", step=number))
    return write_run(folder, trees)
