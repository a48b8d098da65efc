import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.environments.alfworld import Command, Game, GameState
from trl_3spo.environments.alfworld.generation.generator import generate_games
from trl_3spo.environments.alfworld.simulator.text import object_text

PROBLEM = """
(define (problem kitchen) (:domain alfred)
 (:objects agent1 - agent  l0 l1 l2 l3 l4 - location
  Apple_bar_1 Apple_bar_2 Knife_bar_1 Bowl_bar_1 Pea_bar_1 DeskLamp_bar_1 PaperTowelRoll_bar_1 - object
  Fridge_bar_1 Microwave_bar_1 Sink_bar_1_bar_SinkBasin Sink_bar_2 CounterTop_bar_1 Drawer_bar_1 - receptacle
  FridgeType MicrowaveType SinkBasinType SinkType CounterTopType DrawerType - rtype
  AppleType KnifeType BowlType PeaType DeskLampType PaperTowelRollType - otype)
 (:init (= (total-cost) 0) (atLocation agent1 l0)
  (receptacleType Fridge_bar_1 FridgeType) (receptacleAtLocation Fridge_bar_1 l1) (openable Fridge_bar_1)
  (receptacleType Microwave_bar_1 MicrowaveType) (receptacleAtLocation Microwave_bar_1 l2) (openable Microwave_bar_1)
  (receptacleType Sink_bar_1_bar_SinkBasin SinkBasinType) (receptacleAtLocation Sink_bar_1_bar_SinkBasin l3)
  (receptacleType Sink_bar_2 SinkType) (receptacleAtLocation Sink_bar_2 l3)
  (receptacleType CounterTop_bar_1 CounterTopType) (receptacleAtLocation CounterTop_bar_1 l4)
  (receptacleType Drawer_bar_1 DrawerType) (receptacleAtLocation Drawer_bar_1 l4) (openable Drawer_bar_1)
  (canContain CounterTopType AppleType) (canContain CounterTopType KnifeType) (canContain DrawerType KnifeType)
  (canContain FridgeType AppleType) (canContain DrawerType AppleType) (canContain CounterTopType BowlType)
  (objectType Apple_bar_1 AppleType) (objectType Apple_bar_2 AppleType) (objectType Knife_bar_1 KnifeType)
  (objectType Bowl_bar_1 BowlType) (objectType Pea_bar_1 PeaType) (objectType DeskLamp_bar_1 DeskLampType)
  (objectType PaperTowelRoll_bar_1 PaperTowelRollType)
  (pickupable Apple_bar_1) (cleanable Apple_bar_1) (heatable Apple_bar_1) (coolable Apple_bar_1)
  (sliceable Apple_bar_1) (sliceable Apple_bar_2) (pickupable Apple_bar_2)
  (pickupable Knife_bar_1) (pickupable Bowl_bar_1) (pickupable PaperTowelRoll_bar_1)
  (isReceptacleObject Bowl_bar_1) (inReceptacleObject Pea_bar_1 Bowl_bar_1) (toggleable DeskLamp_bar_1)
  (inReceptacle Apple_bar_1 CounterTop_bar_1) (objectAtLocation Apple_bar_1 l4)
  (inReceptacle Apple_bar_2 Drawer_bar_1) (objectAtLocation Apple_bar_2 l4)
  (inReceptacle Knife_bar_1 CounterTop_bar_1) (inReceptacle Knife_bar_1 Drawer_bar_1) (objectAtLocation Knife_bar_1 l4)
  (inReceptacle Bowl_bar_1 CounterTop_bar_1) (objectAtLocation Bowl_bar_1 l4)
  (inReceptacle PaperTowelRoll_bar_1 CounterTop_bar_1) (objectAtLocation PaperTowelRoll_bar_1 l4)
  (inReceptacle DeskLamp_bar_1 Drawer_bar_1) (objectAtLocation DeskLamp_bar_1 l4))
 (:goal GOAL))
"""
HOT_APPLE = """(and (exists (?r - receptacle) (exists (?o - object) (and (heatable ?o) (objectType ?o AppleType)
  (receptacleType ?r FridgeType) (isHot ?o) (inReceptacle ?o ?r)))))"""
