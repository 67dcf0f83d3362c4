"""Embeddings of all images of a place, on disk: written once, grouped into clusters, searched.

`search(OUT, image)` finds the nearest of them; it is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swav_ray.embed.neighbours.nearest import search

__all__ = ["search"]


def __getattr__(name: str) -> Any:
    if name == "search":
        from swav_ray.embed.neighbours.nearest import search

        return search
    raise AttributeError(f"module 'swav_ray.embed' has no attribute {name!r}")
