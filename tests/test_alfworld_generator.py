import functools
import hashlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
from collections import Counter

import pytest

from trl_3spo.environments.alfworld import AlfworldEnv
from trl_3spo.environments.alfworld.assignment import (
    KINDS,
    LOOK,
    SENTENCES,
    SLICED_SENTENCES,
    TREATMENTS,
    Assignment,
)
from trl_3spo.environments.alfworld.generation import generator
from trl_3spo.environments.alfworld.generation.generator import generate_game, generate_games
from trl_3spo.environments.alfworld.generation.oracle import oracle_plan
from trl_3spo.environments.alfworld.rooms import OBJECTS, OPENABLE, OVERLAPS, ROOMS
from trl_3spo.environments.alfworld.simulator.game import Game

SMALL = {"num_receptacles": (4, 8), "num_objects": (4, 10)}


@pytest.fixture(scope="module")
def default_games():
    return generate_games(300, seed=0)


@pytest.fixture(scope="module")
def small_games():
    return generate_games(300, seed=0, **SMALL)


@pytest.fixture(scope="module")
def sliced_games():
    return generate_games(60, seed=0, sliced_share=1.0) + generate_games(60, seed=1, sliced_share=1.0, **SMALL)


@pytest.fixture(scope="module", params=["default", "small"])
def games(request, default_games, small_games):
    return default_games if request.param == "default" else small_games


def opened(data):
    return _open(data["pddl_problem"], data["task"])


@functools.cache
def _open(problem, task):
    return Game({"pddl_problem": problem, "task": task})


def hosts(game, object_type):
    """The receptacles in which objects of a type lie at the start."""
    return [
        game.receptacles[place]
        for place, things in enumerate(game.initial.contents)
        for thing in things
        if game.objects[thing].type == object_type
    ]


def test_equal_seeds_give_equal_games_and_others_do_not():
    assert generate_games(12, seed=3, **SMALL) == generate_games(12, seed=3, **SMALL)
    assert generate_games(12, seed=3, **SMALL) != generate_games(12, seed=4, **SMALL)


def test_more_games_begin_with_the_same_ones(small_games):
    assert generate_games(20, seed=0, **SMALL) == small_games[:20]


