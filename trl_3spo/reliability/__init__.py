"""Whole checkpoints, exact resuming, ranks that end together, and handling of failed updates and environments."""
