"""The shop: pages, clicks and choices."""
