"""Sweeps: many trainings of one recipe with other values. `swav_ray.launch.sweep.sweep(...)` is the whole of it."""

from swav_ray.launch.sweep.sweep import sweep

__all__ = ["sweep"]
