"""Frozen features with their labels: which images, how they are embedded, and the store that keeps them."""
