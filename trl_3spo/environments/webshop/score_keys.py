"""The names a state of the shop is known by, from fine to coarse: what successes are counted under."""

from collections.abc import Sequence

from trl_3spo.environments.base import Key
from trl_3spo.environments.webshop.catalogue.goals import Goal
from trl_3spo.environments.webshop.catalogue.products import Product
from trl_3spo.environments.webshop.scoring.reward import Reward
from trl_3spo.environments.webshop.state import ShopState

MAX_PAGE_NUMBER = 3
"""Later pages of results are alike."""


def score_keys(
    key: Key, goal: Goal, state: ShopState, shown: Sequence[Product], worth: Reward | None, time: int
) -> tuple[Key, ...]:
    """Return the keys of a state, from fine to coarse.

    Each holds the time, because the value of a state falls with every step of a limited episode. Without the time, an
    early state would get too high a value later, and staying there would pay.

    1. The exact state.
    2. Wanted product, page, whether the wanted product is in view, and what a purchase would lack. The goals made for
       one product share it.
    3. The same without the wanted product. All goals share it, because purchases that lack the same are equally far
       from success.
    4. The kind of page.
    5. The time alone, for keys with few visits.

    Args:
        key: Exact state.
        goal: Goal of the episode.
        state: State in the shop.
        shown: Products that a page of results lists.
        worth: Reward for buying the current product, if there is one.
        time: Time in the episode, in a unit of the caller's choice.
    """
    lacks: tuple[Key, ...] = ()
    if worth is not None:
        num_attributes = worth.num_wanted_attributes - worth.num_attributes
        lacks = worth.type_factor, num_attributes, worth.num_wanted_options - worth.num_options, worth.is_affordable
    page = state.page, state.sub_page, min(state.page_number or 0, MAX_PAGE_NUMBER), goal.product in shown
    fine = ((key, time), (goal.product.asin, *page, *lacks, time), (*page, *lacks, time))
    return (*fine, (state.page, time), (time,))
