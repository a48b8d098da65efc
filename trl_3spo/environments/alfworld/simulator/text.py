"""The answers of an ALFWorld game, word for word as in the released grammar."""

from collections.abc import Sequence

from trl_3spo.environments.alfworld.simulator.state import Thing

BANNER = "-= Welcome to TextWorld, ALFRED! =-"
TASK_PREFIX = "Your task is to: "
NOTHING_HAPPENS = "Nothing happens."

# The columns are as uneven as in the original.
HELP = """Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""

ANSWERS = {
    "go to": "You arrive at {receptacle}.",
    "open": "You open the {receptacle}.",
    "close": "You close the {receptacle}.",
    "take": "You pick up the {thing} from the {receptacle}.",
    "move": "You move the {thing} to the {receptacle}.",
    "use": "You turn on the {thing}.",
    "clean": "You clean the {thing} using the {receptacle}.",
    "heat": "You heat the {thing} using the {receptacle}.",
    "cool": "You cool the {thing} using the {receptacle}.",
}
"""What is answered to the commands that change something; going and opening add a description of the receptacle."""


def listing(phrases: Sequence[str]) -> str:
    """Return the phrases as `a`, `a, and b`, `a, b, and c`, or `nothing`."""
    if len(phrases) < 2:
        return phrases[0] if phrases else "nothing"
    return ", ".join(phrases[:-1]) + ", and " + phrases[-1]


def indefinite_listing(names: Sequence[str]) -> str:
    """Return the names as `a cup 1, and a mug 2`; the article is always `a`."""
    return listing([f"a {name}" for name in names])


def introduction_text(surroundings: str, task: str) -> str:
    """Return a game's first observation, from the look around and the task sentence."""
    return f"{BANNER}\n\n{surroundings}\n\n{TASK_PREFIX}{task}"


def without_introduction(observation: str) -> str:
    """Return an observation without the banner and the repetition of the task that the first one carries."""
    if not observation.startswith(BANNER):
        return observation
    return observation.removeprefix(BANNER).partition(f"\n\n{TASK_PREFIX}")[0].strip()


def room_text(receptacles: Sequence[str]) -> str:
    """Describe the view from where there is no receptacle."""
    seen = indefinite_listing(receptacles)
    return f"You are in the middle of a room. Looking quickly around you, you see {seen}."


def facing_text(receptacles: Sequence[str], beside: Sequence[str]) -> str:
    """Describe the view in front of receptacles, with the objects that are no longer in them."""
    return f"You are facing the {listing(receptacles)}. Next to it, you see {indefinite_listing(beside)}."


def receptacle_text(name: str, contents: Sequence[str], *, openable: bool, is_open: bool) -> str:
    """Describe a receptacle."""
    if not openable:
        return f"On the {name}, you see {indefinite_listing(contents)}."
    if not is_open:
        return f"The {name} is closed."
    return f"The {name} is open. In it, you see {indefinite_listing(contents)}."


def object_text(
    thing: Thing, inner: Sequence[str], *, clean: bool, hot: bool, cool: bool, toggled: bool, sliced: bool
) -> str:
    """Describe an object. The first matching clause of the grammar speaks, so that some properties go unsaid."""
    if thing.is_receptacle:
        return f"This is a normal {thing.name}. In it, you see {indefinite_listing(inner)}."
    properties = _properties(clean=clean, hot=hot, cool=cool, sliced=sliced)
    if properties:
        return f"This is a {properties} {thing.name}."
    if thing.toggleable and toggled:
        return f"This {thing.name} is on."
    if thing.sliceable and sliced:
        return f"This is a sliced {thing.name}."
    return f"There's nothing special about {thing.name}."


def _properties(*, clean: bool, hot: bool, cool: bool, sliced: bool) -> str:
    # Nothing is hot and cool at once: heating ends the one and cooling the other.
    temperature = "hot" if hot else "cool" if cool else ""
    if clean:
        temperature = f"{temperature} and clean" if temperature else "clean"
    if temperature and sliced:
        return f"{temperature} sliced"
    return "cold" if temperature == "cool" else temperature


def inventory_text(held: Sequence[str]) -> str:
    """Describe what the agent holds."""
    return f"You are carrying: {indefinite_listing(held)}." if held else "You are not carrying anything."
