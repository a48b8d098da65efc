"""What keeps a run: whole checkpoints, exact resuming, ranks that end together, updates and environments that fail."""
