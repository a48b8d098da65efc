import json
import os
import random
import statistics
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest

from trl_3spo.environments.alfworld.assignment import LOOK, SLICED_SENTENCES, TWO, Assignment
from trl_3spo.environments.alfworld.expert.expert import SearchExpert
from trl_3spo.environments.alfworld.generation.generator import generate_games
from trl_3spo.environments.alfworld.generation.oracle import oracle_action, oracle_plan
from trl_3spo.environments.alfworld.simulator.game import Game

SMALL = {"num_receptacles": (4, 8), "num_objects": (4, 10)}
ARCHIVE = Path(__file__).parents[2] / "shared/data/alfworld/games.tar.xz"


@pytest.fixture(scope="module")
def released_games(tmp_path_factory):
    """The content of some released game files, from $ALFWORLD_TEST_GAMES (a folder or an archive) if it is set."""
    source = Path(os.environ.get("ALFWORLD_TEST_GAMES", ARCHIVE))
    if not source.exists():
        pytest.skip("no released games: set ALFWORLD_TEST_GAMES to a folder or an archive of them")
    if source.is_file():
        folder = tmp_path_factory.mktemp("games")
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
        source = folder
    games = [json.loads(path.read_text()) for path in sorted(source.rglob("game.tw-pddl"))]
    return [Game(game) for game in games if game["walkthrough"]]


@pytest.fixture(scope="module")
def default_games():
    return [Game(game) for game in generate_games(240, seed=11)]


@pytest.fixture(scope="module")
def small_games():
    return [Game(game) for game in generate_games(300, seed=12, **SMALL)]


@pytest.fixture(scope="module")
def sliced_games():
    kinds = list(SLICED_SENTENCES)
    data = generate_games(50, seed=13, kinds=kinds, sliced_share=1.0)
    return [Game(game) for game in data + generate_games(50, seed=13, kinds=kinds, sliced_share=1.0, **SMALL)]


class Episode(NamedTuple):
    is_won: bool
    actions: list[str]


def play(game, *, max_steps, seed=0, noise=0.0, expert=None):
    """Play one episode; with chance `noise` a random action is taken in place of the expert's."""
    rng = random.Random(seed)
    expert = expert or SearchExpert(game.task, seed)
    state, text = game.initial, game.introduction()
    actions = []
    while len(actions) < max_steps and not game.is_won(state):
        admissible = list(game.admissible(state))
        expert.observe(text)
        action = expert.act(admissible)
        assert action in admissible
        actions.append(rng.choice(admissible) if rng.random() < noise else action)
        state, text = game.step(state, actions[-1])
    return Episode(game.is_won(state), actions)


def success_rate(episodes):
    return statistics.mean(episode.is_won for episode in episodes)


def wander(game, rng, num_steps):
    state = game.initial
    for _ in range(num_steps):
        state, _ = game.step(state, rng.choice(list(game.admissible(state))))
    return state


def follow(game, state, plan):
    for action in plan:
        assert action in game.admissible(state)
        state, _ = game.step(state, action)
    return state


def is_stuck(game, state):
    """Whether the hand holds something no receptacle accepts."""
    return any(all(thing not in accepted for accepted in game.accepts) for thing in state.held)


def with_target_in_hand(games, kind):
    """The first game of a kind, its assignment, and a state in which a target is held."""
    game = next(game for game in games if Assignment.from_text(game.task).kind == kind)
    assignment = Assignment.from_text(game.task)
    thing = next(i for i, thing in enumerate(game.objects) if thing.type == assignment.target)
    return game, assignment, game.initial._replace(held=(thing,))


def test_oracle_wins_the_released_games_as_shortly_as_their_walkthroughs(released_games):
    lengths = []
    for game in released_games:
        plan = oracle_plan(game, game.initial)
        assert game.is_won(follow(game, game.initial, plan))
        lengths.append((len(plan), len(game.walkthrough)))
    ours, theirs = (statistics.mean(column) for column in zip(*lengths, strict=True))
    assert ours < 1.1 * theirs


def test_oracle_wins_the_released_games_from_random_states(released_games):
    rng = random.Random(0)
    for game in released_games:
        for _ in range(10):
            state = wander(game, rng, rng.randint(1, 40))
            plan = oracle_plan(game, state)
            if plan is None:
                assert is_stuck(game, state)
            else:
                assert game.is_won(follow(game, state, plan))