TWO_APPLES = """(exists (?r - receptacle ?o1 - object) (and (objectType ?o1 AppleType) (inReceptacle ?o1 ?r)
  (exists (?o2 - object) (and (not (= ?o1 ?o2)) (objectType ?o2 AppleType) (inReceptacle ?o2 ?r)))))"""
GO_TO_COUNTER, TAKE_APPLE = "go to countertop 1", "take apple 2 from countertop 1"


def make_game(goal: str = HOT_APPLE, **changes: Any) -> Game:
    return Game({"pddl_problem": PROBLEM.replace("GOAL", goal), "task": "do it.", **changes})


def play(game: Game, *actions: str) -> tuple[GameState, str]:
    state, text = game.initial, game.introduction()
    for action in actions:
        assert action in game.admissible(state), action
        state, text = game.step(state, action)
    return state, text


def test_instances_are_numbered_in_descending_order_and_basins_named() -> None:
    game = make_game()
    assert [thing.name for thing in game.objects[:2]] == ["apple 2", "apple 1"]
    names = [receptacle.name for receptacle in game.receptacles]
    assert names == ["countertop 1", "drawer 1", "fridge 1", "microwave 1", "sinkbasin 1", "sink 1"]
    assert [r.name for r in game.receptacles if r.is_sink] == ["sinkbasin 1", "sink 1"]


def test_introduction_lists_the_room_and_a_later_look_does_not() -> None:
    game = make_game()
    assert game.introduction() == (
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see a "
        "countertop 1, a drawer 1, a fridge 1, a microwave 1, a sinkbasin 1, and a sink 1.\n\nYour task is to: do it."
    )
    assert play(game, "look")[1].endswith("you see nothing.")


def test_admissible_commands_come_in_a_fixed_order() -> None:
    game = make_game()
    state, _ = play(game, GO_TO_COUNTER)
    assert list(game.admissible(state)) == [
        "go to fridge 1",
        "go to microwave 1",
        "go to sink 1",
        "go to sinkbasin 1",
        "take apple 2 from countertop 1",
        "take bowl 1 from countertop 1",
        "take knife 1 from countertop 1",
        "take papertowelroll 1 from countertop 1",
        "open drawer 1",
        "use desklamp 1",
        "examine countertop 1",
        "examine drawer 1",
        "look",
        "inventory",
        "help",
    ]
    assert game.admissible(state)["open drawer 1"] == Command("open", receptacle=1)


def test_journeys_are_in_numerical_order() -> None:
    game = Game(generate_games(1, seed=0, num_receptacles=(30, 30))[0])
    drawers = [a for a in game.admissible(game.initial) if a.startswith("go to drawer")]
    assert drawers == [f"go to drawer {i + 1}" for i in range(len(drawers))]


@pytest.mark.parametrize(
    ("actions", "text"),
    [
        (["go to fridge 1"], "You arrive at fridge 1. The fridge 1 is closed."),
        (["go to fridge 1", "open fridge 1"], "You open the fridge 1. The fridge 1 is open. In it, you see nothing."),
        (["go to fridge 1", "open fridge 1", "close fridge 1"], "You close the fridge 1."),
        ([GO_TO_COUNTER, TAKE_APPLE], "You pick up the apple 2 from the countertop 1."),
        ([GO_TO_COUNTER, TAKE_APPLE, "move apple 2 to countertop 1"], "You move the apple 2 to the countertop 1."),
        ([GO_TO_COUNTER, TAKE_APPLE, "inventory"], "You are carrying: a apple 2."),
        (["inventory"], "You are not carrying anything."),
        ([GO_TO_COUNTER, "look"], "You are facing the countertop 1, and drawer 1. Next to it, you see nothing."),
        ([GO_TO_COUNTER, TAKE_APPLE, "examine apple 2"], "There's nothing special about apple 2."),
        (
            [GO_TO_COUNTER, "take bowl 1 from countertop 1", "examine bowl 1"],
            "This is a normal bowl 1. In it, you see a pea 1.",
        ),
        (
            [GO_TO_COUNTER, "open drawer 1"],
            "You open the drawer 1. The drawer 1 is open. In it, you see a apple 1, a desklamp 1, and a knife 1.",
        ),
    ],
)
def test_answers(actions: list[str], text: str) -> None:
    assert play(make_game(), *actions)[1] == text


