"""Shared prefixes computed once, in generation, log-probabilities and gradients."""
