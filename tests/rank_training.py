"""Training on several gloo processes: how they are started, and what each of them does and tells of it."""

import multiprocessing
import os
import socket
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
import transformers
from engines_rank import shard_on_cpus
from packaging.version import Version
from peft import LoraConfig
from trl.generation import vllm_client, vllm_generation
from trl.trainer import grpo_trainer

from engine_stand_ins import HttpClient, InProcess
from training import WORDS, config_for, corridor_trainer
from trl_3spo import ThreeSPOTrainer
from trl_3spo.environments.base import Environment, Observation, StepResult, Task
from trl_3spo.evaluation.policies import evaluate_checkpoint, load_tokenizer
from trl_3spo.training import engine

# A server that has imported everything once forks the processes.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["trl_3spo.three_spo_trainer", "peft"])


resumes_on_ranks = pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.18"),
    reason="before 5.18, transformers asks torch for the device cpu:0, which it cannot load an optimizer to",
)


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

    def is_digest(key):
        return isinstance(key, int)

    def remembering_gather(value):
        if isinstance(value, list) and all(isinstance(x, dict) and all(map(is_digest, x)) for x in value):
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
        "weights": weights_of(trainer),
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


def trainer_in_shards(folder, base, **changes):
    """Return a trainer whose model accelerate lays in shards (FSDP 2), as accelerate/fsdp2.yaml has it do."""
    shard_on_cpus()
    os.environ |= {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
        "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    }
    config = config_for(folder, **settings(**changes))
    return ThreeSPOTrainer(str(base), UnevenEnv(), config, processing_class=load_tokenizer(str(base)))


def train_in_shards(rank, folder, base):
    """Train a model in shards for two updates, or whole; return its weights."""
    whole = corridor_trainer(folder / "whole", env=UnevenEnv(), model=str(base), **settings(max_steps=2))
    begin = weights_of(whole)
    whole.train()
    shards = trainer_in_shards(folder / "shards", base, max_steps=2)
    shards.train()
    layout = type(next(shards.model.parameters())).__name__
    return {"begin": begin, "whole": weights_of(whole), "shards": weights_of(shards), "layout": layout}


def weights_of(trainer):
    """Return copies of the weights, whole where they lie in shards."""
    named = trainer.model.named_parameters()
    return {name: getattr(x, "full_tensor", lambda x=x: x)().detach().clone() for name, x in named}


def evaluate_in_shards(rank, folder, base):
    """Evaluate a model in shards, two tasks on one rank and one on the other."""
    changes = {"num_eval_tasks": 3, "per_device_eval_batch_size": 1, "max_completion_length": 24}
    trainer = trainer_in_shards(folder, base, max_steps=1, **changes)
    trainer.train()  # lays the model in shards
    trainer, seen = watched(trainer)
    trainer.evaluate()
    greedy = trainer.evaluation
    trainer.args.eval_temperature = 1.5  # answers end at any length
    trainer.evaluate()
    shard = type(trainer.model.model.layers[0].mlp.up_proj.weight).__name__
    trainer.save_model(str(folder / "saved"))
    return {"evaluation": greedy, "num_calls": seen["num_calls"], "num_idle": seen["num_idle"], "shard": shard}


def sample_by_engines_of_shards(rank, folder, base):
    """Train a model in shards with an engine of each rank's own; evaluate a single task, which one rank has."""
    grpo_trainer.VLLMGeneration = InProcess
    engine.is_vllm_available = lambda: True
    trainer = trainer_in_shards(folder, base, use_vllm=True, max_steps=2, learning_rate=1e-2)
    trainer.train()
    evaluation = trainer.evaluate_tasks(trainer.eval_tasks[:1])
    return sampled_by(trainer) | {"evaluation": evaluation, "num_calls": trainer.vllm_generation.num_calls}


def sample_by_server(rank, folder, base, url):
    """Train with one engine for all ranks, in episodes that grow with the rank; evaluate a single task."""
    vllm_generation.is_vllm_available = vllm_client.is_vllm_available = engine.is_vllm_available = lambda: True
    vllm_generation.VLLMClient, engine.TRANSFER_DEVICES = HttpClient, ("cpu",)
    changes = {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": url, "learning_rate": 1e-2}
    trainer = corridor_trainer(
        folder, env=UnevenEnv(length=2 + rank), model=str(base), **settings(max_steps=2, **changes)
    )
    trainer.train()
    trainer.env.length = 3
    return sampled_by(trainer) | {"evaluation": trainer.evaluate_tasks(trainer.eval_tasks[:1])}


def sampled_by(trainer):
    name = "sampling/sampling_logp_difference/max"
    return {"differences": [entry[name] for entry in trainer.state.log_history if name in entry]}


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


def evaluate_alone(rank, folder, num_episodes):
    """Evaluate a saved model without a trainer, the episodes shared out between the processes."""
    env = UnevenEnv()
    return evaluate_checkpoint(str(folder), env, num_episodes=num_episodes, max_completion_length=4, batch_size=1)
