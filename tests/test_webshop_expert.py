"""The expert buys what is asked for, seeing no more than an agent does."""

import random

import pytest

from trl_3spo.environments.base import Observation, Turn
from trl_3spo.environments.webshop import WebShopEnv, World
from trl_3spo.environments.webshop.catalogue.catalogue import generate_catalogue, write_catalogue
from trl_3spo.environments.webshop.expert.demonstrations import demonstrate
from trl_3spo.environments.webshop.expert.expert import ShoppingExpert
from trl_3spo.environments.webshop.expert.reading import Listing, listing_of, options_of, read_page, results_of
from trl_3spo.environments.webshop.expert.request import read_request
from webshop_fixtures import FOLDER, needs_fixtures

HEAD = (
    "Instruction: [SEP] Find me soft, warm socks with size: m, and price lower than 20.00 dollars [SEP] Back to Search"
)
RESULTS = (
    f"{HEAD} [SEP] Page 1 (Total results: 3) [SEP] Next > [SEP] B1 [SEP] Warm Socks [SEP] $25.0 [SEP] "
    "B2 [SEP] Warm Grey Socks [SEP] $12.0 to $14.5 [SEP] B3 [SEP] Hat [SEP] $9.99"
)
ITEM = (
    f"{HEAD} [SEP] < Prev [SEP] size [SEP] s [SEP] m [SEP] color [SEP] grey [SEP] Warm Grey Socks [SEP] "
    "Price: $12.0 to $14.5 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
)
FEATURES = f"{HEAD} [SEP] < Prev [SEP] Very soft"
ON_RESULTS = ("click[back to search]", "click[next >]", "click[b1]", "click[b2]", "click[b3]")
ON_ITEM = tuple(
    f"click[{text}]"
    for text in ("back to search", "< prev", "description", "features", "reviews", "buy now", "s", "m", "grey")
)


@pytest.fixture(scope="module")
def world():
    return World.bundled()


def observed(text, actions=()):
    return Observation(text, state_key=text, admissible_actions=actions)


@pytest.mark.parametrize(
    ("instruction", "words", "options", "limit"),
    [
        (
            "Find me slim fit, machine wash men's shirts with color: blue | green, and size: x-large, and price lower "
            "than 30.00 dollars",
            ("slim", "fit", "machine", "wash", "men's", "shirts"),
            {"color": "blue | green", "size": "x-large"},
            30,
        ),
        (
            "Find me shoes with rubber sole with width: wide",
            ("shoes", "rubber", "sole"),
            {"width": "wide"},
            float("inf"),
        ),
        (
            "i need a red shoe with a rubber sole, and price lower than 1230.00 dollars",
            ("red", "shoe", "rubber", "sole"),
            {},
            1230,
        ),
        ("note: anything red", ("note", "anything", "red"), {}, float("inf")),
        ("", (), {}, float("inf")),
    ],
)
def test_requests_are_taken_apart(instruction, words, options, limit):
    request = read_request(instruction)
    assert (request.words, request.options, request.limit) == (words, options, limit)


def test_pages_are_read():
    assert read_page("WebShop [SEP] Instruction: [SEP] Find me a hat [SEP] Search")[:2] == ("index", "Find me a hat")
    assert read_page("Thank you for shopping with us! [SEP] Your code:").kind == "done"
    assert read_page(FEATURES)[::2] == ("details", ("Very soft",))
    page = read_page(RESULTS)
    assert page.kind == "results"
    assert results_of(page) == [
        Listing("b1", "Warm Socks", 25.0),
        Listing("b2", "Warm Grey Socks", 12.0),
        Listing("b3", "Hat", 9.99),
    ]
    page = read_page(ITEM)
    assert page.kind == "item"
    assert listing_of(page) == Listing("", "Warm Grey Socks", 12.0)
    assert options_of(page, ["s", "m", "grey", "description"]) == {"size": ["s", "m"], "color": ["grey"]}


