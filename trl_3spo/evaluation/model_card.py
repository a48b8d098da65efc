"""What a model card says of a policy: results, environment, training, and how to ask it."""

import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pprint import pformat
from typing import Any

from huggingface_hub import EvalResult
from transformers.utils import get_json_schema

from trl_3spo._version import __version__
from trl_3spo.environments.base import Environment, Message, Tool
from trl_3spo.environments.plain_text import printable
from trl_3spo.evaluation.completing import generation_options
from trl_3spo.evaluation.policy_settings import PolicySettings
from trl_3spo.evaluation.results import Evaluation
from trl_3spo.evaluation.statistics import Interval, MeanInterval

_MARKDOWN = re.compile(r"[\\`*\[\]|~!#]")


@dataclass(frozen=True)
class Before:
    """Success in the first evaluation of a training.

    Args:
        step: Optimizer steps made before it.
        rate: Share of solved episodes.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    step: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from.

    Args:
        env: The environment.
        options: Options of the environment.
        settings: Prompt and sampling settings of the policy.
        evaluations: Latest evaluation by the name of the panel.
        before: The first ones, likewise, where they are earlier.
        split: The one that panels without a name are of.
    """

    env: Environment
    options: Mapping[str, Any]
    settings: PolicySettings
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    before: Mapping[str, Before] = field(default_factory=dict)
    split: str | None = None


def environment_tags(env: Environment) -> list[str]:
    """Return an environment's name as a tag, `webshop` for `WebShopEnv`; of several in one, their names."""
    inner = getattr(env, "environments", None)
    envs = list(inner.values()) if isinstance(inner, Mapping) else [env]
    return list(dict.fromkeys(_short_name(x).lower() for x in envs))


def _short_name(env: Environment) -> str:
    name = type(env).__name__.strip("_")
    return name.removesuffix("Environment").removesuffix("Env") or name


# -- results ----------------------------------------------------------------------------------------------------------


def eval_results(facts: CardFacts) -> list[EvalResult]:
    """Return the results in the form of a card's `model-index`: all tasks of a panel, then each task type."""
    return [result for name, x in facts.evaluations.items() for result in _panel_results(facts, name, x)]


def _panel_results(facts: CardFacts, name: str, evaluation: Evaluation) -> Iterator[EvalResult]:
    split = printable(name or facts.split or "")
    for kind, success, paid in _rows(evaluation):
        on_tasks = partial(
            EvalResult,
            task_type="reinforcement-learning",
            task_name="agent in a text environment",
            dataset_type=environment_tags(facts.env)[0],
            dataset_name=f"{_short_name(facts.env)} {split}".strip(),
            dataset_config=printable(kind) or None,
            dataset_split=split or None,
            dataset_revision=evaluation.panel,
            dataset_args=_plain_options(facts.options) or None,
        )
        how: dict[str, Any] = {"num_episodes": success.num_episodes, "num_tasks": success.num_tasks}
        how["temperature"] = facts.settings.eval_temperature
        yield on_tasks(
            metric_type="success_rate",
            metric_name="success rate, 95 % interval in args",
            metric_value=_short(success.rate),
            metric_args={"low": _short(success.low), "high": _short(success.high)} | how,
        )
        if paid is not None:
            ends = {} if paid.low is None or paid.high is None else {"low": _short(paid.low), "high": _short(paid.high)}
            yield on_tasks(
                metric_type="mean_reward",
                metric_name="mean of what an episode pays, 95 % interval in args",
                metric_value=_short(paid.mean),
                metric_args=ends | how,
            )


def _rows(evaluation: Evaluation) -> list[tuple[str, Interval, MeanInterval | None]]:
    """Return name, success and return of all tasks and of each type; no return where it is the success."""
    pays_success = math.isclose(evaluation.episode_return.mean, evaluation.success.rate)
    rows = {"": (evaluation.success, evaluation.episode_return)}
    rows |= {
        kind: (x, evaluation.episode_return_by_kind[kind]) for kind, x in evaluation.success_by_kind.items() if kind
    }
    return [(kind, success, None if pays_success else paid) for kind, (success, paid) in rows.items()]


def results_section(facts: CardFacts) -> str:
    """Return the section with success rates by task type, before and after training."""
    lines = ["## Results", ""]
    if not facts.evaluations:
        lines += ["The policy has not been evaluated yet.", ""]
    for name, evaluation in facts.evaluations.items():
        lines += [_panel_sentence(facts, name, evaluation), *_before_sentence(facts.before.get(name)), ""]
        lines += [*_table(evaluation), ""]
    return "\n".join(lines)


def _panel_sentence(facts: CardFacts, name: str, evaluation: Evaluation) -> str:
    of = f" ({_cell(name or facts.split or '')})" if name or facts.split else ""
    temperature = facts.settings.eval_temperature
    how = f"at temperature {temperature:g}" + ("" if temperature else ", which is greedy")
    success = evaluation.success
    return (
        f"Evaluated on panel `{evaluation.panel}`{of}: {success.num_tasks} tasks, {success.num_episodes} episodes, "
        f"{how}."
    )


