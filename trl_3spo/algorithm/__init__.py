"""The 3SPO algorithm: choice of the samples and their advantages. Without torch and TRL, so it also trains a table."""
