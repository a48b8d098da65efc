"""The same games in the engine that ALFWorld was made for."""
