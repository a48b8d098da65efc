"""Options of the searches that are not the default."""

FRONTIER = {"search": "frontier", "max_episodes_per_tree": 2, "novelty_weight": 0.05}
STEPWISE = FRONTIER | {"update_after": "step", "outcome_weight": 0.0}
