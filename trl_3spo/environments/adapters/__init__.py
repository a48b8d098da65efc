"""Environments made of classes that were written for something else."""