def test_it_searches_opens_reads_chooses_and_buys():
    expert = ShoppingExpert()
    turns = []
    steps = [
        ("WebShop [SEP] Instruction: [SEP] Find me soft, warm socks with size: m [SEP] Search", ()),
        (RESULTS, ON_RESULTS),
        (ITEM, ON_ITEM),
        (FEATURES, ("click[back to search]", "click[< prev]")),
        (ITEM, ON_ITEM),
        (ITEM, ON_ITEM),
    ]
    for text, actions in steps:
        turns.append(Turn(text, expert.act(observed(text, actions), turns)))
    assert [turn.action for turn in turns] == [
        "search[soft warm socks m]",
        "click[b2]",  # the other warm socks cost too much
        "click[features]",  # nothing has said soft yet
        "click[< prev]",
        "click[m]",
        "click[buy now]",
    ]


def test_it_goes_back_when_the_wanted_value_is_not_to_be_had():
    without_m = ITEM.replace(" [SEP] m [SEP]", " [SEP]")
    results = RESULTS.replace("$9.99", "$9.99 [SEP] B4 [SEP] Socks [SEP] $8.0")
    turns = [Turn("WebShop [SEP] Instruction: [SEP] … [SEP] Search", "search[socks]"), Turn(results, "click[b2]")]
    expert = ShoppingExpert()
    assert expert.act(observed(without_m, ON_ITEM), turns) == "click[< prev]"
    turns.append(Turn(without_m, "click[< prev]"))
    assert expert.act(observed(results, (*ON_RESULTS, "click[b4]")), turns) == "click[b4]"


def test_when_time_runs_out_it_buys_what_lacks_least():
    turns = [Turn("WebShop [SEP] Instruction: [SEP] … [SEP] Search", "search[socks]"), Turn(RESULTS, "click[b2]")]
    assert ShoppingExpert(max_steps=5).act(observed(ITEM, ON_ITEM), turns) == "click[m]"
    assert (
        ShoppingExpert(max_steps=4).act(observed(ITEM, ON_ITEM), [*turns, Turn(ITEM, "click[m]")]) == "click[buy now]"
    )
    last = [*turns, Turn(ITEM, "click[< prev]")]
    assert ShoppingExpert(max_steps=6).act(observed(RESULTS, ON_RESULTS), last) == "click[b2]"


def test_a_choice_made_in_passing_is_corrected():
    turns = [
        Turn("WebShop [SEP] Instruction: [SEP] … [SEP] Search", "search[socks]"),
        Turn(RESULTS, "click[b2]"),
        Turn(ITEM, "click[m]"),
        Turn(ITEM, "click[s]"),
    ]
    assert ShoppingExpert(max_steps=6).act(observed(ITEM, ON_ITEM), turns) == "click[m]"


def test_too_dear_a_page_of_results_is_turned():
    dear = RESULTS.replace("$12.0 to $14.5", "$212.0").replace("$9.99", "$99.9")
    assert ShoppingExpert().act(observed(dear, ON_RESULTS)) == "click[next >]"
    empty = f"{HEAD} [SEP] Page 2 (Total results: 3) [SEP] < Prev [SEP] Next >"
    assert ShoppingExpert().act(observed(empty, ON_RESULTS[:2])) == "click[back to search]"


def test_it_refuses_an_ended_episode_and_one_too_short():
    with pytest.raises(ValueError, match="purchase is made"):
        ShoppingExpert().act(observed("Thank you for shopping with us!"))
    with pytest.raises(ValueError, match="max_steps is 3"):
        ShoppingExpert(max_steps=3)


def test_it_refuses_pages_it_cannot_read():
    with pytest.raises(ValueError, match="observation='text'"):
        ShoppingExpert().act(observed("Instruction:\nFind me a hat\n[button] Back to Search [button_]\n"))


