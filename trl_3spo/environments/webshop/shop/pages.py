"""What is written on each page of the shop, and how that is shown."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from trl_3spo.environments.webshop.catalogue.products import Product

PLAIN, BUTTON, VALUE, LINK = "plain", "button", "value", "link"
HITS_PER_PAGE = 10

_ASCII_SPACES = " \n\t\f\r"
_HTML_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&'"}


class Node(NamedTuple):
    """A piece of a page: `plain` text, a `button`, the `value` of an option, or the `link` to a product."""

    text: str
    kind: str = PLAIN


BACK = Node("Back to Search", BUTTON)
PREVIOUS = Node("< Prev", BUTTON)
NEXT = Node("Next >", BUTTON)
SUB_PAGES = tuple(Node(name, BUTTON) for name in ("Description", "Features", "Reviews"))
ATTRIBUTES = Node("Attributes", BUTTON)
BUY = Node("Buy Now", BUTTON)


def index_page(instruction: str) -> list[Node]:
    """Return the page with the search bar."""
    return [Node("WebShop"), Node("Instruction: "), Node(instruction), Node("Search", BUTTON)]


def results_page(instruction: str, page_number: int, hits: Sequence[Product]) -> list[Node]:
    """Return a page of search results, of which there may be none."""
    nodes = [*_head(instruction), Node(f"Page {page_number} (Total results: {len(hits)})")]
    nodes += [PREVIOUS, NEXT] if page_number > 1 else [NEXT]
    for product in page_of(hits, page_number):
        nodes += [Node(product.asin, LINK), Node(product.title), Node(product.price_tag)]
    return nodes


def page_of(hits: Sequence[Product], page_number: int) -> Sequence[Product]:
    """Return the hits shown on a page."""
    return hits[(page_number - 1) * HITS_PER_PAGE : page_number * HITS_PER_PAGE]


def item_page(instruction: str, product: Product, note: Sequence[Node], buttons: Sequence[Node]) -> list[Node]:
    """Return a product's page.

    Args:
        instruction: Instruction of the goal.
        product: Product that is shown.
        note: Text about the chosen options.
        buttons: Buttons at the end.
    """
    nodes = [*_head(instruction), PREVIOUS]
    for name, values in product.options.items():
        nodes.append(Node(name))
        nodes += [Node(value, VALUE) for value in values]
    facts = Node(product.title), Node(f"Price: {product.price_tag}"), Node("Rating: N.A.")
    return [*nodes, *note, *facts, *buttons]


def sub_page(instruction: str, product: Product, note: Sequence[Node], name: str) -> list[Node]:
    """Return one of the pages that a product's page leads to; nobody has written reviews."""
    texts: Mapping[str, Sequence[str]] = {
        "description": [product.description],
        "features": [f" {bullet}" for bullet in product.bullets],
        "reviews": [],
        "attributes": [
            *(f" {attribute}" for attribute in product.attributes),
            product.category,
            product.query,
            product.product_category,
        ],
    }
    return [*_head(instruction), PREVIOUS, *note, *(Node(text) for text in texts[name])]


def done_page(asin: str, options: Mapping[str, str], reward: float) -> list[Node]:
    """Return the page after a purchase, a form whose fields are mostly empty."""
    bought = json.dumps(options, sort_keys=True).translate(_HTML_ESCAPES)
    texts = ["Thank you for shopping with us!", "Your code: ", "None", " (Paste it in your MTurk interface.)"]
    texts += ["Purchased", "asin", asin, "options", bought, "attrs", "None", "category", "None", "query", "None"]
    texts += ["product category", "None", "Target", "asin", "options", "attrs", "price upper", "instuction text"]
    texts += ["category", "product category", "query", "Goal ", "None", "Reward"]
    texts += ["Your score (min 0.0, max 1.0)", str(reward), "Reward Details ", "None"]
    return [Node(text) for text in texts]


def selection_note(options: Mapping[str, str]) -> list[Node]:
    """Return a line that names the chosen options by name, if there are any."""
    chosen = ", ".join(f"{name}: {value}" for name, value in sorted(options.items()))
    return [Node(f"Selected options: {chosen}")] if chosen else []


def _head(instruction: str) -> tuple[Node, ...]:
    return Node("Instruction:"), Node(instruction), BACK


def as_text(nodes: Sequence[Node]) -> str:
    """Return a page in one line, as WebShop's mode `text` does."""
    return " [SEP] ".join(node.text.strip() for node in _rendered(nodes))


def as_rich_text(nodes: Sequence[Node], is_clicked: Callable[[Node], bool]) -> str:
    """Return a page with its buttons marked, as WebShop's mode `text_rich` does.

    Args:
        nodes: Nodes of the page.
        is_clicked: Function that says whether a value or link has been clicked.
    """
    text = ""
    for node in _rendered(nodes):
        if node.kind == PLAIN:
            text += f"{node.text}\n"
            continue
        clicked = "clicked " if node.kind != BUTTON and is_clicked(node) else ""
        before = {VALUE: "  ", LINK: "\n"}.get(node.kind, "")
        text += f"{before}[{clicked}button] {node.text} [{clicked}button_]\n"
        if clicked and node.kind == VALUE:
            text = f"You have clicked {node.text}.\n{text}"
    return text


def _rendered(nodes: Sequence[Node]) -> Iterator[Node]:
    """Yield the nodes as an HTML parser finds them: empty ones are lost, and blank ones collapse or are dropped."""
    for node in nodes:
        if node.text.strip(_ASCII_SPACES):
            yield node
        elif node.text and "\n" not in node.text:
            yield node._replace(text=" ")
