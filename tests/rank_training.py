"""Training on several gloo processes: how they are started, and what each of them does and tells of it."""

import multiprocessing
import os
import socket
import time
from concurrent.futures import ProcessPoolExecutor

import torch
from peft import LoraConfig
from torch.distributed.fsdp import fully_shard

from training import WORDS, config_for, corridor_trainer
from trl_3spo import ThreeSPOTrainer
from trl_3spo.environments.base import Environment, Observation, StepResult, Task
from trl_3spo.evaluation.policies import load_tokenizer

# A server that has imported everything once forks the processes.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["trl_3spo.three_spo_trainer", "peft"])


def on_ranks(num_ranks, work, *arguments):
    """Call a function in as many processes, and return what each of them returned."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ProcessPoolExecutor(num_ranks, mp_context=CONTEXT) as pool:
        futures = [pool.submit(_as_rank, rank, num_ranks, port, work, arguments) for rank in range(num_ranks)]
        return [future.result() for future in futures]


def _as_rank(rank, num_ranks, port, work, arguments):
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_ranks, "LOCAL_WORLD_SIZE": num_ranks}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in (names | address).items()})
    try:
        return work(rank, *arguments)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


class UnevenEnv(Environment):
    """Say words, the last of which must have an even number of letters; a world that ranks can have in different sizes.

    Args:
        length: Words of an episode.
        seconds_per_step: For other ranks to wait.
        steps_until_error: Steps it takes before it fails.
    """

    def __init__(self, length=3, seconds_per_step=0.0, steps_until_error=None):
        self.length = length
        self.seconds_per_step = seconds_per_step
        self.steps_until_error = steps_until_error
        self._said = ()

    def tasks(self, split=None):
        return [Task(f"{word} task", kind=word[0], data=word) for word in WORDS]

    def reset(self, task):
        return self.restore((task.data,))

    def restore(self, snapshot):
        self._said = snapshot
        depth = len(snapshot) - 1
        return Observation(f"{snapshot[0]} ? {depth}", snapshot, score_keys=(snapshot, (snapshot[0], depth)))

    def snapshot(self):
        return self._said

    def step(self, action):
        time.sleep(self.seconds_per_step)
        if self.steps_until_error is not None:
            self.steps_until_error -= 1
            if self.steps_until_error < 0:
                raise OSError("the floor gave way")
        observation = self.restore((*self._said, action))
        is_last = len(self._said) > self.length
        success = is_last and len(action) % 2 == 0
        return StepResult(observation, float(success), terminated=is_last, success=success)


def watched(trainer):
    """Return the trainer and what it will have done: generate calls, rows of its updates, episodes it ended."""
    seen = {"num_calls": 0, "num_idle": 0, "num_tokens": 0, "num_rows": [], "num_real_rows": [], "episodes": []}
    generate, idle, loss = trainer._generate_single_turn, trainer.sampler.idle, trainer._compute_loss
    gather, sample = trainer.algorithm.ranks.gather, trainer.sampler.sample

    def counting_generate(*args, **kwargs):
        seen["num_calls"] += 1
        return generate(*args, **kwargs)

    def counting_idle():
        seen["num_idle"] += 1
        idle()

    def counting_sample(*args):
        samples = sample(*args)
        seen["num_tokens"] += sum(len(x.prompt_ids) + len(x.completion_ids) for group in samples for x in group)
        return samples

    def remembering_gather(value):
        if isinstance(value, list) and all(isinstance(x, dict) for x in value):
            seen["episodes"].append(value)  # what this rank's ended episodes were worth
        return gather(value)

    def remembering_loss(model, inputs):
        seen["num_rows"].append(len(inputs["prompt_ids"]))
        seen["num_real_rows"].append(sum(not row.is_padding for row in trainer._rows))
        return loss(model, inputs)

    trainer._generate_single_turn, trainer.sampler.idle = counting_generate, counting_idle
    trainer.algorithm.ranks.gather, trainer._compute_loss = remembering_gather, remembering_loss
    trainer.sampler.sample = counting_sample
    return trainer, seen


def settings(**changes):
    """Return a configuration in which a deadlock ends by itself."""
    return {"novelty_weight": 0.3, "per_device_train_batch_size": 16, "ddp_timeout": 60} | changes


def train_unevenly(rank, folder, base, has_adapters, changes):
    """Train in episodes that grow with the rank, and a hundred times as slowly on rank 1; evaluate in equal ones."""
    env = UnevenEnv(length=2 + rank, seconds_per_step=2e-3 if rank == 1 else 0.0)
    trainer = ThreeSPOTrainer(
        str(base),
        env,
        config_for(folder, **settings(**changes)),
        processing_class=load_tokenizer(str(base)),
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if has_adapters else None,
    )
    trainer, seen = watched(trainer)
    trainer.train()
    env.length = 3
    trainer.evaluate()
    trainer.save_model(folder)
    return seen | {
        "history": trainer.algorithm.history.state_dict(),
        "logged_tokens": sum(entry.get("sampled_tokens", 0) for entry in trainer.state.log_history),
        "weights": {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()},
        "evaluation": trainer.evaluation,
        "num_processes": trainer.accelerator.num_processes,
    }


def fail(rank, folder):
    """Fail on rank 1 in every phase in turn, and train after that as if nothing had been."""
    errors = {}
    for phase, num_steps in {"rounds": 40, "evaluation": 3}.items():
        env = UnevenEnv(steps_until_error=None if phase == "evaluation" or rank != 1 else num_steps)
        trainer = corridor_trainer(folder, env=env, **settings(max_steps=50, failure_policy="raise"))
        if phase == "evaluation":
            env.steps_until_error = num_steps if rank == 1 else None
        try:
            trainer.evaluate() if phase == "evaluation" else trainer.train()
        except Exception as error:
            errors[phase] = (type(error).__name__, str(error), trainer.algorithm.history.num_episodes)
    trainer = corridor_trainer(folder, env=UnevenEnv(), **settings(max_steps=1))
    trainer.train()
    return errors | {"after": trainer.state.global_step}


def evaluate_in_shards(rank, folder, base):
    """Evaluate a model whose layers lie in shards (FSDP 2), two tasks on one rank and one on the other."""
    changes = {"num_eval_tasks": 3, "per_device_eval_batch_size": 1, "max_completion_length": 24}
    config = config_for(folder, **settings(**changes))
    trainer = ThreeSPOTrainer(str(base), UnevenEnv(), config, processing_class=load_tokenizer(str(base)))
    for layer in trainer.model.model.layers:
        fully_shard(layer)
    fully_shard(trainer.model)
    trainer.is_fsdp_enabled = True  # accelerate shards on GPUs only
    trainer, seen = watched(trainer)
    trainer.evaluate()
    greedy = trainer.evaluation
    trainer.args.eval_temperature = 1.5  # answers end at any length
    trainer.evaluate()
    shard = type(trainer.model.model.layers[0].mlp.up_proj.weight).__name__
    return {"evaluation": greedy, "num_calls": seen["num_calls"], "num_idle": seen["num_idle"], "shard": shard}


def resume(rank, folder, checkpoint):
    """Go on where another number of processes left off; return what the rollout began with."""
    trainer = corridor_trainer(folder, env=UnevenEnv(), **settings(max_steps=2))
    load, begun = trainer.algorithm.load_state_dict, {}

    def remember(state, saved_by):
        load(state, saved_by=saved_by)
        begun.update(trainer.algorithm.state_dict())

    trainer.algorithm.load_state_dict = remember
    trainer.train(resume_from_checkpoint=str(checkpoint))
    return begun | {"num_updates": trainer.state.global_step}
