"""The network that embeds: crops to a layer's embeddings and to clusters, in eval mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from swav_ray.embed.errors import EmbedError
from swav_ray.features.embedding import batches
from swav_ray.model.resnet import ResNet
from swav_ray.weights.backbone import Backbone
from swav_ray.weights.head import Head, heads_of
from swav_ray.weights.layouts import Recognised

if TYPE_CHECKING:
    from PIL.Image import Image

TOP = 3  # clusters of a soft assignment


@dataclass(frozen=True)
class Assigned:
    """Clusters of some images, best first: a cluster is the prototype with the highest score.

    Attributes:
        clusters: (N, TOP) int32. probabilities: (N, TOP) float32, a softmax over all prototypes.
        distance: (N,) float32, one minus the cosine of the embedding and the best prototype.
    """

    clusters: np.ndarray
    probabilities: np.ndarray
    distance: np.ndarray


def assign(embeddings: Tensor, head: Head, temperature: float) -> Assigned:
    """Clusters of embeddings (N, E) of unit length by one head: the TOP best prototypes, or all if there are fewer."""
    scores = head.scores(embeddings)
    # By the scores: two probabilities may round to the same number.
    clusters = scores.topk(min(TOP, scores.shape[1]), dim=1).indices
    probabilities = torch.softmax(scores / temperature, dim=1).gather(1, clusters)
    distance = 1 - (embeddings * head.prototypes[clusters[:, 0]]).sum(dim=1)
    return Assigned(clusters.int().cpu().numpy(), probabilities.cpu().numpy(), distance.cpu().numpy())


def heads_for(parts: Recognised, name: str, *, layer: str, every: bool) -> list[Head]:
    """The heads whose clusters are written: the first one, or every one; none if the file has none.

    Raises:
        EmbedError: the layer is the projection, or every head is asked for, and there is no head.
        WeightsError: the head is not SwAV's.
    """
    if not parts.head:
        if layer == "projection":
            raise EmbedError(f"--layer projection: {name} holds no projection head; use --layer pooled")
        if every:
            raise EmbedError(f"--heads: {name} holds no prototypes; use --clusters K for clusters of its embeddings")
        return []
    return heads_of(parts.head, name)[: None if every else 1]


class Network(nn.Module):
    """Crops to embeddings and clusters.

    Args:
        backbone: with its preprocessing. heads: whose clusters are given.
        layer: "pooled", "projection" (of unit length), or "map" (before pooling).
    """

    def __init__(self, backbone: Backbone, heads: Sequence[Head], layer: str, temperature: float) -> None:
        super().__init__()
        self.backbone, self.heads = backbone, nn.ModuleList(heads)
        self.layer, self.temperature = layer, temperature
        self.eval()

    def on(self, backbone: Backbone) -> Network:
        """The same network on another form of its backbone."""
        return Network(backbone, self._heads(), self.layer, self.temperature)

    def first_head(self) -> Head | None:
        """The head whose clusters are those of the page, if there is one."""
        return self._heads()[0] if len(self.heads) else None

    def shape(self) -> tuple[int, ...]:
        """Of one embedding."""
        size = self.backbone.preprocess.image_size
        with torch.inference_mode():
            return tuple(self._layers(torch.zeros(1, 3, size, size))[0].shape[1:])

    def embed(self, crops: np.ndarray, device: torch.device) -> tuple[np.ndarray, list[Assigned]]:
        """(N, S, S, 3) uint8 crops to (N, ...) float32 embeddings and the clusters of each head."""
        parts: list[np.ndarray] = []
        found: list[list[Assigned]] = []
        with torch.inference_mode():
            for batch in batches(self.backbone, crops, device):
                embeddings, unit = self._layers(batch)
                parts.append(embeddings.float().cpu().numpy())
                found.append([assign(unit, head, self.temperature) for head in self._heads()])
        joined = [
            Assigned(*(np.concatenate([getattr(one[i], name) for one in found]) for name in vars(found[0][i])))
            for i in range(len(self.heads))
        ]
        return np.concatenate(parts), joined

    def embed_image(self, image: np.ndarray | bytes | Image) -> np.ndarray:
        """The embedding of one image, as `Preprocess` takes it; raises as it does."""
        pixels = self.backbone.preprocess(image)[None].to(next(self.parameters()).device)
        with torch.inference_mode():
            return self._layers(pixels)[0][0].float().cpu().numpy()

    def _layers(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The layer that is written, and the projection if there is a head (else it has no columns)."""
        trunk = cast(ResNet, self.backbone.trunk)
        feature_map = trunk.feature_map(images)
        pooled = trunk.avgpool(feature_map).flatten(1)
        unit = self._heads()[0].embeddings(pooled) if len(self.heads) else pooled[:, :0]
        return {"pooled": pooled, "projection": unit, "map": feature_map}[self.layer], unit

    def _heads(self) -> list[Head]:
        return list(self.heads)  # type: ignore[arg-type]  # a ModuleList of heads
