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

from trl_3spo.environments.base import Environment, Message, Task
from trl_3spo.environments.plain_text import encodable_messages
from trl_3spo.evaluation.model_checks import check_prompt, require_chat_template, require_positions
from trl_3spo.evaluation.panel import Evaluation, Generate, evaluate_policy

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

    Raises:
        OSError: There is no such model; `FileNotFoundError` if it should be a folder.
        ValueError: There are no tasks, an option is out of its range, the tokenizer has no chat template, or a prompt
            does not fit the model.
    """
    generate = load_policy(
        model,
        temperature=temperature,
        max_completion_length=max_completion_length,
        chat_template_kwargs=chat_template_kwargs,
    )
    tasks = env.tasks() if tasks is None else tasks
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return evaluate_policy(generate, env, tasks, num_episodes=num_episodes, batch_size=batch_size)


def load_policy(
    model: str,
    *,
    temperature: float = 0.0,
    max_completion_length: int = 512,
    chat_template_kwargs: dict[str, Any] | None = None,
) -> Generate:
    """Load a checkpoint onto the GPU, if there is one, as a function from chat messages to completions.

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
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    network.generation_config = GenerationConfig(
        **sampling,
        max_new_tokens=max_completion_length,
        pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        eos_token_id=_end_tokens(network, tokenizer),
    )

    has_checked_template = False
    template_kwargs = chat_template_kwargs or {}

    def complete(prompts: list[list[Message]]) -> list[str]:
        nonlocal has_checked_template
        texts = list(map(encodable_messages, prompts))
        if texts and not has_checked_template:
            has_checked_template = True
            check_prompt(tokenizer, texts[0], model, template_kwargs)
        inputs = tokenizer.apply_chat_template(
            texts, add_generation_prompt=True, return_dict=True, return_tensors="pt", padding=True, **template_kwargs
        ).to(network.device)
        prompt_size = inputs["input_ids"].size(1)
        require_positions(network, prompt_size, max_completion_length)
        with torch.inference_mode():
            sequences = network.generate(**inputs)
        return list(tokenizer.batch_decode(sequences[:, prompt_size:], skip_special_tokens=True))

    return complete


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
