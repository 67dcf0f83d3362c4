"""What a run is: frozen dataclasses, one a section, every field documented, validated here and read elsewhere.

Knows nothing of torch, Ray or the file system. A value out of range raises `ConfigError`, whose text is the one line
that a user reads: the field, the value, and what would be right.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from swav_ray.config.images import AugmentConfig, CropsConfig, DataConfig
from swav_ray.config.judging import EvalConfig, HealthConfig
from swav_ray.config.learning import (
    BACKBONES,
    AssignmentConfig,
    ModelConfig,
    OptimConfig,
    QueueConfig,
    TrainConfig,
)
from swav_ray.config.running import CheckpointConfig, PerformanceConfig, RunConfig, ScalingConfig
from swav_ray.config.setting import ConfigError, require, setting

__all__ = [
    "BACKBONES",
    "LEAST_IMAGES_A_PROTOTYPE",
    "MOST_PROTOTYPES_A_SAMPLE",
    "AssignmentConfig",
    "AugmentConfig",
    "CheckpointConfig",
    "Config",
    "ConfigError",
    "CropsConfig",
    "DataConfig",
    "EvalConfig",
    "HealthConfig",
    "ModelConfig",
    "OptimConfig",
    "PerformanceConfig",
    "QueueConfig",
    "RunConfig",
    "ScalingConfig",
    "TrainConfig",
    "check_resume",
    "replace",
    "setting",
]

# Beyond them SwAV is known to stay at ln K; recipes.from_dataset_size stays within.
MOST_PROTOTYPES_A_SAMPLE = 4  # of batch and queue
LEAST_IMAGES_A_PROTOTYPE = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A whole run. Sections are the first part of `--section.field`."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    crops: CropsConfig = field(default_factory=CropsConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    assignment: AssignmentConfig = field(default_factory=AssignmentConfig)
    queue: QueueConfig = field(default_factory=QueueConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    performance: PerformanceConfig = field(default_factory=PerformanceConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    scaling: ScalingConfig = field(default_factory=ScalingConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    health: HealthConfig = field(default_factory=HealthConfig)

    def __post_init__(self) -> None:
        total, right = self.crops.total, "swapped prediction needs at least 2 crops an image"
        require(total >= 2, "crops.counts", self.crops.counts, right)
        crops = self.assignment.crops_for_assign
        right = f"must be below {self.crops.total}, the number of crops in crops.counts"
        require(max(crops) < self.crops.total, "assignment.crops_for_assign", crops, right)
        batch, length = self.train.global_batch_size, self.queue.length
        right = f"must be 0 or at least train.global_batch_size ({batch}), so that a batch fits in it"
        require(length == 0 or length >= batch, "queue.length", length, right)
        workers = self.scaling.num_workers[-1]
        right = f"must be at most train.global_batch_size ({batch}), so that every worker has an image"
        require(workers <= batch, "scaling.num_workers", self.scaling.num_workers, right)
        best = self.checkpoint.keep_best
        right = "needs eval.knn_every_epochs, which gives checkpoints the accuracy that they are chosen by"
        require(not best or self.eval.knn_every_epochs > 0, "checkpoint.keep_best", best, right)
        epochs = self.train.epochs
        right = f"must be at most train.epochs ({epochs})"
        require(self.optim.warmup_epochs <= epochs, "optim.warmup_epochs", self.optim.warmup_epochs, right)


def replace(config: Config, **sections: dict[str, Any]) -> Config:
    """A copy with fields of sections changed: ``replace(config, train={"epochs": 5})``."""
    changed = {name: dataclasses.replace(getattr(config, name), **fields) for name, fields in sections.items()}
    return dataclasses.replace(config, **changed)


def check_resume(before: Config, now: Config, begun: str, rename: str) -> None:
    """Raises ConfigError naming the first setting that differs and that must not when a run or a sweep resumes.

    Args:
        before: the config that it began with.
        begun: what began with it, for the message: "run NAME in PLACE".
        rename: the option that starts another one.
    """
    for section in dataclasses.fields(Config):
        first, second = getattr(before, section.name), getattr(now, section.name)
        for item in dataclasses.fields(first):
            value, other = getattr(first, item.name), getattr(second, item.name)
            if value != other and not item.metadata["resumable"]:
                right = f"{begun} began with {value!r}; use that to resume it, or start another with {rename}"
                raise ConfigError(f"{section.name}.{item.name}", other, right)
