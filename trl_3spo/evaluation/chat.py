"""A tokenizer's chat template, as an agent needs it: prompts to tokens, tokens to answers."""

import inspect
import json
import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import TemplateError
from transformers.utils import get_json_schema
from trl.chat_template_utils import (
    add_response_schema,
    get_training_chat_template,
    is_chat_template_prefix_preserving,
    parse_response,
    supports_tool_calling,
)

from trl_3spo.environments.base import Message, Tool
from trl_3spo.environments.plain_text import encodable_messages
from trl_3spo.evaluation.model_checks import check_prompt

logger = logging.getLogger(__name__)

CALL_FORM = '<tool_call>{"name": "…", "arguments": {…}}</tool_call>'
"""Form of a call for chat templates that define none."""
_SENTINEL = "system sentinel"
_TAIL = 8
"""Tokens at the end of a prompt in which a template opens a thought."""


class Chat:
    """Writes prompts in a model's own form and reads its answers.

    Texts of environments stay plain text. If a text looks like a control token, it gets a blank inside. A page that
    contains `<|im_end|>` therefore does not end the message. Answers lose the tokens that begin, end or pad a text, and
    control tokens in the form of `<|…|>`. Tags stay, even if they are special tokens.

    If a template lacks something, a log message says so once. Without a system role, system messages become part of the
    first message. Without tools, they are described in words, and their results are messages of the user.

    Args:
        tokenizer: Tokenizer with a chat template.
        options: Further arguments of the template, such as `enable_thinking`.
        name: Name of the model, for messages.
        end_tokens: Tokens that end an answer, besides the tokenizer's own.
        has_tools: Whether any task has tools.
    """

    def __init__(
        self,
        tokenizer: Any,
        options: dict[str, Any] | None = None,
        *,
        name: str = "the model",
        end_tokens: Iterable[int] = (),
        has_tools: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._options = options or {}
        self._name = name
        self._has_checked = False
        self._ends = {*end_tokens, tokenizer.eos_token_id} - {None}
        edges = {tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}
        self._silent = self._ends | (edges - {None}) | set(_control_ids(tokenizer))
        self._control = _control_pattern(tokenizer)
        self._template: str | None = None
        self._has_warned = False
        self._writes_system = self._shows_system()
        self._writes_tools = False
        if has_tools:
            self._prepare_tools()

    def _shows_system(self) -> bool:
        messages = [{"role": "system", "content": _SENTINEL}, {"role": "user", "content": "hi"}]
        try:
            return _SENTINEL in self._tokenizer.apply_chat_template(messages, tokenize=False, **self._options)
        except TemplateError:
            return False

    def _prepare_tools(self) -> None:
        self._writes_tools = supports_tool_calling(self._tokenizer)
        if not self._writes_tools:
            logger.warning(
                "The chat template cannot show tool calls, so tools are described in words, calls are read as %s, and "
                "results are shown as messages of the user. A model with a template for tools knows its own form.",
                CALL_FORM,
            )
            return
        if all(getattr(self._tokenizer, x, None) is None for x in ("response_template", "response_schema")):
            try:
                add_response_schema(self._tokenizer)
            except ValueError:  # not one of the templates that TRL knows
                logger.info("TRL cannot parse answers of this chat template; calls are read by their form.")
        if not is_chat_template_prefix_preserving(self._tokenizer):
            self._template = get_training_chat_template(self._tokenizer)

    # -- prompts -------------------------------------------------------------------------------------------------------

    def prompt_ids(self, prompts: Sequence[list[Message]], tools: Sequence[Sequence[Tool]] = ()) -> list[list[int]]:
        """Tokenize prompts, up to where the answer begins.

        Args:
            prompts: Chat messages.
            tools: Tools of every prompt; by default there are none.

        Raises:
            ValueError: The template refuses the first prompt of all, or leaves one of its messages out.
        """
        each = list(tools) or [()] * len(prompts)
        ids: list[list[int]] = [[] for _ in prompts]
        # A template takes one list of tools, so prompts with the same ones are written together.
        for chosen in _distinct(each):
            places = [i for i, others in enumerate(each) if others == chosen]
            adapted = [self._adapted(prompts[i], chosen) for i in places]
            self._check(adapted[0])
            written = self._written(adapted, chosen)
            for place, tokens in zip(places, written, strict=True):
                ids[place] = tokens
        return ids

    def _check(self, prompt: list[Message]) -> None:
        if not self._has_checked:
            self._has_checked = True
            check_prompt(self._tokenizer, prompt, self._name, self._options, chat_template=self._template)

    def _written(self, prompts: list[list[Message]], tools: Sequence[Tool], *, is_open: bool = True) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer.apply_chat_template(
            prompts,
            tools=list(tools) if tools and self._writes_tools else None,
            chat_template=self._template,
            add_generation_prompt=is_open,
            tokenize=True,
            return_dict=True,
            **self._options,
        )["input_ids"]
        return ids

    def _adapted(self, prompt: Sequence[Message], tools: Sequence[Tool] = ()) -> list[Message]:
        """Return messages that the template can write, whose texts are text."""
        encodable = encodable_messages(list(prompt))
        messages = [message | {"content": self._plain(message["content"])} for message in encodable]
        if tools and not self._writes_tools:
            messages = _with_description(messages, tools)
        if not self._writes_tools:
            messages = [_as_user(message) if message["role"] == "tool" else message for message in messages]
        return messages if self._writes_system else self._without_system(messages)

    def _without_system(self, messages: list[Message]) -> list[Message]:
        """Return messages with the system messages moved to the head of the first other message."""
        said = [message["content"] for message in messages if message["role"] == "system"]
        if not said:
            return messages
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "The chat template has no messages of the system: they are put before the first other message."
            )
        first, *rest = [message for message in messages if message["role"] != "system"]
        return [first | {"content": "\n\n".join([*said, first["content"]])}, *rest]

    def _plain(self, text: str) -> str:
        while match := self._control.search(text):
            middle = match.start() + 1
            text = f"{text[:middle]} {text[middle:]}"
        return text

    def ids_after(self, sampled: Sequence[int], messages: Sequence[Message]) -> list[int] | None:
        """Return the tokens that follow an answer: its end, further messages, and where the next answer begins.

        The answer's own tokens stay as they were sampled, which no tokenizing of its text promises.

        Args:
            sampled: Tokens of the answer.
            messages: Messages after it, without answers.

        Returns:
            `None` where the template writes an answer otherwise as soon as something follows it.
        """
        name = next((message["name"] for message in messages if message["role"] == "tool" and "name" in message), None)
        call = {"type": "function", "function": {"name": name, "arguments": {}}}
        answer: dict[str, Any] = {"role": "assistant", "content": "" if name else "dummy"}
        if name and self._writes_tools:
            answer["tool_calls"] = [call]
        before: list[Any] = [{"role": "user", "content": "dummy"}, answer]
        try:
            (prefix,) = self._written([before], (), is_open=False)
            (whole,) = self._written([[*before, *self._adapted(messages)]], ())
        except (TemplateError, TypeError):
            return None
        ends = [place for place, token in enumerate(prefix) if token in self._ends]
        # An answer that was cut off has no end of its own: the template's stands for it.
        begin = ends[-1] + int(sampled[-1] in self._ends) if ends else len(prefix)
        return whole[begin:] if whole[:begin] == prefix[:begin] else None

    # -- answers -------------------------------------------------------------------------------------------------------

    def text_of(self, completion_ids: Sequence[int], prompt_ids: Sequence[int] = ()) -> str:
        """Return an answer as text; with the tag that opens its thought, where the prompt ends in that."""
        text: str = self._tokenizer.decode([token for token in completion_ids if token not in self._silent])
        return f"<think>{text}" if self._opens_thought(prompt_ids) else text

    def has_ended(self, completion_ids: Sequence[int]) -> bool:
        """Return whether an answer ends by itself, and not at a limit on its tokens."""
        return bool(completion_ids) and completion_ids[-1] in self._ends

    def _opens_thought(self, prompt_ids: Sequence[int]) -> bool:
        tail: str = self._tokenizer.decode(list(prompt_ids[-_TAIL:]))
        return tail.rstrip().endswith("<think>")

    def calls_in(
        self, completion_ids: Sequence[int], prompt_ids: Sequence[int], tools: Sequence[Tool]
    ) -> list[dict[str, Any]]:
        """Return the calls that TRL's parser finds in an answer, as pairs of `name` and `arguments`."""
        if not (tools and self._writes_tools):
            return []
        parsed = parse_response(self._tokenizer, list(completion_ids), prefix=list(prompt_ids), tools=list(tools))
        calls = [call["function"] for call in parsed.get("tool_calls") or () if call.get("type") == "function"]
        return [{"name": call["name"], "arguments": call["arguments"]} for call in calls]


