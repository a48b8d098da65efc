"""Train on two hosts that are none: two network namespaces of this machine, joined by a cable; gloo speaks TCP between.

    sudo python benchmarks/cluster.py --json benchmarks/results/cluster.json      # needs root and iproute2

Each host runs its own launcher, `torchrun` or `accelerate launch`, as two machines would. The environment of host 1 is
ten times slower. Each launcher trains once to the end, and once until rank 1 is killed by SIGKILL: how long it takes
until all has ended, and who is named. Then host 0 goes on alone from the checkpoint: its history is compared with the
one that was saved, which holds the episodes of both.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from engines import save_model
from engines_rank import SpokenCorridor, killed_at
from provenance import provenance

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.base import StepResult
from trl_3spo.evaluation.policies import load_tokenizer

EXAMPLE = Path(__file__).parents[1] / "trl_3spo" / "configurations" / "accelerate" / "ddp.yaml"
HOSTS = ("10.77.0.1", "10.77.0.2")
SECONDS_PER_STEP = (0.002, 0.02)
UPDATES = 6
KILLED_IN = 4
DDP_TIMEOUT = 60
PATIENCE = 240
"""Seconds after which a run is taken for hanging."""


class SlowCorridor(SpokenCorridor):
    """A corridor whose doors are heavy."""

    def __init__(self, seconds_per_step: float) -> None:
        super().__init__(length=4, max_steps=6)
        self._seconds = seconds_per_step

    def step(self, action: str) -> StepResult:
        time.sleep(self._seconds)
        return super().step(action)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--as-rank", nargs=2, metavar=("FOLDER", "KILLED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_rank:
        folder, is_killed = arguments.as_rank
        run_rank(Path(folder), is_killed=is_killed == "killed")
        return
    results: dict[str, Any] = provenance("torch", "transformers", "trl", "accelerate")
    results |= {"seconds_per_step": SECONDS_PER_STEP, "ddp_timeout": DDP_TIMEOUT}
    with two_hosts() as hosts:
        results |= {launcher: measured(launcher, hosts) for launcher in ("torchrun", "accelerate")}
    print(json.dumps(results, indent=2))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def two_hosts() -> Iterator[list[str]]:
    """Make two network namespaces with an address each, joined by a pair of virtual interfaces; yield their names."""
    names = [f"host{i}-{os.getpid()}" for i in (0, 1)]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for name, address in zip(names, HOSTS, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def measured(launcher: str, hosts: list[str]) -> dict[str, Any]:
    """Train with a launcher: undisturbed, with a rank killed, and on without that host."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(folder)
        well = start_both(launcher, hosts, folder, "well")
        if any(x["code"] for x in well["outputs"]):
            sys.exit("\n".join(x["text"] for x in well["outputs"]))
        seen = [json.loads((folder / f"seen_{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]
        killed = start_both(launcher, hosts, folder, "killed")
        alone = start(launcher, hosts[0], 0, 1, folder, "killed").communicate(timeout=PATIENCE)
        resumed = json.loads((folder / "seen_0.json").read_text(encoding="utf-8"))
        assert resumed["num_ranks"] == 1, alone
    died = next(x for x in killed["outputs"] if x["rank"] == 1)
    left = next(x for x in killed["outputs"] if x["rank"] == 0)
    return {
        "undisturbed": {
            "seconds": well["seconds"],
            "return_codes": [x["code"] for x in well["outputs"]],
            "same_history_on_both": seen[0]["history"] == seen[1]["history"],
            "episodes": seen[0]["num_episodes"],
            "share_of_time_waiting": [x["waiting"] for x in seen],
        },
        "killed": {
            "seconds_until_both_have_ended": killed["seconds_after_kill"],
            "return_codes": [left["code"], died["code"]],
            "says_host_0": telling(left["text"]),
            "says_host_1": telling(died["text"]),
        },
        "resumed_on_one_host": {
            "first_update": resumed["first_update"],
            "updates": resumed["num_updates"],
            "history_is_the_saved_one": resumed["history_at_start"] == resumed["history_saved"],
            "episodes_at_start": resumed["episodes_at_start"],
            "episodes": resumed["num_episodes"],
        },
    }


def start_both(launcher: str, hosts: list[str], folder: Path, how: str) -> dict[str, Any]:
    """Run a launcher on each host until both have ended."""
    began = time.time()
    processes = [start(launcher, host, rank, 2, folder, how) for rank, host in enumerate(hosts)]
    outputs = []
    try:
        for rank, process in enumerate(processes):
            text, _ = process.communicate(timeout=PATIENCE)
            outputs.append({"rank": rank, "code": process.returncode, "text": text})
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    ended, mark = time.time(), folder / "killed_at"
    after = ended - float(mark.read_text(encoding="utf-8")) if mark.exists() else None
    print(f"{launcher}, {how}: {ended - began:.0f} s", file=sys.stderr, flush=True)
    return {"seconds": ended - began, "seconds_after_kill": after, "outputs": outputs}


def start(launcher: str, host: str, rank: int, num_hosts: int, folder: Path, how: str) -> subprocess.Popen[str]:
    """Start a launcher on one host, with one process."""
    program = [__file__, "--as-rank", str(folder), how]
    if launcher == "torchrun":
        command = ["torch.distributed.run", f"--nnodes={num_hosts}", f"--node_rank={rank}", "--nproc_per_node=1"]
        command += [f"--master_addr={HOSTS[0]}", "--master_port=29500"]
    else:
        command = ["accelerate.commands.launch", f"--config_file={EXAMPLE}", "--mixed_precision=no"]
        command += [f"--num_machines={num_hosts}", f"--num_processes={num_hosts}", f"--machine_rank={rank}"]
        command += [f"--main_process_ip={HOSTS[0]}", "--main_process_port=29500"]
    env = os.environ | {"GLOO_SOCKET_IFNAME": "cable", "OMP_NUM_THREADS": "1", "SECONDS": str(SECONDS_PER_STEP[rank])}
    return subprocess.Popen(
        ["ip", "netns", "exec", host, sys.executable, "-m", *command, *program],
        env=env | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def telling(text: str) -> list[str]:
    """Return what an output says of the end of a rank or a connection."""
    found = re.findall(
        r"rank +: \d+|exitcode +: -?\d+|\(SIG\w+\)|\[[\d.]+\]:\d+: Con\w+ \w+ by peer|Con\w+ \w+ by peer \[[\d.]+\]",
        text,
    )
    return list(dict.fromkeys(" ".join(x.split()) for x in found))


def run_rank(folder: Path, *, is_killed: bool) -> None:
    """Train in a corridor of this host's speed; on rank 1, the first time, until it is killed."""
    config = ThreeSPOConfig(
        output_dir=str(folder / ("killed" if is_killed else "well")),
        max_steps=UPDATES,
        save_steps=1,
        per_device_train_batch_size=16,
        num_generations=4,
        max_completion_length=1,
        novelty_weight=0.3,
        learning_rate=1e-3,
        logging_steps=1,
        gradient_checkpointing=False,
        use_cpu=True,
        bf16=False,
        ddp_timeout=DDP_TIMEOUT,
        report_to="none",
        disable_tqdm=True,
    )
    env = SlowCorridor(float(os.environ["SECONDS"]))
    trainer = ThreeSPOTrainer(str(folder), env, config, processing_class=load_tokenizer(str(folder)))
    rank, num_ranks = trainer.ranks.rank, trainer.ranks.num_ranks
    begun = watched_start(trainer)
    if is_killed and num_ranks == 2 and rank == 1:
        mark, die = folder / "killed_at", killed_at(KILLED_IN, trainer._compute_loss)

        def loss(*args: Any) -> Any:
            mark.write_text(str(time.time()), encoding="utf-8")
            return die(*args)

        trainer._compute_loss = loss
    trainer.train(resume_from_checkpoint="auto")
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    history = trainer.algorithm.history
    phases = ("generation", "waiting", "environment")
    seconds = {phase: sum(entry.get(f"seconds/{phase}", 0.0) for entry in log) for phase in phases}
    seen = begun | {
        "num_ranks": num_ranks,
        "num_updates": trainer.state.global_step,
        "num_episodes": history.num_episodes,
        "history": digest(history.state_dict()),
        "waiting": seconds["waiting"] / sum(seconds.values()),
    }
    (folder / f"seen_{rank}.json").write_text(json.dumps(seen), encoding="utf-8")


def digest(history: dict[str, Any]) -> str:
    """Return a name for a history that another one does not have."""
    return hashlib.sha256(repr({name: list(np.atleast_1d(x)) for name, x in history.items()}).encode()).hexdigest()


def watched_start(trainer: ThreeSPOTrainer) -> dict[str, Any]:
    """Return what will tell with which history training began."""
    begun: dict[str, Any] = {"first_update": 1}
    load = trainer.algorithm.load_state_dict

    def remember(state: Any, saved_by: int) -> None:
        load(state, saved_by=saved_by)
        history = trainer.algorithm.history
        begun["first_update"] = trainer.state.global_step + 1
        begun["episodes_at_start"] = history.num_episodes
        begun["history_at_start"] = digest(history.state_dict())
        begun["history_saved"] = digest(state["shared"]["history"])

    trainer.algorithm.load_state_dict = remember
    return begun


if __name__ == "__main__":
    main()
