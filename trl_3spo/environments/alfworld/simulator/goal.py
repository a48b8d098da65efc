"""A game's goal, compiled once when the game is loaded, so that a check costs a few look-ups.

The goals of ALFWorld are conjunctions of existential sentences. Each sentence becomes the list of its instances whose
constant facts hold: types, properties, places of receptacles. An instance then keeps only the facts that can change.
"""

import operator
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from trl_3spo.environments.alfworld.simulator.pddl import Atom, Expression, Problem, read_typed_list
from trl_3spo.environments.alfworld.simulator.scene import Numbering
from trl_3spo.environments.alfworld.simulator.state import GameState

_CONSTANT = {
    **dict.fromkeys(("openable", "cleanable", "heatable", "coolable", "pickupable", "toggleable", "sliceable"), 1),
    **dict.fromkeys(("moveable", "isreceptacleobject"), 1),
    **dict.fromkeys(("receptacletype", "receptacleatlocation", "objecttype"), 2),
    **dict.fromkeys(("cancontain", "inreceptacleobject", "="), 2),
}
"""Predicates that play does not change, with their numbers of arguments."""

_Test = Callable[[Any, tuple[int, ...]], bool]


def _has_bit(mask: int, args: tuple[int, ...]) -> bool:
    return bool(mask >> args[0] & 1)


_CHANGEABLE: dict[str, tuple[int, str, _Test]] = {
    "atlocation": (2, "location", lambda location, args: bool(location == args[1])),
    "holds": (2, "held", lambda held, args: args[1] in held),
    "inreceptacle": (2, "contents", lambda contents, args: args[0] in contents[args[1]]),
    "objectatlocation": (2, "object_locations", lambda pairs, args: args in pairs),
    "opened": (1, "opened", _has_bit),
    "isclean": (1, "clean", _has_bit),
    "ishot": (1, "hot", _has_bit),
    "iscool": (1, "cool", _has_bit),
    "istoggled": (1, "toggled", _has_bit),
    "issliced": (1, "sliced", _has_bit),
}
"""Predicates that play changes: number of arguments, part of the state, and test of the arguments' indices there."""

_TESTS: dict[str, _Test] = {part: test for _, part, test in _CHANGEABLE.values()}
_ARITY = {**_CONSTANT, **{predicate: arity for predicate, (arity, _, _) in _CHANGEABLE.items()}}
_CONNECTIVES = ("and", "or", "not", "exists", "forall", "imply")


class _Literal(NamedTuple):
    is_positive: bool
    predicate: str
    words: Atom


class Condition(NamedTuple):
    """A changeable fact about given entities.

    Args:
        part: Name of the part of the state it is read from.
        args: Indices of the entities.
        expected: Whether it must hold.
    """

    part: str
    args: tuple[int, ...]
    expected: bool

    def holds(self, state: GameState) -> bool:
        """Return whether the fact is as it must be."""
        return _TESTS[self.part](getattr(state, self.part), self.args) == self.expected


Instance = tuple[Condition, ...]
"""An instance of a sentence: all of its conditions must hold."""


class Goal:
    """A compiled goal.

    Args:
        sentences: The goal holds if each of them has an instance all of whose conditions hold.
    """

    def __init__(self, sentences: tuple[tuple[Instance, ...], ...]) -> None:
        self.sentences = sentences
        parts = {condition.part for sentence in sentences for instance in sentence for condition in instance}
        self._read = operator.attrgetter(*(sorted(parts) or ["location"]))
        self._last_read: Any = None
        self._last_answer = False

    def is_met(self, state: GameState) -> bool:
        """Return whether the goal holds in a state."""
        # Most steps change nothing the goal reads. States share their unchanged parts, which makes this comparison one
        # of identities.
        read = self._read(state)
        if read != self._last_read:
            self._last_answer = all(_has_true_instance(sentence, state) for sentence in self.sentences)
            self._last_read = read
        return self._last_answer


def _has_true_instance(sentence: tuple[Instance, ...], state: GameState) -> bool:
    return any(all(condition.holds(state) for condition in instance) for instance in sentence)


def compile_goal(problem: Problem, numbering: Numbering) -> Goal:
    """Compile a problem's goal.

    Raises:
        ValueError: The goal uses a predicate or a form that is not known here, or a name that is not declared.
    """
    return Goal(tuple(_ground(sentence, problem, numbering) for sentence in _conjuncts(problem.goal)))


