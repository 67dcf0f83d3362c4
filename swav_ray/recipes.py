"""Whole runs by name: the paper's, and ones for small data. Each is a function that returns a config.

Sources: Caron et al., 2020 (section 4 and appendix A), the launch scripts published with it, and for the small sets
public benchmarks of other libraries, as noted.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable

from swav_ray.config import (
    LEAST_IMAGES_A_PROTOTYPE,
    MOST_PROTOTYPES_A_SAMPLE,
    AssignmentConfig,
    AugmentConfig,
    Config,
    ConfigError,
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


RECIPES: dict[str, Callable[[], Config]] = {
    recipe.__name__: recipe
    for recipe in (
        quickstart,
        swav_100ep,
        swav_200ep,
        swav_400ep,
        swav_800ep,
        swav_400ep_2x224,
        swav_200ep_bs256,
        swav_400ep_bs256,
        swav_rn50w2_400ep,
        swav_rn50w4_400ep,
        swav_rn50w5_400ep,
        cifar,
        imagenette,
        fashion_mnist,
    )
}


def by_name(name: str) -> Config:
    """The recipe of that name; raises ConfigError with the nearest one."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(RECIPES)}"
        raise ConfigError("recipe", name, f"no such recipe; {hint}")
    return RECIPES[name]()


def from_dataset_size(config: Config, images: int, *, classes: int = 0, transparent: bool = False) -> Config:
    """`config` for a data set of `images` images: batch, epochs, prototypes, epsilon, queue, learning rates and freeze.

    A few thousand images cannot fill 3,000 equal prototypes, and the loss then stays at ln K. The authors' advice in
    public threads: about ten prototypes a class, a longer freeze, a lower epsilon, and a small queue that starts late.

    It sets:

    - `train.global_batch_size`: a power of two, at most the recipe's, 256, and a sixteenth of the images (16 at least);
    - `train.epochs`: enough for 20,000 steps, at most 1,000 epochs, and never fewer than the recipe's;
    - `model.prototypes`: one head, see `classes`;
    - `assignment.epsilon`: at most 0.03;
    - `queue.length`, `queue.start_epoch`: 0 if two images a prototype fit in a batch; else four samples a prototype, at
      most half of the images, from epoch 15 on (the last epoch of a shorter run);
    - `optim.base_lr`, `final_lr`, `start_warmup_lr`: the recipe's, in proportion to the batch;
    - `optim.warmup_epochs`: at most a tenth of the run;
    - `optim.freeze_prototypes_steps`: two epochs, at least 300 steps;
    - `data.alpha`: see `transparent`.

    All else is the recipe's, also what depends on the images' size: `crops` and `eval.image_size`, which for images
    smaller than the recipe's are for you to set.

    Args:
        config: the recipe to adapt; data sets of 200,000 images or more leave it as it is.
        images: number of images that are trained on, without those held out (`data.holdout_fraction`, or a test split).
        classes: number of classes one expects, for ten prototypes each; 0: unknown, then one prototype for 50 images.
            Of either at least 10, and at most 3,000, four a sample of the batch, and one for five images.
        transparent: whether images are transparent in part, as `index` says. They are then laid over white, whatever
            their number. All recipes have the published loader's `drop`, which for opaque images is the same.

    Raises:
        ConfigError: fewer than 64 images.
    """
    if images < 64:
        raise ConfigError("images", images, "is too few to learn from; gather at least 64, better some thousands")
    if transparent and config.data.alpha == "drop":
        config = replace(config, data={"alpha": "white"})
    if images >= 200_000:
        return config
    batch = 2 ** int(math.log2(min(config.train.global_batch_size, 256, max(images // 16, 16))))
    prototypes = 10 * classes if classes else images // 50
    prototypes = max(min(prototypes, 3000, MOST_PROTOTYPES_A_SAMPLE * batch, images // LEAST_IMAGES_A_PROTOTYPE), 10)
    steps = images // batch
    epochs = max(config.train.epochs, min(1000, -(-20_000 // steps)))
    # Batch and queue together should bring each prototype some samples, or equipartition is noise.
    queue = 0 if batch >= 2 * prototypes else min(batch * -(-4 * prototypes // batch), images // 2 // batch * batch)
    return replace(
        config,
        model={"prototypes": (prototypes,)},
        assignment={"epsilon": min(config.assignment.epsilon, 0.03)},
        queue={"length": queue, "start_epoch": min(epochs - 1, 15) if queue else 0},
        optim={
            "base_lr": config.optim.base_lr * batch / config.train.global_batch_size,
            "final_lr": config.optim.final_lr * batch / config.train.global_batch_size,
            "start_warmup_lr": config.optim.start_warmup_lr * batch / config.train.global_batch_size,
            "warmup_epochs": min(config.optim.warmup_epochs, epochs / 10),
            "freeze_prototypes_steps": max(2 * steps, 300),
        },
        train={"global_batch_size": batch, "epochs": epochs},
    )


def table() -> str:
    """All recipes as a Markdown table, for docs/recipes.md."""
    head = "| recipe | backbone | crops | epochs | batch | prototypes | lr | queue | freeze, steps |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for name, recipe in RECIPES.items():
        config = recipe()
        crops = " + ".join(f"{n}x{s}" for n, s in zip(config.crops.counts, config.crops.sizes, strict=True))
        width = f"-w{config.model.width:g}" if config.model.width != 1 else ""
        queue = f"{config.queue.length} from epoch {config.queue.start_epoch}" if config.queue.length else "-"
        prototypes = " + ".join(str(k) for k in config.model.prototypes)
        rates = f"{config.optim.base_lr:g} -> {config.optim.final_lr:g}"
        lines.append(
            f"| `{name}` | {config.model.backbone}{width} | {crops} | {config.train.epochs} "
            f"| {config.train.global_batch_size} | {prototypes} | {rates} | {queue} "
            f"| {config.optim.freeze_prototypes_steps} |"
        )
    return "\n".join(lines)
