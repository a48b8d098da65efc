"""Kill training at random moments, resume it, and compare with the same training that nobody killed.

    python benchmarks/kill_resume.py --kills 30 --json benchmarks/results/kill_resume.json

Runs of a tiny model in a corridor save after every update and keep one checkpoint. Each is killed again and again, by
SIGKILL at a random moment, two of three times while a checkpoint is being written, and started anew by
resume_from_checkpoint="auto" until it has all its updates. Weights, optimizer, history, order of tasks and logs are
then compared bit by bit with those of the run that was left alone. The same is done with SIGTERM under
enable_jit_checkpoint, and on two ranks of which one is killed.

Counted are kills. `torn_chosen`: the next start chose a checkpoint that it could not read. `lost`: the next start began
before the newest checkpoint there was. `bitwise_equal`: the run ended as the one that was left alone.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from provenance import provenance

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.reliability.checkpoints import STAGING, newest_whole, step_of
from trl_3spo.tiny import tiny_model, word_tokenizer

# A server that has imported everything once forks the runs.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["trl_3spo.three_spo_trainer"])
UPDATES = 8
PATIENCE = 180.0
"""Seconds after which a run that does nothing is taken for hanging."""
WRITE = 0.04
"""Seconds after the beginning of a write within which it is killed."""
UNLIKE = ("seconds/", "step_time", "train_")
"""Beginnings of the names of what is logged of the clock."""


class SpokenCorridor(CorridorEnv):
    """A corridor in which every word is an action, so that an untrained model finds the door now and then."""

    def parse_action(self, completion: str) -> str:
        return ("left", "right", "open")[sum(map(ord, completion)) % 3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="by SIGKILL on one process")
    parser.add_argument("--sigterms", type=int, default=6, help="under enable_jit_checkpoint")
    parser.add_argument("--rank-kills", type=int, default=6, help="of one of two ranks")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, required=True, help="file to write the result to")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    origin = provenance("torch", "transformers", "trl", "accelerate")
    with tempfile.TemporaryDirectory() as folder:
        alone = Trial(Path(folder) / "alone", 1, signal.SIGKILL, rng)
        two = Trial(Path(folder) / "two", 2, signal.SIGKILL, rng)
        told = Trial(Path(folder) / "told", 1, signal.SIGTERM, rng)
        result = alone.killed(arguments.kills)
        result["two_ranks"] = two.killed(arguments.rank_kills)
        result["sigterm"] = told.killed(arguments.sigterms)
    result |= {"updates_per_run": UPDATES, "seed": arguments.seed} | origin
    arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


class Trial:
    """Runs that are killed, beside one that is not.

    Args:
        folder: For their output folders.
        num_ranks: Processes of a run, of which one is killed.
        how: The signal.
        rng: Chooses moments and ranks.
    """

    def __init__(self, folder: Path, num_ranks: int, how: signal.Signals, rng: random.Random) -> None:
        self.folder = folder
        self.num_ranks = num_ranks
        self.how = how
        self.rng = rng
        self.counts: Counter[str] = Counter()

    def killed(self, kills: int) -> dict[str, Any]:
        """Kill so many times; return what became of it."""
        warm = CONTEXT.Process(target=int)
        warm.start()
        warm.join()
        began = time.perf_counter()
        whole = self._start("whole")
        expected = self._ended(whole)
        seconds = time.perf_counter() - began
        number = 0
        while self.counts["kills"] < kills:
            number += 1
            self._run(f"run_{number}", expected, kills, seconds)
        names = ("kills", "inside_writes", "torn_chosen", "lost", "bitwise_equal")
        return {name: self.counts[name] for name in names} | {"runs": number}

    def _run(self, name: str, expected: Any, kills: int, seconds: float) -> None:
        """Kill a run until it has all its updates or there have been enough kills; then let it end, and compare."""
        mine = 0
        while True:
            reached = newest_whole(self.folder / name)[0] if mine else None
            run = self._start(name)
            if self.counts["kills"] < kills and self._kill(run, name, seconds):
                mine += 1
                self.counts["kills"] += 1
                self._judge_start(run, reached)
                continue
            found = self._ended(run)
            self._judge_start(run, reached)
            break
        if mine:
            is_equal = found is not None and found == expected
            self.counts["bitwise_equal"] += mine * is_equal
            if not is_equal:
                print(f"{name} ended otherwise", flush=True)

    def _judge_start(self, run: "Started", reached: Path | None) -> None:
        begun = run.begun_at()
        if begun is not None and reached is not None:
            self.counts["lost"] += begun < step_of(reached)
        elif run.failure() is not None:
            self.counts["torn_chosen"] += 1
            print(run.failure(), flush=True)

    def _start(self, name: str) -> "Started":
        return Started(self.folder, name, self.num_ranks, self.how == signal.SIGTERM)

    def _kill(self, run: "Started", name: str, seconds: float) -> bool:
        """Send the signal to one rank at a random moment; return whether it had not ended by itself."""
        is_aimed = self.how == signal.SIGKILL and self.counts["kills"] % 3 < 2
        if is_aimed:
            staging = self.folder / name / STAGING
            for number in range(self.rng.randint(1, 3), 0, -1):
                wait_while(lambda: run.is_alive() and not staging.exists())
                if number > 1:
                    wait_while(lambda: run.is_alive() and staging.exists())
            time.sleep(self.rng.random() * WRITE)
        else:
            deadline = time.perf_counter() + self.rng.random() * seconds
            wait_while(lambda: run.is_alive() and time.perf_counter() < deadline)
        victim = self.rng.randrange(self.num_ranks)
        if not run.is_alive():
            return False
        os.kill(run.processes[victim].pid or 0, self.how)
        run.end_after(self.how)
        print(f"{self.how.name} {self.counts['kills'] + 1}, {self.num_ranks} ranks, in {name}", flush=True)
        self.counts["inside_writes"] += any((self.folder / name / STAGING).glob("checkpoint-*"))
        return not run.outcome_file.exists()

    def _ended(self, run: "Started") -> Any:
        for process in run.processes:
            process.join(PATIENCE)
        return json.loads(run.outcome_file.read_text(encoding="utf-8")) if run.outcome_file.exists() else None


def wait_while(holds: Callable[[], bool]) -> None:
    """Wait as long as something holds."""
    while holds():
        time.sleep(1e-4)


class Started:
    """A run that has been started, on processes of its own.

    Args:
        folder: For output folders.
        name: Of the run's.
        num_ranks: Processes.
        is_told: Whether it saves when it gets SIGTERM.
    """

    def __init__(self, folder: Path, name: str, num_ranks: int, is_told: bool) -> None:
        self.output = folder / name
        self.notes = folder / f"{name}_notes"
        self.notes.mkdir(parents=True, exist_ok=True)
        for file in self.notes.iterdir():
            file.unlink()
        self.outcome_file = self.notes / "outcome.json"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        arguments = (num_ranks, port, self.output, self.notes, is_told)
        self.processes = [CONTEXT.Process(target=train, args=(rank, *arguments)) for rank in range(num_ranks)]
        for process in self.processes:
            process.start()

    def is_alive(self) -> bool:
        """Whether all its processes are."""
        return all(process.is_alive() for process in self.processes)

    def end_after(self, how: signal.Signals) -> None:
        """Wait for the processes; who waits for a rank that was killed is killed as well, as a launcher does."""
        if how == signal.SIGKILL:
            time.sleep(0.2 if len(self.processes) > 1 else 0.0)
            for process in self.processes:
                process.kill()
        for process in self.processes:
            process.join(PATIENCE)
            process.kill()
            process.join()

    def begun_at(self) -> int | None:
        """Return the step that it began at, if it came so far."""
        file = self.notes / "begun"
        return int(file.read_text(encoding="utf-8") or 0) if file.exists() else None

    def failure(self) -> str | None:
        """Return what was raised, if anything."""
        file = self.notes / "failure"
        return file.read_text(encoding="utf-8") if file.exists() else None


def train(rank: int, num_ranks: int, port: int, output: Path, notes: Path, is_told: bool) -> None:
    """Train on a rank, from the newest checkpoint if there is one; note where it began and what came out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    torch.set_num_threads(1)
    if num_ranks > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_ranks, "LOCAL_WORLD_SIZE": num_ranks}
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in (names | address).items()})
    try:
        trainer = make_trainer(output, is_told)
        load = trainer.run.on_train_begin

        def noting(*args: Any, **kwargs: Any) -> None:
            load(*args, **kwargs)
            if rank == 0:
                (notes / "begun").write_text(str(trainer.state.global_step), encoding="utf-8")

        trainer.run.on_train_begin = noting  # type: ignore[method-assign]
        if is_told:
            trainer.run._on_sigterm.jit_manager.kill_wait = 0.0
        trainer.train(resume_from_checkpoint="auto")
    except BaseException as error:
        (notes / "failure").write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        raise
    if rank == 0 and trainer.run.stop_reason is None:
        unfinished = notes / "unfinished.json"
        unfinished.write_text(json.dumps(outcome(trainer, output), default=lambda x: x.tolist()), encoding="utf-8")
        unfinished.rename(notes / "outcome.json")


