"""What the prototypes have learned: how images spread over them, and whether their clusters are classes.

An image's cluster is its nearest prototype in eval mode. Figures against labels need labels; the others need none.
"""

from __future__ import annotations

import numpy as np
import torch

from swav_ray.evaluate.results.judged import Given, Judged
from swav_ray.evaluate.results.protocol import Figure, Protocol, accuracy, bootstrap
from swav_ray.model.normalize import normalize
from swav_ray.weights.head import Head, head_of

_DUPLICATE = 0.99  # cosine
_SILHOUETTE_IMAGES = 2000
_MODE_IMAGES = 256  # whose assignments are compared in eval and in train mode
PROTOCOL = Protocol(
    name="clusters",
    version=1,
    settings={
        "cluster": "nearest prototype of the first head, eval mode",
        "duplicates": f"prototypes with a cosine above {_DUPLICATE} to an earlier one",
        "silhouette": f"cosine, at most {_SILHOUETTE_IMAGES} images spread evenly",
        "train mode": f"one batch of at most {_MODE_IMAGES} images spread evenly",
    },
    source="swav_ray; NMI, ARI and silhouette of scikit-learn; accuracy by the best one-to-one map (Kuhn 1955)",
)


def run(given: Given) -> Judged:
    """Figures of `val`; raises WeightsError for weights without prototypes."""
    head = head_of(given.backbone.origin.parts.head, given.backbone.origin.place)
    with torch.inference_mode():
        vectors = head.embeddings(torch.from_numpy(given.val.features))
        assigned = head.scores(vectors).argmax(dim=1).numpy()
    embeddings = vectors.numpy()
    figures: dict[str, Figure] = {}
    known = given.val.labels >= 0
    if known.any():
        figures |= against_labels(assigned[known], given.val.labels[known])
    figures |= usage(assigned, head)
    figures["silhouette"] = silhouette(embeddings, assigned)
    figures["same cluster in train mode"] = same_in_train_mode(given, head, assigned)
    return Judged(figures=figures, picture=_picture(given, assigned, head), notes=_notes(head))


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

    rows = np.arange(min(_SILHOUETTE_IMAGES, len(assigned))) * len(assigned) // min(_SILHOUETTE_IMAGES, len(assigned))
    if not 2 <= len(np.unique(assigned[rows])) < len(rows):
        return Figure(value=0.0, unit="")
    values = silhouette_samples(embeddings[rows], assigned[rows], metric="cosine")
    return bootstrap(np.mean, values, unit="")


def same_in_train_mode(given: Given, head: Head, assigned: np.ndarray) -> Figure:
    """Share of images whose cluster is the same with BatchNorm's statistics of a batch instead of the running ones.

    A small share means that the running statistics are not those of these images: they are embedded at another size
    than the crops of training, or the statistics lag behind the weights, as in a checkpoint from a high rate.
    """
    images = min(_MODE_IMAGES, len(assigned))
    rows = np.arange(images) * len(assigned) // images
    crops = given.crops(given.val.ids[rows])
    network = torch.nn.Sequential(given.backbone, head)
    modes = [(module, module.training, getattr(module, "track_running_stats", None)) for module in network.modules()]
    try:
        for module in network.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.train()
                module.track_running_stats = False  # the statistics of the batch, without learning them
        pixels = torch.from_numpy(crops)
        preprocess = given.backbone.preprocess
        with torch.inference_mode():
            scores = network(normalize(pixels, mean=preprocess.mean, std=preprocess.std))
    finally:
        for module, training, tracks in modes:
            module.training = training
            if tracks is not None:
                module.track_running_stats = tracks
    return accuracy(scores.argmax(dim=1).numpy() == assigned[rows])


def _notes(head: Head) -> list[str]:
    twins = duplicates(head)
    if not twins:
        return []
    some = ", ".join(f"{index} as {first}" for index, first in list(twins.items())[:5])
    return [f"{len(twins)} prototypes are nearly the same as an earlier one: {some}"]


def _picture(given: Given, assigned: np.ndarray, head: Head) -> bytes:
    from swav_ray.evaluate.results.pictures import cluster_sizes

    return cluster_sizes(assigned, given.val.labels, len(head.prototypes), given.backbone.origin.place)
