"""Configuration that all trainers of agents share, whatever their algorithm."""

from dataclasses import dataclass, field

from trl import GRPOConfig


@dataclass
class AgentConfig(GRPOConfig):
    r"""
    Configuration class for the [`~trl_3spo.agent_trainer.AgentTrainer`].

    Everything of [`~trl.GRPOConfig`] keeps its name and meaning.

    Parameters:
        max_idle_rounds (`int`, *optional*, defaults to `100`):
            Sampling rounds without any signal after which training ends: the policy has nothing left to learn from
            these tasks, or never succeeds.
        num_generations_eval (`int`, *optional*, defaults to `1`):
            Episodes an evaluation plays of every task. As in GRPOConfig, the evaluation batch must be divisible by it.
        prefix_sharing (`str`, *optional*, defaults to `"auto"`):
            `"auto"` computes every distinct prompt of a batch once where the model allows it, `"off"` never does.
            Several processes, activation checkpointing (GRPOConfig's default) and sliding-window or recurrent layers
            keep it off.
        train_split (`str`, *optional*):
            Split of the environment's tasks to train on; `None` is the environment's own choice.
        eval_split (`str`, *optional*):
            Split to evaluate on; `None` is the environment's own choice.
        num_eval_tasks (`int`, *optional*, defaults to `100`):
            Size of the evaluation panel: the first so many tasks of the split.
        eval_temperature (`float`, *optional*, defaults to `0.0`):
            Sampling temperature in evaluations, at least 0; 0 is greedy.
    """

    max_idle_rounds: int = field(
        default=100, metadata={"help": "Sampling rounds without signal after which training ends."}
    )
    num_generations_eval: int | None = field(
        default=1, metadata={"help": "Episodes an evaluation plays of every task."}
    )
    prefix_sharing: str = field(
        default="auto", metadata={"help": "Whether equal prompts are computed once.", "choices": ["auto", "off"]}
    )
    train_split: str | None = field(default=None, metadata={"help": "Split of the environment to train on."})
    eval_split: str | None = field(default=None, metadata={"help": "Split of the environment to evaluate on."})
    num_eval_tasks: int = field(default=100, metadata={"help": "Number of tasks in the evaluation panel."})
    eval_temperature: float = field(default=0.0, metadata={"help": "Temperature in evaluations; 0 is greedy."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prefix_sharing not in ("auto", "off"):
            raise ValueError(f"prefix_sharing is {self.prefix_sharing!r}; it must be 'auto' or 'off'.")
        for name in ("max_idle_rounds", "num_eval_tasks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be at least 1.")
        if self.eval_temperature < 0:
            raise ValueError(f"eval_temperature is {self.eval_temperature!r}; it must be at least 0 (0 is greedy).")
