"""SwAV pretraining on Ray.

The public face: `Config` and `recipes` say what a run is, `pretrain(config)` trains it, `load_backbone(place)` returns
the trained network. Each is loaded when it is first used: `import swav_ray` loads neither Ray nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swav_ray import recipes
    from swav_ray.config import Config
    from swav_ray.launch.train import train as pretrain
    from swav_ray.weights.backbone import load_backbone

__version__ = "0.1.0"
__all__ = ["Config", "__version__", "load_backbone", "pretrain", "recipes"]

_HOMES = {"Config": "swav_ray.config", "load_backbone": "swav_ray.weights.backbone"}
_MODULES = ("pretrain", "recipes")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"swav_ray.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'swav_ray' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