def test_answers_about_properties() -> None:
    game = make_game()
    carried = [GO_TO_COUNTER, TAKE_APPLE]
    clean = ["go to sinkbasin 1", "clean apple 2 with sinkbasin 1"]
    heat, cool = (
        ["go to microwave 1", "heat apple 2 with microwave 1"],
        ["go to fridge 1", "cool apple 2 with fridge 1"],
    )
    slice_here = ["move apple 2 to countertop 1", "take knife 1 from countertop 1"]
    slice_here += ["slice apple 2 with knife 1", "move knife 1 to countertop 1", TAKE_APPLE]
    sliced = [GO_TO_COUNTER, *slice_here]
    descriptions = {
        "clean": clean,
        "hot": heat,
        "cold": cool,
        "hot and clean": clean + heat,
        "cool and clean": clean + heat + cool,
        "sliced": slice_here,
        "clean sliced": clean + sliced,
        "hot sliced": heat + sliced,
        "cool sliced": cool + sliced,
        "hot and clean sliced": slice_here + cool + clean + heat,
        "cool and clean sliced": slice_here + clean + cool,
    }
    for words, actions in descriptions.items():
        assert play(game, *carried, *actions, "examine apple 2")[1] == f"This is a {words} apple 2."


def test_lamp_that_is_on_is_said_to_be() -> None:
    lamp = next(thing for thing in make_game().objects if thing.toggleable)
    assert (
        object_text(lamp, [], clean=False, hot=False, cool=False, toggled=True, sliced=False)
        == "This desklamp 1 is on."
    )


def test_help_starts_without_a_line_feed() -> None:
    assert play(make_game(), "help")[1].startswith("Available commands:\n  look:")


def test_treatments_work_with_closed_appliances() -> None:
    game = make_game()
    state, text = play(game, GO_TO_COUNTER, TAKE_APPLE, "go to microwave 1", "heat apple 2 with microwave 1")
    assert text == "You heat the apple 2 using the microwave 1."
    assert (state.hot, state.cool) == (1, 0)
    state, _ = game.step(game.step(state, "go to fridge 1")[0], "cool apple 2 with fridge 1")
    assert (state.hot, state.cool) == (0, 1)
    state, _ = game.step(game.step(state, "go to microwave 1")[0], "heat apple 2 with microwave 1")
    assert (state.hot, state.cool) == (1, 0)


def test_lamp_is_switched_on_in_a_closed_drawer_any_number_of_times() -> None:
    state, text = play(make_game(), GO_TO_COUNTER, "use desklamp 1", "use desklamp 1")
    assert text == "You turn on the desklamp 1."
    assert state.toggled.bit_count() == 1


def test_knife_slices_what_is_in_a_closed_drawer_here() -> None:
    game = make_game()
    state, text = play(game, GO_TO_COUNTER, "take knife 1 from countertop 1", "slice apple 1 with knife 1")
    assert text == "You sliced the apple 1 with the knife 1."
    elsewhere, _ = game.step(state, "go to fridge 1")
    assert not any(action.startswith("slice") for action in game.admissible(elsewhere))


def test_object_in_two_receptacles_leaves_only_one() -> None:
    game = make_game()
    state, _ = play(game, GO_TO_COUNTER, "open drawer 1", "take knife 1 from countertop 1")
    assert "knife 1" in game.step(state, "examine drawer 1")[1]
    assert "knife 1" not in game.step(state, "examine countertop 1")[1]


def test_a_fact_said_twice_is_one_fact() -> None:
    again = "(inReceptacle Apple_bar_1 CounterTop_bar_1) (objectAtLocation Apple_bar_1 L4)"
    game = make_game(pddl_problem=PROBLEM.replace("(:init", f"(:init {again}").replace("GOAL", HOT_APPLE))
    actions = (GO_TO_COUNTER, TAKE_APPLE, "look")
    assert play(game, *actions) == play(make_game(), *actions)
    assert play(game, *actions)[1].endswith("you see nothing.")


