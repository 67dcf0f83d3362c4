"""How a run is judged while it trains: kNN, and its health."""

from __future__ import annotations

from dataclasses import dataclass

from swav_ray.config.setting import require, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """Weighted kNN on frozen features, while it trains and at the end (Wu et al., 2018, as used by DINO)."""

    knn_every_epochs: int = setting(
        0, "kNN on the held-out images every so many epochs; 0: only at the end.", unit="epochs"
    )
    knn_k: int = setting(20, "Neighbours that vote.", unit="images")
    knn_temperature: float = setting(0.07, "Temperature of the votes.")
    image_size: int = setting(224, "Side of the centre crop that is embedded.", unit="pixels")
    max_bank: int = setting(50_000, "Training images that serve as neighbours, at most.", unit="images")
    max_queries: int = setting(10_000, "Held-out images that are classified, at most.", unit="images")
    beside_training: str = setting(
        "never",
        "While it trains, measure from the checkpoint, on CPUs or a GPU that training does not use: always, auto (if "
        "some are spare), or never (training waits).",
        resumable=True,
    )
    label_free_images: int = setting(
        0, "Training images for RankMe and the agreement of codes, measured beside kNN; 0: none.", unit="images"
    )

    def __post_init__(self) -> None:
        require(self.knn_every_epochs >= 0, "eval.knn_every_epochs", self.knn_every_epochs, "must not be negative")
        require(self.knn_k >= 1, "eval.knn_k", self.knn_k, "must be at least 1")
        require(self.knn_temperature > 0, "eval.knn_temperature", self.knn_temperature, "must be above 0")
        require(self.image_size >= 8, "eval.image_size", self.image_size, "must be at least 8 pixels")
        require(self.max_bank >= 1, "eval.max_bank", self.max_bank, "must be at least 1")
        require(self.max_queries >= 1, "eval.max_queries", self.max_queries, "must be at least 1")
        beside = self.beside_training
        require(beside in ("auto", "always", "never"), "eval.beside_training", beside, "must be auto, always or never")
        images = self.label_free_images
        require(images == 0 or images >= 64, "eval.label_free_images", images, "must be 0 (none) or at least 64")


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthConfig:
    """What a run does when it learns nothing, or no longer."""

    on_collapse: str = setting(
        "warn",
        "What a run does that is stuck, collapses, diverges or starves: warn, stop (with a checkpoint and exit status "
        "1), or remedy (back to the last good checkpoint with other settings, one remedy after the other).",
        resumable=True,
    )

    def __post_init__(self) -> None:
        right = "must be warn, stop or remedy"
        require(self.on_collapse in ("warn", "stop", "remedy"), "health.on_collapse", self.on_collapse, right)
