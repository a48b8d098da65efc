"""The seam with TRL: the one place where GRPOTrainer meets an algorithm and an environment."""
