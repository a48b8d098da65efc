"""Make the starting point of the demo in a small WebShop; `imitation.py` says how.

python examples/webshop_warm_start.py --output-dir examples/warm_start/webshop
"""

from collections.abc import Sequence

from imitation import Lessons, Phase, main
from small_webshop import MAX_COMPLETION_LENGTH, make_env

from trl_3spo.environments.base import Observation, Turn
from trl_3spo.environments.demonstrations import Advice, Expert
from trl_3spo.environments.webshop.expert.reading import Listing, Page, head_of, listing_of, read_page, results_of
from trl_3spo.environments.webshop.expert.request import Request, read_request

PHASES = (
    *(Phase(seed=seed, num_tasks=1800, learning_rate=1e-3, noise=0.3) for seed in (2, 3, 4, 6, 7, 8, 9, 10, 11, 12)),
    *(Phase(seed=seed, num_tasks=1800, learning_rate=3e-4, noise=0.3) for seed in (13, 14, 15)),
    Phase(seed=5, num_tasks=350, learning_rate=5e-4, noise=0.6, demonstrates_noise=True),
)

UNIT = (
    r"\[SEP\]|\$?\d+\.\d+|click\[|search\[|and price lower than|Answer with one action\.|Selected options:"
    r"|[Bb]ack to [Ss]earch|< [Pp]rev|[Nn]ext >|[Bb]uy [Nn]ow|Rating: N\.A\."
)
"""What the shop always says in the same words."""


def act(page: Page, request: Request) -> str:
    """Return what a customer does who remembers nothing: what is on the page has to decide."""
    if page.kind == "index":
        return f"search[{request.query}]"
    if page.kind == "results":
        fitting = [product.asin for product in results_of(page) if fits(product, request)]
        return f"click[{fitting[0] if fitting else 'back to search'}]"
    if page.kind == "item" and fits(listing_of(page), request):
        return f"click[{choose(head_of(page), request.options)}]"
    return "click[< prev]"


def fits(product: Listing, request: Request) -> bool:
    """Return whether title and price are as wanted."""
    return set(request.words) <= set(product.title.split()) and product.price <= request.limit


def choose(parts: Sequence[str], wanted: dict[str, str]) -> str:
    """Return what to click on the page of a product that fits."""
    if not set(wanted.values()) <= set(parts):
        return "back to search"  # a search for everything that is wanted lists what is to be had in it first
    selected = next((part for part in parts if part.startswith("Selected options: ")), "")
    return next((value for name, value in wanted.items() if f"{name}: {value}" not in selected), "buy now")


def new_expert(first: Observation, seed: int) -> Expert:
    """Return an expert whose every choice follows from what the prompt shows."""

    def advise(observation: Observation, turns: Sequence[Turn]) -> Advice:
        page = read_page(observation.text)
        return Advice(act(page, read_request(page.instruction)))

    return advise


LESSONS = Lessons(
    make_env,
    new_expert,
    PHASES,
    unit=UNIT,
    ignored_actions=["click[buy now]"],  # there is no way back from it
    max_completion_length=MAX_COMPLETION_LENGTH,
    num_repetitions=4800,
    initializer_range=0.05,
)

if __name__ == "__main__":
    main(__doc__, LESSONS)
