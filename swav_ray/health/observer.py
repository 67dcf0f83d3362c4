"""What rank 0 sees of a run: figures of every tenth step and of epochs' ends, for under 1% of a step's time.

Its slice of each batch is a random part of it, so nothing is gathered: a signal costs no collective. It draws no random
numbers and changes nothing that trains.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from swav_ray.health import signals
from swav_ray.training.learner import Learner, StepResult

EVERY = 10  # steps between observations
_AT_LEAST = 20  # steps between figures of an epoch, which cost more
_ROWS_A_PROTOTYPE = 4  # that usage is taken over: equal use then shows as 0.88 of the possible, not as noise
_COMPARED = 64  # images that are embedded once more by running statistics

Figures = dict[str, Any]


class Observer:
    """Takes figures of a learner's steps, on rank 0.

    Args:
        learner: what trains.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner, self._config = learner, learner.config
        self._steps_per_epoch = learner.steps_per_epoch
        self._gradients: dict[str, Tensor] = {}
        self._nearest: deque[Tensor] = deque()
        self._seen = torch.zeros(self._config.model.prototypes[0], dtype=torch.bool)  # nearest to something, this epoch
        self._looked_at = 0  # embeddings, this epoch
        self._prototypes = self._copied_prototypes()  # when the epoch began
        self._epoch_looked_at = 0  # step of the last figures of an epoch
        learner.on_gradient = self._on_gradient

    @torch.no_grad()
    def figures(self, step: int, result: StepResult, crops: list[Tensor]) -> Figures:
        """Those of a step that was applied; empty if it is none that is observed.

        Args:
            result: of the step. crops: as the learner had them.
        """
        found: Figures = {}
        if step % EVERY == 0:
            found = self._of_step(result)
        if (step + 1) % self._steps_per_epoch == 0:
            found |= self._of_epoch(step, result, crops)
        return found

    def _on_gradient(self, step: int) -> None:
        if step % EVERY == 0:
            named = {name: p.grad for name, p in self._learner.model.named_parameters() if p.grad is not None}
            self._gradients = signals.gradient_norms(named)

    def _of_step(self, result: StepResult) -> Figures:
        assigned = list(self._config.assignment.crops_for_assign)[:2]
        embeddings_ND = result.embeddings[assigned].flatten(0, 1)
        prototypes_KD = F.normalize(self._learner.model.prototype_weights()[0].detach(), dim=1)
        nearest_N = (embeddings_ND.to(prototypes_KD) @ prototypes_KD.T).argmax(dim=1)
        scalars = {
            "codes_entropy": signals.codes_entropy(result.codes),
            "codes_usage": signals.codes_usage(result.codes[0]),
            "code_agreement": signals.code_agreement(result.codes[0]),
            "spread": signals.spread(embeddings_ND),
        } | {f"gradient_{part}": norm for part, norm in self._gradients.items()}
        # One transfer from the device for all of them.
        found: Figures = dict(zip(scalars, torch.stack([v.float() for v in scalars.values()]).tolist(), strict=True))
        found["left_to_learn"] = result.loss - found["codes_entropy"]
        found["effective_rank"] = signals.effective_rank(embeddings_ND)
        found["usage"] = self._usage(nearest_N.cpu())
        if self._learner.queue is not None:
            found["queue_filled"] = self._learner.queue.filled
        return found

    def _usage(self, nearest_N: Tensor) -> float:
        self._seen[nearest_N] = True
        self._looked_at += len(nearest_N)
        self._nearest.append(nearest_N)
        enough = _ROWS_A_PROTOTYPE * len(self._seen)
        while sum(map(len, self._nearest)) - len(self._nearest[0]) >= enough:
            self._nearest.popleft()
        return signals.usage(torch.cat(list(self._nearest)), len(self._seen))

    def _of_epoch(self, step: int, result: StepResult, crops: list[Tensor]) -> Figures:
        found: Figures = {}
        if self._looked_at >= len(self._seen):  # fewer could not be nearest to all of them
            found["unused"] = float((~self._seen).float().mean())
            self._seen.zero_()
            self._looked_at = 0
        if step + 1 - self._epoch_looked_at < _AT_LEAST:
            return found
        self._epoch_looked_at = step + 1
        now = self._copied_prototypes()
        found["duplicates"], found["near_duplicates"] = signals.duplicates(now)
        found["drift"] = signals.drift(self._prototypes, now)
        found["batchnorm_gap"] = self._batchnorm_gap(result, crops)
        self._prototypes = now
        return found

    def _batchnorm_gap(self, result: StepResult, crops: list[Tensor]) -> float:
        """Of the first crop of some images: how differently they are embedded by running statistics."""
        model, rows = self._learner.model, min(_COMPARED, result.embeddings.shape[1])
        model.eval()
        try:
            embedded, _ = model([crops[0][:rows]])
        finally:
            model.train()
        return float(1 - F.cosine_similarity(embedded, result.embeddings[0, :rows].to(embedded), dim=1).mean())

    def _copied_prototypes(self) -> Tensor:
        return self._learner.model.prototype_weights()[0].detach().to("cpu", copy=True)