def test_contents_can_be_examined_only_where_the_domain_is_right() -> None:
    state, _ = play(make_game(), GO_TO_COUNTER)
    assert "examine apple 2" not in make_game().admissible(state)
    domain = """(define (:action CleanObject)
        (:action examineObject :precondition (exists (?l - location ?r - receptacle) (inReceptacle ?o ?r))))"""
    commands = make_game(pddl_domain=domain).admissible(state)
    assert "examine apple 2" in commands
    assert "examine apple 1" not in commands  # in a closed drawer


def test_dead_end_has_no_way_to_let_go() -> None:
    game = make_game()
    state, _ = play(game, GO_TO_COUNTER, "take papertowelroll 1 from countertop 1")
    assert not any(action.startswith(("move", "take")) for action in game.admissible(state))


def test_look_tells_what_was_taken_and_put_beside_and_the_key_does_not() -> None:
    game = make_game()
    before, _ = play(game, GO_TO_COUNTER, "open drawer 1", TAKE_APPLE)
    after, _ = game.step(before, "move apple 2 to drawer 1")
    assert game.step(after, "look")[1].endswith("Next to it, you see a apple 2.")
    returned, _ = game.step(before, "move apple 2 to countertop 1")
    assert game.step(returned, "look")[1].endswith("Next to it, you see nothing.")
    back = game.step(game.step(after, "take apple 2 from drawer 1")[0], "move apple 2 to countertop 1")[0]
    untouched, _ = play(game, GO_TO_COUNTER, "open drawer 1")
    assert back.key == untouched.key
    assert back != untouched


def test_accepts_is_what_move_allows() -> None:
    game = make_game()
    fridge = next(i for i, receptacle in enumerate(game.receptacles) if receptacle.type == "fridge")
    assert {game.objects[thing].type for thing in game.accepts[fridge]} == {"apple"}


def test_winning_needs_every_condition() -> None:
    game = make_game()
    path = [GO_TO_COUNTER, TAKE_APPLE, "go to fridge 1", "open fridge 1", "move apple 2 to fridge 1"]
    assert not game.is_won(play(game, *path)[0])
    heated = [*path[:2], "go to microwave 1", "heat apple 2 with microwave 1", *path[2:]]
    assert [game.is_won(play(game, *heated[:i])[0]) for i in range(8)] == [False] * 7 + [True]


def test_two_objects_must_differ_and_share_a_receptacle() -> None:
    game = make_game(TWO_APPLES)
    assert not game.is_won(game.initial)
    assert game.is_won(play(game, GO_TO_COUNTER, "open drawer 1", TAKE_APPLE, "move apple 2 to drawer 1")[0])


@pytest.mark.parametrize(
    ("goal", "actions"),
    [
        ("(and (holds agent1 Apple_bar_1))", [GO_TO_COUNTER, TAKE_APPLE]),
        ("(atLocation agent1 l4)", [GO_TO_COUNTER]),
        ("(opened Fridge_bar_1)", ["go to fridge 1", "open fridge 1"]),
        ("(isToggled DeskLamp_bar_1)", [GO_TO_COUNTER, "use desklamp 1"]),
        ("(not (objectAtLocation Apple_bar_1 l4))", [GO_TO_COUNTER, TAKE_APPLE]),
        (
            "(exists (?o - object) (and (sliceable ?o) (isSliced ?o)))",
            [GO_TO_COUNTER, "take knife 1 from countertop 1", "slice apple 1 with knife 1"],
        ),
        (
            "(exists (?o - object) (and (exists (?o - object) (inReceptacle ?o Fridge_bar_1)) (isCool ?o)))",
            [
                *(GO_TO_COUNTER, "open drawer 1", "take apple 1 from drawer 1"),
                *("go to fridge 1", "open fridge 1", "move apple 1 to fridge 1"),
                *(GO_TO_COUNTER, TAKE_APPLE, "go to fridge 1", "cool apple 2 with fridge 1"),
            ],
        ),
        ("(isClean Apple_bar_1)", [GO_TO_COUNTER, TAKE_APPLE, "go to sink 1", "clean apple 2 with sink 1"]),
    ],
)
def test_goal_predicates_hold_after_the_last_action_only(goal: str, actions: list[str]) -> None:
    game = make_game(goal)
    outcomes = [game.is_won(play(game, *actions[:i])[0]) for i in range(len(actions) + 1)]
    assert outcomes == [False] * len(actions) + [True]


