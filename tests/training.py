"""Small worlds, models and configurations for the tests that train."""

from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
from trl_3spo.environments.base import Environment, Observation, StepResult, Task
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.tiny import tiny_model, word_tokenizer

WORDS = ["left", "right", "open", "red", "blue", "green", "big", "small"]


class WordsEnv(Environment):
    """Say a word of an even number of letters: one step, half of all words are right."""

    def __init__(self, num_tasks=8):
        self._tasks = [Task(f"task {i}", data=i) for i in range(num_tasks)]
        self._task = None

    def tasks(self, split=None):
        return self._tasks

    def reset(self, task):
        return self.restore(task)

    def restore(self, snapshot):
        self._task = snapshot
        return self._observe("")

    def _observe(self, suffix):
        return Observation(f"{WORDS[self._task.data % len(WORDS)]} ?{suffix}", (self._task.id, suffix))

    def snapshot(self):
        return self._task

    def step(self, action):
        success = bool(action) and len(action) % 2 == 0
        return StepResult.ended(self._observe(action), success=success)


class SpokenCorridor(CorridorEnv):
    """A corridor of three places in which every word is one of the three actions: an untrained model solves a fifth."""

    def __init__(self, max_steps=5):
        super().__init__(length=3, max_steps=max_steps)

    def parse_action(self, completion):
        return ("left", "right", "open")[sum(map(ord, completion)) % 3]


def tokenizer_for(env):
    """Make a tokenizer that knows every word of the first prompts, and WORDS."""
    texts = [env.prompt(task, env.reset(task), [])[0]["content"] for task in env.tasks()]
    return word_tokenizer([*texts, " ".join(WORDS), "cellar 1 2 3 4 5 6 7 8 9 of place"])


def untrained(tokenizer):
    """Return a model whose answers depend on the prompt from the beginning."""
    return tiny_model(tokenizer, hidden_size=32, initializer_range=0.15)


def config_for(folder, config_class=ThreeSPOConfig, **changes):
    """Return a configuration that trains on one CPU in a moment."""
    settings = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 32,
        "num_generations": 8,
        "max_completion_length": 1,
        "learning_rate": 1e-3,
        "max_steps": 1,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 7,
    }
    return config_class(**(settings | changes))


def corridor_trainer(folder, *, env=None, model=None, **changes):
    """Return a trainer of an untrained model in a short corridor, where one token is an action."""
    env = env or CorridorEnv(length=4)
    tokenizer = tokenizer_for(env)
    model = model or untrained(tokenizer)
    return ThreeSPOTrainer(model, env, config_for(folder, **changes), processing_class=tokenizer)


def baseline_trainer(trainer_class, folder, *, env=None, train_tasks=None, **changes):
    """Return a trainer over whole episodes of an untrained model, where one token is an action."""
    env = env or SpokenCorridor()
    tokenizer = tokenizer_for(env)
    config = config_for(folder, trainer_class._config_class, **changes)
    return trainer_class(untrained(tokenizer), env, config, train_tasks=train_tasks, processing_class=tokenizer)
