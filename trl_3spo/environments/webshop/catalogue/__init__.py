"""Products and goals: read, generated, split."""
