"""WebShop, played without a web server: exact, fast, and in states that can be kept and gone back to."""

from trl_3spo.environments.webshop.catalogue.goals import Goal
from trl_3spo.environments.webshop.catalogue.products import Product
from trl_3spo.environments.webshop.env import WebShopEnv
from trl_3spo.environments.webshop.world import World

__all__ = ["Goal", "Product", "WebShopEnv", "World"]
