"""The paper's runs (Caron et al., 2020, section 4 and appendix A), after the launch scripts published with it."""

from __future__ import annotations

from swav_ray.config import (
    Config,
    CropsConfig,
    RunConfig,
    TrainConfig,
    replace,
)


def _paper(name: str, epochs: int) -> Config:
    """64 GPUs x 64 images: the configuration behind the paper's main table."""
    return Config(run=RunConfig(name=name), train=TrainConfig(epochs=epochs, global_batch_size=4096))


def swav_100ep() -> Config:
    """ResNet-50, 100 epochs, batch 4096: 72.1% ImageNet linear top-1 (published)."""
    return _paper("swav_100ep", 100)


def swav_200ep() -> Config:
    """ResNet-50, 200 epochs, batch 4096: 73.9% ImageNet linear top-1 (published)."""
    return _paper("swav_200ep", 200)


def swav_400ep() -> Config:
    """ResNet-50, 400 epochs, batch 4096: 74.6% ImageNet linear top-1 (published)."""
    return _paper("swav_400ep", 400)


def swav_800ep() -> Config:
    """ResNet-50, 800 epochs, batch 4096: 75.3% ImageNet linear top-1 (published)."""
    return _paper("swav_800ep", 800)


def swav_400ep_2x224() -> Config:
    """ResNet-50, 400 epochs without multi-crop: 70.1% ImageNet linear top-1 (published)."""
    crops = CropsConfig(sizes=(224,), counts=(2,), min_scales=(0.08,), max_scales=(1.0,))
    return _with_crops(_paper("swav_400ep_2x224", 400), crops)


def _batch_256(name: str, epochs: int) -> Config:
    """4 GPUs x 64 images, with the queue that a small batch needs (paper section 4.3)."""
    optim = {
        "base_lr": 0.6,
        "final_lr": 0.0006,
        "start_warmup_lr": 0.0,
        "warmup_epochs": 0.0,
        "freeze_prototypes_steps": 5005,
    }
    return replace(
        _paper(name, epochs),
        optim=optim,
        train={"global_batch_size": 256},
        queue={"length": 3840, "start_epoch": 15},
    )


def swav_200ep_bs256() -> Config:
    """ResNet-50, 200 epochs, batch 256 with a queue: 72.7% ImageNet linear top-1 (published)."""
    return _batch_256("swav_200ep_bs256", 200)


def swav_400ep_bs256() -> Config:
    """ResNet-50, 400 epochs, batch 256 with a queue: 74.3% ImageNet linear top-1 (published)."""
    return _batch_256("swav_400ep_bs256", 400)


def _wide(name: str, width: float, batch: int, small_scales: tuple[float, float], first_scale: float) -> Config:
    crops = CropsConfig(
        sizes=(224, 96),
        counts=(2, 4),
        min_scales=(first_scale, small_scales[0]),
        max_scales=(1.0, small_scales[1]),
    )
    config = replace(_paper(name, 400), model={"width": width, "hidden_dim": 8192}, train={"global_batch_size": batch})
    return _with_crops(config, crops)


def swav_rn50w2_400ep() -> Config:
    """ResNet-50 twice as wide, 128 GPUs x 32: 77.3% ImageNet linear top-1 (published)."""
    return _wide("swav_rn50w2_400ep", 2.0, 4096, (0.05, 0.14), 0.14)


def swav_rn50w4_400ep() -> Config:
    """ResNet-50 four times as wide, 64 GPUs x 40, queue from the start: 77.9% ImageNet linear top-1 (published)."""
    config = _wide("swav_rn50w4_400ep", 4.0, 2560, (0.08, 0.14), 0.08)
    return replace(config, queue={"length": 2560, "start_epoch": 0})


def swav_rn50w5_400ep() -> Config:
    """ResNet-50 five times as wide, 128 GPUs x 12, queue from the start: 78.5% ImageNet linear top-1 (published).

    No script was published for it: batch and queue are the paper's, the rest is the w4 run's.
    """
    config = _wide("swav_rn50w5_400ep", 5.0, 1536, (0.08, 0.14), 0.08)
    return replace(config, queue={"length": 1536, "start_epoch": 0})


def _with_crops(config: Config, crops: CropsConfig) -> Config:
    fields = {name: getattr(crops, name) for name in ("sizes", "counts", "min_scales", "max_scales")}
    return replace(config, crops=fields)
