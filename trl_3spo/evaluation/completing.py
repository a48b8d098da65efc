"""What completes prompts in tokens: a model of transformers, or vLLM's engine."""

import json
from pathlib import Path
from typing import Any, Protocol

import psutil
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerBase

from trl_3spo.evaluation.model_checks import num_positions
from trl_3spo.evaluation.policy_settings import PolicySettings
from trl_3spo.prefix_sharing.generation import can_generate_shared, generate_shared
from trl_3spo.prefix_sharing.kept_prefixes import KeptPrefixes

KEPT_SHARE = 0.25
"""Share of the memory that is free beside a model, for the keys and values of conversations that may go on."""


class Completer(Protocol):
    """Completes prompts.

    Attributes:
        num_positions: Tokens that a prompt and its completion may have together; `None` sets no limit.
        end_tokens: Tokens that end a completion.
    """

    num_positions: int | None
    end_tokens: list[int]

    def complete(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        """Return for every prompt a completion, with the token that ends it."""


class Network:
    """A model of transformers as what completes prompts.

    Prompts are padded here and not by the tokenizer, which need not have a token for it. Equal prompts are computed
    once, and of a prompt that continues an earlier one only the new tokens, as in a training. Keys and values of
    conversations take up to a quarter of the free memory.

    Args:
        network: The model.
        tokenizer: Names tokens that end and pad.
        settings: Say how tokens are drawn.
    """

    def __init__(self, network: Any, tokenizer: PreTrainedTokenizerBase, settings: PolicySettings) -> None:
        self.num_positions = num_positions(network)
        self.end_tokens = end_tokens(network.generation_config.eos_token_id, tokenizer, settings)
        named = [tokenizer.pad_token_id, tokenizer.eos_token_id, *self.end_tokens]
        self._pad = next((token for token in named if token is not None), 0)
        self._network = network
        # The model's own settings of generation are put aside.
        network.generation_config = GenerationConfig(
            **generation_options(settings), pad_token_id=self._pad, eos_token_id=self.end_tokens or None
        )
        is_on_one_device = len({x.device for x in network.parameters()}) == 1
        can_share = is_on_one_device and self.end_tokens and can_generate_shared(network, network.generation_config)
        self._kept = KeptPrefixes(int(KEPT_SHARE * free_bytes(network.device))) if can_share else None

    @classmethod
    def load(
        cls, model: str, tokenizer: PreTrainedTokenizerBase, settings: PolicySettings, place: int | None
    ) -> "Network":
        """Load a model onto the GPUs, if there are any.

        Args:
            model: Folder or name.
            tokenizer: Tokenizer of the model.
            settings: Sampling settings.
            place: Number of the one GPU to take; `None` takes all.
        """
        device_map = ("auto" if place is None else {"": place}) if torch.cuda.is_available() else None
        network = AutoModelForCausalLM.from_pretrained(model, dtype="auto", device_map=device_map).eval()
        return cls(network, tokenizer, settings)

    def complete(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        """Return for every prompt a completion, with the token that ends it."""
        size = max(map(len, prompt_ids))
        if size > 1 and self._kept is not None and self._kept.is_worth_it:
            with torch.inference_mode():
                return generate_shared(self._network, prompt_ids, self._network.generation_config, kept=self._kept)
        ids = torch.tensor([[self._pad] * (size - len(x)) + x for x in prompt_ids], device=self._network.device)
        mask = torch.tensor([[0] * (size - len(x)) + [1] * len(x) for x in prompt_ids], device=self._network.device)
        with torch.inference_mode():
            sequences = self._network.generate(input_ids=ids, attention_mask=mask)
        return [_until_end(row, set(self.end_tokens)) for row in sequences[:, size:].tolist()]


def free_bytes(device: torch.device) -> int:
    """Return how much memory is free on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


class Engine:
    """vLLM's engine in this process as what completes prompts; an adapter is applied to its base.

    Args:
        model: Folder or name.
        tokenizer: Names tokens that end.
        settings: Say how tokens are drawn.
        seed: Seed of the sampling.

    Raises:
        ImportError: vLLM is not installed.
    """

    def __init__(self, model: str, tokenizer: PreTrainedTokenizerBase, settings: PolicySettings, seed: int) -> None:
        try:
            from vllm import LLM, SamplingParams
        except ImportError as error:
            raise ImportError(
                f"vLLM is asked for and cannot be imported: {error}. Install it with `pip install trl[vllm]`, or leave "
                "it out to generate with transformers."
            ) from error
        base, adapter = _base_of(model)
        config = AutoConfig.from_pretrained(base).get_text_config()
        self.num_positions: int | None = getattr(config, "max_position_embeddings", None)
        self.end_tokens = end_tokens(_own_end_tokens(base, config), tokenizer, settings)
        self._lora = _lora(adapter) if adapter else {}
        self._llm = LLM(model=base, tokenizer=model, seed=seed, **(_lora_options(adapter) if adapter else {}))
        self._params = SamplingParams(
            temperature=settings.eval_temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            min_p=settings.min_p or 0.0,
            repetition_penalty=settings.repetition_penalty,
            max_tokens=settings.max_completion_length,
            stop_token_ids=self.end_tokens,
            seed=None,
            **settings.generation_kwargs,
        )

    def complete(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        """Return for every prompt a completion, with the token that ends it."""
        prompts = [{"prompt_token_ids": ids} for ids in prompt_ids]
        outputs = self._llm.generate(prompts, self._params, use_tqdm=False, **self._lora)
        return [list(output.outputs[0].token_ids) for output in outputs]


def generation_options(settings: PolicySettings) -> dict[str, Any]:
    """Return how transformers has to generate; the same as a trainer's evaluation does."""
    temperature = settings.eval_temperature
    return {
        "do_sample": temperature > 0,
        "temperature": temperature if temperature > 0 else 1.0,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
        "min_p": settings.min_p,
        "repetition_penalty": settings.repetition_penalty,
        "max_new_tokens": settings.max_completion_length,
        **settings.generation_kwargs,
    }


def end_tokens(own: int | list[int] | None, tokenizer: PreTrainedTokenizerBase, settings: PolicySettings) -> list[int]:
    """Return the tokens that end an answer: the model's, the tokenizer's and the training's.

    Args:
        own: End tokens in the model's generation settings.
        tokenizer: Tokenizer, which names one.
        settings: Settings of the training, which may name more.
    """
    tokens = [*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id, *settings.end_tokens]
    return list(dict.fromkeys(token for token in tokens if token is not None))


def _until_end(ids: list[int], ends: set[int]) -> list[int]:
    """Return a completion with the token that ends it, without what pads it."""
    last = next((place for place, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: last + 1]


def _own_end_tokens(model: str, config: Any) -> int | list[int] | None:
    try:
        own = GenerationConfig.from_pretrained(model)
    except OSError:  # not every model has such a file
        own = GenerationConfig.from_model_config(config)
    found: int | list[int] | None = own.eos_token_id
    return found


def _base_of(model: str) -> tuple[str, str | None]:
    """Return a model, and no adapter; of an adapter's folder the base and the adapter."""
    config = Path(model) / "adapter_config.json"
    if not config.is_file():
        return model, None
    return str(json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]), model


def _lora_options(adapter: str) -> dict[str, Any]:
    """Return how vLLM has to be made for an adapter: with room for its rank, which is a power of two of at least 16."""
    rank = int(json.loads((Path(adapter) / "adapter_config.json").read_text(encoding="utf-8"))["r"])
    return {"enable_lora": True, "max_lora_rank": max(16, 1 << (rank - 1).bit_length())}


def _lora(adapter: str) -> dict[str, Any]:
    from vllm.lora.request import LoRARequest

    return {"lora_request": LoRARequest("adapter", 1, adapter)}
