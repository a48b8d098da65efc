"""Every prompt of a batch computed once, in generation, log-probabilities and gradients."""
