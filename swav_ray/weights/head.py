"""The projection head and prototypes that came with a trunk, for what SwAV says about clusters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swav_ray.weights.read import WeightsError


class Head(nn.Module):
    """Features (N, D) to cosine similarities with each prototype of the first head, (N, K). In eval mode.

    Attributes:
        prototypes: (K, E) float32, of unit length.
    """

    prototypes: Tensor

    def __init__(self, projection: nn.Module, prototypes: Tensor) -> None:
        super().__init__()
        self.projection = projection
        self.register_buffer("prototypes", F.normalize(prototypes.float(), dim=1))

    def embeddings(self, features: Tensor) -> Tensor:
        """(N, E) of unit length."""
        return F.normalize(self.projection(features).float(), dim=1)

    def forward(self, features: Tensor) -> Tensor:
        return self.embeddings(features) @ self.prototypes.T


def head_of(tensors: Mapping[str, Tensor], name: str) -> Head:
    """The head of a file.

    Args:
        tensors: `projection_head.*` and `prototypes.*` by published names, as `layouts.recognise` gives them.
        name: of the file, for messages.

    Raises:
        WeightsError: there is no head, no prototypes, or they do not fit each other.
    """
    prototypes = tensors.get("prototypes.weight", tensors.get("prototypes.prototypes0.weight"))
    projections = {key.removeprefix("projection_head."): value for key, value in tensors.items()}
    if prototypes is None or not any(key.startswith("projection_head.") for key in tensors):
        raise WeightsError(f"{name}: holds no projection head with prototypes, which clusters need")
    layers: list[nn.Module]
    if "weight" in projections:
        layers = [_linear(projections["weight"], projections["bias"])]
    else:
        hidden = len(projections["0.weight"])
        layers = [_linear(projections["0.weight"], projections["0.bias"]), nn.BatchNorm1d(hidden), nn.ReLU()]
        layers.append(_linear(projections["3.weight"], projections["3.bias"]))
        layers[1].load_state_dict({key[2:]: value for key, value in projections.items() if key.startswith("1.")})
    projection = nn.Sequential(*layers)
    last = layers[-1]
    if not isinstance(last, nn.Linear) or last.out_features != prototypes.shape[1]:
        raise WeightsError(f"{name}: its projection head does not end in the {prototypes.shape[1]} of its prototypes")
    return Head(projection, prototypes).eval()


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer
