"""[`AgentTrainer`]: what every trainer of agents in an environment shares, whatever its algorithm."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import GenerationConfig, PreTrainedModel

from trl_3spo.environments.base import Environment, Message, Task
from trl_3spo.evaluation.panel import Evaluation, play_panel, summarize
from trl_3spo.evaluation.policies import require_chat_template, require_positions
from trl_3spo.prefix_sharing.trainer import PrefixSharingTrainer
from trl_3spo.training.agent_config import AgentConfig
from trl_3spo.training.model_card import environment_section
from trl_3spo.training.ranks import gather, go_on, in_step
from trl_3spo.training.start_checks import check_start


class AgentTrainer(PrefixSharingTrainer):
    """
    A [`~trl.GRPOTrainer`] with an environment in place of its datasets.

    Brings tasks, evaluation by full episodes on a fixed panel, a model card that says so, and, by
    [`PrefixSharingTrainer`], equal prompts computed once. How samples are collected and credited is left to subclasses.

    Args:
        model, env, args, train_tasks, eval_tasks, **kwargs:
            As in [`ThreeSPOTrainer`].
        reward_func (callable):
            Passes the collected rewards on to TRL's logs.
    """

    # GRPOTrainer's, whose package is untyped.
    control: Any
    _last_loaded_step: int

    def __init__(
        self,
        model: str | PreTrainedModel,
        env: Environment | Callable[[], Environment],
        args: AgentConfig,
        *,
        reward_func: Callable[..., list[float]],
        train_tasks: Sequence[Task] | None = None,
        eval_tasks: Sequence[Task] | None = None,
        **kwargs: Any,
    ) -> None:
        _refuse(kwargs, type(self).__name__)
        self.env = env if isinstance(env, Environment) else env()
        self.train_tasks = self.env.tasks(args.train_split) if train_tasks is None else train_tasks
        self.eval_tasks = self._panel(args) if eval_tasks is None else eval_tasks
        self.evaluation: Evaluation | None = None
        self._synced_step: int | None = None
        adaptation = {name: kwargs.get(name) for name in ("quantization_config", "peft_config")}
        check_start(model, args, len(self.train_tasks), **adaptation)
        clocks = {"train_dataset": _clock(self.train_tasks, args), "eval_dataset": _clock(self.eval_tasks, args)}
        super().__init__(model, reward_func, args=args, **clocks, **kwargs)
        require_chat_template(self._tokenizer, model_name(model))

    def _panel(self, args: AgentConfig) -> Sequence[Task]:
        return list(self.env.tasks(args.eval_split))[: args.num_eval_tasks]

    # -- evaluation ----------------------------------------------------------------------------------------------------

    def evaluate(
        self,
        eval_dataset: Sequence[Task] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """
        Play the evaluation panel and return its metrics: success rate with a 95 % interval, also by task type.

        Args:
            eval_dataset (sequence of [`~trl_3spo.environments.base.Task`], *optional*):
                In place of the trainer's panel.
            ignore_keys (`list[str]`, *optional*):
                Accepted for compatibility; nothing is ignored.
            metric_key_prefix (`str`, *optional*, defaults to `"eval"`):
                Prefix of the metrics' names.
        """
        self.evaluation = self.evaluate_tasks(self.eval_tasks if eval_dataset is None else eval_dataset)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in _flat(self.evaluation).items()}
        was_training = self.model.training
        self.model.eval()  # GRPOTrainer logs by the model's mode
        self.log(metrics)
        self.model.train(was_training)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def evaluate_tasks(self, tasks: Sequence[Task]) -> Evaluation:
        """Play every task `args.num_generations_eval` times with `args.eval_temperature`, and summarize.

        The ranks share the episodes out, and each returns the summary of all. Leaves the random generators as they
        were, so that evaluating does not change the training that follows.
        """
        tasks = list(tasks) * (self.args.num_generations_eval or 1)
        rank, num_ranks = self.accelerator.process_index, self.accelerator.num_processes
        devices = [self.accelerator.device] if self.accelerator.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self._evaluation_sampling(), in_step(self._idle):
            torch.manual_seed(self.args.seed + rank)
            results = play_panel(
                self._complete, self.env, tasks[rank::num_ranks], batch_size=self.args.per_device_eval_batch_size
            )
        shares = gather(results)
        return summarize([shares[i % num_ranks][i // num_ranks] for i in range(len(tasks))])

    def _prompt_ids(self, prompts: list[list[Message]]) -> list[list[int]]:
        """Tokenize prompts, or say which does not fit the model together with its answer."""
        prompt_ids: list[list[int]] = self._tokenize_prompts(prompts)[0]
        require_positions(self.model, max(map(len, prompt_ids)), self.max_completion_length)
        return prompt_ids

    def _complete(self, prompts: list[list[Message]]) -> list[str]:
        """Answer prompts, within `in_step`."""
        prompt_ids = self._prompt_ids(prompts)
        go_on()
        completions, _ = self._generate_single_turn(prompt_ids, None, {}, 1)
        return list(self.processing_class.batch_decode(completions, skip_special_tokens=True))

    def _idle(self) -> None:
        """Take part in a generation that only other ranks need; engines are each rank's own."""
        if not self.use_vllm:
            self._generate_single_turn([[self._tokenizer.pad_token_id]], None, {}, 1)

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> tuple[list[list[int]], Any]:
        if self.use_vllm:
            self._keep_engine_weights()
        return super()._generate_single_turn(*args, **kwargs)

    def _keep_engine_weights(self) -> None:
        """Count vLLM's weights as up to date, so that GRPOTrainer leaves them, while `vllm_sync_steps` allows it."""
        is_due = self._synced_step is None or self.staleness >= (
            self.args.vllm_sync_steps if self.model.training else 1
        )
        if is_due:
            self._synced_step = self.state.global_step
        self._last_loaded_step = -1 if is_due else self.state.global_step

    @property
    def staleness(self) -> int:
        """Optimizer steps made since vLLM got its weights."""
        return 0 if self._synced_step is None else int(self.state.global_step) - self._synced_step

    @contextmanager
    def _evaluation_sampling(self) -> Iterator[None]:
        """Switch the model to evaluation and the generation to the evaluation's temperature."""
        temperature = self.args.eval_temperature
        if self.use_vllm:
            with self._vllm_temperature(temperature):
                yield
            return
        was_training, config, kwargs = self.model.training, self.generation_config, self.generation_kwargs
        changes = {"do_sample": temperature > 0, "temperature": temperature if temperature > 0 else 1.0}
        self.generation_kwargs = kwargs | changes
        self.generation_config = GenerationConfig(**self.generation_kwargs, disable_compile=True)
        self.model.eval()
        try:
            yield
        finally:
            self.generation_config, self.generation_kwargs = config, kwargs
            self.model.train(was_training)

    @contextmanager
    def _vllm_temperature(self, temperature: float) -> Iterator[None]:
        was_training, usual = self.model.training, self.vllm_generation.temperature
        self.vllm_generation.temperature = temperature
        self.model.eval()
        try:
            yield
        finally:
            self.vllm_generation.temperature = usual
            self.model.train(was_training)

    # -- model card ----------------------------------------------------------------------------------------------------

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Create TRL's card and add to it what the model was trained in and the latest evaluation."""
        super().create_model_card(*args, **kwargs)
        if self.is_world_process_zero():
            card = Path(self.args.output_dir) / "README.md"
            card.write_text(card.read_text() + environment_section(self.env, self.evaluation))