def play(env, task, noise=0.0, rng=None):
    """Play one episode; with chance `noise` any admissible action but a purchase is taken in place of the expert's."""
    expert = ShoppingExpert(env.max_steps)
    observation, turns, is_final = env.reset(task), [], False
    while not is_final:
        action = expert.act(observation, turns)
        is_index = observation.text.startswith("WebShop")
        assert action.startswith("search[") if is_index else action in observation.admissible_actions
        if noise and rng.random() < noise:
            others = [other for other in observation.admissible_actions if other != "click[buy now]"]
            action = rng.choice(others or [action])
        turns.append(Turn(observation.text, action))
        result = env.step(action)
        observation, is_final = result.observation, result.is_final
    return result


def success_rate(env, num_tasks, **options):
    tasks = random.Random(1).sample(env.tasks(), num_tasks)
    return sum(play(env, task, **options).success for task in tasks) / num_tasks


@pytest.mark.parametrize("mode", ["sane", "compat"])
def test_it_succeeds_in_the_bundled_catalogue(world, mode):
    assert success_rate(WebShopEnv(world, mode=mode, split=None), 400) > 0.95


@pytest.mark.parametrize("seed", [1, 2])
def test_it_succeeds_in_other_catalogues(seed):
    assert success_rate(WebShopEnv(World.bundled(seed), split=None), 150) > 0.9


def test_it_understands_human_instructions(tmp_path):
    items, attributes, human = write_catalogue(generate_catalogue(), tmp_path)
    env = WebShopEnv(World.from_files(items, attributes, human), split=None)
    assert success_rate(env, 200) > 0.8


def test_it_finds_its_way_back_from_random_steps(world):
    assert success_rate(WebShopEnv(world, split=None, max_steps=30), 100, noise=0.2, rng=random.Random(3)) > 0.85


@needs_fixtures
def test_it_gets_through_an_adversarial_catalogue():
    world = World.from_files(FOLDER / "products.json", FOLDER / "attributes.json")
    for mode in ("sane", "compat"):
        env = WebShopEnv(world, mode=mode, split=None)
        results = [play(env, task) for task in env.tasks()]
        # Most of these goals want an attribute that no instruction states, or an option that has a button's name.
        assert sum(result.reward for result in results) > 0.7 * len(results)


def play_back(env, task, steps):
    """Take the demonstrated actions from the start, as long as the prompts agree."""
    observation, turns = env.reset(task), []
    for step in steps:
        if step["prompt"] != env.prompt(task, observation, turns):
            return None
        action = env.parse_action(step["completion"][0]["content"])
        turns.append(Turn(observation.text, action))
        result = env.step(action)
        observation = result.observation
    return result


@pytest.mark.parametrize("prompt_format", ["think", "action"])
def test_demonstrations_are_purchases_in_the_environments_own_words(world, prompt_format):
    env = WebShopEnv(world, prompt_format=prompt_format)
    for task in env.tasks()[:40]:
        steps = list(demonstrate(env, [task], keeps_lost=True))
        assert play_back(env, task, steps).terminated
        assert [message["role"] for step in steps for message in step["completion"]] == ["assistant"] * len(steps)
        bought = {"think": "<think></think><action>click[buy now]</action>", "action": "click[buy now]"}
        assert steps[-1]["completion"][0]["content"] == bought[prompt_format]


def test_noise_is_taken_and_demonstrated_only_if_so_wished(world):
    env = WebShopEnv(world)
    tasks = env.tasks()[:20]
    options = {"noise": 0.5, "keeps_lost": True, "seed": 1}
    corrected = [play_back(env, task, list(demonstrate(env, [task], **options))) for task in tasks]
    assert corrected.count(None) >= 10
    hesitant = [list(demonstrate(env, [task], **options, demonstrates_noise=True)) for task in tasks]
    assert all(play_back(env, task, steps) for task, steps in zip(tasks, hesitant, strict=True))
    runs = [list(demonstrate(env, tasks, noise=0.3, seed=seed)) for seed in (4, 4, 5)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("noise", [-0.1, 1.1])
def test_noise_is_a_share(world, noise):
    env = WebShopEnv(world)
    with pytest.raises(ValueError, match=f"noise is {noise}"):
        next(demonstrate(env, env.tasks(), noise=noise))
