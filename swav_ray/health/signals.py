"""What a step says about a run's health, each figure a function of tensors. Nothing here draws or changes anything.

Shape suffixes: A crops with codes, B samples of this worker, N rows, D embedding, K prototypes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

EXACT = 1e-6  # of 1 - cosine: float32's rounding of a normalised row
NEAR = 0.01  # of 1 - cosine: eight degrees, where a temperature of 0.1 tells scores 0.1 apart
_DUPLICATES_OF = 2048  # prototypes that are compared with all others


def codes_entropy(codes: Sequence[Tensor]) -> Tensor:
    """Mean entropy of the codes in nats, over heads of (A, B, K): what the loss cannot fall below.

    The loss is a cross-entropy with the codes: their entropy plus the divergence of the predictions, which learning
    reduces (paper equation 2). 0 for hard codes; ln K if every code is uniform.
    """
    return torch.stack([-torch.xlogy(head, head).sum(dim=-1).mean() for head in codes]).mean()


def codes_usage(codes_ABK: Tensor) -> Tensor:
    """Perplexity of the mean code over the most that is possible: 1 if every prototype gets an equal part.

    So many rows of so wide codes can spread over rows x exp(entropy) prototypes at most, if that is fewer than K.
    """
    mean_K = codes_ABK.flatten(0, 1).mean(dim=0)
    rows = codes_ABK.shape[0] * codes_ABK.shape[1]
    most = (rows * torch.exp(codes_entropy([codes_ABK]))).clamp_max(codes_ABK.shape[2])
    return torch.exp(-torch.xlogy(mean_K, mean_K).sum()) / most


def code_agreement(codes_ABK: Tensor) -> Tensor:
    """How often the first two crops with codes have the same largest code, beyond chance: 0 by chance, 1 always.

    Chance is that of independent codes with the same frequencies (Cohen's kappa). One crop alone agrees with itself.
    """
    first_B, second_B = codes_ABK[0].argmax(dim=1), codes_ABK[-1].argmax(dim=1)
    prototypes = codes_ABK.shape[2]
    shares = [codes.bincount(minlength=prototypes) / len(codes) for codes in (first_B, second_B)]
    chance = (shares[0] * shares[1]).sum()
    same = (first_B == second_B).float().mean()
    return torch.where(chance < 1, (same - chance) / (1 - chance).clamp_min(1e-12), torch.zeros_like(same))


def spread(embeddings_ND: Tensor) -> Tensor:
    """Standard deviation of unit embeddings over its largest value: 0 if all are one point, 1 if their mean is 0."""
    mean_D = embeddings_ND.float().mean(dim=0)
    return (1 - mean_D.square().sum()).clamp_min(0).sqrt()


def effective_rank(embeddings_ND: Tensor) -> float:
    """Effective number of dimensions of centred embeddings: exp of the entropy of their singular values' shares.

    RankMe (Garrido et al., 2023, equation 1), of the centred embeddings: uncentred, one large common direction hides
    what is left beside it. Between 1 and D. From the D x D covariance, on the CPU, where its size costs least.
    """
    centred_ND = embeddings_ND.float() - embeddings_ND.float().mean(dim=0)
    covariance_DD = (centred_ND.T @ centred_ND).cpu().double()
    if not bool(covariance_DD.isfinite().all()):
        return math.nan
    values_D = torch.linalg.eigvalsh(covariance_DD).clamp_min(0).sqrt()
    total = values_D.sum()
    if total <= 0:
        return 1.0
    shares_D = values_D / total
    return float(torch.exp(-torch.xlogy(shares_D, shares_D).sum()))


def usage(nearest_N: Tensor, prototypes: int) -> float:
    """Perplexity of which prototype is the nearest, over the most that so many rows can have: 1 if all are used alike.

    Args:
        nearest_N: index of the nearest prototype of each row.
        prototypes: K.
    """
    shares_K = nearest_N.bincount(minlength=prototypes).double() / len(nearest_N)
    return float(torch.exp(-torch.xlogy(shares_K, shares_K).sum())) / min(prototypes, len(nearest_N))


def gradient_norms(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Norms of the gradient of trunk, head and prototypes, each a scalar on its device; before LARC rescales it.

    Args:
        named: gradients by parameter name, as `SwAVModel.named_parameters` names them.
    """
    parts: dict[str, list[Tensor]] = {"trunk": [], "head": [], "prototypes": []}
    for name, gradient in named.items():
        part = name.split(".")[0].rstrip("0123456789")
        parts[{"projection_head": "head", "prototypes": "prototypes"}.get(part, "trunk")].append(gradient)
    return {part: torch.stack(torch._foreach_norm(each)).norm() for part, each in parts.items() if each}


def duplicates(prototypes_KD: Tensor) -> tuple[float, float]:
    """Fractions of prototypes that have an exact and a near duplicate, by their cosine.

    Of at most 2,048 of them, spread evenly, each compared with all: 100,000 prototypes have ten thousand million pairs.
    """
    rows_KD = F.normalize(prototypes_KD.detach().float(), dim=1)
    chosen = torch.arange(0, len(rows_KD), max(1, -(-len(rows_KD) // _DUPLICATES_OF)), device=rows_KD.device)
    nearest = []
    for own in chosen.split(256):
        cosines = rows_KD[own] @ rows_KD.T
        cosines[torch.arange(len(own), device=own.device), own] = -1
        nearest.append(cosines.amax(dim=1))
    distance = 1 - torch.cat(nearest)
    return float((distance <= EXACT).float().mean()), float((distance <= NEAR).float().mean())


def drift(before_KD: Tensor, after_KD: Tensor) -> float:
    """How far prototypes have turned, mean of 1 - cosine: 0 if they stayed, 1 if nothing is left of them."""
    return float(1 - F.cosine_similarity(before_KD.float(), after_KD.float(), dim=1).mean())
