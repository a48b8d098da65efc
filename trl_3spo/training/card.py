"""A trainer's model card: TRL's, with the environment, the results and a prompt of the environment in it."""

import functools
import logging
import os
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelCard, ModelCardData
from transformers.utils import cached_file

from trl_3spo.algorithm.records import first_visit
from trl_3spo.environments.base import Message, Tool
from trl_3spo.environments.failures import EpisodeFailedError
from trl_3spo.evaluation.model_card import (
    Before,
    CardFacts,
    environment_section,
    environment_tags,
    eval_results,
    quick_start,
    results_section,
    training_section,
)
from trl_3spo.reliability.fingerprint import options_of, plain_options

if TYPE_CHECKING:
    from trl_3spo.training.panel_trainer import PanelTrainer

logger = logging.getLogger(__name__)

ALWAYS_SHOWN = ("learning_rate", "temperature", "per_device_train_batch_size", "num_generations", "seed")
"""Options that a card always lists."""
_QUICK_START, _NEXT = "## Quick start", "## Training procedure"
_NO_BASE = "[None](https://huggingface.co/None)"
"""Text that TRL's template writes for a base without a name."""


def complete_card(trainer: "PanelTrainer", name: str) -> None:
    """Add environment, results and an example to TRL's card in the output folder.

    Args:
        trainer: Trainer that has written the card.
        name: Name of the model, for the `model-index`.
    """
    path = Path(trainer.args.output_dir) / "README.md"
    card, facts = ModelCard.load(path, ignore_metadata_errors=True), facts_of(trainer)
    base = base_name(trainer)
    _complete_data(card.data, trainer, name, base, facts)
    before, _, after = card.text.partition(_QUICK_START)
    sections = [
        quick_start_of(trainer),
        results_section(facts),
        environment_section(facts),
        training_section(trainer._name, trainer.state.global_step, len(trainer.train_tasks), hyperparameters(trainer)),
    ]
    rest = _NEXT + after.partition(_NEXT)[2] if _NEXT in after else ""
    text = "\n".join([before.replace(_NO_BASE, "a model without a name on the Hub"), *filter(None, sections), rest])
    ModelCard(f"---\n{card.data}\n---\n\n{text.strip()}\n").save(path)


def _complete_data(data: ModelCardData, trainer: "PanelTrainer", name: str, base: str | None, facts: CardFacts) -> None:
    data.pop("licence")  # TRL writes this word, which the Hub does not know, and no licence
    data["base_model"] = base
    is_adapter = adapter_of(trainer) is not None
    data["library_name"] = "peft" if is_adapter else "transformers"
    if base is not None:
        data["base_model_relation"] = "adapter" if is_adapter else "finetune"
    data["pipeline_tag"] = "text-generation"
    data["tags"] = [
        *sorted({*(data.get("tags") or ()), *(["lora"] if is_adapter else [])}),
        *environment_tags(facts.env),
    ]
    for key, value in licence(trainer.args.hub_license, base_folder_or_name(trainer)).items():
        data[key] = value
    data["model_name"] = name
    data["eval_results"] = eval_results(facts) or None
    if not facts.evaluations:
        data.pop("model_name")


def facts_of(trainer: "PanelTrainer") -> CardFacts:
    """Return the facts in a card about a trainer's policy, besides its training."""
    return CardFacts(
        env=trainer.env,
        options=options_of(trainer.env),
        settings=trainer.policy_settings,
        evaluations=trainer.evaluations,
        before={panel: x for panel in trainer.evaluations if (x := _before(trainer, panel)) is not None},
        split=trainer.args.eval_split,
    )


def _before(trainer: "PanelTrainer", panel: str) -> Before | None:
    """Return the first evaluation of a panel if a later one followed, also if the run was resumed in between."""
    prefix = f"eval_{panel}_success_rate" if panel else "eval_success_rate"
    logged = [x for x in [*trainer.logged_evaluations, *trainer.state.log_history] if prefix in x]
    steps = [x["step"] for x in logged]
    if not steps or min(steps) == max(steps):
        return None
    first = logged[steps.index(min(steps))]
    return Before(first["step"], first[prefix], first[f"{prefix}_low"], first[f"{prefix}_high"])


