"""Codes by Sinkhorn-Knopp (paper section 3.1, equations 3 to 5), in the log domain, over any number of workers.

The published code exponentiates scores / epsilon, divides by the total, then alternates rows (prototypes) and columns
(samples). In logarithms each normalisation adds a potential, so nothing overflows or underflows down to epsilon .001.
Two of the published collectives change nothing and are not made: the first division by the total is undone by the
first row normalisation, and the sample counts are common factors that the last column normalisation removes.

Shape suffixes: B samples of this worker, K prototypes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F


def _row_logsumexp(log_q_BK: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """log of each prototype's total over the samples of all workers: (K,)."""
    local_K = torch.logsumexp(log_q_BK, dim=0)
    if group is None:
        return local_K
    # Gathering logarithms is one collective and keeps the log domain; summing would need the maxima first.
    gathered = [torch.empty_like(local_K) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, local_K, group=group)
    return torch.logsumexp(torch.stack(gathered), dim=0)


@torch.no_grad()
def sinkhorn(
    scores_BK: Tensor,
    *,
    epsilon: float = 0.05,
    iterations: int = 3,
    hard: bool = False,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Equipartitioned codes of the samples of all workers; every worker gets its own rows.

    Args:
        scores_BK: dot products of embeddings and prototypes. Every worker may bring another number of rows, none too.
        epsilon: weight of the entropy (paper: 0.05).
        iterations: row and column normalisations (paper: 3).
        hard: one-hot codes, the argmax of the soft ones, instead of soft codes.
        group: process group over which prototypes are balanced; None: this process alone.

    Returns:
        (B, K), rows sum to one; float32, or float64 for float64 scores. No gradient.
    """
    with torch.autocast(scores_BK.device.type, enabled=False):
        logits_BK = scores_BK.to(torch.promote_types(scores_BK.dtype, torch.float32)) / epsilon
        column_B = torch.zeros_like(logits_BK[:, 0])
        for _ in range(iterations):
            row_K = -_row_logsumexp(logits_BK + column_B[:, None], group)
            column_B = -torch.logsumexp(logits_BK + row_K, dim=1)
        log_codes_BK = logits_BK + row_K + column_B[:, None]
    if hard:
        return F.one_hot(log_codes_BK.argmax(dim=1), scores_BK.shape[1]).to(log_codes_BK.dtype)
    return log_codes_BK.exp()