@pytest.mark.parametrize(
    ("goal", "problem"),
    [
        ("(and (isShiny Apple_bar_1))", "'isshiny'"),
        ("(forall (?o - object) (isClean ?o))", "'forall'"),
        ("(not (and (isClean Apple_bar_1)))", "'not'"),
        ("(isClean)", r"arguments \[\]"),
        ("(holds agent1 (isClean Apple_bar_1))", "'holds'"),
        ("(isClean ?o)", r"'\?o', which is neither"),
        ("(isClean Pear_bar_1)", "'pear_bar_1', which is neither"),
        ("()", "condition is required"),
    ],
)
def test_unusable_goal(goal: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make_game(goal)


@pytest.mark.parametrize(
    ("removed", "problem"),
    [
        ("(receptacleAtLocation Fridge_bar_1 l1)", "fridge_bar_1"),
        ("(atLocation agent1 l0)", "places 0 agents"),
        ("Pea_bar_1 DeskLamp_bar_1 PaperTowelRoll_bar_1 - object", "pea_bar_1|papertowelroll_bar_1"),
    ],
)
def test_incomplete_problem(removed: str, problem: str) -> None:
    text = PROBLEM.replace("GOAL", HOT_APPLE)
    assert removed in text
    with pytest.raises(ValueError, match=problem):
        Game({"pddl_problem": text.replace(removed, "- object" if "- object" in removed else ""), "task": "do it."})


def test_fact_with_a_wrong_number_of_arguments() -> None:
    text = PROBLEM.replace("GOAL", HOT_APPLE).replace("(openable Fridge_bar_1)", "(openable Fridge_bar_1 l1)")
    with pytest.raises(ValueError, match=re.escape("(openable fridge_bar_1 l1)")):
        Game({"pddl_problem": text, "task": "x"})


@pytest.mark.parametrize("data", [[], "text", {}, {"pddl_problem": 3}, {"pddl_problem": "(define)", "pddl_domain": 3}])
def test_data_that_is_no_game(data: Any) -> None:
    with pytest.raises(ValueError, match="required"):
        Game(data)


def test_task_is_read_from_the_grammar() -> None:
    data = {"pddl_problem": PROBLEM.replace("GOAL", HOT_APPLE)}
    assert Game({**data, "grammar": '{"rhs": "Your task is to: heat it."}'}).task == "heat it."
    with pytest.raises(ValueError, match="grammar"):
        Game(data)
    with pytest.raises(ValueError, match="Your task is to"):
        Game({**data, "grammar": "{}"})


GAME = make_game()
COUNTER = play(GAME, GO_TO_COUNTER)[0]


@given(
    st.text()
    | st.sampled_from(["take apple 2 from drawer 1", "GO TO FRIDGE 1", "go  to fridge 1", "x" * 10_000, "\x00\x1b[2J"])
)
def test_any_other_text_changes_nothing(action: str) -> None:
    if action.strip() not in GAME.admissible(COUNTER):
        state, text = GAME.step(COUNTER, action)
        assert state is COUNTER
        assert text == "Nothing happens."


@given(st.lists(st.integers(0, 1000), max_size=30))
def test_states_are_values_and_every_admissible_command_is_answered(choices: list[int]) -> None:
    state = GAME.initial
    for choice in choices:
        commands = list(GAME.admissible(state))
        before = repr(state)
        after, text = GAME.step(state, commands[choice % len(commands)])
        assert text != "Nothing happens."
        assert repr(state) == before
        assert eval(before, {"GameState": GameState}) == state
        assert hash(after) == hash(GameState(*after))
        state = after
