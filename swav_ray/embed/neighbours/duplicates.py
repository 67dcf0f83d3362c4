"""Images that are nearly the same: candidates by their embeddings, confirmed by their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swav_ray.embed.clusters.thumbnails import thumbnails
from swav_ray.embed.neighbours.nearest import nearest
from swav_ray.embed.output import Output

MOST_COMPARED = 20_000  # images, without a table of neighbours
_SIMILAR = 0.98  # cosine of candidates: networks that have learned little give many images nearly one embedding
_CANDIDATES = 1000  # pairs whose pixels are compared, the most similar ones
_SIDE, _DIFFERENCE = 16, 6.0  # pixels, and levels of 255 by which they differ on average at most


@dataclass(frozen=True)
class Pair:
    """Two images that are nearly the same. `difference`: mean, in levels of 255."""

    first: int
    second: int
    similarity: float
    difference: float


def near_duplicates(output: Output, neighbours: int) -> list[Pair] | None:
    """Pairs of images that are nearly the same, the most alike first.

    Args:
        neighbours: what the table of neighbours is of; 0: there is none, and few images are compared here.

    Returns:
        The pairs, or None if there are too many images to compare without a table of neighbours.
    """
    if not neighbours and output.images > MOST_COMPARED:
        return None
    candidates = _of_table(output, neighbours) if neighbours else _compared(output)
    best = sorted(candidates, key=lambda pair: -candidates[pair])[:_CANDIDATES]
    pixels = thumbnails(output, {i for pair in best for i in pair}, _SIDE)
    pairs = []
    for first, second in best:
        if first in pixels and second in pixels:
            difference = float(np.abs(pixels[first].astype(np.int16) - pixels[second]).mean())
            if difference <= _DIFFERENCE:
                pairs.append(Pair(first, second, candidates[first, second], difference))
    return sorted(pairs, key=lambda pair: (pair.difference, pair.first, pair.second))


def _of_table(output: Output, neighbours: int) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], float] = {}
    parts = output.neighbours(neighbours)
    for part in range(len(parts)):
        table = parts.read(part)
        ids = table["neighbours"].combine_chunks().flatten().to_numpy().reshape(-1, neighbours)
        cosines = table["similarities"].combine_chunks().flatten().to_numpy().reshape(-1, neighbours)
        _add(found, table["sample_id"].to_numpy(), ids, cosines)
    return found


def _compared(output: Output) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], float] = {}
    for table in output.blocks(["sample_id", "embedding"]):
        if table.num_rows:
            _add(found, table["sample_id"].to_numpy(), *nearest(output, output.vectors(table), 4))
    return found


def _add(found: dict[tuple[int, int], float], own: np.ndarray, ids: np.ndarray, cosines: np.ndarray) -> None:
    rows, columns = np.nonzero((cosines > _SIMILAR) & (ids != own[:, None]))
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        first, second = sorted((int(own[row]), int(ids[row, column])))
        found[first, second] = float(cosines[row, column])
    if len(found) > 20 * _CANDIDATES:  # memory stays that of the best ones
        best = sorted(found, key=lambda pair: -found[pair])[:_CANDIDATES]
        kept = {pair: found[pair] for pair in best}
        found.clear()
        found |= kept