def test_oracle_wins_generated_games_from_random_states(default_games, small_games):
    rng = random.Random(1)
    for game in default_games[:60] + small_games[:120]:
        state = wander(game, rng, rng.randint(1, 40))
        plan = oracle_plan(game, state)
        if plan is None:
            assert is_stuck(game, state)
        else:
            assert game.is_won(follow(game, state, plan))


def test_oracle_action_is_the_first_of_the_plan(small_games):
    game = small_games[0]
    plan = oracle_plan(game, game.initial)
    assert oracle_action(game, game.initial) == plan[0]
    won = follow(game, game.initial, plan)
    assert oracle_plan(game, won) == []
    assert oracle_action(game, won) is None


def test_oracle_sees_a_dead_end(default_games):
    for game in default_games:
        stuck = [thing for thing, o in enumerate(game.objects) if o.pickupable and o.type == "papertowelroll"]
        if stuck:
            state = game.initial._replace(held=(stuck[0],))
            assert oracle_plan(game, state) is None
            return
    pytest.fail("no generated game has a dead end")


def test_oracle_says_when_the_task_cannot_be_done_here(small_games):
    game = small_games[0]
    for assignment in (
        Assignment("pick_and_place_simple", "unicorn", "desk"),
        Assignment("pick_heat_then_place_in_recep", "apple", "moon"),
        Assignment(LOOK, "apple", lamp="moon"),
        Assignment(TWO, "apple", "moon"),
    ):
        assert oracle_plan(game, game.initial, assignment) is None


def test_oracle_says_when_the_lamp_is_missing(small_games):
    game, assignment, state = with_target_in_hand(small_games, LOOK)
    assert oracle_plan(game, state)
    assert oracle_plan(game, state, assignment._replace(lamp="sun")) is None


def test_oracle_says_when_the_appliance_is_missing(small_games):
    kind = "pick_cool_then_place_in_recep"
    without_fridge = [game for game in small_games if all(place.type != "fridge" for place in game.receptacles)]
    game, assignment, state = with_target_in_hand(without_fridge, "pick_heat_then_place_in_recep")
    assert oracle_plan(game, state)
    assert oracle_plan(game, state, assignment._replace(kind=kind)) is None


def test_expert_wins_released_games(released_games):
    episodes = [play(game, max_steps=50, seed=seed) for game in released_games for seed in range(5)]
    assert success_rate(episodes) >= 0.97


def test_expert_wins_generated_games_of_the_released_size(default_games):
    episodes = [play(game, max_steps=50, seed=i) for i, game in enumerate(default_games)]
    assert success_rate(episodes) >= 0.97
    assert statistics.mean(len(episode.actions) for episode in episodes) < 12


def test_expert_wins_small_games(small_games):
    episodes = [play(game, max_steps=30, seed=i) for i, game in enumerate(small_games)]
    assert success_rate(episodes) >= 0.995
    assert statistics.mean(len(episode.actions) for episode in episodes) < 10


def test_expert_searches_where_the_oracle_does_not(default_games):
    num_expert = sum(len(play(game, max_steps=50).actions) for game in default_games)
    num_oracle = sum(len(oracle_plan(game, game.initial)) for game in default_games)
    assert num_expert > 1.2 * num_oracle


def test_expert_copes_with_random_actions(default_games, small_games):
    assert success_rate([play(g, max_steps=50, seed=i, noise=0.3) for i, g in enumerate(default_games)]) > 0.9
    assert success_rate([play(g, max_steps=30, seed=i, noise=0.3) for i, g in enumerate(small_games)]) > 0.9


def test_expert_goes_on_from_any_state_given_the_turns_so_far(small_games):
    rng = random.Random(5)
    num_won = num_possible = 0
    for game in small_games[:150]:
        expert = SearchExpert(game.introduction())
        state, text = game.initial, game.introduction()
        for _ in range(rng.randint(1, 20)):
            expert.observe(text)
            state, text = game.step(state, rng.choice(list(game.admissible(state))))
        for _ in range(30):
            expert.observe(text)
            state, text = game.step(state, expert.act(game.admissible(state)))
            if game.is_won(state):
                break
        num_won += game.is_won(state)
        num_possible += game.is_won(state) or oracle_plan(game, state) is not None
    assert num_won == num_possible


