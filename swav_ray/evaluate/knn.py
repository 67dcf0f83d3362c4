"""Weighted k-nearest-neighbour classification of frozen features.

Wu et al., 2018 (Unsupervised feature learning via non-parametric instance discrimination, section 3.4), with the
settings that DINO made usual: k 20, temperature .07. Knows nothing of where the features come from.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

_SIMILARITIES = 2**24  # float32 similarities held at a time: 64 MiB, whatever the bank's size


def knn_predict(
    bank: torch.Tensor, bank_labels: torch.Tensor, queries: torch.Tensor, *, k: int, temperature: float
) -> torch.Tensor:
    """The label with the largest sum of ``exp(cosine similarity / temperature)`` among the k nearest of the bank.

    Between labels with equal votes the smaller one wins. Which of several equally near neighbours is the k-th is
    torch's choice.

    Args:
        bank: (N, D) features, of any length; ``bank_labels``: (N,) integers from 0.
        queries: (M, D) features on the same device.
        k: neighbours that vote, at most N.

    Returns:
        (M,) int64 labels.

    Raises:
        ValueError: shapes that do not match, k outside 1..N, temperature not above 0.
        FloatingPointError: features that are not finite.
    """
    if bank.ndim != 2 or queries.ndim != 2 or bank.shape[1] != queries.shape[1] or len(bank) != len(bank_labels):
        shapes = f"bank {tuple(bank.shape)}, labels {tuple(bank_labels.shape)}, queries {tuple(queries.shape)}"
        raise ValueError(f"knn: {shapes}: needs (N, D), (N,) and (M, D)")
    if not 1 <= k <= len(bank):
        raise ValueError(f"knn: k = {k}: must be between 1 and the {len(bank)} images of the bank")
    if not temperature > 0:
        raise ValueError(f"knn: temperature = {temperature}: must be above 0")
    if not (torch.isfinite(bank).all() and torch.isfinite(queries).all()):
        raise FloatingPointError(
            "knn: some features are not finite: the backbone has diverged; "
            "a lower optim.base_lr or a longer warm-up usually helps"
        )
    labels = bank_labels.long()
    if labels.min() < 0:
        raise ValueError(f"knn: label {int(labels.min())}: labels count from 0")
    classes = int(labels.max()) + 1
    bank_DN = F.normalize(bank.float(), dim=1).T
    predicted = [
        _vote(F.normalize(part.float(), dim=1) @ bank_DN, labels, classes, k, temperature)
        for part in queries.split(max(1, _SIMILARITIES // len(bank)))
    ]
    return torch.cat(predicted) if predicted else labels.new_empty(0)


def _vote(similarities: torch.Tensor, labels: torch.Tensor, classes: int, k: int, temperature: float) -> torch.Tensor:
    """Similarities (B, N) to labels (B,)."""
    nearest, index = similarities.topk(k, dim=1)
    # Relative to the nearest neighbour: the same winner, and no overflow at low temperatures.
    weights = torch.exp((nearest - nearest[:, :1]) / temperature)
    votes = weights.new_zeros(len(weights), classes).scatter_add_(1, labels[index], weights)
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