@pytest.mark.parametrize("hash_seed", ["1", "77"])
def test_games_do_not_depend_on_the_order_of_hashes(default_games, hash_seed):
    script = (
        "import json; from trl_3spo.environments.alfworld.generation.generator import generate_games;"
        "print(json.dumps(generate_games(12, seed=0)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    output = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True).stdout
    assert json.loads(output) == default_games[:12]


def test_sizes_are_those_of_the_released_games(default_games):
    games = [opened(game) for game in default_games]
    nums_receptacles = [len(game.receptacles) for game in games]
    nums_objects = [len(game.objects) for game in games]
    assert 20 < statistics.mean(nums_receptacles) < 24
    assert 33 < statistics.mean(nums_objects) < 41
    assert min(nums_receptacles) >= 7
    assert max(nums_receptacles) <= 54
    assert min(nums_objects) >= 10
    assert max(nums_objects) <= 70


def test_some_receptacles_share_a_location(default_games):
    is_shared = []
    for game in map(opened, default_games):
        counts = Counter(receptacle.location for receptacle in game.receptacles)
        is_shared += [counts[receptacle.location] > 1 for receptacle in game.receptacles]
    assert 0.12 < statistics.mean(is_shared) < 0.22


def test_rooms_are_furnished_as_the_released_ones(default_games):
    """Means over the 30 scenes of a kind in alfworld's layouts, where these count a type in full."""
    numbers = {"fridge": {"countertop": 2.3, "stoveburner": 4, "diningtable": 0.7, "shelf": 0.5}}
    numbers |= {"sofa": {"coffeetable": 1.0, "sidetable": 1.5}, "toilet": {"bathtubbasin": 0.7, "shelf": 0.5}}
    for landmark, means in numbers.items():
        rooms = [Counter(place.type for place in opened(game).receptacles) for game in default_games]
        rooms = [room for room in rooms if landmark in room]
        for name, mean in means.items():
            assert abs(statistics.mean(room[name] for room in rooms) - mean) < 0.35, (landmark, name)


def test_some_cabinets_do_not_open(default_games, small_games):
    cabinets = [
        place.openable for game in map(opened, default_games) for place in game.receptacles if place.type == "cabinet"
    ]
    assert 0.7 < statistics.mean(cabinets) < 0.8
    for place in (place for game in map(opened, small_games) for place in game.receptacles):
        assert place.openable == (place.type in {name.lower() for name in OPENABLE})


def test_some_objects_are_in_two_receptacles(default_games, small_games):
    pairs = Counter()
    for game in map(opened, default_games):
        for thing in range(len(game.objects)):
            hosts = [
                place.type
                for place, things in zip(game.receptacles, game.initial.contents, strict=True)
                if thing in things
            ]
            assert len(hosts) in (1, 2)
            pairs.update([tuple(sorted(hosts))] if len(hosts) == 2 else [])
    assert set(pairs) == {tuple(sorted(name.lower() for name in pair)) for pair in OVERLAPS}
    assert 0.5 < pairs.total() / len(default_games) < 1.2
    for game in map(opened, small_games):
        assert sum(map(len, game.initial.contents)) == len(game.objects)


def test_sizes_can_be_bounded(small_games):
    games = [opened(game) for game in small_games]
    assert {len(game.receptacles) for game in games} == set(range(4, 9))
    assert {len(game.objects) for game in games} == set(range(4, 11))


def test_kinds_take_turns(games):
    assert [game["kind"] for game in games[:12]] == [*KINDS, *KINDS]


def test_games_of_one_kind_can_be_asked_for():
    games = generate_games(5, seed=1, kinds=[LOOK], **SMALL)
    assert {game["kind"] for game in games} == {LOOK}
    assert generate_game(random.Random(0))["kind"] in KINDS


def test_all_suitable_rooms_occur(default_games):
    furniture = {kind: set() for kind in KINDS}
    for game in default_games:
        furniture[game["kind"]] |= {receptacle.type for receptacle in opened(game).receptacles}
    assert {"bed", "sofa", "toilet", "fridge"} <= furniture["pick_and_place_simple"]
    assert {"bed", "sofa", "toilet", "fridge"} <= furniture["pick_two_obj_and_place"]
    assert {"bed", "sofa"} <= furniture[LOOK]
    assert {"toilet", "fridge"} <= furniture["pick_clean_then_place_in_recep"]


def test_games_are_solvable_and_not_yet_won(games):
    for data in games[:200]:
        game = opened(data)
        assert data["solvable"] is True
        assert data["walkthrough"] == oracle_plan(game, game.initial)
        state = game.initial
        for action in data["walkthrough"]:
            assert not game.is_won(state)
            assert action in game.admissible(state)
            state, _ = game.step(state, action)
        assert game.is_won(state)


def test_the_agent_starts_where_there_is_no_receptacle(games):
    for game in map(opened, games):
        assert not game.receptacles_at(game.initial.location)


def test_what_the_task_takes_is_there_and_has_to_be_brought_together(games):
    for data in games:
        game, assignment = opened(data), Assignment.from_text(data["task"])
        present = {receptacle.type for receptacle in game.receptacles}
        targets = hosts(game, assignment.target)
        assert len(targets) >= assignment.num_targets
        if assignment.kind == LOOK:
            assert hosts(game, assignment.lamp)
            continue
        assert assignment.destination in present
        if assignment.treatment:
            assert assignment.treatment.appliance.lower() in present
        else:
            assert all(host.type != assignment.destination for host in targets)


def test_the_target_can_hide_in_several_places(games):
    for data in games:
        assignment = Assignment.from_text(data["task"])
        taboo = "" if assignment.treatment else assignment.destination
        types = {name.lower() for name in OBJECTS[data["parameters"]["object_target"]].found_in} - {taboo}
        assert sum(receptacle.type in types for receptacle in opened(data).receptacles) >= 2


def test_everything_is_where_the_tables_allow_it(default_games):
    known = {name.lower(): object_type for name, object_type in OBJECTS.items()}
    for game in map(opened, default_games[:60]):
        for thing in game.objects:
            assert {host.type for host in hosts(game, thing.type)} <= {n.lower() for n in known[thing.type].found_in}
        for place, accepted in enumerate(game.accepts):
            for thing in accepted:
                assert game.receptacles[place].type in {n.lower() for n in known[game.objects[thing].type].fits}


def test_games_are_different_and_named_by_what_lies_where(games):
    assert len({game["id"] for game in games}) == len(games)
    assert len({opened(game).introduction() + game["pddl_problem"] for game in games}) == len(games)


def test_sentences_say_the_parameters(games):
    for game in games:
        assert Assignment.from_text(game["task"]) == Assignment.from_parameters(game["kind"], game["parameters"])
    assert len({re.sub(r"\b[a-z]*lamp\b", "", game["task"]).split()[0] for game in games}) >= 6


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_sentence_is_read_back(kind):
    expected = Assignment(kind, "mug", "" if kind == LOOK else "desk", "desklamp" if kind == LOOK else "")
    for template in SENTENCES[kind]:
        sentence = template.format(target="mug", destination="desk", lamp="desklamp")
        assert Assignment.from_text(sentence) == expected
        assert Assignment.from_text(f"You see a mug 1.\n\nYour task is to: {sentence}") == expected
        assert Assignment.from_text(sentence.removesuffix(".")) == expected


def test_an_unknown_sentence_is_refused():
    with pytest.raises(ValueError, match=r"make coffee.*from_parameters"):
        Assignment.from_text("make coffee")


def test_tables_agree_with_each_other():
    furniture = {name for room in ROOMS.values() for name in room.receptacles}
    for room in ROOMS.values():
        assert set(room.objects) <= set(OBJECTS)
        assert all(set(OBJECTS[name].found_in) & set(room.receptacles) for name in room.objects)
    for object_type in OBJECTS.values():
        assert set(object_type.found_in) <= furniture
        assert object_type.fits <= furniture
    assert {treatment.appliance for treatment in TREATMENTS.values()} <= furniture


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_receptacles": (3, 8)}, r"num_receptacles is \(3, 8\).*4 <= low"),
        ({"num_receptacles": (9, 8)}, r"num_receptacles is \(9, 8\).*low <= high"),
        ({"num_receptacles": (500, 600)}, r"\(500, 600\).*holds over \d+; lower"),
        ({"num_objects": (1, 8)}, r"num_objects is \(1, 8\).*2 <= low"),
        ({"num_objects": (8, 4)}, r"num_objects is \(8, 4\)"),
        ({"kinds": ["juggle"]}, "no task type 'juggle'.*must be one of pick_and_place_simple"),
        ({"kinds": []}, "at least one kind"),
        ({"sliced_share": 1.5}, "sliced_share is 1.5.*between 0"),
        ({"sliced_share": 0.5, "num_objects": (2, 8)}, r"num_objects is \(2, 8\).*3 <= low"),
    ],
)
def test_impossible_options_are_refused_with_a_remedy(options, message):
    with pytest.raises(ValueError, match=message):
        generate_games(1, seed=0, **options)


