"""How good a backbone is, without labels: effective rank of its features, agreement of codes between two crops.

For choosing between runs if nothing is labelled. `benchmarks.sweep_objectives` measures how well each ranks runs.

Shape suffixes: N images, D features, K prototypes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swav_ray.config import AugmentConfig, CropsConfig, EvalConfig
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.decoding.decode import UnreadableImage
from swav_ray.data.holdout import evenly
from swav_ray.data.manifest import Manifest
from swav_ray.data.order.selected_ids import Ids
from swav_ray.data.sources import read_samples
from swav_ray.evaluate.features.extract import extract
from swav_ray.loss.sinkhorn import sinkhorn
from swav_ray.model.swav import SwAVModel

_CHUNK = 256  # images decoded at a time
_EPSILON = 0.05  # the paper's, whatever the run trains with, so that runs can be compared


def rank_me(features_ND: Tensor) -> float:
    """Effective rank: exp of the entropy of the normalised singular values (Garrido et al., 2023, equation 1).

    Between 1 (all features on a line) and min(N, D).
    """
    values = torch.linalg.svdvals(features_ND.double())
    total = values.sum()
    if total <= 0:
        return 1.0
    shares = values / total
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))


def code_agreement(first_NK: Tensor, second_NK: Tensor) -> float:
    """How often two crops of an image get the same code, beyond chance: 0 by chance, 1 always.

    Codes are the argmax of Sinkhorn's over all N images, so a backbone that sends everything to one prototype cannot
    score. Chance is the agreement of independent codes with the same frequencies (Cohen's kappa).

    Args:
        first_NK: scores of one crop of each image.
        second_NK: scores of another crop of the same images.
    """
    first, second = (_codes(scores).argmax(dim=1) for scores in (first_NK, second_NK))
    prototypes = first_NK.shape[1]
    frequencies = [codes.bincount(minlength=prototypes) / len(codes) for codes in (first, second)]
    chance = float((frequencies[0] * frequencies[1]).sum())
    if chance >= 1:
        return 0.0
    return (float((first == second).double().mean()) - chance) / (1 - chance)


def code_information(first_NK: Tensor, second_NK: Tensor) -> float:
    """Mutual information, in nats, of the codes of two crops of an image, less that of crops of different images.

    Unlike the agreement it grows with the number of prototypes that differ. With few images the estimate is
    biased upwards; what unrelated pairs show is that bias, and is subtracted.
    """
    first, second = _codes(first_NK), _codes(second_NK)
    # Not a shift: neighbours in a sorted data set are of one class, and not unrelated.
    others = torch.randperm(len(second), generator=torch.Generator().manual_seed(0))
    return _mutual_information(first, second) - _mutual_information(first, second[others])


def prototype_entropy(scores_NK: Tensor) -> float:
    """Entropy of which prototype is the nearest, over its largest possible value: 0 if one prototype takes all."""
    images, prototypes = scores_NK.shape
    counts = scores_NK.argmax(dim=1).bincount(minlength=prototypes).double()
    shares = counts / images
    return abs(float(torch.xlogy(shares, shares).sum())) / math.log(min(images, prototypes))


def measure(
    model: SwAVModel, manifest: Manifest, ids: Ids, config: EvalConfig, *, device: torch.device
) -> dict[str, float]:
    """`rankme`, `code_agreement`, `code_information` and `prototype_entropy` on training images; by one worker.

    On at most `eval.label_free_images` of `ids`, spread evenly, each cropped twice with the paper's augmentation, at
    `eval.image_size`, by a seed of its own: the same crops for every run on a data set. RankMe takes the backbone's
    features of both crops, the others the first head's prototypes.

    Raises:
        ValueError: none of the images can be read. FloatingPointError: the network's outputs are not finite.
    """
    views = two_crops(manifest, evenly(ids, config.label_free_images), config.image_size)
    both = _FeaturesAndScores(model)
    whole = [extract(both, view, device=device) for view in views]
    if not all(bool(output.isfinite().all()) for output in whole):
        raise FloatingPointError(
            "some features are not finite: the network has diverged; "
            "a lower optim.base_lr or a longer warm-up usually helps"
        )
    outputs = [output.split([model.feature_dim, both.prototypes], 1) for output in whole]
    first, second = outputs[0][1], outputs[1][1]
    return {
        "rankme": rank_me(torch.cat([features for features, _ in outputs])),
        "code_agreement": code_agreement(first, second),
        "code_information": code_information(first, second),
        "prototype_entropy": prototype_entropy(torch.cat([first, second])),
    }


class _FeaturesAndScores(nn.Module):
    """Images to the backbone's features and, beside them, the first head's scores: (N, D + K)."""

    def __init__(self, model: SwAVModel) -> None:
        super().__init__()
        self.model = model
        self.prototypes = len(model.prototype_weights()[0])

    def forward(self, images: Tensor) -> Tensor:
        features = self.model.features(images)
        embeddings = F.normalize(self.model.projection_head(features).float(), dim=1)
        # Normalised here, on a copy: measuring must not change what the next step starts from.
        prototypes = F.normalize(self.model.prototype_weights()[0].float(), dim=1)
        return torch.cat([features.float(), embeddings @ prototypes.T], dim=1)


def two_crops(manifest: Manifest, ids: np.ndarray, size: int) -> list[Tensor]:
    """Two (N, size, size, 3) uint8 tensors: a crop of each readable image, and another."""
    crops = CropsConfig(sizes=(size,), counts=(2,), min_scales=(0.3,), max_scales=(1.0,))
    multi_crop = MultiCrop(crops, AugmentConfig(), seed=0)
    parts: list[np.ndarray] = []
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        (pixels,) = multi_crop.buffers(len(chunk))
        rows = 0
        for sample_id, data in zip(chunk, read_samples(manifest, chunk), strict=True):
            if isinstance(data, Exception):
                continue
            try:
                multi_crop(data, 0, int(sample_id), [pixels], rows)
            except UnreadableImage:
                continue
            rows += 1
        parts.append(pixels[:, :rows])
    views = np.concatenate(parts, axis=1)
    if not views.shape[1]:
        raise ValueError(f"eval.label_free_images: none of {len(ids)} images can be read")
    return [torch.from_numpy(view) for view in views]


def _codes(scores_NK: Tensor) -> Tensor:
    return sinkhorn(scores_NK, epsilon=_EPSILON)


def _mutual_information(first_NK: Tensor, second_NK: Tensor) -> float:
    joint = first_NK.double().T @ second_NK.double() / len(first_NK)
    expected = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    ratio = torch.where(joint > 0, joint / expected.clamp_min(1e-300), 1.0)
    return float((joint * ratio.log()).sum())