def join(game, rng, num_steps):
    """Whether an expert wins that joins after random actions it was not told of; None where nobody can."""
    state = wander(game, rng, num_steps - 1)
    state, text = game.step(state, rng.choice(list(game.admissible(state))))
    if oracle_plan(game, state) is None:
        return None
    expert = SearchExpert(game.task)
    for _ in range(50):
        if game.is_won(state):
            return True
        expert.observe(text)
        state, text = game.step(state, expert.act(game.admissible(state)))
    return False


def test_expert_joins_in_without_the_turns_so_far(released_games, default_games, small_games, sliced_games):
    rng = random.Random(6)
    games = released_games * 4 + default_games[:100] + small_games[:100] + sliced_games
    outcomes = [join(game, rng, rng.randint(1, 30)) for game in games]
    assert outcomes.count(False) <= 0.01 * len(outcomes)
    assert outcomes.count(True) > 0.9 * len(outcomes)


def test_expert_wins_games_with_sliced_targets(sliced_games):
    assert success_rate([play(game, max_steps=50, seed=i) for i, game in enumerate(sliced_games)]) >= 0.97
    assert success_rate([play(game, max_steps=50, seed=i, noise=0.3) for i, game in enumerate(sliced_games)]) > 0.9


def test_expert_is_deterministic_and_seeds_decide_between_equal_places(default_games):
    first = [play(game, max_steps=50, expert=SearchExpert(game.task, 1)).actions for game in default_games[:60]]
    again = [play(game, max_steps=50, expert=SearchExpert(game.task, 1)).actions for game in default_games[:60]]
    other = [play(game, max_steps=50, expert=SearchExpert(game.task, 2)).actions for game in default_games[:60]]
    assert first == again
    assert first != other


def test_expert_with_the_memory_of_a_prompt_needs_few_more_steps(small_games, default_games):
    wins = [play(g, max_steps=20, expert=SearchExpert(g.task, history_length=3)) for g in small_games]
    assert success_rate(wins) > 0.97
    plays = [
        [play(g, max_steps=50, expert=SearchExpert(g.task, history_length=n)) for g in default_games] for n in (2, None)
    ]
    assert success_rate(plays[0]) > 0.97
    by_prompt, by_all = (sum(len(x.actions) for x in games) / len(games) for games in plays)
    assert by_prompt < 1.4 * by_all


def test_expert_with_the_memory_of_a_prompt_tours_likely_places_first():
    expert = SearchExpert("put a mug in desk.", history_length=1)  # which drawers and shelves hold less often
    expert.observe(
        "You are in the middle of a room. Looking quickly around you, you see a desk 1, a drawer 1, a shelf 2, "
        "and a shelf 1.\n\nYour task is to: put a mug in desk."
    )
    expert.observe("You are not carrying anything.")
    places = ["desk 1", "shelf 1", "shelf 2", "drawer 1"]
    seen = []

    def go(place: str = "") -> None:
        here = seen[-1] if seen else ""
        chosen = expert.act([f"go to {place}" for place in places if place != here]).removeprefix("go to ")
        seen.append(place or chosen)
        expert.observe(f"You arrive at {seen[-1]}. On the {seen[-1]}, you see nothing.")

    for _ in range(6):
        go()
    assert seen == [*places, *places[:2]]
    go("drawer 1")  # another led astray: the tour goes on where it was
    go()
    assert seen[-1] == "shelf 2"


def test_expert_accepts_parameters_in_place_of_a_sentence(small_games):
    game = small_games[0]
    assert play(game, max_steps=30, expert=SearchExpert(Assignment.from_text(game.task))).is_won


def test_expert_refuses_an_unknown_task_and_an_ended_episode():
    with pytest.raises(ValueError, match="cannot read a task"):
        SearchExpert("make coffee")
    with pytest.raises(ValueError, match="no admissible actions"):
        SearchExpert("put a mug in desk.").act([])


def expert_for(sentence, *texts):
    expert = SearchExpert(sentence)
    for text in texts:
        expert.observe(text)
    return expert


