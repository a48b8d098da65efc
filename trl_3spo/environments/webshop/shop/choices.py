"""Which of a product's options can be chosen, and which choices serve a goal best."""

from trl_3spo.environments.webshop.catalogue.goals import Goal
from trl_3spo.environments.webshop.catalogue.products import Product
from trl_3spo.environments.webshop.scoring.matching import is_match, normalize_color
from trl_3spo.environments.webshop.state import read_action

SUB_PAGES = ("description", "features", "reviews", "attributes")
"""What leads from a product's page to more about it."""

_BUTTONS = frozenset(("search", "back to search", "< prev", "buy now", *SUB_PAGES))


def option_names(product: Product) -> dict[str, str]:
    """Return the name each value is chosen for: the last one where several names share a value."""
    return {value: name for name, values in product.options.items() for value in values}


def is_spelled(text: str) -> bool:
    """Return whether a click on a text can be written as an action; brackets and line feeds may prevent it."""
    if "[" in text:
        return read_action(f"click[{text}]") == ("click", text)
    return text != "" and "\n" not in text


def selectable_options(product: Product) -> dict[str, str]:
    """Return the name of every value that a click can choose: it can be spelled, and no button takes the click."""
    names = option_names(product)
    return {value: name for value, name in names.items() if value not in _BUTTONS and is_spelled(value)}


def best_options(goal: Goal) -> dict[str, str]:
    """Return the choices, by name, of the goal's own product that together count as most of the wanted options."""
    wanted = [normalize_color(option) for option in goal.options]
    served_by: dict[str, dict[frozenset[int], str]] = {}
    for value, name in selectable_options(goal.product).items():
        color = normalize_color(value)
        served = frozenset(i for i, option in enumerate(wanted) if is_match(color, option))
        served_by.setdefault(name, {}).setdefault(served, value)
    reached: dict[frozenset[int], dict[str, str]] = {frozenset(): {}}
    for name, values in served_by.items():
        for before, chosen in list(reached.items()):
            for served, value in values.items():
                reached.setdefault(before | served, chosen | {name: value})
    return reached[max(reached, key=len)]
