"""Frozen features, for evaluations and embeddings alike: how images become them, and how they are written in parts."""
