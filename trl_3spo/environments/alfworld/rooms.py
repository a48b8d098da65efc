"""The rooms of games: their furniture, the things that lie there, and what can be done to them.

The names and the facts come from ALFRED and ALFWorld (MIT): what fits where, and what can be cleaned, heated, cooled or
sliced. The amount of furniture is counted over the 120 scenes of alfworld 0.4.2 (`alfworld/gen/layouts`). Furniture
that is missing there is counted over the 14 scenes of 24 released games. The likely places follow the released games.
`benchmarks/alfworld_distribution.py` compares the result.
"""

from collections.abc import Sequence
from typing import NamedTuple

TABLES = ("CounterTop", "DiningTable", "CoffeeTable", "SideTable")
"""Receptacle types that accept whatever can be put down on any of them."""

OPENABLE = frozenset({"Cabinet", "Drawer", "Fridge", "Microwave", "Safe"})
"""Receptacle types that are closed at first."""

FIXED_SHARE = {"Cabinet": 0.25, "Drawer": 0.22}
"""Receptacle type -> share of those that cannot be opened and show what is in them, in 24 released games."""


OVERLAPS = {("StoveBurner", "StoveBurner"): 0.5, ("CoffeeMachine", "CounterTop"): 1.0, ("Desk", "Shelf"): 0.15}
"""Two receptacle types -> chance of what lies in one of the first to be recorded in one of the second as well.

The released games were read off simulated rooms, where a pan may touch two burners: of 24 games 14 hold such objects.
"""


class ObjectType(NamedTuple):
    """What holds for all objects of a type.

    Args:
        found_in: Receptacle types it may lie in at first, the likeliest first.
        fits: Receptacle types that accept it.
        traits: The PDDL predicates that hold of it.
    """

    found_in: tuple[str, ...]
    fits: frozenset[str]
    traits: tuple[str, ...]


class Amount(NamedTuple):
    """How many receptacles of a type stand in rooms of a kind."""

    low: int
    high: int
    mean: float


class Room(NamedTuple):
    """A kind of room.

    Args:
        receptacles: Receptacle type -> how many there are.
        objects: Object type -> least and greatest number of it.
        lamp: The lamp to look at things under; empty where there is none.
    """

    receptacles: dict[str, Amount]
    objects: dict[str, tuple[int, int]]
    lamp: str = ""


def find_weights(found_in: Sequence[str]) -> dict[str, float]:
    """Return how likely an object lies in each receptacle type: 1 / rank, unnormalized."""
    return {receptacle: 1.0 / rank for rank, receptacle in enumerate(found_in, start=1)}


_TRAITS = {"c": "cleanable", "h": "heatable", "k": "coolable", "s": "sliceable", "r": "isReceptacleObject"}


def _thing(found_in: str, also_fits: str = "", traits: str = "") -> ObjectType:
    places = tuple(found_in.split())
    fits = {*places, *also_fits.split()}
    if fits & set(TABLES):
        fits |= set(TABLES)
    return ObjectType(places, frozenset(fits), ("pickupable", *(_TRAITS[letter] for letter in traits)))


def _fixture(found_in: str, *traits: str) -> ObjectType:
    """A thing no receptacle accepts: it stays where it is or, once taken, stays in the hand for good."""
    return ObjectType(tuple(found_in.split()), frozenset(), traits)


