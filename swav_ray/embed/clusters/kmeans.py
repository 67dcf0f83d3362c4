"""More or fewer clusters than prototypes: spherical k-means on the embeddings (Dhillon and Modha, 2001).

Centres are learned on a sample that fits in memory, as faiss does, with scikit-learn's MiniBatchKMeans on vectors of
unit length; then every image gets its nearest centre, part by part.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch

from swav_ray.embed.errors import EmbedError
from swav_ray.embed.neighbours.vectors import sample, unit
from swav_ray.embed.network import assign
from swav_ray.embed.output import Output
from swav_ray.embed.part import cluster_columns
from swav_ray.weights.head import Head

_PER_CENTER = 256  # images of the sample for each centre
_LEAST, _SAMPLE_BYTES = 10_000, 512 << 20
_GRID = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 65, 80, 100, 130, 160, 200)
_SILHOUETTE_IMAGES = 3000


def centers_of(vectors: np.ndarray, count: int) -> np.ndarray:
    """(count, D) float32 of unit length, learned on (N, D) vectors of unit length; seed 0.

    Raises:
        EmbedError: there are fewer vectors than centres.
    """
    from sklearn.cluster import MiniBatchKMeans

    if len(vectors) < count:
        raise EmbedError(f"--clusters {count}: there are {len(vectors):,} images; give at most so many")
    made = MiniBatchKMeans(count, batch_size=4096, n_init=3, max_iter=100, random_state=0).fit(vectors)
    return unit(made.cluster_centers_)


def suggested(vectors: np.ndarray) -> tuple[int, float]:
    """The number of clusters of a grid from 2 to 200 with the best mean silhouette by cosine, and that silhouette.

    Args:
        vectors: (N, D) of unit length; at most 3,000 of them are used.

    Raises:
        EmbedError: there are too few of them for two clusters.
    """
    from sklearn.metrics import silhouette_score

    used = vectors[:: max(1, -(-len(vectors) // _SILHOUETTE_IMAGES))]
    scores = {}
    for count in _GRID:
        if count * 5 > len(used):
            break
        found = (used @ centers_of(used, count).T).argmax(axis=1)
        if len(np.unique(found)) > 1:
            scores[count] = float(silhouette_score(used, found, metric="cosine"))
    if not scores:
        raise EmbedError(f"--clusters auto: {len(used)} images are too few; give a number")
    best = max(scores, key=lambda count: scores[count])
    return best, scores[best]


def sample_size(output: Output, count: int) -> int:
    """Images that centres are learned on."""
    return min(max(_LEAST, _PER_CENTER * count), max(count, _SAMPLE_BYTES // (4 * output.how.dim)))


def learn(output: Output, count: int) -> Head:
    """Centres, as prototypes of embeddings; the same for the same embeddings."""
    vectors = sample(output, sample_size(output, count))
    return Head(torch.nn.Identity(), torch.from_numpy(centers_of(vectors, count)))


def write_clusters(output: Output, head: Head) -> None:
    """Writes the cluster of every image by its nearest centre, in the parts that are missing.

    Columns: sample_id, cluster, probability, distance, as the embeddings have them for prototypes.
    """
    count = len(head.prototypes)
    parts = output.clusters(count)
    missing = parts.missing()
    for part, table in zip(missing, output.blocks(["sample_id", "embedding"], missing), strict=True):
        vectors = torch.from_numpy(unit(output.vectors(table)))
        columns = cluster_columns(assign(vectors, head, output.how.temperature), count, soft=False)
        parts.write(part, pa.table({"sample_id": table["sample_id"], **columns}))
