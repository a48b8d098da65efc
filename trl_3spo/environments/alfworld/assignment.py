"""The task of a game: the six task types, their sentences, and a parser of the sentences.

The task types and the forms of the sentences come from ALFRED and ALFWorld (MIT).
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

SENTENCES: dict[str, tuple[str, ...]] = {
    "pick_and_place_simple": (
        "put a {target} in {destination}.",
        "put some {target} on {destination}.",
    ),
    "look_at_obj_in_light": (
        "look at {target} under the {lamp}.",
        "examine the {target} with the {lamp}.",
    ),
    "pick_clean_then_place_in_recep": (
        "put a clean {target} in {destination}.",
        "clean some {target} and put it in {destination}.",
    ),
    "pick_heat_then_place_in_recep": (
        "put a hot {target} in {destination}.",
        "heat some {target} and put it in {destination}.",
    ),
    "pick_cool_then_place_in_recep": (
        "put a cool {target} in {destination}.",
        "cool some {target} and put it in {destination}.",
    ),
    "pick_two_obj_and_place": (
        "put two {target} in {destination}.",
        "find two {target} and put them in {destination}.",
    ),
}
"""Task type -> the ways to ask for it. No sentence fits two of them."""

SLICED_SENTENCES: dict[str, tuple[str, ...]] = {
    "pick_and_place_simple": (
        "slice {target} and put in {destination}.",
        "put sliced {target} in {destination}.",
    ),
    "pick_clean_then_place_in_recep": (
        "put a clean slice of {target} in {destination}.",
        "clean some sliced {target} and put it in {destination}.",
    ),
    "pick_heat_then_place_in_recep": (
        "put a hot slice of {target} in {destination}.",
        "heat some sliced {target} and put it in {destination}.",
    ),
    "pick_cool_then_place_in_recep": (
        "put a cool slice of {target} in {destination}.",
        "cool some sliced {target} and put it in {destination}.",
    ),
    "pick_two_obj_and_place": (
        "put two sliced {target} in {destination}.",
        "find two sliced {target} and put them in {destination}.",
    ),
}
"""Task type -> the ways to ask for it with a target that has to be sliced. ALFWorld itself leaves these games out."""

KINDS: tuple[str, ...] = tuple(SENTENCES)
"""The six task types."""

TWO, LOOK = "pick_two_obj_and_place", "look_at_obj_in_light"

KNIVES = ("Knife", "ButterKnife")
"""Object types that slice others."""


class Treatment(NamedTuple):
    """What has to be done to an object before it is placed.

    Args:
        verb: The command, as in "heat mug 1 with microwave 1".
        appliance: Receptacle type it is done at.
        trait: PDDL predicate of the objects it can be done to.
        adjective: Adjective of the object afterwards.
    """

    verb: str
    appliance: str
    trait: str
    adjective: str


TREATMENTS: dict[str, Treatment] = {
    "pick_clean_then_place_in_recep": Treatment("clean", "SinkBasin", "cleanable", "clean"),
    "pick_heat_then_place_in_recep": Treatment("heat", "Microwave", "heatable", "hot"),
    "pick_cool_then_place_in_recep": Treatment("cool", "Fridge", "coolable", "cool"),
}
"""Task type -> its treatment; the other types have none."""


class Assignment(NamedTuple):
    """What a game asks for. The types are lower case, as in the names of the game: "butterknife".

    Args:
        kind: One of `KINDS`.
        target: Object type.
        destination: Receptacle type the target has to be put in; empty for "look at".
        lamp: Lamp type to look at the target under; empty otherwise.
        is_sliced: Whether the target has to be sliced.
    """

    kind: str
    target: str
    destination: str = ""
    lamp: str = ""
    is_sliced: bool = False

    @property
    def treatment(self) -> Treatment | None:
        """The treatment the target needs first."""
        return TREATMENTS.get(self.kind)

    @property
    def num_targets(self) -> int:
        """How many objects of the target type it takes."""
        return 2 if self.kind == TWO else 1

    @classmethod
    def from_parameters(cls, kind: str, parameters: Mapping[str, Any]) -> "Assignment":
        """Read the parameters of a game (`pddl_params` in the released files)."""
        names = (parameters.get(key) or "" for key in ("object_target", "parent_target", "toggle_target"))
        target, destination, lamp = (name.lower() for name in names)
        return cls(kind, target, destination, lamp, bool(parameters.get("object_sliced")))

    @classmethod
    def from_text(cls, text: str) -> "Assignment":
        """Read the task out of its sentence, or out of any text that ends in it such as a game's introduction.

        Raises:
            ValueError: The sentence has none of the known forms, as those written by people.
        """
        sentence = text.rpartition("Your task is to: ")[2].strip().lower()
        for kind, is_sliced, pattern in _PATTERNS:
            if match := pattern.fullmatch(sentence):
                return cls(kind, **match.groupdict(), is_sliced=is_sliced)
        raise ValueError(
            f"cannot read a task out of {sentence!r}: it must have one of the forms in SENTENCES, such as"
            f" {SENTENCES[KINDS[0]][0]!r}; use from_parameters instead"
        )


def _pattern(template: str) -> re.Pattern[str]:
    """Turn a sentence's template into the expression that reads it. The full stop may be missing."""
    words = re.escape(template.removesuffix("."))
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[a-z]+)", words) + r"\.?")


_PATTERNS = tuple(
    (kind, is_sliced, _pattern(template))
    for is_sliced, sentences in ((False, SENTENCES), (True, SLICED_SENTENCES))
    for kind, templates in sentences.items()
    for template in templates
)
