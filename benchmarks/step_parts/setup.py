"""The paper's step at any batch: its config, random crops on the device, and a queue that is full."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from swav_ray.config import Config, ModelConfig, QueueConfig, TrainConfig
from swav_ray.training.learner import Learner


def config_of(model: str, batch: int, prototypes: int, queue: int, precision: str) -> Config:
    """2x224 + 6x96 of the paper, without a freeze."""
    return Config(
        model=ModelConfig(backbone=model, prototypes=(prototypes,)),
        queue=QueueConfig(length=queue),
        train=TrainConfig(global_batch_size=batch, precision=precision),
    )


def random_crops(config: Config, device: torch.device, rows: int | None = None) -> list[Tensor]:
    """Normalised crops as a step takes them, of `rows` images (None: a global batch)."""
    generator = torch.Generator().manual_seed(0)
    rows = rows or config.train.global_batch_size
    return [
        torch.randn(count * rows, 3, size, size, generator=generator).to(device)
        for count, size in zip(config.crops.counts, config.crops.sizes, strict=True)
    ]


def full_queue(learner: Learner) -> None:
    """Fills the queue with random embeddings."""
    if learner.queue is None:
        return
    rows = torch.randn(learner.queue.rows.shape, generator=torch.Generator().manual_seed(1))
    learner.queue.load_state_dict({"rows": F.normalize(rows, dim=2), "filled": torch.tensor(rows.shape[1])})