OBJECTS: dict[str, ObjectType] = {
    "AlarmClock": _thing("Desk Shelf SideTable DiningTable Dresser"),
    "Apple": _thing("Fridge CounterTop DiningTable Microwave GarbageCan SinkBasin", "", "chks"),
    "BaseballBat": _thing("Bed DiningTable SideTable CoffeeTable"),
    "BasketBall": _thing("Bed Desk ArmChair Sofa Dresser", "CoffeeTable"),
    "Book": _thing("Bed Desk Sofa CoffeeTable SideTable Drawer Shelf", "Cabinet Dresser ArmChair Ottoman"),
    "Bowl": _thing(
        "Cabinet CounterTop Fridge Desk Shelf DiningTable CoffeeTable", "Microwave SinkBasin Dresser", "ckr"
    ),
    "Box": _thing("CoffeeTable Sofa Cabinet Dresser ArmChair DiningTable", "Shelf Desk Ottoman", "r"),
    "Bread": _thing("CounterTop DiningTable Fridge", "Microwave GarbageCan", "hks"),
    "ButterKnife": _thing("CounterTop Drawer DiningTable SinkBasin", "", "c"),
    "CD": _thing("Desk Drawer Shelf SideTable GarbageCan", "Safe Dresser Cabinet"),
    "Candle": _thing("CounterTop Toilet Cabinet Drawer SideTable", "Shelf Cart Desk Dresser"),
    "CellPhone": _thing("CounterTop Desk Bed Drawer Shelf Sofa CoffeeTable", "Safe Dresser ArmChair Ottoman"),
    "Cloth": _thing("BathtubBasin Cabinet CounterTop Drawer SideTable", "SinkBasin GarbageCan Toilet Shelf", "c"),
    "CreditCard": _thing("Drawer Desk CounterTop Sofa Shelf Dresser CoffeeTable ArmChair", "Safe Ottoman"),
    "Cup": _thing("Cabinet CounterTop DiningTable Fridge SinkBasin Microwave", "Shelf Desk Dresser", "chkr"),
    "DeskLamp": _fixture("Desk SideTable Shelf Dresser DiningTable", "toggleable"),
    "DishSponge": _thing(
        "SinkBasin CounterTop Cabinet Drawer DiningTable Shelf", "GarbageCan Toilet BathtubBasin", "c"
    ),
    "Egg": _thing("Fridge CounterTop Microwave GarbageCan SinkBasin DiningTable", "", "chks"),
    "FloorLamp": _fixture("SideTable Dresser Shelf CoffeeTable", "toggleable"),
    "Fork": _thing("CounterTop Drawer DiningTable SinkBasin", "", "c"),
    "Glassbottle": _thing("CounterTop Cabinet Shelf SinkBasin", "Fridge Microwave Desk Dresser"),
    "HandTowel": _thing("HandTowelHolder CounterTop", "Cabinet Drawer SinkBasin GarbageCan Toilet BathtubBasin Shelf"),
    "HousePlant": _fixture("CounterTop Shelf DiningTable CoffeeTable SideTable"),
    "Kettle": _thing("StoveBurner CounterTop DiningTable Cabinet", "SinkBasin Shelf", "c"),
    "KeyChain": _thing("Drawer SideTable Shelf CoffeeTable Safe Sofa Dresser ArmChair Desk", "Ottoman"),
    "Knife": _thing("CounterTop Drawer DiningTable SinkBasin", "", "c"),
    "Ladle": _thing("CounterTop Cabinet Drawer DiningTable SinkBasin", "", "c"),
    "Laptop": _thing("Bed Desk Sofa CoffeeTable DiningTable Dresser ArmChair", "Ottoman"),
    "Lettuce": _thing("CounterTop Fridge DiningTable GarbageCan SinkBasin", "", "cks"),
    "Mug": _thing(
        "CounterTop Cabinet Desk CoffeeMachine Shelf Fridge Microwave DiningTable", "SinkBasin Dresser", "chkr"
    ),
    "Newspaper": _thing("CoffeeTable Sofa SideTable ArmChair Drawer Shelf", "Cabinet GarbageCan Bed Dresser Ottoman"),
    "Pan": _thing("StoveBurner CounterTop Fridge Cabinet DiningTable", "SinkBasin", "ckr"),
    "PaperTowelRoll": _fixture("CounterTop GarbageCan DiningTable Toilet", "pickupable"),
    "Pen": _thing("Desk Drawer SideTable DiningTable CounterTop GarbageCan", "Shelf Dresser"),
    "Pencil": _thing("Desk Drawer SideTable Shelf GarbageCan DiningTable", "Dresser"),
    "PepperShaker": _thing("CounterTop Cabinet Drawer DiningTable Shelf"),
    "Pillow": _thing("Bed Sofa ArmChair", "Ottoman"),
    "Plate": _thing("Cabinet CounterTop Fridge DiningTable Shelf SinkBasin", "Microwave Desk Dresser", "chkr"),
    "Plunger": _thing("Cabinet", "Cart"),
    "Pot": _thing("StoveBurner CounterTop Shelf DiningTable Fridge Cabinet", "SinkBasin", "ckr"),
    "Potato": _thing("Fridge CounterTop DiningTable SinkBasin Microwave GarbageCan", "", "chks"),
    "RemoteControl": _thing("Sofa ArmChair CoffeeTable SideTable Dresser Drawer", "Shelf Desk Ottoman"),
    "SaltShaker": _thing("CounterTop Cabinet Drawer DiningTable Shelf"),
    "SoapBar": _thing("Toilet SinkBasin BathtubBasin CounterTop Drawer Cabinet GarbageCan", "Shelf Cart", "c"),
    "SoapBottle": _thing("CounterTop Cabinet Toilet GarbageCan DiningTable Drawer", "Shelf Desk Cart"),
    "Spatula": _thing("CounterTop Drawer DiningTable SinkBasin", "", "c"),
    "Spoon": _thing("CounterTop Drawer DiningTable SinkBasin", "", "c"),
    "SprayBottle": _thing("Cabinet SideTable Toilet CounterTop Drawer GarbageCan", "Shelf Desk Dresser Cart"),
    "Statue": _thing("Shelf CounterTop Dresser CoffeeTable SideTable Safe", "Desk Cart"),
    "TeddyBear": _fixture("Bed Desk", "pickupable"),
    "TennisRacket": _thing("Bed Desk", "SideTable"),
    "TissueBox": _thing("SideTable Desk Cabinet CoffeeTable Toilet Shelf Drawer", "Dresser GarbageCan TVStand Cart"),
    "ToiletPaper": _thing("ToiletPaperHanger Toilet Cabinet CounterTop Drawer", "Shelf Desk Dresser GarbageCan Cart"),
    "Tomato": _thing("CounterTop Fridge GarbageCan DiningTable SinkBasin Microwave", "", "chks"),
    "Towel": _thing("TowelHolder"),
    "Vase": _thing("Shelf Cabinet CounterTop CoffeeTable SideTable Safe Dresser", "Desk Cart"),
    "Watch": _thing("Dresser Drawer CoffeeTable SideTable Shelf Safe", "Desk"),
}
"""Every type of object, by its name in the released games."""