def _distinct(each: Sequence[Sequence[Tool]]) -> list[Sequence[Tool]]:
    found: list[Sequence[Tool]] = []
    for tools in each:
        if tools not in found:
            found.append(tools)
    return found


def _control_ids(tokenizer: Any) -> list[int]:
    added = tokenizer.added_tokens_decoder.items()
    return [token for token, text in added if text.special and re.fullmatch(r"<[|｜].*[|｜]>", str(text))]


def _control_pattern(tokenizer: Any) -> re.Pattern[str]:
    """Return what finds the texts of control tokens that can be taken apart."""
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    tokens = {token for token in [*added, *tokenizer.all_special_tokens] if len(token.strip()) > 1}
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)")


def _with_description(messages: list[Message], tools: Sequence[Tool]) -> list[Message]:
    """Return messages whose first one says what can be called and how."""
    first, *others = messages
    return [first | {"content": "\n\n".join(filter(None, (first["content"], described(tools))))}, *others]


def described(tools: Sequence[Tool]) -> str:
    """Return in words what can be called and how."""
    lines = [f"You may call these tools. Write a call as {CALL_FORM}"]
    for tool in tools:
        function = (tool if isinstance(tool, dict) else get_json_schema(tool))["function"]
        parameters = function.get("parameters", {}).get("properties", {})
        arguments = ", ".join(f"{name}: {about.get('type', 'any')}" for name, about in parameters.items())
        lines.append(f"{function['name']}({arguments}): {inspect.cleandoc(function.get('description', ''))}")
        lines += [f"  {name}: {about['description']}" for name, about in parameters.items() if about.get("description")]
    return "\n".join(lines)


def _as_user(message: Message) -> Message:
    name = message.get("name")
    return {"role": "user", "content": f"{name}: {message['content']}" if name else message["content"]}


def calls_as_text(calls: Sequence[dict[str, Any]]) -> str:
    """Return calls in the one form in which environments are given them."""
    return json.dumps(list(calls), ensure_ascii=False)
