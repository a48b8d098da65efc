"""How clicks and searches lead from page to page."""

from collections.abc import Sequence

from trl_3spo.environments.webshop.catalogue.products import Product
from trl_3spo.environments.webshop.shop import pages
from trl_3spo.environments.webshop.shop.choices import SUB_PAGES, is_spelled, option_names
from trl_3spo.environments.webshop.shop.pages import BACK, LINK, NEXT, PREVIOUS, Node
from trl_3spo.environments.webshop.state import (
    DONE,
    INDEX,
    ITEM_PAGE,
    ITEM_SUB_PAGE,
    SEARCH_RESULTS,
    ShopState,
    read_action,
)
from trl_3spo.environments.webshop.world import World

MAX_QUERY_LENGTH = 500
"""Characters a search takes."""


class Shop:
    """The shop without the original's oddities: only offered actions are possible. `OriginalShop` has the oddities.

    It stores no state: every method is a function of its arguments.

    Args:
        world: Products and goals.
        is_rich: Whether buttons and clicked values are marked in the observation.
        shows_attributes: Whether products have a button that leads to their attributes.
        shows_selected_options: Whether pages of a product say which options are chosen.
    """

    def __init__(
        self, world: World, *, is_rich: bool, shows_attributes: bool, shows_selected_options: bool = False
    ) -> None:
        self.world = world
        self._shows_selected_options = shows_selected_options
        self._is_rich = is_rich
        attributes = (pages.ATTRIBUTES,) if shows_attributes else ()
        self._buttons = (*pages.SUB_PAGES, *attributes, pages.BUY)

    def act(self, state: ShopState, text: str) -> tuple[ShopState, str]:
        """Return the state an action leads to, and why it did nothing if it did not."""
        action = read_action(text)
        if action is None:
            return state, "An action is search[…] or click[…], with something between the brackets."
        if action.name == "search":
            refusal = self.refuse(state, action.argument)
            return (state, refusal) if refusal else (self._find(state, action.argument), "")
        if action.argument == "search" or action.argument not in self.clickables(state):
            return state, "There is no such thing to click on this page."
        return self._click(state, action.argument)

    def refuse(self, state: ShopState, query: str) -> str:
        """Return why a search is not possible, or nothing if it is."""
        if state.page != INDEX:
            return "There is no search bar on this page; click[back to search] leads to it."
        if len(query) > MAX_QUERY_LENGTH:
            return f"The query has {len(query):,} characters; at most {MAX_QUERY_LENGTH} are possible."
        return ""

    def hits(self, query: str) -> Sequence[Product]:
        """Return what a query finds."""
        return self.world.search(query)

    def place(self, state: ShopState) -> str:
        """Return the kind of page that `< Prev` and `Next >` go by."""
        return state.page

    def linked_product(self, state: ShopState, text: str) -> Product | None:
        """Return the product a link of the results leads to."""
        return self._links(state).get(text)

    def shown_products(self, state: ShopState) -> Sequence[Product]:
        """Return what a page of results lists; nothing on other pages."""
        if state.page != SEARCH_RESULTS or state.query is None or state.page_number is None:
            return ()
        return pages.page_of(self.hits(state.query), state.page_number)

    def _links(self, state: ShopState) -> dict[str, Product]:
        return {product.asin.lower(): product for product in self.shown_products(state)}

    def _find(self, state: ShopState, query: str) -> ShopState:
        return ShopState(SEARCH_RESULTS, query, 1, visited=state.visited)

    def _click(self, state: ShopState, text: str) -> tuple[ShopState, str]:
        place = self.place(state)
        if text == "buy now":
            return state._replace(page=DONE), ""
        if text == "back to search":
            return ShopState(), ""
        if place == SEARCH_RESULTS and text in ("next >", "< prev"):
            return state.turn(1 if text == "next >" else -1), ""
        if text == "< prev":
            is_below = place == ITEM_SUB_PAGE
            return (state._replace(page=ITEM_PAGE, sub_page="") if is_below else state.turn(0)), ""
        if text in SUB_PAGES:
            return state._replace(page=ITEM_SUB_PAGE, sub_page=text), ""
        return self._open(state, text) if state.page == SEARCH_RESULTS else self._choose(state, text)

    def _open(self, state: ShopState, text: str) -> tuple[ShopState, str]:
        product = self.linked_product(state, text)
        if product is None:
            return state, "This link leads nowhere: WebShop writes asins in capitals, and this one is not."
        visited = state.visited | {product.asin} if self._is_rich else state.visited
        return state._replace(page=ITEM_PAGE, asin=product.asin, visited=visited), ""

    def _choose(self, state: ShopState, text: str) -> tuple[ShopState, str]:
        name = option_names(self._product(state))[text]
        return state._replace(options=tuple((dict(state.options) | {name: text}).items())), ""

    def _product(self, state: ShopState) -> Product:
        assert state.asin is not None
        return self.world.by_asin[state.asin]

    def clickables(self, state: ShopState) -> tuple[str, ...]:
        """Return what WebShop lists as clickable, in lower case; its `search` on the index page is not."""
        if state.page == INDEX:
            return ("search",)
        if state.page == SEARCH_RESULTS:
            buttons = (BACK, PREVIOUS, NEXT) if (state.page_number or 0) > 1 else (BACK, NEXT)
            return (*_texts(buttons), *self._links(state))
        if state.page == ITEM_PAGE:
            buttons = (BACK, PREVIOUS, *self._buttons)
            return tuple(dict.fromkeys((*_texts(buttons), *option_names(self._product(state)))))
        return _texts((BACK, PREVIOUS)) if state.page == ITEM_SUB_PAGE else ()

    def admissible_actions(self, state: ShopState) -> tuple[str, ...]:
        """Return the clicks that change something here; none on the index page, where any search can be made."""
        idle = self.idle(state)
        return tuple(f"click[{text}]" for text in self.clickables(state) if text not in idle and is_spelled(text))

    def idle(self, state: ShopState) -> set[str]:
        """Return what can be clicked to no effect: options that are chosen already."""
        return {"search", *(value for _, value in state.options)} if state.page == ITEM_PAGE else {"search"}

    def show(self, instruction: str, state: ShopState, reward: float) -> str:
        """Return what a page looks like; the reward is for the last one."""
        nodes = self._nodes(instruction, state, reward)
        if not self._is_rich:
            return pages.as_text(nodes)
        return pages.as_rich_text(nodes, lambda node: self.is_marked(state, node))

    def is_marked(self, state: ShopState, node: Node) -> bool:
        """Return whether a value or link is shown as clicked."""
        return node.text in state.visited if node.kind == LINK else node.text in dict(state.options).values()

    def _note(self, state: ShopState) -> list[Node]:
        return pages.selection_note(dict(state.options)) if self._shows_selected_options else []

    def _nodes(self, instruction: str, state: ShopState, reward: float) -> list[Node]:
        if state.page == INDEX:
            return pages.index_page(instruction)
        if state.page == SEARCH_RESULTS:
            return pages.results_page(instruction, state.page_number or 0, self.hits(state.query or ""))
        product = self._product(state)
        if state.page == ITEM_PAGE:
            return pages.item_page(instruction, product, self._note(state), self._buttons)
        if state.page == ITEM_SUB_PAGE:
            return pages.sub_page(instruction, product, self._note(state), state.sub_page)
        return pages.done_page(product.asin, dict(state.options), reward)


def _texts(nodes: Sequence[Node]) -> tuple[str, ...]:
    return tuple(node.text.lower() for node in nodes)