def _amounts(text: str) -> dict[str, Amount]:
    """Read lines such as "Sofa 1, Drawer 2-6, Shelf 0-6 ~1.5"; the mean is halfway where it is not given."""
    amounts = {}
    for entry in text.replace("\n", ",").split(","):
        if entry.strip():
            name, numbers, *mean = entry.split()
            low, _, high = numbers.partition("-")
            limits = int(low), int(high or low)
            amounts[name] = Amount(*limits, float(mean[0].removeprefix("~")) if mean else sum(limits) / 2)
    return amounts


def _ranges(text: str) -> dict[str, tuple[int, int]]:
    return {name: (amount.low, amount.high) for name, amount in _amounts(text).items()}


ROOMS: dict[str, Room] = {
    "Kitchen": Room(
        _amounts("""
            Cabinet 2-20 ~11, Drawer 0-9 ~5, CounterTop 1-4 ~2.3, StoveBurner 4, Shelf 0-6 ~0.5, DiningTable 0-2 ~0.7
            SideTable 0-1 ~0.1, SinkBasin 1, Fridge 1, Microwave 1, CoffeeMachine 1, Toaster 1, GarbageCan 1
        """),
        _ranges("""
            Apple 1-3, Bowl 1-3, Bread 1-3, ButterKnife 1-3, CellPhone 0-2, CreditCard 0-2, Cup 1-3, DishSponge 1-3
            Egg 1-3, Fork 1-3, Glassbottle 0-2, HousePlant 0-1, Kettle 0-2, Knife 1-3, Ladle 0-2, Lettuce 1-3, Mug 1-3
            Pan 1-2, PaperTowelRoll 0-1, Pen 0-1, PepperShaker 1-3, Plate 1-3, Potato 1-3, Pot 1-2, SaltShaker 1-3
            SoapBottle 1-3, Spatula 1-3, Spoon 1-3, Statue 0-2, Tomato 1-3, Vase 0-2
        """),
    ),
    "LivingRoom": Room(
        _amounts("""
            Sofa 1, ArmChair 0-2 ~1.2, CoffeeTable 0-2 ~1, SideTable 0-3 ~1.5, Drawer 0-14 ~4, Shelf 0-14 ~2.8
            Dresser 0-1 ~0.4, Cabinet 0-8 ~0.6, DiningTable 0-1 ~0.5, TVStand 0-1 ~0.4, Safe 0-1 ~0.1, GarbageCan 1
            Ottoman 0-1 ~0.1
        """),
        _ranges("""
            Book 0-2, Bowl 0-1, Box 1-3, CellPhone 0-3, CreditCard 1-3, HousePlant 1, KeyChain 1-3, Laptop 1-2
            Newspaper 1-3, Pen 0-1, Pencil 0-1, Pillow 1-3, Plate 0-1, RemoteControl 1-3, Statue 1-3, TissueBox 0-3
            Vase 1-3, Watch 1-3
        """),
        lamp="FloorLamp",
    ),
    "Bedroom": Room(
        _amounts("""
            Bed 1, Desk 0-2 ~0.8, Drawer 0-14 ~6, Shelf 0-12 ~3.5, SideTable 0-2 ~0.9, Dresser 0-1 ~0.5
            DiningTable 0-1 ~0.2, ArmChair 0-1 ~0.2, Safe 0-1 ~0.2, GarbageCan 1, LaundryHamper 0-1 ~0.3
        """),
        _ranges("""
            AlarmClock 1-3, BaseballBat 0-1, BasketBall 0-1, Book 1-3, Bowl 0-2, Box 0-1, CD 1-3, CellPhone 1-3
            CreditCard 1-3, HousePlant 0-1, KeyChain 1-3, Laptop 1-2, Mug 0-3, Pen 1-3, Pencil 1-3, Pillow 1-3
            TeddyBear 0-1, TennisRacket 0-1, TissueBox 0-2, Vase 0-1, Watch 0-2
        """),
        lamp="DeskLamp",
    ),
    "Bathroom": Room(
        _amounts("""
            SinkBasin 1-2 ~1.4, BathtubBasin 0-1 ~0.7, Cabinet 0-12 ~2.4, CounterTop 1-2 ~1.1, Drawer 0-10 ~2.5
            Shelf 0-6 ~0.5, SideTable 0-1 ~0.1, Toilet 1, ToiletPaperHanger 1, HandTowelHolder 1-2 ~1.1, TowelHolder 1
            GarbageCan 1, Cart 0-1 ~0.1
        """),
        _ranges("""
            Candle 1-3, Cloth 1-3, DishSponge 0-2, HandTowel 1-2, PaperTowelRoll 0-1, Plunger 0-1, SoapBar 1-4
            SoapBottle 1-3, SprayBottle 1-3, TissueBox 0-2, ToiletPaper 2-4, Towel 1
        """),
    ),
}
"""Every kind of room."""
