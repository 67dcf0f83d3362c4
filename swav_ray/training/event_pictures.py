"""What TensorBoard shows of a run beside its figures: crops, distributions at epochs' ends, and the prototypes.

Rank 0 draws them, of its own slice of the batch. They cost no communication, draw no random number and change nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from swav_ray.config import Config
from swav_ray.model.normalize import MEAN, STD
from swav_ray.run.events import Events
from swav_ray.training.learner import Learner, StepResult

_IMAGES = 8  # whose crops are shown, a row each
_AT_LEAST = 20  # steps between distributions, which cost more than figures
_ROWS = 4096  # embeddings and codes that a distribution is taken of, at the most
_PROTOTYPES = 5000  # points of the projector, which a browser still turns


class EventPictures:
    """Draws a run's steps.

    Args:
        learner: what trains. draw: calls what it is given with the run's events.
    """

    def __init__(self, learner: Learner, draw: Callable[[Callable[[Events], None]], None]) -> None:
        self._learner, self._config, self._draw = learner, learner.config, draw
        self._begun = False
        self._drawn = -_AT_LEAST  # step of the last distributions
        self._nearest_N = torch.zeros(0, dtype=torch.int64)  # prototype of each embedding, when an epoch ended last

    def observe(self, step: int, result: StepResult, crops: list[Tensor]) -> None:
        """Takes a step: its crops if it is the first that is taken, distributions if an epoch ends with it."""
        if not self._begun:
            self._begun = True
            for name, pixels in crop_grids(self._config, crops).items():
                self._draw(lambda events, name=name, pixels=pixels: events.image(name, pixels, step))  # type: ignore[misc]
        ends = (step + 1) % self._learner.steps_per_epoch == 0
        if ends and not result.refused and step - self._drawn >= _AT_LEAST:
            self._drawn = step
            for name, values in self._distributions(result).items():
                self._draw(lambda events, name=name, values=values: events.histogram(name, values, step))  # type: ignore[misc]

    def finish(self, step: int) -> None:
        """Puts the prototypes before `step` into the projector, with how many embeddings were nearest to each."""
        weights_KD = self._learner.model.prototype_weights()[0].detach()
        chosen = torch.arange(0, len(weights_KD), -(-len(weights_KD) // _PROTOTYPES))
        rows_KD = F.normalize(weights_KD[chosen.to(weights_KD.device)].float(), dim=1).cpu().numpy()
        used = self._nearest_N.bincount(minlength=len(weights_KD))[chosen].tolist()
        known = len(self._nearest_N) > 0  # not if the run was killed after its last step, and only ends now
        words = [
            [str(number), str(count) if known else "?"] for number, count in zip(chosen.tolist(), used, strict=True)
        ]
        columns = ("prototype", "embeddings")
        self._draw(lambda events: events.vectors("prototypes", rows_KD, columns, words, step))

    @torch.no_grad()
    def _distributions(self, result: StepResult) -> dict[str, np.ndarray]:
        assigned = list(self._config.assignment.crops_for_assign)
        embeddings_ND = result.embeddings[assigned].flatten(0, 1)[:_ROWS]
        prototypes_KD = F.normalize(self._learner.model.prototype_weights()[0].detach(), dim=1)
        cosine_N, nearest_N = (embeddings_ND.to(prototypes_KD) @ prototypes_KD.T).max(dim=1)
        largest_N = result.codes[0].flatten(0, 1)[:_ROWS].amax(dim=1)
        self._nearest_N = nearest_N.cpu()
        return {
            "distributions/nearest_prototype": self._nearest_N.numpy(),
            "distributions/cosine_to_it": cosine_N.float().cpu().numpy(),
            "distributions/largest_of_a_code": largest_N.float().cpu().numpy(),
        }


def crop_grids(config: Config, crops: list[Tensor]) -> dict[str, np.ndarray]:
    """Crops as the network saw them, an image a row: by name, (rows x size, crops x size, 3) uint8.

    Args:
        crops: normalised, one (count x images, 3, size, size) tensor a resolution.
    """
    found = {}
    for size, count, group in zip(config.crops.sizes, config.crops.counts, crops, strict=True):
        shown = group.unflatten(0, (count, -1))[:, :_IMAGES].float().cpu()  # (V, B, C, H, W)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        levels = ((shown * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        grid = levels.permute(1, 3, 0, 4, 2).reshape(shown.shape[1] * size, count * size, 3)
        found[f"crops/{size}_pixels"] = grid.numpy()
    return found
