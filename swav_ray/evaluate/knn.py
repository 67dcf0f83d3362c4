"""Weighted k-nearest-neighbour classification of frozen features.

Wu et al., 2018 (Unsupervised feature learning via non-parametric instance discrimination, section 3.4), with the
settings that DINO made usual: k 20, temperature .07. Knows nothing of where the features come from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

_SIMILARITIES = 2**24  # float32 similarities held at a time: 64 MiB, whatever the bank's size
_BLOCK = 2**27  # float32 numbers of the bank that are normalised at a time: 512 MiB
_QUERIES = 2**16  # whose nearest are held at a time

_Nearest = tuple[torch.Tensor, torch.Tensor]


def knn_predict(
    bank: torch.Tensor, bank_labels: torch.Tensor, queries: torch.Tensor, *, k: int, temperature: float
) -> torch.Tensor:
    """The label with the largest sum of ``exp(cosine similarity / temperature)`` among the k nearest of the bank.

    Between labels with equal votes the smaller one wins. Which of several equally near neighbours is the k-th is
    torch's choice.

    Args:
        bank: (N, D) features, of any length; ``bank_labels``: (N,) integers from 0.
        queries: (M, D) features, on the device to compute on. The bank may be elsewhere; it is moved block by block.
        k: neighbours that vote, at most N.

    Returns:
        (M,) int64 labels.

    Raises:
        ValueError: shapes that do not match, k outside 1..N, temperature not above 0.
        FloatingPointError: features that are not finite.
    """
    return knn_predictions(bank, bank_labels, queries, [(k, temperature)])[k, temperature]


def knn_predictions(
    bank: torch.Tensor, bank_labels: torch.Tensor, queries: torch.Tensor, settings: Sequence[tuple[int, float]]
) -> dict[tuple[int, float], torch.Tensor]:
    """`knn_predict` for several (k, temperature), from one pass over the similarities."""
    _check(bank, bank_labels, queries, settings)
    labels = bank_labels.long().to(queries.device)
    if len(labels) and labels.min() < 0:
        raise ValueError(f"knn: label {int(labels.min())}: labels count from 0")
    classes, most = int(labels.max()) + 1, max(k for k, _ in settings)
    votes: dict[tuple[int, float], list[torch.Tensor]] = {setting: [] for setting in settings}
    for part in queries.split(_QUERIES):
        nearest, index = _nearest(bank, part, most)
        for rows in torch.arange(len(part), device=part.device).split(max(1, _SIMILARITIES // max(classes, most))):
            for k, temperature in settings:
                near, voters = nearest[rows, :k], labels[index[rows, :k]]
                votes[k, temperature].append(_vote(near, voters, classes, temperature))
    empty = labels.new_empty(0)
    return {setting: torch.cat(parts) if parts else empty for setting, parts in votes.items()}


def _check(
    bank: torch.Tensor, bank_labels: torch.Tensor, queries: torch.Tensor, settings: Sequence[tuple[int, float]]
) -> None:
    if bank.ndim != 2 or queries.ndim != 2 or bank.shape[1] != queries.shape[1] or len(bank) != len(bank_labels):
        shapes = f"bank {tuple(bank.shape)}, labels {tuple(bank_labels.shape)}, queries {tuple(queries.shape)}"
        raise ValueError(f"knn: {shapes}: needs (N, D), (N,) and (M, D)")
    for k, temperature in settings:
        if not 1 <= k <= len(bank):
            raise ValueError(f"knn: k = {k}: must be between 1 and the {len(bank)} images of the bank")
        if not temperature > 0:
            raise ValueError(f"knn: temperature = {temperature}: must be above 0")
    if not all(torch.isfinite(torch.stack(part.aminmax())).all() for part in (bank, queries) if part.numel()):
        raise FloatingPointError(
            "knn: some features are not finite: the backbone has diverged; "
            "a lower optim.base_lr or a longer warm-up usually helps"
        )


def _nearest(bank: torch.Tensor, queries: torch.Tensor, k: int) -> _Nearest:
    """Cosine similarities and rows of the k nearest of the bank, (M, k) each, nearest first."""
    block_rows = min(len(bank), max(1, _BLOCK // bank.shape[1]))
    parts = queries.split(max(1, _SIMILARITIES // block_rows))
    best: list[_Nearest] = []
    for start in range(0, len(bank), block_rows):
        block_ND = F.normalize(bank[start : start + block_rows].to(queries.device).float(), dim=1)
        for number, part in enumerate(parts):
            found = (F.normalize(part.float(), dim=1) @ block_ND.T).topk(min(k, len(block_ND)), dim=1)
            if start == 0:
                best.append((found.values, found.indices))
            else:
                best[number] = _merged(best[number], (found.values, found.indices + start), k)
    values, rows = zip(*best, strict=True)
    return torch.cat(values), torch.cat(rows)


def _merged(first: _Nearest, second: _Nearest, k: int) -> _Nearest:
    """The k nearest of two lots, or all of them if they are fewer."""
    values, rows = (torch.cat(pair, dim=1) for pair in zip(first, second, strict=True))
    nearest, order = values.topk(min(k, values.shape[1]), dim=1)
    return nearest, rows.gather(1, order)


def _vote(nearest: torch.Tensor, labels: torch.Tensor, classes: int, temperature: float) -> torch.Tensor:
    """Similarities and labels of the nearest (B, k) to one label each (B,)."""
    # Relative to the nearest neighbour: the same winner, and no overflow at low temperatures.
    weights = torch.exp((nearest - nearest[:, :1]) / temperature)
    votes = weights.new_zeros(len(weights), classes).scatter_add_(1, labels, weights)
    return votes.argmax(dim=1)


def knn_top1(
    bank: torch.Tensor,
    bank_labels: torch.Tensor,
    queries: torch.Tensor,
    query_labels: torch.Tensor,
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Share of the queries that `knn_predict` labels rightly, in 0..1.

    Raises:
        ValueError: as `knn_predict`, or no queries, or not one label each.
    """
    if len(queries) == 0 or len(queries) != len(query_labels):
        raise ValueError(f"knn: {len(queries)} queries with {len(query_labels)} labels: needs one each, at least one")
    predicted = knn_predict(bank, bank_labels, queries, k=k, temperature=temperature)
    return (predicted == query_labels.to(predicted.device).long()).double().mean().item()
