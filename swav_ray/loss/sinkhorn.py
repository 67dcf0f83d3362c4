"""Codes by Sinkhorn-Knopp (paper section 3.1, equations 3 to 5), over any number of workers.

The published code exponentiates scores / epsilon, divides by the total, then alternates rows (prototypes) and columns
(samples). Here the exponentials are computed once and stay as they are. What changes is a factor of each prototype and
one of each sample, so an iteration is two products of a matrix and a vector. Scores whose exponentials would overflow
or underflow (they do at epsilon .001) are balanced in logarithms instead, which costs more and gives the same.
Two of the published collectives change nothing and are not made: the first division by the total is undone by the
first row normalisation, and the sample counts are common factors that the last column normalisation removes.

Shape suffixes: B samples of this worker, Q of the queue's, N of both, K prototypes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F

_LARGEST_EXPONENT = 40.0  # products of two such exponentials, and sums of many, are float32 numbers of full precision


class _Exponentials:
    """The samples of this worker as exp(scores / epsilon).

    The memory of every tensor but the last of `scores` is reused; the last one's rows are those with codes.
    """

    def __init__(self, scores: list[Tensor], epsilon: float) -> None:
        self._batch_BK = scores[-1].mul(1 / epsilon).exp_()
        self._all = [*(past.mul_(1 / epsilon).exp_() for past in scores[:-1]), self._batch_BK]

    def log_totals_K(self, log_factors_K: Tensor | None) -> Tensor:
        """log of each prototype's total, after every sample was normalised with these factors (None: not at all)."""
        if log_factors_K is None:
            totals = [rows.sum(0) for rows in self._all]
        else:
            factors_K = log_factors_K.exp()
            totals = [torch.mv(rows.T, torch.mv(rows, factors_K).reciprocal_()) for rows in self._all]
        return torch.stack(totals).sum(0).log()

    def codes_BK(self, log_factors_K: Tensor) -> Tensor:
        codes_BK = self._batch_BK.mul_(log_factors_K.exp())
        return codes_BK.div_(codes_BK.sum(1, keepdim=True))


class _Logarithms:
    """The same in the log domain, where nothing overflows or underflows down to epsilon .001."""

    def __init__(self, scores: list[Tensor], epsilon: float) -> None:
        self._batch = len(scores[-1])
        self._logits_NK = torch.cat(scores) / epsilon

    def log_totals_K(self, log_factors_K: Tensor | None) -> Tensor:
        if log_factors_K is None:
            return torch.logsumexp(self._logits_NK, dim=0)
        samples_N1 = torch.logsumexp(self._logits_NK + log_factors_K, dim=1, keepdim=True)
        return torch.logsumexp(self._logits_NK - samples_N1, dim=0)

    def codes_BK(self, log_factors_K: Tensor) -> Tensor:
        return F.softmax(self._logits_NK[len(self._logits_NK) - self._batch :] + log_factors_K, dim=1)


def _exponents_fit(scores: list[Tensor], epsilon: float) -> bool:
    """Whether every exp(scores / epsilon) is a number of full precision."""
    if scores[-1].is_cuda and epsilon * _LARGEST_EXPONENT >= 1:
        return True  # dot products of unit vectors; to look at them, the host would wait for the device
    for rows in scores:
        low, high = torch.aminmax(rows) if rows.numel() else (rows.new_zeros(()),) * 2
        if not max(-float(low), float(high)) <= _LARGEST_EXPONENT * epsilon:
            return False
    return True


def _over_workers(log_totals_K: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """log of each prototype's total over the samples of all workers: (K,)."""
    if group is None:
        return log_totals_K
    # Logarithms, since one worker may balance in the log domain and another not; one collective, added in rank order.
    gathered = [torch.empty_like(log_totals_K) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, log_totals_K, group=group)
    return torch.logsumexp(torch.stack(gathered), dim=0)


@torch.no_grad()
def sinkhorn(
    scores_BK: Tensor,
    past_QK: Tensor | None = None,
    *,
    epsilon: float = 0.05,
    iterations: int = 3,
    hard: bool = False,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Equipartitioned codes of the samples of all workers; every worker gets its own rows.

    Args:
        scores_BK: dot products of normalised embeddings and prototypes. Every worker may bring another number of rows,
            none too.
        past_QK: those of the queue's embeddings, which are balanced too and get no codes. Its memory is reused.
        epsilon: weight of the entropy (paper: 0.05).
        iterations: row and column normalisations (paper: 3).
        hard: one-hot codes, the argmax of the soft ones, instead of soft codes.
        group: process group over which prototypes are balanced; None: this process alone.

    Returns:
        (B, K), rows sum to one; float32, or float64 for float64 scores. No gradient.
    """
    with torch.autocast(scores_BK.device.type, enabled=False):
        wide = torch.promote_types(scores_BK.dtype, torch.float32)
        scores = [rows.to(wide) for rows in (past_QK, scores_BK) if rows is not None]
        own = (_Exponentials if _exponents_fit(scores, epsilon) else _Logarithms)(scores, epsilon)
        log_factors_K = None
        for _ in range(iterations):
            log_factors_K = -_over_workers(own.log_totals_K(log_factors_K), group)
        assert log_factors_K is not None, "needs at least one iteration"
        codes_BK = own.codes_BK(log_factors_K)
    if hard:
        return F.one_hot(codes_BK.argmax(dim=1), scores_BK.shape[1]).to(codes_BK.dtype)
    return codes_BK
