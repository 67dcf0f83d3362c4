"""Is a backbone getting better if nothing is labelled? Its features' rank, its codes, and its nearest neighbours.

Figures of one backbone say little. They tell whether anything was gained beside those of the untrained network and of
the weights that training began with (`compare`).
"""

from __future__ import annotations

import numpy as np
import torch

from swav_ray.data.holdout import evenly
from swav_ray.evaluate.label_free import code_agreement, code_information, rank_me, two_crops
from swav_ray.evaluate.results.judged import Given, Judged
from swav_ray.evaluate.results.protocol import Figure, Protocol
from swav_ray.features.embedding import embed
from swav_ray.weights.head import head_of

_RANK_IMAGES = 10_000
_CROPPED_IMAGES = 1024
_QUERIES, _NEIGHBOURS = 8, 7  # of the picture
PROTOCOL = Protocol(
    name="label-free",
    version=1,
    settings={
        "RankMe": f"features of centre crops of at most {_RANK_IMAGES} images, spread evenly",
        "codes": f"two crops of at most {_CROPPED_IMAGES} images, the paper's augmentation, seed 0; first head",
    },
    source="Garrido et al. 2023, equation 1 (RankMe); swav_ray (information and agreement of codes)",
)


def run(given: Given) -> Judged:
    """Figures of `val`. Codes need a projection head with prototypes; without one they are left out, with a note."""
    val, notes = given.val, []
    rows = evenly(np.arange(len(val)), _RANK_IMAGES)
    figures = {"RankMe": Figure(value=rank_me(torch.from_numpy(val.features[rows])), unit="")}
    if given.backbone.origin.parts.head:
        head = head_of(given.backbone.origin.parts.head, given.backbone.origin.place)
        size = given.backbone.preprocess.image_size
        views = two_crops(given.manifest, evenly(val.ids, _CROPPED_IMAGES), size)
        features = [torch.from_numpy(embed(given.backbone, view.numpy(), torch.device("cpu"))) for view in views]
        with torch.inference_mode():
            first, second = head(features[0]), head(features[1])
        figures["information of codes, nats"] = Figure(value=code_information(first, second), unit="")
        figures["agreement of codes"] = Figure(value=code_agreement(first, second), unit="")
    else:
        notes.append("codes are left out: these weights have no prototypes")
    return Judged(figures=figures, picture=_neighbours(given), notes=notes)


def _neighbours(given: Given) -> bytes:
    from swav_ray.evaluate.results.pictures import neighbour_sheet

    features = torch.nn.functional.normalize(torch.from_numpy(given.val.features), dim=1)
    queries = evenly(np.arange(len(features)), _QUERIES)
    similarities = features[queries] @ features.T
    most = min(_NEIGHBOURS + 1, len(features))  # each query is its own nearest
    nearest = similarities.topk(most, dim=1)
    shown = nearest.indices.numpy()
    # In the order of ids, as they are read.
    ids, position = np.unique(given.val.ids[shown], return_inverse=True)
    crops = given.crops(ids)[position.reshape(shown.shape)]
    return neighbour_sheet(crops, nearest.values.numpy(), given.backbone.origin.place)