def hyperparameters(trainer: "PanelTrainer") -> dict[str, Any]:
    """Return the options of a configuration that are not at their defaults, and the ones in `ALWAYS_SHOWN`.

    The address of a server is left out.
    """
    args = trainer.args
    defaults = {x.name: x.default if x.default is not MISSING else None for x in fields(args)}
    return {
        name: value
        for name, value in plain_options(args).items()
        if (name in ALWAYS_SHOWN or value not in (None, defaults[name])) and not name.startswith("vllm_server")
    }


# -- the base model ---------------------------------------------------------------------------------------------------


def adapter_of(trainer: "PanelTrainer") -> Any:
    """Return the configuration of the trained adapter; `None` if the whole model is trained."""
    configs = getattr(trainer.accelerator.unwrap_model(trainer.model), "peft_config", None)
    return next(iter(configs.values())) if isinstance(configs, dict) and configs else None


def base_folder_or_name(trainer: "PanelTrainer") -> str:
    """Return the folder or name that the base was loaded from; empty if it was made in memory."""
    adapter = adapter_of(trainer)
    found = trainer.model.config._name_or_path if adapter is None else adapter.base_model_name_or_path
    return str(found or "")


def base_name(trainer: "PanelTrainer") -> str | None:
    """Return the base's name on the Hub; `None` if it has none."""
    name = base_folder_or_name(trainer)
    return name if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not os.path.isdir(name) else None


def warn_of_unnamed_base(trainer: "PanelTrainer") -> None:
    """Warn that nobody else can load an adapter whose base has no name on the Hub."""
    if adapter_of(trainer) is None or base_name(trainer) is not None:
        return
    base = base_folder_or_name(trainer)
    what = f"names the folder {base} of this machine as its base" if base else "names no base, which was made in memory"
    logger.warning(
        "The adapter %s, so nobody else can load it from the Hub. Push the base and train from its name there, or add "
        "the adapter to its base by `trl-3spo merge --adapter %s --output FOLDER` and push that.",
        what,
        trainer.args.output_dir,
    )


def licence(given: str | None, base: str) -> dict[str, str]:
    """Return the card's license fields: the given license, or the one in the base's card."""
    return {"license": given} if given else dict(_licence_of(base)) if base else {}


@functools.cache
def _licence_of(base: str) -> tuple[tuple[str, str], ...]:
    missing = {f"_raise_exceptions_for_{x}": False for x in ("missing_entries", "connection_errors", "gated_repo")}
    path = cached_file(base, "README.md", **missing)
    if path is None:
        return ()
    try:
        data = ModelCard.load(path, ignore_metadata_errors=True).data
    except ValueError:  # no card, whatever it is
        return ()
    names = ("license", "license_name", "license_link")
    return tuple((name, value) for name in names if isinstance(value := data.get(name), str))


# -- one prompt -------------------------------------------------------------------------------------------------------


def quick_start_of(trainer: "PanelTrainer") -> str:
    """Return the section with one example prompt; empty if the environment fails to give one."""
    example = trainer.example = trainer.example or _example(trainer)
    if example is None:
        return ""
    name = trainer.hub_model_id or trainer.args.hub_model_id or Path(trainer.args.output_dir).name
    return quick_start(name, *example, trainer.policy_settings)


def _example(trainer: "PanelTrainer") -> tuple[list[Message], list[Tool]] | None:
    """Return the shortest prompt of the latest batch. Before the first batch, begin a task and return its prompt."""
    task = (trainer.eval_tasks or trainer.train_tasks)[0]
    asked = [row.sample for row in trainer._rows if not row.is_padding and row.sample.prompt]
    if asked:
        prompt = min(asked, key=lambda sample: len(sample.prompt_ids)).prompt
    else:
        with trainer.guard.uncounted():
            visit = first_visit(trainer.guard, task)
            try:
                prompt = [] if visit.has_failed else trainer.guard.prompt(task, visit.observation, [])
            except EpisodeFailedError:
                prompt = []
    return (list(prompt), list(trainer.guard.tools(task))) if prompt else None
