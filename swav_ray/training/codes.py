"""Codes of a step: each head's Sinkhorn over the global batch and the queue (paper sections 3.1 and 4.3).

Shape suffixes: A crops with codes, B samples of this worker, Q of the queue's, D embedding, K prototypes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from swav_ray.config import AssignmentConfig
from swav_ray.loss.embedding_queue import EmbeddingQueue
from swav_ray.loss.sinkhorn import sinkhorn
from swav_ray.training.distributed import World


@torch.no_grad()
def codes(
    scores_ABK: Sequence[Tensor],
    prototypes_KD: Sequence[Tensor],
    queue: EmbeddingQueue | None,
    assignment: AssignmentConfig,
    world: World,
) -> list[Tensor]:
    """Codes of each head, (A, B, K), balanced over all workers.

    Args:
        scores_ABK, prototypes_KD: of each head.
        queue: a full one takes part, each worker with its slice; None: the batch alone.
    """
    past_AQD = None if queue is None else queue.rows[:, world.own_slice(queue.rows.shape[1])]
    codes_ABK = []
    for head_ABK, weight_KD in zip(scores_ABK, prototypes_KD, strict=True):
        balanced = [
            sinkhorn(
                scores_BK,
                None if past_AQD is None else F.linear(past_AQD[index], weight_KD),
                epsilon=assignment.epsilon,
                iterations=assignment.iterations,
                hard=assignment.hard,
                group=world.group,
            )
            for index, scores_BK in enumerate(head_ABK)
        ]
        codes_ABK.append(torch.stack(balanced))
    return codes_ABK
