"""The SwAV network: trunk, projection head, prototypes (paper section 3 and appendix A).

The published checkpoints have trunk, head and prototypes in one namespace (`conv1.weight`, `projection_head.0.weight`,
`prototypes.weight`), so `SwAVModel` extends the trunk rather than holding it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swav_ray.model.resnet import ResNet

_HEAD = ("projection_head.", "prototypes.")


def is_trunk(name: str) -> bool:
    """Whether a parameter or buffer of `SwAVModel` belongs to the trunk, by its name."""
    return not name.startswith(_HEAD)


class MultiPrototypes(nn.Module):
    """Several prototype heads over the same embeddings, named as in the published code."""

    def __init__(self, dim: int, counts: Sequence[int]) -> None:
        super().__init__()
        self.count = len(counts)
        for index, prototypes in enumerate(counts):
            self.add_module(f"prototypes{index}", nn.Linear(dim, prototypes, bias=False))

    def forward(self, embeddings: Tensor) -> list[Tensor]:
        return [self.get_submodule(f"prototypes{index}")(embeddings) for index in range(self.count)]


class SwAVModel(ResNet):
    """Crops to L2-normalised embeddings and prototype scores.

    Args:
        depth: of the trunk, see `ResNet`.
        width: of the trunk.
        small_image_stem: of the trunk.
        hidden_dim: hidden layer of the projection head (Linear-BatchNorm-ReLU-Linear); 0: one linear layer.
        output_dim: dimension of the embeddings.
        prototypes: number of prototypes of each head.

    Attributes:
        trunk_learns: whether `forward` remembers what a gradient of the trunk needs; without it a step is cheaper.
    """

    def __init__(
        self,
        depth: str,
        *,
        width: float = 1.0,
        small_image_stem: bool = False,
        hidden_dim: int = 2048,
        output_dim: int = 128,
        prototypes: Sequence[int] = (3000,),
    ) -> None:
        super().__init__(depth, width=width, small_image_stem=small_image_stem)
        self.trunk_learns = True
        self._compiled: Callable[[Tensor], Tensor] | None = None
        self.projection_head: nn.Module
        if hidden_dim:
            self.projection_head = nn.Sequential(
                nn.Linear(self.feature_dim, hidden_dim),
                nn.BatchNorm1d(hidden_dim),
                nn.ReLU(inplace=True),
                nn.Linear(hidden_dim, output_dim),
            )
        else:
            self.projection_head = nn.Linear(self.feature_dim, output_dim)
        self.prototypes = (
            nn.Linear(output_dim, prototypes[0], bias=False)
            if len(prototypes) == 1
            else MultiPrototypes(output_dim, prototypes)
        )

    def prototype_weights(self) -> list[Tensor]:
        """One (K, D) weight a head."""
        return [p for name, p in self.named_parameters() if name.startswith("prototypes")]

    @torch.no_grad()
    def normalize_prototypes(self) -> None:
        """Puts every prototype back on the unit sphere; done before each step."""
        for weight in self.prototype_weights():
            weight.copy_(F.normalize(weight, dim=1))

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) to the trunk's features (N, `feature_dim`), which is what is evaluated."""
        return ResNet.forward(self, images)

    def compile_trunk(self) -> None:
        """Has `forward` run the trunk through torch.compile: kernels of their own for each resolution and row count.

        `features`, which evaluations call with images of any size, stays as it is. Results differ by rounding.
        """
        self._compiled = torch.compile(self.features, dynamic=False)

    def forward(self, crops: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:  # type: ignore[override]
        """Embeds crops, all crops of one resolution in one forward.

        Args:
            crops: one (rows, 3, S, S) tensor a resolution, crop-major: every sample's crop 0, then every crop 1, ...

        Returns:
            embeddings (sum of rows, D), L2-normalised, and for each prototype head scores (sum of rows, K).
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trunk_learns):
            features = torch.cat([(self._compiled or self.features)(group) for group in crops])
        projected = self.projection_head(features)
        # Scores are divided by epsilon and temperature, which would magnify the rounding of half precision.
        with torch.autocast(projected.device.type, enabled=False):
            wide = torch.promote_types(projected.dtype, torch.float32)
            embeddings = F.normalize(projected.to(wide), dim=1)
            return embeddings, self.scores(embeddings)

    def scores(self, embeddings: Tensor) -> list[Tensor]:
        """Dot products of embeddings (N, D) with the prototypes: one (N, K) a head."""
        scores = self.prototypes(embeddings)
        return scores if isinstance(scores, list) else [scores]


class Trunk(nn.Module):
    """The part of a model that is used after pretraining: images (N, 3, H, W) to features (N, `feature_dim`)."""

    def __init__(self, model: SwAVModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.features(images)
