import json
import os
import random
import re
import statistics
import subprocess
import sys
from collections import Counter

import pytest

from trl_3spo.environments.alfworld import generator
from trl_3spo.environments.alfworld.assignment import KINDS, LOOK, SENTENCES, TREATMENTS, Assignment
from trl_3spo.environments.alfworld.game import Game
from trl_3spo.environments.alfworld.generator import generate_game, generate_games, to_textworld, write_game
from trl_3spo.environments.alfworld.oracle import oracle_plan
from trl_3spo.environments.alfworld.rooms import OBJECTS, ROOMS

SMALL = {"num_receptacles": (4, 8), "num_objects": (4, 10)}
GRAMMAR = 'grammar :: """\n{"task": [{"rhs": "Your task is to: UNKNOWN GOAL."}]}\n"""'


@pytest.fixture(scope="module")
def default_games():
    return generate_games(300, seed=0)


@pytest.fixture(scope="module")
def small_games():
    return generate_games(300, seed=0, **SMALL)


@pytest.fixture(scope="module", params=["default", "small"])
def games(request, default_games, small_games):
    return default_games if request.param == "default" else small_games


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
        "import json; from trl_3spo.environments.alfworld.generator import generate_games;"
        "print(json.dumps(generate_games(12, seed=0)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    output = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True).stdout
    assert json.loads(output) == default_games[:12]


def test_sizes_are_those_of_the_released_games(default_games):
    games = [Game(game) for game in default_games]
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
    for game in map(Game, default_games):
        counts = Counter(receptacle.location for receptacle in game.receptacles)
        is_shared += [counts[receptacle.location] > 1 for receptacle in game.receptacles]
    assert 0.12 < statistics.mean(is_shared) < 0.22


def test_sizes_can_be_bounded(small_games):
    games = [Game(game) for game in small_games]
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
        furniture[game["kind"]] |= {receptacle.type for receptacle in Game(game).receptacles}
    assert {"bed", "sofa", "toilet", "fridge"} <= furniture["pick_and_place_simple"]
    assert {"bed", "sofa", "toilet", "fridge"} <= furniture["pick_two_obj_and_place"]
    assert {"bed", "sofa"} <= furniture[LOOK]
    assert {"toilet", "fridge"} <= furniture["pick_clean_then_place_in_recep"]


def test_games_are_solvable_and_not_yet_won(games):
    for data in games[:200]:
        game = Game(data)
        assert data["solvable"] is True
        assert data["walkthrough"] == oracle_plan(game, game.initial)
        state = game.initial
        for action in data["walkthrough"]:
            assert not game.is_won(state)
            assert action in game.admissible(state)
            state, _ = game.step(state, action)
        assert game.is_won(state)


def test_the_agent_starts_where_there_is_no_receptacle(games):
    for game in map(Game, games):
        assert not game.receptacles_at(game.initial.location)


def test_what_the_task_takes_is_there_and_has_to_be_brought_together(games):
    for data in games:
        game, assignment = Game(data), Assignment.from_text(data["task"])
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
        assert sum(receptacle.type in types for receptacle in Game(data).receptacles) >= 2


def test_everything_is_where_the_tables_allow_it(default_games):
    known = {name.lower(): object_type for name, object_type in OBJECTS.items()}
    for game in map(Game, default_games[:60]):
        for thing in game.objects:
            assert {host.type for host in hosts(game, thing.type)} <= {n.lower() for n in known[thing.type].found_in}
        for place, accepted in enumerate(game.accepts):
            for thing in accepted:
                assert game.receptacles[place].type in {n.lower() for n in known[game.objects[thing].type].fits}


def test_games_are_different_and_named_by_what_lies_where(games):
    assert len({game["id"] for game in games}) == len(games)
    assert len({Game(game).introduction() + game["pddl_problem"] for game in games}) == len(games)


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
    for game in map(Game, games):
        assert size[0] <= len(game.receptacles) <= size[1]


def test_textworld_data_has_the_task_in_the_grammar(small_games):
    data = to_textworld(small_games[0], "(define (domain alfred))", GRAMMAR)
    assert set(data) == {"pddl_domain", "grammar", "pddl_problem", "solvable", "walkthrough"}
    assert f'"Your task is to: {small_games[0]["task"]}"' in data["grammar"]
    assert "UNKNOWN GOAL" not in data["grammar"]


def test_a_grammar_without_a_place_for_the_task_is_refused(small_games):
    with pytest.raises(ValueError, match=r"0 times.*alfred\.twl2"):
        to_textworld(small_games[0], "", "grammar")


def test_written_games_are_read_back(tmp_path, small_games):
    path = write_game(small_games[3], tmp_path / "outer" / "inner", "(define (domain alfred))", GRAMMAR)
    assert path.name == "game.tw-pddl"
    data = json.loads(path.read_text())
    del data["pddl_domain"]  # too short to read rules from
    game = Game(data)
    assert game.task == small_games[3]["task"]
    assert oracle_plan(game, game.initial) == small_games[3]["walkthrough"]
    trajectory = json.loads((path.parent / "traj_data.json").read_text())
    assert trajectory["task_type"] == small_games[3]["kind"]
    assert trajectory["pddl_params"] == small_games[3]["parameters"]
