"""A checkpoint as a policy, and its evaluation without a trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from trl_3spo.algorithm.records import Sample, Visit
from trl_3spo.environments.base import Environment, Message, Task
from trl_3spo.environments.failures import NoAction
from trl_3spo.evaluation.asker import Asker
from trl_3spo.evaluation.chat import Chat
from trl_3spo.evaluation.model_checks import num_positions, require_chat_template, require_positions
from trl_3spo.evaluation.panel import Answer, OnEpisodes, evaluate_policy
from trl_3spo.evaluation.results import Evaluation

_PLAIN_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")


def evaluate_checkpoint(
    model: str,
    env: Environment,
    tasks: Sequence[Task] | None = None,
    *,
    num_episodes: int | None = None,
    temperature: float = 0.0,
    max_completion_length: int = 512,
    batch_size: int = 64,
    chat_template_kwargs: dict[str, Any] | None = None,
    seed: int = 0,
    on_episodes: OnEpisodes | None = None,
) -> Evaluation:
    """Play a panel with a saved model and return success rates, overall and by task type.

    A trainer's `evaluate` gives the same with the same tasks and settings when it is greedy; otherwise it draws other
    random numbers. The random generators are left as they were.

    Args:
        model: Folder of a checkpoint, or name of a model or PEFT adapter on the Hub.
        env: Must end its episodes itself.
        tasks: The panel; `None` takes the environment's own choice.
        num_episodes: Episodes in all; the tasks take turns. `None` plays each task once.
        temperature: At least 0; 0 is greedy.
        max_completion_length: Tokens of a completion, at least 1.
        batch_size: Number of episodes that are advanced together.
        chat_template_kwargs: Arguments of the chat template, those of the training's configuration.
        seed: Of the sampling.
        on_episodes: Is shown the episodes, to record them.

    Raises:
        OSError: There is no such model; `FileNotFoundError` if it should be a folder.
        ValueError: There are no tasks, an option is out of its range, the tokenizer has no chat template, or a prompt
            does not fit the model.
    """
    policy = load_policy(
        model,
        temperature=temperature,
        max_completion_length=max_completion_length,
        chat_template_kwargs=chat_template_kwargs,
    )
    tasks = env.tasks() if tasks is None else tasks
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return evaluate_policy(
            policy, env, tasks, num_episodes=num_episodes, batch_size=batch_size, on_episodes=on_episodes
        )


class CheckpointPolicy:
    """A model and its tokenizer as a policy. As a function it completes chat messages.

    Args:
        network: The model, with its settings of generation.
        tokenizer: Has a chat template, and pads on the left.
        options: Further arguments of the chat template.
        name: Of the model, for messages.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: PreTrainedTokenizerBase,
        options: dict[str, Any] | None = None,
        name: str = "the model",
    ) -> None:
        self._name = name
        self._network = network
        self._tokenizer = tokenizer
        self._options = options or {}
        self._chat = self._chat_for(has_tools=False)

    def _chat_for(self, *, has_tools: bool) -> Chat:
        ends = self._network.generation_config.eos_token_id or []
        return Chat(self._tokenizer, self._options, name=self._name, end_tokens=ends, has_tools=has_tools)

    def __call__(self, prompts: list[list[Message]]) -> list[str]:
        """Complete chat messages.

        Raises:
            ValueError: A prompt does not fit the model.
        """
        ids = self._chat.prompt_ids(prompts)
        return [self._chat.text_of(x, prompt) for x, prompt in zip(self._complete(ids), ids, strict=True)]

    def answering(self, env: Environment) -> Answer:
        """Return what answers at visits of an environment, with its tools, within the model's positions."""
        asker: Asker | None = None

        def answer(visits: Sequence[Visit]) -> list[Sample]:
            nonlocal asker
            if asker is None:
                has_tools = any(env.tools(visit.task) for visit in visits)
                asker = Asker(env, self._chat_for(has_tools=has_tools), self._room, refuse=self._refuse)
            asked = asker.ask(visits)
            rows = [x for x in asked if not isinstance(x, NoAction)]
            completions = self._complete([x.ids for x in rows]) if rows else []
            answers = iter([asker.read(x, ids) for x, ids in zip(rows, completions, strict=True)])
            return [Sample([], [], [], x) if isinstance(x, NoAction) else next(answers) for x in asked]

        return answer

    def _room(self) -> int:
        limit, size = num_positions(self._network), self._network.generation_config.max_new_tokens
        return max(limit - size, 1) if limit else 0

    def _refuse(self, size: int) -> None:
        require_positions(self._network, size, self._network.generation_config.max_new_tokens)

    def _complete(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        inputs = self._tokenizer.pad({"input_ids": prompt_ids}, return_tensors="pt").to(self._network.device)
        prompt_size = inputs["input_ids"].size(1)
        self._refuse(prompt_size)
        with torch.inference_mode():
            sequences = self._network.generate(**inputs)
        ends = set(self._network.generation_config.eos_token_id or ())
        return [_until_end(ids, ends) for ids in sequences[:, prompt_size:].tolist()]


def _until_end(ids: list[int], ends: set[int]) -> list[int]:
    """Return a completion with the token that ends it, without what pads it."""
    last = next((place for place, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: last + 1]


def load_policy(
    model: str,
    *,
    temperature: float = 0.0,
    max_completion_length: int = 512,
    chat_template_kwargs: dict[str, Any] | None = None,
) -> CheckpointPolicy:
    """Load a checkpoint onto the GPU, if there is one, as a policy.

    Its own settings of generation are put aside, but for the tokens that end an answer. See `evaluate_checkpoint`.
    """
    if temperature < 0 or max_completion_length < 1:
        raise ValueError(
            f"temperature is {temperature!r} and max_completion_length {max_completion_length!r}; required are at "
            "least 0 (greedy) and at least 1 token."
        )
    is_path = model.startswith(("/", ".", "~")) or model.count("/") > 1
    if is_path and not Path(model).is_dir():
        raise FileNotFoundError(
            f"There is no checkpoint {model}; give the folder that holds config.json or adapter_config.json, or the "
            "name of a model on the Hub."
        )
    device_map = "auto" if torch.cuda.is_available() else None
    network = AutoModelForCausalLM.from_pretrained(model, dtype="auto", device_map=device_map).eval()
    tokenizer = load_tokenizer(model)
    require_chat_template(tokenizer, model)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    network.generation_config = GenerationConfig(
        **sampling,
        max_new_tokens=max_completion_length,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=_end_tokens(network, tokenizer),
    )
    return CheckpointPolicy(network, tokenizer, chat_template_kwargs, model)


def merge_adapter(adapter: str | Path, output: str | Path) -> None:
    """Add a PEFT adapter to its base model and save both as one plain model, with the tokenizer.

    After training on a quantized base the adapter is added to that base as it was saved, in full precision: the policy
    then differs by what quantizing had cost the base, so evaluate it again.

    Args:
        adapter: Folder of a trained adapter, its tokenizer beside it.
        output: Folder to write.

    Raises:
        FileNotFoundError: The folder holds no adapter.
        OSError: The base model it names is not there.
    """
    if not (Path(adapter) / "adapter_config.json").exists():
        raise FileNotFoundError(
            f"There is no adapter_config.json in {adapter}; give the folder of an adapter. A folder with config.json "
            "holds a full model, which needs no merging."
        )
    from peft import AutoPeftModelForCausalLM

    model = AutoPeftModelForCausalLM.from_pretrained(str(adapter), dtype="auto")
    model.merge_and_unload().save_pretrained(output)
    load_tokenizer(str(adapter)).save_pretrained(output)


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer that was saved with a model, padding on the left.

    AutoTokenizer takes Qwen2's own class for Qwen2 models, whatever the files say; one that was saved as a plain one
    would split texts otherwise.
    """
    is_plain = get_tokenizer_config(model).get("tokenizer_class") in _PLAIN_TOKENIZERS
    return (PreTrainedTokenizerFast if is_plain else AutoTokenizer).from_pretrained(model, padding_side="left")


def _end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    own = model.generation_config.eos_token_id
    tokens = [*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id]
    return list(dict.fromkeys(token for token in tokens if token is not None))