def test_a_negative_count_is_refused_and_none_is_none():
    with pytest.raises(ValueError, match="cannot generate -1 games"):
        generate_games(-1, seed=0)
    assert generate_games(0, seed=0) == []


def test_running_out_of_different_games_is_an_error(monkeypatch, small_games):
    monkeypatch.setattr(generator, "generate_game", lambda *_, **__: small_games[0])
    with pytest.raises(ValueError, match="found only 1 different games of the 2"):
        generate_games(2, seed=0, **SMALL)


@pytest.mark.parametrize("size", [(4, 4), (40, 50)])
def test_extreme_sizes_are_possible(size):
    games = generate_games(6, seed=0, num_receptacles=size, num_objects=(2, 2) if size == (4, 4) else (60, 60))
    for game in map(opened, games):
        assert size[0] <= len(game.receptacles) <= size[1]


def test_bounded_games_are_those_that_results_were_measured_on():
    """Whoever changes what a seed gives has to repeat the measurements that name it."""
    outline = json.dumps(generate_games(60, seed=0, **SMALL), sort_keys=True)
    assert hashlib.sha256(outline.encode()).hexdigest()[:16] == "a005670bb96944fc"


def test_sliced_targets_are_asked_for_and_have_to_be_sliced(sliced_games):
    assert {game["kind"] for game in sliced_games if game["parameters"]["object_sliced"]} == set(SLICED_SENTENCES)
    for data in sliced_games:
        game = opened(data)
        is_sliced = data["kind"] != LOOK
        assert data["parameters"]["object_sliced"] == is_sliced
        assert ("Sliced-" in data["id"]) == is_sliced
        assert Assignment.from_text(data["task"]) == Assignment.from_parameters(data["kind"], data["parameters"])
        state, num_slices = game.initial, 0
        for action in data["walkthrough"]:
            assert not game.is_won(state)
            num_slices += action.startswith("slice")
            state, _ = game.step(state, action)
        assert game.is_won(state)
        assert num_slices == is_sliced * Assignment.from_text(data["task"]).num_targets
        assert game.is_won(state._replace(sliced=0)) != is_sliced


def test_the_share_of_sliced_targets_is_kept():
    kinds = list(SLICED_SENTENCES)
    games = generate_games(200, seed=2, kinds=kinds, sliced_share=0.25, **SMALL)
    assert 0.15 < statistics.mean(game["parameters"]["object_sliced"] for game in games) < 0.35


@pytest.mark.parametrize("kind", SLICED_SENTENCES)
def test_every_form_of_sentence_for_slices_is_read_back(kind):
    for template in SLICED_SENTENCES[kind]:
        sentence = template.format(target="apple", destination="fridge")
        assert Assignment.from_text(sentence) == Assignment(kind, "apple", "fridge", is_sliced=True)


def test_known_games_are_not_generated_again(small_games):
    # Known by content alone: neither names nor types of tasks are given.
    contents = [{key: game[key] for key in ("pddl_problem", "task")} for game in small_games[:30]]
    games = generate_games(30, seed=0, apart_from=AlfworldEnv(contents), **SMALL)
    assert len(games) == 30
    assert not {game["id"] for game in games} & {game["id"] for game in small_games[:30]}
    env = AlfworldEnv(generated=30, seed=0, apart_from=AlfworldEnv(generated=30, seed=0, **SMALL), **SMALL)
    assert [task.id for task in env.tasks()] == [f"generated/{game['id']}" for game in games]
