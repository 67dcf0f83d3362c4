"""Weights that travel: other people's checkpoints read, ours written for other people's code."""
