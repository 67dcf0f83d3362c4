"""Runs on small images, after public benchmarks of other libraries as noted, and the quickstart."""

from __future__ import annotations

from swav_ray.config import (
    AssignmentConfig,
    AugmentConfig,
    Config,
    CropsConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimConfig,
    QueueConfig,
    RunConfig,
    TrainConfig,
    replace,
)


def cifar() -> Config:
    """CIFAR-10 or -100: small stem, 2x32, no blur, half jitter (after lightly's and solo-learn's public runs)."""
    return Config(
        run=RunConfig(name="cifar"),
        crops=CropsConfig(sizes=(32,), counts=(2,), min_scales=(0.2,), max_scales=(1.0,)),
        augment=AugmentConfig(jitter_strength=0.5, blur_probability=0.0),
        model=ModelConfig(backbone="resnet18", small_image_stem=True, hidden_dim=2048, prototypes=(512,)),
        assignment=AssignmentConfig(epsilon=0.03),
        queue=QueueConfig(length=3840, start_epoch=50),
        optim=OptimConfig(
            base_lr=0.6,
            final_lr=0.0006,
            start_warmup_lr=0.03,
            warmup_epochs=10.0,
            trust_coefficient=0.02,
            freeze_prototypes_steps=390,
        ),
        train=TrainConfig(epochs=200, global_batch_size=256),
        eval=EvalConfig(image_size=32, knn_every_epochs=20),
    )


def imagenette() -> Config:
    """Imagenette at 160 pixels: 2x128 + 6x64 (after lightly's public benchmark)."""
    return Config(
        run=RunConfig(name="imagenette"),
        crops=CropsConfig(sizes=(128, 64), counts=(2, 6), min_scales=(0.14, 0.05), max_scales=(1.0, 0.14)),
        augment=AugmentConfig(jitter_strength=0.5),
        model=ModelConfig(backbone="resnet18", hidden_dim=2048, prototypes=(300,)),
        assignment=AssignmentConfig(epsilon=0.03),
        optim=OptimConfig(
            base_lr=0.6,
            final_lr=0.0006,
            start_warmup_lr=0.06,
            warmup_epochs=10.0,
            trust_coefficient=0.01,
            freeze_prototypes_steps=370,
        ),
        train=TrainConfig(epochs=200, global_batch_size=256),
        eval=EvalConfig(image_size=128, knn_every_epochs=20),
    )


def fashion_mnist() -> Config:
    """Fashion-MNIST (28 x 28 grey): the quickstart's narrow ResNet-18, 2x32, no colour to drop, on CPUs."""
    return replace(
        quickstart(),
        run={"name": "fashion_mnist"},
        data={"uri": "/usr/share/datasets/fashion-mnist"},
        crops={"min_scales": (0.3,)},
        augment={"greyscale_probability": 0.0},
        model={"prototypes": (300,)},
        optim={"warmup_epochs": 0.0, "freeze_prototypes_steps": 200},
        train={"epochs": 10, "global_batch_size": 128},
        eval={"image_size": 32, "knn_every_epochs": 2, "max_bank": 10_000},
    )


def quickstart() -> Config:
    """The built-in data set on this machine's CPUs, within about six minutes on two cores."""
    return Config(
        run=RunConfig(name="quickstart"),
        data=DataConfig(uri="shapes://"),
        # Small crops of these images, as of Fashion-MNIST, are often empty; in the same time two crops learn more.
        crops=CropsConfig(sizes=(32,), counts=(2,), min_scales=(0.4,), max_scales=(1.0,)),
        augment=AugmentConfig(greyscale_probability=0.5, blur_probability=0.0),
        model=ModelConfig(backbone="resnet18", width=0.25, hidden_dim=256, output_dim=64, prototypes=(100,)),
        assignment=AssignmentConfig(epsilon=0.03),
        optim=OptimConfig(
            base_lr=2.0, final_lr=0.0006, start_warmup_lr=0.0, warmup_epochs=4.0, freeze_prototypes_steps=100
        ),
        train=TrainConfig(epochs=40, global_batch_size=256),
        eval=EvalConfig(image_size=48, knn_every_epochs=10),
    )
