"""The games themselves: states, rules, effects and texts, as ALFWorld's engine has them."""
