"""Environments to train in, and adapters for environments written for other libraries."""
