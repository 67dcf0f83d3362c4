"""What a run measures of its own model while it trains, and at its end."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from swav_ray.config import Config
from swav_ray.data.manifest import Manifest
from swav_ray.evaluate import label_free
from swav_ray.evaluate.in_training.probe import Workers, knn
from swav_ray.model.swav import SwAVModel, Trunk


class Measurer:
    """Measures a model on the data that it trains on.

    Args:
        config: the run. model: what it trains.
        manifest: the data set. train_ids, held_out: the samples to train on, and those held out.
        device: of the model. world: the workers.
    """

    def __init__(
        self,
        config: Config,
        model: SwAVModel,
        manifest: Manifest,
        train_ids: np.ndarray,
        held_out: np.ndarray,
        *,
        device: torch.device,
        world: Workers,
    ) -> None:
        self._config, self._model, self._manifest = config, model, manifest
        self._train_ids, self._held_out = train_ids, held_out
        self._device, self._world = device, world

    def knn(self, untrained: SwAVModel | None = None, init: SwAVModel | None = None) -> dict[str, float]:
        """kNN top-1 in percent on held-out images, by name; empty if there are no labels. On every worker at once.

        Args:
            untrained: the model with random weights, to be measured too.
            init: the model with the weights that the run started from, if they were others.
        """
        backbones: dict[str, nn.Module] = {"trained": Trunk(self._model)}
        if untrained is not None:
            backbones["untrained"] = Trunk(untrained.to(self._device))
        if init is not None:
            backbones["init"] = Trunk(init.to(self._device))
        data = self._manifest, self._train_ids, self._held_out
        return knn(backbones, *data, self._config.eval, device=self._device, world=self._world)

    def row(self, step: int, loss: float | None, knn: dict[str, float]) -> dict[str, Any]:
        """A line of measurements.jsonl about the state before `step`; on one worker.

        With the label-free figures if `eval.label_free_images` asks for them.

        Args:
            loss: mean of the steps since the line before.
            knn: as `knn` measured it.
        """
        config, batch = self._config, self._config.train.global_batch_size
        steps_per_epoch = len(self._train_ids) // batch
        row = {"step": step, "epochs": step / steps_per_epoch, "samples_seen": step * batch, "loss": loss}
        if knn:
            row["knn_top1"] = knn["trained"]
        if config.eval.label_free_images:
            row |= label_free.measure(self._model, self._manifest, self._train_ids, config.eval, device=self._device)
        return row
