"""Sweeps: trains a recipe many times, each time with other values. `sweep` is all that a caller needs."""

from swav_ray.launch.sweep.sweep import sweep

__all__ = ["sweep"]
