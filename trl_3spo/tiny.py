"""A small model and a word tokenizer made in memory, for the demo, the docs and the tests: no download.

The model has the Seed-OSS architecture, whose layers equal Qwen2's. With the Qwen2 architecture, transformers'
AutoTokenizer would load Qwen2's own tokenizer class, which splits words differently from the saved one.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, SeedOssConfig, SeedOssForCausalLM

from trl_3spo.environments.base import Environment, Task

PAD, UNKNOWN, TURN, END = "<|pad|>", "<|unknown|>", "<|turn|>", "<|end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}<|turn|> {{ message['role'] }} {{ message['content'] }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|turn|> assistant {% endif %}"
)


def word_tokenizer(texts: Iterable[str], *, unit: str = r"\w+") -> PreTrainedTokenizerFast:
    """Return a chat tokenizer with one token for every word, number and punctuation mark of the texts.

    Decoding joins the tokens with blanks, which restores texts of plain words such as actions. If it is saved with a
    `tiny_model`, AutoTokenizer loads it unchanged.

    Args:
        texts: Texts whose words become the vocabulary; any other word becomes `<|unknown|>`.
        unit: Regular expression for longer tokens. `[a-z]+ [0-9]+` keeps ALFWorld's numbered things together and
            makes its prompts 1.7 times shorter.
    """
    split = pre_tokenizers.Split(Regex(rf"<\|\w+\|>|{unit}|\w+|[^\w\s]"), behavior="removed", invert=True)
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text)})
    special = [PAD, UNKNOWN, TURN, END]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*special, "system", "user", "assistant", *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=[TURN],
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )


def tiny_model(
    tokenizer: PreTrainedTokenizerFast,
    *,
    hidden_size: int = 64,
    num_layers: int = 2,
    num_heads: int = 4,
    initializer_range: float = 0.02,
    seed: int = 0,
) -> SeedOssForCausalLM:
    """Return an untrained model of a few hundred thousand parameters for the tokenizer's vocabulary.

    At the usual `initializer_range` an untrained model answers all prompts alike. At 0.1 and above, different prompts
    get different answers from the beginning. Reinforcement learning from scratch needs this.
    """
    torch.manual_seed(seed)
    config = SeedOssConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        head_dim=hidden_size // num_heads,
        attention_dropout=0.0,
        residual_dropout=0.0,
        initializer_range=initializer_range,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return SeedOssForCausalLM(config)


def save_tiny_policy(env: Environment, folder: str | Path, *, num_tasks: int = 8, num_steps: int = 3) -> None:
    """Save an untrained model and tokenizer whose only words are actions of an environment: it acts at random.

    Use it to try out a configuration, not to learn. Every other word of a prompt is `<|unknown|>` to it.

    Args:
        env: Environment whose first tasks give the words, a few steps deep.
        folder: Folder to save to.
        num_tasks: Number of tasks to look at.
        num_steps: Number of steps to take in each task.
    """
    actions = {action for task in env.tasks()[:num_tasks] for action in _actions_on_the_way(env, task, num_steps)}
    tokenizer = word_tokenizer(actions, unit="|".join(map(re.escape, sorted(actions, key=len, reverse=True))))
    tiny_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _actions_on_the_way(env: Environment, task: Task, num_steps: int) -> Iterator[str]:
    observation = env.reset(task)
    for _ in range(num_steps):
        prompt = env.prompt(task, observation, [])[-1]["content"]
        # If any text is an action, the prompt shows its form: search[keywords].
        actions = observation.admissible_actions or re.findall(r"\w+\[[^]]*\]", prompt)
        yield from actions
        result = env.step(actions[0] if actions else "")
        if result.is_final:
            return
        observation = result.observation