def _conjuncts(expression: Expression) -> Iterator[Expression]:
    if expression[:1] != ["and"]:
        yield expression
        return
    for part in expression[1:]:
        yield from _conjuncts(part)


class _Sentence:
    """An existential sentence taken apart: typed variables and a conjunction of literals."""

    def __init__(self, expression: Expression) -> None:
        self.variables: list[tuple[str, str]] = []
        self.literals: list[_Literal] = []
        self._add(expression, {})

    def _add(self, expression: Any, scope: Mapping[str, str]) -> None:
        match expression:
            case ["and", *parts]:
                for part in parts:
                    self._add(part, scope)
            case ["exists", list(variables), body]:
                self._add(body, {**scope, **self._declare(variables)})
            case ["not", [str(predicate), *words]] if predicate not in _CONNECTIVES:
                self._add_literal(False, predicate, words, scope)
            case [str(predicate), *words]:
                self._add_literal(True, predicate, words, scope)
            case _:
                raise ValueError(f"The goal holds {expression!r}; a parenthesised condition is required there.")

    def _declare(self, variables: Expression) -> dict[str, str]:
        """Return fresh names: two sentences inside one may call different things by the same name."""
        fresh = {}
        for name, type_name in read_typed_list(variables):
            fresh[name] = f"{name}#{len(self.variables)}"
            self.variables.append((fresh[name], type_name))
        return fresh

    def _add_literal(self, is_positive: bool, predicate: str, words: list[Any], scope: Mapping[str, str]) -> None:
        if predicate not in _ARITY:
            raise ValueError(
                f"The goal uses {predicate!r}, which is not known here; the goals of ALFWorld's task types are "
                f"built with and, exists, not, {', '.join(sorted(_ARITY))}."
            )
        if len(words) != _ARITY[predicate] or not all(isinstance(word, str) for word in words):
            raise ValueError(f"The goal gives {predicate!r} the arguments {words}; it takes {_ARITY[predicate]} words.")
        self.literals.append(_Literal(is_positive, predicate, tuple(scope.get(word, word) for word in words)))


def _ground(expression: Expression, problem: Problem, numbering: Numbering) -> tuple[Instance, ...]:
    sentence = _Sentence(expression)
    constant = [literal for literal in sentence.literals if literal.predicate in _CONSTANT]
    changeable = [literal for literal in sentence.literals if literal.predicate in _CHANGEABLE]
    return tuple(
        tuple(_condition(literal, binding, numbering) for literal in changeable)
        for binding in _bindings(sentence.variables, constant, problem)
    )


def _bindings(variables: list[tuple[str, str]], constant: list[_Literal], problem: Problem) -> Iterator[dict[str, str]]:
    """Yield the assignments under which the constant literals hold, testing each as soon as it is fully assigned."""
    by_type: dict[str, list[str]] = defaultdict(list)
    for name, type_name in problem.types.items():
        by_type[type_name].append(name)
    facts = {literal.predicate: frozenset(problem.facts.get(literal.predicate, ())) for literal in constant}
    order = {name: i for i, (name, _) in enumerate(variables)}
    due: dict[int, list[_Literal]] = defaultdict(list)
    for literal in constant:
        due[max((order.get(word, -1) for word in literal.words), default=-1)].append(literal)

    def extend(binding: dict[str, str], depth: int) -> Iterator[dict[str, str]]:
        if not all(_is_true(literal, binding, facts) for literal in due[depth]):
            return
        if depth + 1 == len(variables):
            yield binding
            return
        variable, type_name = variables[depth + 1]
        for name in by_type[type_name]:
            yield from extend({**binding, variable: name}, depth + 1)

    return extend({}, -1)


def _is_true(literal: _Literal, binding: Mapping[str, str], facts: Mapping[str, frozenset[Atom]]) -> bool:
    words = tuple(binding.get(word, word) for word in literal.words)
    is_fact = words[0] == words[-1] if literal.predicate == "=" else words in facts[literal.predicate]
    return is_fact == literal.is_positive


def _condition(literal: _Literal, binding: Mapping[str, str], numbering: Numbering) -> Condition:
    part = _CHANGEABLE[literal.predicate][1]
    args = tuple(_index(binding.get(word, word), numbering) for word in literal.words)
    return Condition(part, args, literal.is_positive)


def _index(word: str, numbering: Numbering) -> int:
    for indices in numbering:
        if word in indices:
            return indices[word]
    raise ValueError(f"The goal names {word!r}, which is neither declared under :objects nor bound by an 'exists'.")
