"""Reading of PDDL: nested expressions, typed lists, and the sections of a problem."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

Expression = list[Any]
"""A parenthesised PDDL expression: lower-case words and further expressions."""

Atom = tuple[str, ...]

_COMMENT = re.compile(r";[^\n]*")
_TOKEN = re.compile(r"[()]|[^\s()]+")


class Problem(NamedTuple):
    """The sections of a PDDL problem, in lower case.

    Args:
        types: Type of each declared name.
        facts: Arguments of the facts that hold at the start, by predicate; each once.
        goal: The goal expression.
    """

    types: dict[str, str]
    facts: dict[str, list[Atom]]
    goal: Expression


def read_expression(text: str) -> Expression:
    """Read the first parenthesised expression of a text; PDDL knows no upper case, and `;` starts a comment.

    Raises:
        ValueError: The parentheses do not match, or there are none.
    """
    outermost: Expression = []
    stack = [outermost]
    for token in _TOKEN.findall(_COMMENT.sub("", text).lower()):
        if token == "(":
            stack.append([])
        elif token != ")":
            stack[-1].append(token)
        elif len(stack) == 1:
            raise ValueError("The PDDL text closes a parenthesis that was never opened; each needs its partner.")
        else:
            inner = stack.pop()
            stack[-1].append(inner)
    return _only_expression(outermost, num_open=len(stack) - 1)


def _only_expression(outermost: Expression, *, num_open: int) -> Expression:
    if num_open:
        raise ValueError(f"The PDDL text ends inside {num_open} open parentheses; it was probably cut off.")
    expression = outermost[0] if outermost else None
    if not isinstance(expression, list):
        raise ValueError("The PDDL text is no parenthesised expression; one '(define ...)' is required.")
    return expression


def read_typed_list(words: Sequence[Any]) -> list[tuple[str, str]]:
    """Return the (name, type) pairs of a list such as `a b - object c`; an untyped name is an `object`.

    Raises:
        ValueError: A dash without a type, or an expression among the words.
    """
    pairs: list[tuple[str, str]] = []
    untyped: list[str] = []
    rest = iter(words)
    for word in rest:
        if not isinstance(word, str):
            raise ValueError(f"The PDDL list of names holds {word!r}; only names and types are allowed there.")
        if word != "-":
            untyped.append(word)
            continue
        type_name = next(rest, None)
        if not isinstance(type_name, str):
            raise ValueError("The PDDL list of names ends with a dash; a type must follow it.")
        pairs += [(name, type_name) for name in untyped]
        untyped = []
    return pairs + [(name, "object") for name in untyped]


def read_problem(text: str) -> Problem:
    """Read a PDDL problem; numeric fluents in its initial state are left out.

    Raises:
        ValueError: The text is no PDDL expression, or a section is missing or malformed.
    """
    parts = [part for part in read_expression(text) if isinstance(part, list)]
    sections = {part[0]: part[1:] for part in parts if part and isinstance(part[0], str)}
    missing = [name for name in (":objects", ":init", ":goal") if name not in sections]
    if missing:
        raise ValueError(f"The PDDL problem has no section {', '.join(missing)}; :objects, :init, :goal are required.")
    if len(sections[":goal"]) != 1 or not isinstance(sections[":goal"][0], list):
        raise ValueError("The PDDL problem's :goal must be one parenthesised expression.")
    return Problem(dict(read_typed_list(sections[":objects"])), _read_facts(sections[":init"]), sections[":goal"][0])


def _read_facts(section: Expression) -> dict[str, list[Atom]]:
    facts: dict[str, list[Atom]] = defaultdict(list)
    for atom in section:
        if not isinstance(atom, list) or not atom:
            raise ValueError(f"The PDDL problem's :init holds {atom!r}; facts such as '(opened r1)' are required.")
        if atom[0] == "=":
            continue
        if not all(isinstance(word, str) for word in atom):
            raise ValueError(f"The PDDL problem's :init holds the nested fact {atom!r}; plain facts are required.")
        facts[atom[0]].append(tuple(atom[1:]))
    # Released games say some things twice; a thing that is taken away would remain.
    return {predicate: list(dict.fromkeys(atoms)) for predicate, atoms in facts.items()}
