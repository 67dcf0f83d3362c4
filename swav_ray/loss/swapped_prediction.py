"""The swapped prediction: every crop predicts the codes of the others (paper equation 2 and section 3.3).

Shape suffixes: V crops of an image, A of them with codes, B samples, K prototypes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class _SwappedPrediction(torch.autograd.Function):
    """The loss without softmax and targets of all crops in memory: both exist for one crop at a time.

    With T the sum of the codes that a crop predicts, its loss is |T| logsumexp(scores / temperature) - T . scores /
    temperature, and its gradient (|T| softmax - T) / temperature.
    """

    @staticmethod
    def forward(
        ctx: Any, scores_VBK: Tensor, codes_ABK: Tensor, crops_for_assign: Sequence[int], temperature: float
    ) -> Tensor:
        log_sums_VB = torch.stack([torch.logsumexp(scores_BK / temperature, dim=1) for scores_BK in scores_VBK])
        loss_B = torch.zeros_like(log_sums_VB[0])
        # A crop's target is the sum of the codes of all others, so one product serves every pair of crops.
        all_BK = codes_ABK.sum(dim=0)
        loss_B += all_BK.sum(1) * log_sums_VB.sum(0)
        loss_B -= torch.einsum("vbk,bk->b", scores_VBK, all_BK) / temperature
        for code_BK, crop in zip(codes_ABK, crops_for_assign, strict=True):
            loss_B -= code_BK.sum(1) * log_sums_VB[crop]
            loss_B += torch.einsum("bk,bk->b", scores_VBK[crop], code_BK) / temperature
        pairs = len(codes_ABK) * (len(scores_VBK) - 1)
        ctx.save_for_backward(scores_VBK, codes_ABK, all_BK, log_sums_VB)
        ctx.crops_for_assign, ctx.temperature, ctx.pairs = tuple(crops_for_assign), temperature, pairs
        return loss_B / pairs

    @staticmethod
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor, None, None, None]:
        scores_VBK, codes_ABK, all_BK, log_sums_VB = ctx.saved_tensors
        scale_B1 = (grad_B / (ctx.temperature * ctx.pairs))[:, None]
        grad_VBK = torch.empty_like(scores_VBK)
        for crop, (scores_BK, grad_BK) in enumerate(zip(scores_VBK, grad_VBK, strict=True)):
            own = [code_BK for code_BK, other in zip(codes_ABK, ctx.crops_for_assign, strict=True) if other == crop]
            mass_B = all_BK.sum(1) - sum(code_BK.sum(1) for code_BK in own)
            torch.mul(scores_BK, 1 / ctx.temperature, out=grad_BK)
            grad_BK.sub_(log_sums_VB[crop][:, None]).exp_().mul_(mass_B[:, None]).sub_(all_BK)
            for code_BK in own:
                grad_BK.add_(code_BK)
            grad_BK.mul_(scale_B1)
        return grad_VBK, None, None, None


def swapped_prediction(
    scores_VBK: Tensor, codes_ABK: Tensor, *, crops_for_assign: Sequence[int], temperature: float = 0.1
) -> Tensor:
    """Loss of each sample, (B,): the mean over crops with codes of the mean cross-entropy of all other crops.

    Args:
        scores_VBK: dot products of every crop's embedding with the prototypes.
        codes_ABK: codes of the crops in `crops_for_assign`, in that order; no gradient flows into them.
        crops_for_assign: indices into V.
        temperature: of the softmax over prototypes (paper: 0.1).

    For several prototype heads, average the heads' losses (DeepCluster-v2 and the published code do).
    """
    with torch.autocast(scores_VBK.device.type, enabled=False):
        wide = torch.promote_types(scores_VBK.dtype, torch.float32)
        return _SwappedPrediction.apply(scores_VBK.to(wide), codes_ABK.detach(), crops_for_assign, temperature)
