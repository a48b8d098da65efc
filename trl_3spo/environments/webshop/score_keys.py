"""The names a state of the shop is known by, from fine to coarse: what successes are counted under."""

from trl_3spo.environments.base import Key
from trl_3spo.environments.webshop.goals import Goal
from trl_3spo.environments.webshop.reward import Reward
from trl_3spo.environments.webshop.state import ShopState


def score_keys(key: Key, goal: Goal, state: ShopState, worth: Reward | None, time: int) -> tuple[Key, ...]:
    """Return the keys of a state, from fine to coarse.

    Each holds the time. What a state is worth falls with every step of a limited episode: without the time a state met
    early would be credited with more than it can still give, and staying there would pay.

    1. The exact state.
    2. Wanted product, page, and what a purchase would lack: shared by the goals made for one product.
    3. Page, and what a purchase would lack: shared by all goals. Purchases that lack the same are equally far from
       success, whatever the goal.

    Args:
        key: The exact state.
        goal: Of the episode.
        state: Where in the shop.
        worth: What buying the product that is looked at would be worth, if one is.
        time: How far the episode has come; how finely is the caller's to say.
    """
    lacks: tuple[Key, ...] = ()
    if worth is not None:
        lacks = (
            worth.type_factor,
            worth.num_wanted_attributes - worth.num_attributes,
            worth.num_wanted_options - worth.num_options,
            worth.is_affordable,
        )
    standing = (state.page, state.sub_page, min(state.page_number or 0, 3), *lacks)
    return ((key, time), (goal.product.asin, *standing, time), (*standing, time))
