"""What a run measures of its own model while it trains, and at its end."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from swav_ray.config import Config
from swav_ray.data.holdout import has_labels
from swav_ray.data.manifest import Manifest
from swav_ray.data.order.selected_ids import Ids
from swav_ray.evaluate import label_free
from swav_ray.evaluate.in_training.probe import THREADS, Knn, Workers, knn
from swav_ray.model.swav import SwAVModel, Trunk
from swav_ray.run.measurements import HELD_OUT_UNREADABLE, Figures
from swav_ray.run.scores import standard_error

_QUICK_PIXELS = 10_000 * 64 * 64


class Measurer:
    """Measures a model on the data that it trains on.

    Args:
        config: the run.
        manifest: the data set. train_ids, held_out: the samples to train on, and those held out.
        device: of the models. world: the workers. threads: that decode.
    """

    def __init__(
        self,
        config: Config,
        manifest: Manifest,
        train_ids: Ids,
        held_out: Ids,
        *,
        device: torch.device,
        world: Workers,
        threads: int = THREADS,
    ) -> None:
        self._config, self._manifest = config, manifest
        self._train_ids, self._held_out = train_ids, held_out
        self._device, self._world, self._threads = device, world, threads

    def has_work(self) -> bool:
        """Whether there is anything to measure: labels for kNN, or label-free figures that are asked for."""
        labelled = has_labels(self._manifest, self._train_ids)
        return self._config.eval.label_free_images > 0 or (labelled and len(self._held_out) > 0)

    @property
    def is_quick(self) -> bool:
        """Whether kNN of one more network takes seconds at most, on CPUs too."""
        queries, bank = len(self._held_out), len(self._train_ids)
        images = min(queries, self._config.eval.max_queries) + min(bank, self._config.eval.max_bank)
        return images * self._config.eval.image_size**2 <= _QUICK_PIXELS

    def knn(
        self,
        model: SwAVModel,
        untrained: SwAVModel | None = None,
        init: SwAVModel | None = None,
        **others: SwAVModel | None,
    ) -> Knn:
        """kNN on held-out images, by name of a model. On every worker at once.

        Args:
            model: what is trained. untrained: the model with random weights, to be measured too.
            init: the model with the weights that the run started from, if they were others.
            others: more of them, by name.
        """
        backbones: dict[str, nn.Module] = {"trained": Trunk(model)}
        if untrained is not None:
            backbones["untrained"] = Trunk(untrained.to(self._device))
        if init is not None:
            backbones["init"] = Trunk(init.to(self._device))
        backbones |= {name: Trunk(other.to(self._device)) for name, other in others.items() if other is not None}
        data = self._manifest, self._train_ids, self._held_out
        return knn(backbones, *data, self._config.eval, device=self._device, world=self._world, threads=self._threads)

    def figures(self, model: SwAVModel, knn: Knn) -> Figures:
        """What measurements.jsonl has of a model, the label-free figures too if `eval.label_free_images` asks for them.

        On one worker.

        Args:
            knn: as `knn` measured it.
        """
        config = self._config.eval
        figures: Figures = {}
        if knn.top1:
            top1 = knn.top1["trained"]
            figures = {"knn_top1": top1, "knn_error": standard_error(top1, knn.classified)}
        if knn.unreadable:
            figures |= {HELD_OUT_UNREADABLE: len(knn.unreadable)}
        if config.label_free_images:
            figures |= label_free.measure(model, self._manifest, self._train_ids, config, device=self._device)
        return figures

    def row(self, step: int, loss: float | None, figures: Figures) -> dict[str, Any]:
        """A line of measurements.jsonl about the state before `step`.

        Args:
            loss: mean of the steps since the line before.
        """
        batch = self._config.train.global_batch_size
        steps_per_epoch = len(self._train_ids) // batch
        return {"step": step, "epochs": step / steps_per_epoch, "samples_seen": step * batch, "loss": loss} | figures
