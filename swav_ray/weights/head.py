"""The projection head and prototypes that came with a trunk, for what SwAV says about clusters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swav_ray.one_line import one_line
from swav_ray.weights.read import WeightsError


class Head(nn.Module):
    """Features (N, D) to the scores of each prototype of one head, (N, K). In eval mode.

    Attributes:
        prototypes: (K, E) float32, of unit length.
        bias: (K,) float32, of the libraries whose prototypes have one; else zeros, and scores are cosine similarities.
    """

    prototypes: Tensor
    bias: Tensor

    def __init__(self, projection: nn.Module, prototypes: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.projection = projection
        self.register_buffer("prototypes", F.normalize(prototypes.float(), dim=1))
        self.register_buffer("bias", torch.zeros(len(prototypes)) if bias is None else bias.float())

    def embeddings(self, features: Tensor) -> Tensor:
        """(N, E) of unit length."""
        return F.normalize(self.projection(features).float(), dim=1)

    def scores(self, embeddings: Tensor) -> Tensor:
        """(N, K) of embeddings (N, E)."""
        return embeddings @ self.prototypes.T + self.bias

    def forward(self, features: Tensor) -> Tensor:
        return self.scores(self.embeddings(features))


def head_of(tensors: Mapping[str, Tensor], name: str) -> Head:
    """The first head of a file, as `heads_of` has it."""
    return heads_of(tensors, name)[0]


def heads_of(tensors: Mapping[str, Tensor], name: str) -> list[Head]:
    """All heads of a file: one projection, and each set of prototypes in its order.

    Args:
        tensors: `projection_head.*` and `prototypes.*` by published names, as `layouts.recognise` gives them.
        name: of the file, for messages.

    Raises:
        WeightsError: there is no head, no prototypes, or they do not fit each other.
    """
    kinds = [f"prototypes.prototypes{number}" for number in range(len(tensors))]
    kinds = [kind for kind in ("prototypes", *kinds) if f"{kind}.weight" in tensors]
    projection = {
        key.removeprefix("projection_head."): value
        for key, value in tensors.items()
        if key.startswith("projection_head.")
    }
    if not kinds or not projection:
        raise WeightsError(f"{name}: holds no projection head with prototypes, which clusters need")
    try:
        layers = nn.Sequential(*_layers(projection))
        made = [Head(layers, tensors[f"{kind}.weight"], tensors.get(f"{kind}.bias")).eval() for kind in kinds]
        width = next(layer.in_features for layer in layers.modules() if isinstance(layer, nn.Linear))
        for head in made:
            head(torch.zeros(1, width))  # whether its parts fit each other
    except (LookupError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{name}: its projection head is not SwAV's: {one_line(error)}") from None
    return made


def _layers(projection: Mapping[str, Tensor]) -> list[nn.Module]:
    """Linear-BatchNorm-ReLU-Linear, or one linear layer, by the names of a sequence's parts."""
    if "weight" in projection:
        return [_linear(projection["weight"], projection.get("bias"))]
    norm = nn.BatchNorm1d(len(projection["0.weight"]))
    norm.load_state_dict({key[2:]: value for key, value in projection.items() if key.startswith("1.")})
    first = _linear(projection["0.weight"], projection.get("0.bias"))
    return [first, norm, nn.ReLU(), _linear(projection["3.weight"], projection.get("3.bias"))]


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return layer