def _refuse(kwargs: dict[str, Any], name: str) -> None:
    taken = {"reward_funcs", "train_dataset", "eval_dataset", "rollout_func", "tools", "environment_factory"}
    refused = sorted(taken & kwargs.keys())
    if refused:
        raise TypeError(
            f"{name} does not take {', '.join(refused)}: tasks, observations and rewards come from the "
            "environment. Pass train_tasks and eval_tasks to choose tasks, and wrap a class written for TRL's "
            "environment_factory with trl_3spo.environments.adapters.tool_environment."
        )


def model_name(model: str | PreTrainedModel) -> str:
    """Return the last part of a model's name or path."""
    return (model if isinstance(model, str) else str(model.config._name_or_path)).rstrip("/").split("/")[-1]


def _clock(tasks: Sequence[Task], args: AgentConfig) -> Dataset:
    """Return the dataset that drives TRL's loop: one row a task, repeated until one generation batch is full.

    Only its length matters. Which task is trained when is the rollout's to say.
    """
    num_rows = max(len(tasks), args.generation_batch_size // args.num_generations)
    ids = islice(cycle(task.id for task in tasks), num_rows)
    return Dataset.from_list([{"prompt": [{"role": "user", "content": task_id}]} for task_id in ids])


def _flat(evaluation: Evaluation) -> dict[str, float]:
    success = evaluation.success
    by_kind = {f"success_rate/{kind}": x.rate for kind, x in evaluation.success_by_kind.items() if kind}
    return {
        "success_rate": success.rate,
        "success_rate_low": success.low,
        "success_rate_high": success.high,
        "mean_steps": evaluation.mean_steps,
        "inadmissible_share": evaluation.inadmissible_share,
        **by_kind,
    }