def _before_sentence(before: Before | None) -> list[str]:
    if before is None:
        return []
    when = "Before training" if before.step == 0 else f"At the first evaluation, after {before.step} steps,"
    return [f"{when} the success rate was {before.rate:.1%} ({before.low:.1%} to {before.high:.1%})."]


def _table(evaluation: Evaluation) -> list[str]:
    rows = _rows(evaluation)
    head = ["task type", "episodes", "success rate", "95 % interval"]
    head += ["mean reward", "95 % interval"] if rows[0][2] is not None else []
    return [_line(head), "|---" * len(head) + "|", *(_line(_cells(*row)) for row in rows)]


def _cells(kind: str, success: Interval, paid: MeanInterval | None) -> list[str]:
    cells = [_cell(kind or "all"), str(success.num_episodes), f"{success.rate:.1%}"]
    cells.append(f"{success.low:.1%} to {success.high:.1%}")
    if paid is not None:
        has_ends = paid.low is not None and paid.high is not None
        cells += [f"{paid.mean:.3g}", f"{paid.low:.3g} to {paid.high:.3g}" if has_ends else "not known"]
    return cells


# -- environment and training -----------------------------------------------------------------------------------------


def environment_section(facts: CardFacts) -> str:
    """Return the section on the environment, its options and what it says of itself."""
    kind = type(facts.env)
    lines = ["## Environment", "", f"`{kind.__module__}.{kind.__qualname__}`, trl_3spo {__version__}."]
    lines += _listing("option", _plain_options(facts.options))
    lines += _listing("what it holds", dict(facts.env.describe()))
    return "\n".join([*lines, ""])


def training_section(method: str, num_steps: int, num_tasks: int, hyperparameters: Mapping[str, Any]) -> str:
    """Return the section on how the policy was trained.

    Args:
        method: Name of the training method.
        num_steps: Optimizer steps made.
        num_tasks: Tasks trained on.
        hyperparameters: Hyperparameters by name.
    """
    said = f"{method}, {num_steps} optimizer steps on {num_tasks} tasks. Options not listed have their defaults."
    return "\n".join(["## Hyperparameters", "", said, *_listing("option", _plain_options(hyperparameters)), ""])


def _plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options without paths of this machine and without those that are left open."""
    return {
        printable(name): printable(x) if isinstance(x, str) else x
        for name, x in options.items()
        if x is not None and not (isinstance(x, str) and x.startswith(("/", "~")))
    }


def _listing(head: str, values: Mapping[str, Any]) -> list[str]:
    if not values:
        return []
    rows = [_line([_cell(str(name)), _cell(_written(value))]) for name, value in values.items()]
    return ["", _line([head, "value"]), "|---|---|", *rows]


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_written(x)}" for name, x in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Return a text as it stands, for a cell of a Markdown table: it may be anything an environment says."""
    line = " ".join(printable(text).split())
    return _MARKDOWN.sub(r"\\\g<0>", html.escape(line, quote=False))


def _short(value: float) -> float:
    return float(f"{value:.6g}")


# -- quick start ------------------------------------------------------------------------------------------------------


def quick_start(name: str, messages: Sequence[Message], tools: Sequence[Tool], settings: PolicySettings) -> str:
    """Return the section that asks the policy once, in the environment's own words and as it was asked in training.

    Args:
        name: Name of the model on the Hub, or its folder.
        messages: Prompt of the environment.
        tools: Tools of the prompt.
        settings: Prompt and sampling settings of the policy.
    """
    template = dict(settings.chat_template_kwargs)
    if tools:
        template["tools"] = [tool if isinstance(tool, dict) else get_json_schema(tool) for tool in tools]
    generation = {key: value for key, value in generation_options(settings).items() if value is not None}
    if not generation["do_sample"]:  # what says how tokens are drawn means nothing then
        generation = {key: value for key, value in generation.items() if key not in ("temperature", "top_p", "top_k")}
    if settings.end_tokens:
        generation["eos_token_id"] = list(settings.end_tokens)
    code = _QUICK_START.format(
        name=repr(printable(name)),
        messages=pformat(list(messages), width=110, sort_dicts=False),
        template=pformat(template, width=110, sort_dicts=False),
        generation=pformat(generation, width=110, sort_dicts=False),
    )
    return f"{_HEAD}\n{_fenced(code, 'python')}\n{_MORE}"


_HEAD = """\
## Quick start

One prompt of the environment, and the policy's answer:
"""

_QUICK_START = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

name = {name}
messages = {messages}
template = {template}
generation = {generation}

tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name, dtype="auto", device_map="auto")
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True, **template
).to(model.device)
output = model.generate(**inputs, **generation)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""

_MORE = """\
`trl_3spo` reads how to ask and sample from `policy.json`. This answers the same prompt:

```python
from trl_3spo.evaluation.policies import load_policy

policy = load_policy(name)
print(policy([messages])[0])
```
"""


def _fenced(code: str, language: str) -> str:
    """Return a block of code whose fence nothing in it can close."""
    longest = max((len(ticks) for ticks in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}{fence}\n"