def make_trainer(output: Path, is_told: bool) -> ThreeSPOTrainer:
    env = SpokenCorridor(length=4, max_steps=5)
    texts = [env.prompt(task, env.reset(task), [])[0]["content"] for task in env.tasks()]
    tokenizer = word_tokenizer([*texts, "left right open red blue green big small"])
    torch.manual_seed(0)
    model = tiny_model(tokenizer, hidden_size=32, initializer_range=0.15)
    config = ThreeSPOConfig(
        output_dir=str(output),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=16,
        num_generations=4,
        num_iterations=2,
        novelty_weight=0.3,
        max_completion_length=1,
        learning_rate=1e-3,
        max_steps=UPDATES,
        logging_steps=3,
        save_strategy="steps",
        save_steps=100 if is_told else 1,
        save_total_limit=1,
        enable_jit_checkpoint=is_told,
        report_to="none",
        disable_tqdm=True,
        seed=7,
        ddp_timeout=60,
    )
    return ThreeSPOTrainer(model, env, config, processing_class=tokenizer)


def outcome(trainer: ThreeSPOTrainer, output: Path) -> dict[str, Any]:
    """Return what equal runs have in common; floats are written to their last bit."""
    logs = [
        {name: value for name, value in entry.items() if not name.startswith(UNLIKE)}
        for entry in trainer.state.log_history
        if "train_runtime" not in entry and "stop_reason" not in entry
    ]
    return {
        "weights": {name: p.detach() for name, p in trainer.model.named_parameters()},
        "optimizer": torch.load(output / f"checkpoint-{UPDATES}" / "optimizer.pt", weights_only=True),
        "algorithm": trainer.algorithm.state_dict(),
        "logs": logs,
    }


if __name__ == "__main__":
    main()
