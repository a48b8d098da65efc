"""New games in the manner of the released ones, and proof that they can be solved."""