def test_expert_remembers_a_target_seen_on_the_way():
    expert = expert_for("put a mug in desk.", "You arrive at shelf 1. On the shelf 1, you see a pen 1, and a mug 2.")
    assert expert.act(["go to shelf 1", "go to desk 1", "go to drawer 1", "look"]) == "go to shelf 1"
    assert (
        expert.act(["take pen 1 from shelf 1", "take mug 2 from shelf 1", "go to desk 1"]) == "take mug 2 from shelf 1"
    )


def test_expert_knows_of_receptacles_it_never_had_to_go_to():
    expert = expert_for(
        "put a hot tomato in shelf.",
        "You are facing the countertop 1, and microwave 1. Next to it, you see nothing.",
        "You pick up the tomato 1 from the countertop 1.",
    )
    assert expert.act(["go to shelf 1", "heat tomato 1 with microwave 1", "look"]) == "heat tomato 1 with microwave 1"


def test_expert_opens_a_receptacle_that_was_closed_again():
    expert = expert_for("put a pen in desk.", "You open the drawer 1. The drawer 1 is open. In it, you see a pen 1.")
    assert expert.act(["go to desk 1", "open drawer 1", "examine drawer 1"]) == "open drawer 1"


def test_expert_looks_into_a_place_it_already_stands_at():
    expert = expert_for("put a pen in sofa.", "You arrive at desk 1. On the desk 1, you see nothing.")
    expert.act(["go to desk 1", "go to shelf 1", "go to sofa 1", "look"])
    assert expert.act(["go to sofa 1", "examine desk 1", "examine shelf 1", "look"]) == "examine shelf 1"


def test_expert_treats_before_it_delivers_and_again_if_undone():
    commands = ["go to fridge 1", "go to microwave 1", "go to desk 1", "look"]
    expert = expert_for("put a hot mug in desk.", "You pick up the mug 1 from the desk 1.")
    assert expert.act(commands) == "go to microwave 1"
    expert.observe("You heat the mug 1 using the microwave 1.")
    assert expert.act(commands) == "go to desk 1"
    expert.observe("You cool the mug 1 using the fridge 1.")
    assert expert.act(commands) == "go to microwave 1"


def test_expert_puts_away_what_is_not_wanted_where_it_is_accepted():
    expert = expert_for("put a mug in desk.", "You pick up the pen 1 from the shelf 1.")
    here = ["go to desk 1", "move pen 1 to shelf 1", "examine shelf 1", "look"]
    assert expert.act(here) == "move pen 1 to shelf 1"
    expert = expert_for("put a mug in shelf.", "You pick up the pen 1 from the desk 1.")
    assert expert.act(["go to desk 1", "go to toaster 1", "go to bed 1", "look"]) == "go to desk 1"
    # This desk refuses it, against all experience.
    assert expert.act(["go to toaster 1", "examine desk 1", "look"]) == "go to toaster 1"


def test_expert_reads_the_inventory():
    expert = expert_for("put a mug in desk.", "You are carrying: a mug 1.")
    assert expert.act(["go to desk 1", "go to shelf 1", "look"]) == "go to desk 1"


def test_expert_brings_two_to_the_same_receptacle():
    expert = expert_for(
        "put two pen in drawer.",
        "You open the drawer 1. The drawer 1 is open. In it, you see nothing.",
        "You open the drawer 2. The drawer 2 is open. In it, you see a pen 2.",
        "You pick up the pen 1 from the desk 1.",
    )
    assert expert.act(["go to drawer 1", "go to drawer 2", "look"]) == "go to drawer 2"


def test_expert_looks_around_when_nothing_can_be_done():
    expert = expert_for("put a mug in desk.", "You pick up the teddybear 1 from the bed 1.")
    assert expert.act(["examine teddybear 1", "look"]) == "look"
    assert expert.act(["examine teddybear 1"]) == "examine teddybear 1"


def test_expert_starts_over_when_it_has_seen_everything_in_vain():
    expert = expert_for("put a pen in sofa.", "On the desk 1, you see nothing. On the shelf 1, you see nothing.")
    assert expert.act(["go to desk 1", "examine shelf 1", "look"]) in ("go to desk 1", "examine shelf 1")


def test_expert_takes_a_refused_take_as_news():
    expert = expert_for("put a pen in sofa.", "On the desk 1, you see a pen 1.")
    assert expert.act(["go to sofa 1", "examine desk 1", "look"]) == "examine desk 1"


