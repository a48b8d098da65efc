"""What `trl-3spo train --help` prints. The sources are read and not imported: torch alone would take seconds."""

import ast
import re
import textwrap
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1]
USAGE = """usage: trl-3spo train [--config FILE] [--method 3spo|grpo|gigpo|steppo] [--OPTION VALUE ...]

Train an agent, evaluate it, and save it. Options come before the file's, and the file's before the defaults. In a file
they have the same names, without --. Names may be written with - or _."""

OWN = (
    ("What to train in", PACKAGE / "cli" / "train.py", "TrainArguments"),
    ("Tasks, evaluation, records", PACKAGE / "training" / "agent_config.py", "AgentConfig"),
    ("Shared prefixes", PACKAGE / "prefix_sharing" / "config.py", "PrefixSharingConfig"),
)
METHODS = {
    "3spo": [("3SPO", PACKAGE / "algorithm" / "options.py", "ThreeSPOOptions")],
    "grpo": [("GRPO over episodes", PACKAGE / "baselines" / "config.py", "EpisodeGRPOConfig")],
    "gigpo": [
        ("GRPO over episodes", PACKAGE / "baselines" / "config.py", "EpisodeGRPOConfig"),
        ("GiGPO", PACKAGE / "baselines" / "config.py", "GiGPOConfig"),
    ],
    "steppo": [
        ("GRPO over episodes", PACKAGE / "baselines" / "config.py", "EpisodeGRPOConfig"),
        ("StepPO", PACKAGE / "baselines" / "config.py", "StepPOConfig"),
    ],
}
"""Where the options of each method stand."""
OTHERS = (
    ("The model, its adapter and its quantization", ("trl", "trainer/model_config.py"), "ModelConfig"),
    ("GRPOConfig; docs/options.md has notes on each", ("trl", "trainer/grpo_config.py"), "GRPOConfig"),
    ("transformers' TrainingArguments", ("transformers", "training_args.py"), "TrainingArguments"),
)
_HEADING = re.compile(r"^\s*> (.+)$")
_PARAMETER = re.compile(r"^\s*(\w+) \(`")


class Option(NamedTuple):
    """An option of a dataclass.

    Args:
        name: Name of the field.
        default: Default value, as it is written.
        help: Description in a sentence.
    """

    name: str
    default: str
    help: str


def text(arguments: Sequence[str]) -> str:
    """Return the help of `train`, with the options of the method that arguments name."""
    method = given(arguments, "method")
    sections = [USAGE, *(_section(*group) for group in (*METHODS.get(method or "", METHODS["3spo"]), *OWN))]
    for title, (package, file), name in OTHERS:
        if (root := _folder(package)) is not None:
            sections.append(_section(title, root / file, name))
    return "\n\n".join(sections)


def given(arguments: Sequence[str], option: str) -> str | None:
    """Return the value that arguments give an option, the last if there are several."""
    values = [x.partition("=")[2] for x in arguments if x.startswith(f"--{option}=")]
    values += [value for name, value in pairwise(arguments) if name == f"--{option}"]
    return values[-1] if values else None


def _folder(package: str) -> Path | None:
    spec = find_spec(package)  # finding a package does not import it
    return Path(spec.origin).parent if spec and spec.origin else None


def _section(title: str, file: Path, name: str) -> str:
    body = class_named(file, name)
    headings = headings_of(ast.get_docstring(body, clean=True) or "")
    lines = [f"{title}:"]
    heading = ""
    for option in options_of(body):
        if headings.get(option.name, "") != heading:
            heading = headings.get(option.name, "")
            lines += ["", f"  {heading}:"] if heading else [""]
        lines.append(_line(option))
    return "\n".join(lines)


def _line(option: Option) -> str:
    head = f"  --{option.name} {option.default}".rstrip()
    sentence = textwrap.fill(option.help, width=118, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"{head}\n{sentence}" if option.help else head


def class_named(file: Path, name: str) -> ast.ClassDef:
    """Return the source of a class."""
    module = ast.parse(file.read_text(encoding="utf-8"))
    return next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)


def options_of(body: ast.ClassDef) -> Iterator[Option]:
    """Yield the fields of a dataclass, as its source has them."""
    for node in body.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(node.annotation) or node.target.id.startswith("_"):
            continue
        keywords = {x.arg: x.value for x in node.value.keywords} if isinstance(node.value, ast.Call) else {}
        default = keywords.get("default", None if isinstance(node.value, ast.Call) else node.value)
        yield Option(node.target.id, "" if default is None else ast.unparse(default), _help(keywords.get("metadata")))


def _help(metadata: ast.expr | None) -> str:
    if not isinstance(metadata, ast.Dict):
        return ""
    values = {
        ast.unparse(key).strip("'\""): value for key, value in zip(metadata.keys, metadata.values, strict=True) if key
    }
    try:
        return " ".join(str(ast.literal_eval(values["help"])).split()) if "help" in values else ""
    except ValueError:  # put together from names
        return ""


def headings_of(docstring: str) -> dict[str, str]:
    """Return for every parameter of a docstring the heading it stands under, if any."""
    headings = {}
    heading = ""
    for line in docstring.splitlines():
        if match := _HEADING.match(line):
            heading = match[1].strip()
        elif match := _PARAMETER.match(line):
            headings[match[1]] = heading
    return headings
