"""What the prototypes have learned: how images spread over them, and whether their clusters are classes.

An image's cluster is its nearest prototype in eval mode, one for each head. Figures against labels need labels; the
others need none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from swav_ray.data.holdout import evenly
from swav_ray.evaluate.results.judged import Given, Judged
from swav_ray.evaluate.results.protocol import Figure, Protocol, accuracy, bootstrap
from swav_ray.model.normalize import normalize
from swav_ray.weights.head import Head, heads_of

_DUPLICATE = 0.99  # cosine
_SILHOUETTE_IMAGES = 2000
_MODE_IMAGES = 256  # whose assignments are compared in eval and in train mode
PROTOCOL = Protocol(
    name="clusters",
    version=1,
    settings={
        "cluster": "nearest prototype of each head, eval mode",
        "duplicates": f"prototypes with a cosine above {_DUPLICATE} to an earlier one",
        "silhouette": f"cosine, at most {_SILHOUETTE_IMAGES} images spread evenly",
        "train mode": f"one batch of at most {_MODE_IMAGES} images spread evenly",
    },
    source="swav_ray; NMI, ARI and silhouette of scikit-learn; accuracy by the best one-to-one map (Kuhn 1955)",
)


def run(given: Given) -> Judged:
    """Figures of `val`, those of further heads by names with their number; raises WeightsError without prototypes."""
    heads = heads_of(given.backbone.origin.parts.head, given.backbone.origin.place)
    with torch.inference_mode():
        vectors = heads[0].embeddings(torch.from_numpy(given.val.features))
        assigned = [head.scores(vectors).argmax(dim=1).numpy() for head in heads]
    in_train_mode = train_mode_clusters(given, heads)
    figures: dict[str, Figure] = {}
    notes: list[str] = []
    for number, (head, clusters, other) in enumerate(zip(heads, assigned, in_train_mode, strict=True), start=1):
        found = _of_head(head, vectors.numpy(), clusters, other, given.val.labels)
        suffix = "" if number == 1 else f", head {number}"
        figures |= {name + suffix: figure for name, figure in found.items()}
        notes += [note + suffix for note in _notes(head, clusters, other)]
    return Judged(figures=figures, picture=_picture(given, assigned, heads), notes=notes)


def _of_head(
    head: Head, embeddings: np.ndarray, assigned: np.ndarray, in_train_mode: np.ndarray, labels: np.ndarray
) -> dict[str, Figure]:
    """All figures of one head.

    Args:
        embeddings: (N, E). assigned: prototype of each image, (N,).
        in_train_mode: of the images that `_mode_rows` chooses. labels: (N,), -1 without one.
    """
    known = labels >= 0
    figures = against_labels(assigned[known], labels[known]) if known.any() else {}
    figures |= usage(assigned, head)
    figures["silhouette"] = silhouette(embeddings, assigned)
    figures["same cluster in train mode"] = accuracy(in_train_mode == assigned[_mode_rows(len(assigned))])
    return figures


def against_labels(assigned: np.ndarray, labels: np.ndarray) -> dict[str, Figure]:
    """Clusters against classes, (N,) integers each, with intervals over images drawn anew.

    Clusters are many and classes few, so purity is easy and the one-to-one accuracy hard: both are given.
    """
    from sklearn import metrics

    return {
        "NMI": bootstrap(metrics.normalized_mutual_info_score, labels, assigned, unit=""),
        "ARI": bootstrap(metrics.adjusted_rand_score, labels, assigned, unit=""),
        "purity": bootstrap(_purity, labels, assigned),
        "one-to-one accuracy": bootstrap(_one_to_one, labels, assigned),
    }


def _counts(labels: np.ndarray, assigned: np.ndarray) -> np.ndarray:
    """(classes, clusters) images of each."""
    counts = np.zeros((labels.max() + 1, assigned.max() + 1), np.int64)
    np.add.at(counts, (labels, assigned), 1)
    return counts


def _purity(labels: np.ndarray, assigned: np.ndarray) -> float:
    return 100 * float(_counts(labels, assigned).max(axis=0).sum()) / len(labels)


def _one_to_one(labels: np.ndarray, assigned: np.ndarray) -> float:
    from scipy.optimize import linear_sum_assignment

    counts = _counts(labels, assigned)
    return 100 * float(counts[linear_sum_assignment(counts, maximize=True)].sum()) / len(labels)


def usage(assigned: np.ndarray, head: Head) -> dict[str, Figure]:
    """How evenly images spread over the prototypes, and how many prototypes are empty or the same as another."""
    prototypes = len(head.prototypes)
    shares = np.bincount(assigned, minlength=prototypes) / len(assigned)
    used = shares[shares > 0]
    largest = np.log(min(prototypes, len(assigned))) or 1.0  # of a single image it is 0, as is the entropy
    entropy = abs(float((used * np.log(used)).sum())) / largest
    return {
        "usage entropy, of the largest": Figure(value=float(entropy), unit=""),
        "empty prototypes": Figure(value=int((shares == 0).sum()), unit="", higher_is_better=False),
        "duplicate prototypes": Figure(value=len(duplicates(head)), unit="", higher_is_better=False),
    }


def duplicates(head: Head) -> dict[int, int]:
    """Each prototype that is nearly the same as an earlier one, and the first such one."""
    found: dict[int, int] = {}
    for index, row in enumerate(head.prototypes):
        near = torch.nonzero(head.prototypes[:index] @ row > _DUPLICATE).flatten()
        if len(near):
            found[index] = int(near[0])
    return found


def silhouette(embeddings: np.ndarray, assigned: np.ndarray) -> Figure:
    """Mean silhouette by cosine distance (Rousseeuw, 1987), -1 to 1; 0 with fewer than two clusters."""
    from sklearn.metrics import silhouette_samples

    rows = evenly(np.arange(len(assigned)), _SILHOUETTE_IMAGES)
    if not 2 <= len(np.unique(assigned[rows])) < len(rows):
        return Figure(value=0.0, unit="")
    values = silhouette_samples(embeddings[rows], assigned[rows], metric="cosine")
    return bootstrap(np.mean, values, unit="")


def _mode_rows(images: int) -> np.ndarray:
    return evenly(np.arange(images), _MODE_IMAGES)


def train_mode_clusters(given: Given, heads: Sequence[Head]) -> list[np.ndarray]:
    """Clusters of the images of `_mode_rows` for each head, with BatchNorm's statistics of this batch.

    If they are not those of eval mode, the running statistics are not those of these images: they are embedded at
    another size than the crops of training, or the statistics lag behind the weights, as in a checkpoint from a high
    rate.
    """
    crops = given.crops(given.val.ids[_mode_rows(len(given.val))])
    network = torch.nn.ModuleList([given.backbone, *heads])
    modes = [(module, module.training, getattr(module, "track_running_stats", None)) for module in network.modules()]
    try:
        for module in network.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.train()
                module.track_running_stats = False  # the statistics of the batch, without learning them
        preprocess = given.backbone.preprocess
        with torch.inference_mode():
            pixels = normalize(torch.from_numpy(crops), mean=preprocess.mean, std=preprocess.std)
            vectors = heads[0].embeddings(given.backbone(pixels))
            return [head.scores(vectors).argmax(dim=1).numpy() for head in heads]
    finally:
        for module, training, tracks in modes:
            module.training = training
            if tracks is not None:
                module.track_running_stats = tracks


def _notes(head: Head, assigned: np.ndarray, in_train_mode: np.ndarray) -> list[str]:
    same_images = assigned[_mode_rows(len(assigned))]
    counts = [len(np.unique(clusters)) for clusters in (same_images, in_train_mode)]
    notes = [f"of {len(same_images)} images: {counts[0]} clusters in eval mode, {counts[1]} in train mode"]
    if twins := duplicates(head):
        some = ", ".join(f"{index} as {first}" for index, first in list(twins.items())[:5])
        notes.append(f"{len(twins)} prototypes are nearly the same as an earlier one: {some}")
    return notes


def _picture(given: Given, assigned: Sequence[np.ndarray], heads: Sequence[Head]) -> bytes:
    from swav_ray.evaluate.results.pictures import cluster_sizes

    prototypes = [len(head.prototypes) for head in heads]
    return cluster_sizes(assigned, given.val.labels, prototypes, given.backbone.origin.place)
