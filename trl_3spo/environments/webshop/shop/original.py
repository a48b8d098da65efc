"""The shop as it is, oddities included: mode `compat`."""

import json
import random
from collections.abc import Sequence

from trl_3spo.environments.webshop.catalogue.products import Product
from trl_3spo.environments.webshop.search.analysis import analyze
from trl_3spo.environments.webshop.search.index import MAX_QUERY_TERMS
from trl_3spo.environments.webshop.shop.pages import LINK, Node
from trl_3spo.environments.webshop.shop.shop import Shop
from trl_3spo.environments.webshop.state import DONE, INDEX, ITEM_PAGE, ITEM_SUB_PAGE, SEARCH_RESULTS, ShopState

NUM_RANDOM_HITS = 50


class OriginalShop(Shop):
    """The shop that answers as WebShop does.

    * A search works on every page.
    * Clicks are routed, and values marked as clicked, by what occurs in the page's address, query and options included.
    * Queries that begin with `<r>`, `<c>` and `<q>` list random products, a category, and all products of one query.
    * The chosen options are not shown in plain text.

    Where WebShop raises an error, nothing happens. Its random products are other ones on every look; here they stay.
    """

    def refuse(self, state: ShopState, query: str) -> str:
        """Return why WebShop would raise an error."""
        keyword, *others = query.split(" ")
        if keyword == "<a>" or (keyword == "<c>" and not others):
            return "WebShop raises an error at this query."
        if keyword == "<r>" and len(self.world.products) < NUM_RANDOM_HITS:
            return f"WebShop raises an error at this query: there are fewer than {NUM_RANDOM_HITS} products."
        if len(set(analyze(query))) > MAX_QUERY_TERMS:
            return f"WebShop raises an error at queries of more than {MAX_QUERY_TERMS} distinct terms."
        return ""

    def hits(self, query: str) -> Sequence[Product]:
        """Return what a query finds."""
        keyword, *others = query.split(" ")
        products = self.world.products
        if keyword == "<r>":
            return random.Random(0).sample(products, NUM_RANDOM_HITS)
        if keyword == "<c>":
            return [product for product in products if product.category == others[0].strip()]
        if keyword == "<q>":
            return [product for product in products if product.query == " ".join(others).strip()]
        return self.world.search(query)

    def place(self, state: ShopState) -> str:
        """Return the first kind of page whose name occurs in the address."""
        address = url(0, state)
        return next(page for page in (SEARCH_RESULTS, ITEM_PAGE, ITEM_SUB_PAGE, DONE) if page in address)

    def linked_product(self, state: ShopState, text: str) -> Product | None:
        """Return the product whose asin is the link in capitals."""
        return self.world.by_asin.get(text.upper())

    def idle(self, state: ShopState) -> set[str]:
        """Return what can be clicked to no effect: chosen options, and links that lead nowhere."""
        idle = super().idle(state)
        if state.page == SEARCH_RESULTS:
            idle.update(text for text in self._links(state) if self.linked_product(state, text) is None)
        return idle

    def is_marked(self, state: ShopState, node: Node) -> bool:
        """Return whether a value occurs in the address within quotation marks, or a product was looked at."""
        return node.text in state.visited if node.kind == LINK else f'"{node.text}"' in url(0, state)


def url(session: int, state: ShopState) -> str:
    """Return a page's address."""
    base = "http://127.0.0.1:3000"
    keywords, options = (state.query or "").replace(" ", "+"), dict(state.options)
    if state.page == INDEX:
        return f"{base}/{session}"
    if state.page == SEARCH_RESULTS:
        return f"{base}/search_results/{session}/{keywords}/{state.page_number}"
    where = f"{session}/{state.asin}/{keywords}/{state.page_number}"
    if state.page == ITEM_PAGE:
        return f"{base}/item_page/{where}/{json.dumps(options)}"
    if state.page == ITEM_SUB_PAGE:
        return f"{base}/item_sub_page/{where}/{state.sub_page.capitalize()}/{options}"
    return f"{base}/done/{session}/{state.asin}/{options}"
