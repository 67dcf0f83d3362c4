"""A recipe for a data set of another size than the one that it was made for."""

from __future__ import annotations

import math

from swav_ray.config import (
    LEAST_IMAGES_A_PROTOTYPE,
    MOST_PROTOTYPES_A_SAMPLE,
    Config,
    ConfigError,
    replace,
)


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
