"""The swapped prediction: every crop predicts the codes of the others (paper equation 2 and section 3.3).

Shape suffixes: V crops of an image, A of them with codes, B samples, K prototypes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


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
        log_p_VBK = F.log_softmax(scores_VBK.to(wide) / temperature, dim=2)
        # A crop's target is the sum of the codes of all others, so one product serves every pair of crops.
        target_VBK = codes_ABK.sum(dim=0).expand_as(log_p_VBK).clone()
        for code_BK, crop in zip(codes_ABK, crops_for_assign, strict=True):
            target_VBK[crop] -= code_BK
        pairs = len(codes_ABK) * (len(scores_VBK) - 1)
        return -(target_VBK * log_p_VBK).sum(dim=(0, 2)) / pairs
