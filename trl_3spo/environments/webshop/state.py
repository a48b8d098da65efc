"""Where a customer is in the shop, and how an action is spelled."""

from typing import NamedTuple

INDEX = "index"
SEARCH_RESULTS = "search_results"
ITEM_PAGE = "item_page"
ITEM_SUB_PAGE = "item_sub_page"
DONE = "done"


class ShopState(NamedTuple):
    """A page of the shop with all that later pages depend on; the goal is not part of it.

    Args:
        page: One of the five kinds of pages.
        query: Text of the last search; `None` on the index page.
        page_number: Page of the results, from 1; `None` on the index page.
        asin: Current or bought product.
        options: Chosen (name, value) pairs in the order of choosing.
        sub_page: `description`, `features`, `reviews` or `attributes` on such a page, otherwise empty.
        visited: Products looked at since the last visit of the index page; kept only where the observation shows them.
    """

    page: str = INDEX
    query: str | None = None
    page_number: int | None = None
    asin: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    sub_page: str = ""
    visited: frozenset[str] = frozenset()

    def turn(self, num_pages: int) -> "ShopState":
        """Return the state on another page of the results, or back on the same; options are lost."""
        return ShopState(SEARCH_RESULTS, self.query, (self.page_number or 0) + num_pages, visited=self.visited)

    @property
    def key(self) -> tuple[object, ...]:
        """The state's identity in plain values: the order of choosing and of visiting does not count."""
        return (*self[:4], tuple(sorted(self.options)), self.sub_page, tuple(sorted(self.visited)))


class Action(NamedTuple):
    """An action in two parts: `search` or `click`, and what for, in lower case."""

    name: str
    argument: str


def read_action(text: str) -> Action | None:
    """Return the action a text spells as `search[…]` or `click[…]`, or `None`.

    The last `[` with something in it opens the argument and the line's last `]` closes it; what follows is ignored.
    """
    line = text.partition("\n")[0]
    end = line.rfind("]")
    start = line.rfind("[", 1, max(end - 1, 1))
    name = line[:start]
    if start < 1 or name not in ("search", "click"):
        return None
    return Action(name, line[start + 1 : end].lower())
