"""What a game's PDDL domain leaves open: the few rules in which the published domains differ."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from trl_3spo.environments.alfworld.simulator.pddl import Expression, read_expression, read_typed_list

_PREDICATES = """
    atLocation receptacleAtLocation objectAtLocation openable opened inReceptacle isReceptacleObject inReceptacleObject
    isReceptacleObjectFull wasInReceptacle checked examined receptacleType canContain objectType holds holdsAny
    holdsAnyReceptacleObject full isClean cleanable isHot heatable isCool coolable pickupable moveable toggleable isOn
    isToggled sliceable isSliced
"""
PREDICATES = frozenset(_PREDICATES.lower().split())
"""All predicates of ALFWorld's domain, in lower case."""


class Rules(NamedTuple):
    """The rules in which ALFWorld's domain texts differ. The defaults hold for the released games.

    Args:
        cleaning_types: Receptacle types that can clean objects: sink and sink basin in the released games, only sink
            basin in the domain of the `alfworld` package.
        examines_contents: Whether objects in an accessible receptacle can be examined as well as the held one. The
            domains intend this, but a comma in their typed list gives a type that nothing has.
    """

    cleaning_types: frozenset[str] = frozenset({"sinktype", "sinkbasintype"})
    examines_contents: bool = False


@functools.lru_cache(maxsize=4)
def read_rules(domain: str | None) -> Rules:
    """Read the rules from a domain's text. Without one, the released games' rules hold.

    Raises:
        ValueError: The text is no PDDL domain, lacks one of the two actions, or has predicates ALFWorld's has not.
    """
    if domain is None:
        return Rules()
    parts = list(_parts(read_expression(domain)))
    check_predicates("domain", (name for part in parts if part[:1] == [":predicates"] for name in _heads(part[1:])))
    actions = {part[1]: part for part in parts if _has_form(part, ":action", str)}
    missing = {"cleanobject", "examineobject"} - actions.keys()
    if missing:
        raise ValueError(f"The PDDL domain has no action {', '.join(sorted(missing))}; ALFWorld's domain is required.")
    cleaning_parts = _parts(actions["cleanobject"])
    cleaning_types = frozenset(part[2] for part in cleaning_parts if _has_form(part, "receptacletype", str, str))
    scopes = [part[1] for part in _parts(actions["examineobject"]) if _has_form(part, "exists", list)]
    return Rules(cleaning_types, any(_is_well_typed(scope) for scope in scopes))


def check_predicates(where: str, names: Iterable[str]) -> None:
    """Refuse predicates that mean nothing here, rather than play a game without them.

    Raises:
        ValueError: There is one that ALFWorld's domain has not.
    """
    if unknown := sorted(set(names) - PREDICATES):
        raise ValueError(
            f"The PDDL {where} uses {', '.join(unknown)}, which ALFWorld's domain has not; a game of ALFWorld is "
            f"required, whose predicates are {', '.join(sorted(PREDICATES))}."
        )


def _heads(expressions: Expression) -> Iterator[str]:
    return (str(expression[0]) for expression in expressions if isinstance(expression, list) and expression)


def _has_form(part: Expression, head: str, *types: type) -> bool:
    """Return whether an expression starts with a word and arguments of the given types."""
    return part[:1] == [head] and len(part) > len(types) and all(map(isinstance, part[1:], types))


def _is_well_typed(variables: Expression) -> bool:
    return all(type_name in ("location", "receptacle") for _, type_name in read_typed_list(variables))


def _parts(expression: Any) -> Iterator[Expression]:
    if isinstance(expression, list):
        yield expression
        for part in expression:
            yield from _parts(part)
