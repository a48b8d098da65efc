"""Games as files: the released ones, those to be kept, and what was read of them."""
