"""An agent that shops by reading, and its demonstrations."""