def test_expert_looks_around_when_the_treatment_is_refused():
    expert = expert_for("put a hot mug in desk.", "You pick up the mug 1 from the desk 1.", "You open the microwave 1.")
    assert expert.act(["go to desk 1", "close microwave 1", "look"]) == "look"


def test_expert_asks_what_it_holds_when_it_joins_in():
    commands = ["go to desk 1", "examine pen 1", "inventory", "look"]
    expert = expert_for("put a pen in desk.", "You arrive at toaster 1. On the toaster 1, you see nothing.")
    assert expert.act(commands) == "inventory"
    expert.observe("You are carrying: a pen 1.")
    assert expert.act(commands) == "go to desk 1"
    expert = expert_for("put a pen in desk.", "You arrive at shelf 1. On the shelf 1, you see a pen 1.")
    assert expert.act(["take pen 1 from shelf 1", *commands]) == "take pen 1 from shelf 1"


def test_expert_brings_two_objects_where_one_is_recorded_in_two_places():
    expert = expert_for(
        "put two pan in countertop.",
        "On the stoveburner 1, you see a pan 1.",
        "On the stoveburner 2, you see a pan 1, and a pan 2.",
        "You pick up the pan 1 from the stoveburner 1.",
        "You move the pan 1 to the countertop 1.",
    )
    assert (
        expert.act(["take pan 1 from stoveburner 2", "take pan 2 from stoveburner 2"])
        == "take pan 2 from stoveburner 2"
    )


def test_expert_slices_puts_the_knife_away_and_takes_the_slice():
    expert = expert_for(
        "put sliced apple in fridge.",
        "On the countertop 1, you see a apple 1, and a butterknife 1.",
        "On the shelf 1, you see a apple 2.",
    )
    here = ["go to fridge 1", "go to shelf 1", "look"]
    assert expert.act(["take apple 1 from countertop 1", "take butterknife 1 from countertop 1", *here]) == (
        "take butterknife 1 from countertop 1"
    )
    expert.observe("You pick up the butterknife 1 from the countertop 1.")
    assert expert.act(["slice apple 1 with butterknife 1", *here]) == "slice apple 1 with butterknife 1"
    expert.observe("You sliced the apple 1 with the butterknife 1.")
    here = ["move butterknife 1 to countertop 1", *here]
    assert expert.act(here) == "move butterknife 1 to countertop 1"
    expert.observe("You move the butterknife 1 to the countertop 1.")
    here = ["take apple 1 from countertop 1", *here[1:]]
    assert expert.act(here) == "take apple 1 from countertop 1"


def test_expert_frees_its_hand_for_the_knife():
    texts = ["On the shelf 1, you see a apple 2, and a knife 1.", "You pick up the apple 1 from the countertop 1."]
    commands = ["move apple 1 to countertop 1", "go to shelf 1", "look"]
    expert = expert_for("put sliced apple in fridge.", *texts)
    assert expert.act(commands) == "move apple 1 to countertop 1"
    assert "knife" in expert.thought
    expert.observe("You move the apple 1 to the countertop 1.")
    expert.observe("You pick up the knife 1 from the shelf 1.")
    assert expert.act(["go to countertop 1", "look"]) == "go to countertop 1"


def test_expert_slices_another_where_the_first_is_out_of_reach():
    texts = ["On the desk 1, you see a apple 1.", "On the shelf 1, you see a apple 2."]
    expert = expert_for("put sliced apple in fridge.", *texts, "You pick up the knife 1 from the desk 1.")
    assert expert.act(["slice apple 1 with knife 1", "go to shelf 1", "look"]) == "slice apple 1 with knife 1"
    assert expert.act(["go to shelf 1", "look"]) == "go to shelf 1"


def test_expert_says_why(small_games):
    for game in small_games[:30]:
        expert, state, text = SearchExpert(game.introduction()), game.initial, game.introduction()
        thoughts = {}
        while not game.is_won(state):
            expert.observe(text)
            action = expert.act(game.admissible(state))
            thoughts[action] = expert.thought
            state, text = game.step(state, action)
        assert all(thought.endswith(".") for thought in thoughts.values())
        for action, thought in thoughts.items():
            if action.startswith("take"):
                assert (
                    thought
                    == f"The {' '.join(action.split()[1:3])} is at {' '.join(action.split()[4:])}, and I need it."
                )
