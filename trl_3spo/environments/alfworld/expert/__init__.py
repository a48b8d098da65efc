"""An agent that solves games by searching, and its demonstrations."""
