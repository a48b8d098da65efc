"""Worlds to train in, and adapters for worlds written for others."""
