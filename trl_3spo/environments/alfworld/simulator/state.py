"""What an ALFWorld game consists of: receptacles, objects, states and commands. Plain immutable records."""

from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Receptacle:
    """A place objects can be in or on.

    Args:
        name: Name in the game, such as `cabinet 1`.
        type: Lower case without the suffix, such as `cabinet`.
        location: Index of the location it is reached from; several receptacles may share one.
        openable: Whether it must be open before anything is taken from it or put into it.
        is_sink: Objects can be cleaned with it.
        is_microwave: Objects can be heated with it.
        is_fridge: Objects can be cooled with it.
    """

    name: str
    type: str
    location: int
    openable: bool
    is_sink: bool
    is_microwave: bool
    is_fridge: bool


@dataclass(frozen=True, slots=True)
class Thing:
    """An object, whether or not it can be picked up.

    Args:
        name: Name in the game, such as `apple 1`.
        type: Lower case without the suffix, such as `apple`.
        pickupable: It can be taken.
        cleanable: It can be cleaned with a sink.
        heatable: It can be heated with a microwave.
        coolable: It can be cooled with a fridge.
        toggleable: It can be used, that is switched on.
        sliceable: It can be sliced.
        is_knife: Others can be sliced with it.
        is_receptacle: It is described by what it holds; nothing can be put into it.
        inner: Indices of the objects in it.
    """

    name: str
    type: str
    pickupable: bool
    cleanable: bool
    heatable: bool
    coolable: bool
    toggleable: bool
    sliceable: bool
    is_knife: bool
    is_receptacle: bool
    inner: tuple[int, ...]


class GameState(NamedTuple):
    """One state of a game: integers and tuples of integers only, so that states are hashable and their `repr` stable.

    Args:
        location: Index of the agent's location.
        held: Indices of the objects in the agent's hands: none or one.
        contents: Sorted indices of the objects in each receptacle. A few objects of the released games are in two
            receptacles at once.
        opened: Bit mask over receptacles.
        clean: Bit mask over objects, like the next four.
        hot: Objects heated and not cooled since.
        cool: Objects cooled and not heated since.
        toggled: Objects that are switched on; nothing can be switched off.
        sliced: Objects that are sliced.
        object_locations: Sorted (object, location) pairs. They decide what can be sliced. They can differ from the
            location of the object's receptacle.
        departed: Sorted (object, receptacle) pairs of objects that were taken from a receptacle and have not been put
            back there. Only the text of `look` depends on them.
    """

    location: int
    held: tuple[int, ...]
    contents: tuple[tuple[int, ...], ...]
    opened: int
    clean: int
    hot: int
    cool: int
    toggled: int
    sliced: int
    object_locations: tuple[tuple[int, int], ...]
    departed: tuple[tuple[int, int], ...]

    @property
    def key(self) -> tuple[Any, ...]:
        """The exact identity of the state: all but `departed`, which changes a text and no consequence."""
        return self[:-1]


class Command(NamedTuple):
    """One thing the agent can do.

    Args:
        kind: `go to`, `open`, `close`, `take`, `move`, `use`, `clean`, `heat`, `cool`, `slice`, `examine object`,
            `examine receptacle`, `look`, `inventory` or `help`.
        thing: Index of the object it is done to, or -1. Slicing is done with the held object.
        receptacle: Index of the receptacle it is done to or with, or -1.
    """

    kind: str
    thing: int = -1
    receptacle: int = -1
