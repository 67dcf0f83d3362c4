"""What a run is: frozen dataclasses, one a section, every field documented, validated here and read elsewhere.

Knows nothing of torch, Ray or the file system. A value out of range raises `ConfigError`, whose text is the one line
that a user reads: the field, the value, and what would be right.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

# Beyond them SwAV is known to stay at ln K; recipes.from_dataset_size stays within.
MOST_PROTOTYPES_A_SAMPLE = 4  # of batch and queue
LEAST_IMAGES_A_PROTOTYPE = 5

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101")


class ConfigError(ValueError):
    """A setting that cannot be: the message names the field, its value and what would be right."""

    def __init__(self, name: str, value: object, right: str) -> None:
        super().__init__(f"{name} = {value!r}: {right}")


def setting(default: Any, doc: str, *, unit: str = "", resumable: bool = False) -> Any:
    """A config field.

    Args:
        doc: the sentence that `--help` shows.
        unit: of the value, shown beside the default.
        resumable: the field may differ when a run or a sweep resumes, since it changes neither what is learned nor what
            a measurement means.
    """
    return field(default=default, metadata={"doc": doc, "unit": unit, "resumable": resumable})


def _require(ok: bool, name: str, value: object, right: str) -> None:
    if not ok:
        raise ConfigError(name, value, right)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Name and place of a run, its seed, and what it prints."""

    name: str = setting("", "Name of the run and of its directory; a recipe has its own.", resumable=True)
    storage: str = setting("runs", "Where run directories live: a local path or s3://bucket/prefix.", resumable=True)
    seed: int = setting(0, "Seeds the weights, the order of samples and every crop.")
    progress_seconds: float = setting(10.0, "Time between progress lines without a terminal.", unit="s", resumable=True)
    ray_logs: bool = setting(False, "Show Ray's own messages.", resumable=True)

    def __post_init__(self) -> None:
        _require("/" not in self.name, "run.name", self.name, "must be a plain name without '/'; use run.storage")
        _require(self.name not in (".", ".."), "run.name", self.name, "must name a directory of its own")
        _require(self.name.isprintable(), "run.name", self.name, "must be a plain name without line breaks")
        _require(bool(self.storage), "run.storage", self.storage, "must be a local path or s3://bucket/prefix")
        _require(0 <= self.seed < 2**63, "run.seed", self.seed, "must be between 0 and 2**63 - 1")
        _require(self.progress_seconds > 0, "run.progress_seconds", self.progress_seconds, "must be above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The images: where they lie, which are held out, how many may be bad."""

    uri: str = setting(
        "",
        "Images: a local folder or s3://bucket/prefix of image files, Parquet shards, tars or IDX files; "
        "shapes:// is the built-in data set.",
    )
    labels: str = setting("", "A CSV of name,label (a place) for images whose folders or files name no class.")
    limit: int = setting(0, "Use at most this many images, spread evenly over the manifest; 0: all.", unit="images")
    holdout_fraction: float = setting(
        0.0, "Fraction of the images held out of training for kNN; needs labels; 0: none.", unit="fraction"
    )
    max_bad_fraction: float = setting(
        0.01, "Fraction of unreadable images that a run tolerates before it stops.", unit="fraction", resumable=True
    )

    value_range: str = setting(
        "auto",
        "What becomes black and white in images of more than 8 bits a channel: LOW HIGH in quotes, dtype (all that "
        "their type can hold), or auto (measured when the place is indexed).",
    )
    alpha: str = setting(
        "drop",
        "What transparent pixels become: drop (the colours hidden below them, as published), white, grey or random "
        "(one colour an image and epoch).",
    )
    max_pixels: int = setting(
        89_478_485, "Images of more are unreadable; a JPEG may have four times as many.", unit="pixels"
    )
    strict: bool = setting(False, "Refuse a JPEG that has its whole picture and lacks only its end marker.")
    recheck: bool = setting(
        False,
        "List the place again though it is indexed; places of up to 100,000 images are listed at each start.",
        resumable=True,
    )
    shuffle_block: int = setting(
        0,
        "Neighbouring samples that are read together; such blocks come in random order. 0: every sample for itself.",
        unit="samples",
    )
    shuffle_window: int = setting(
        512, "Samples within which blocks are shuffled with each other, if there are blocks.", unit="samples"
    )

    @property
    def bounds(self) -> tuple[float, float] | None:
        """LOW and HIGH of `value_range`; None for auto and dtype."""
        if self.value_range in ("auto", "dtype"):
            return None
        low, high = (float(number) for number in self.value_range.split())
        return low, high

    def __post_init__(self) -> None:
        try:
            ordered = self.bounds is None or self.bounds[0] < self.bounds[1]
        except ValueError:
            ordered = False
        right = "must be auto, dtype or two numbers LOW HIGH in quotes, LOW < HIGH"
        _require(ordered, "data.value_range", self.value_range, right)
        alphas = ("drop", "white", "grey", "random")
        _require(self.alpha in alphas, "data.alpha", self.alpha, "must be drop, white, grey or random")
        _require(self.max_pixels >= 1, "data.max_pixels", self.max_pixels, "must be at least 1")
        _require(self.shuffle_block >= 0, "data.shuffle_block", self.shuffle_block, "must be 0 (no blocks) or positive")
        window = "must be at least data.shuffle_block"
        _require(self.shuffle_window >= self.shuffle_block, "data.shuffle_window", self.shuffle_window, window)
        _require(self.limit >= 0, "data.limit", self.limit, "must be 0 (all) or a positive number of images")
        _require(0 <= self.holdout_fraction < 1, "data.holdout_fraction", self.holdout_fraction, "must be in [0, 1)")
        _require(0 <= self.max_bad_fraction <= 1, "data.max_bad_fraction", self.max_bad_fraction, "must be in [0, 1]")


@dataclass(frozen=True, kw_only=True, slots=True)
class CropsConfig:
    """Multi-crop (paper section 3.3): groups of crops of one size, the first group the global crops."""

    sizes: tuple[int, ...] = setting((224, 96), "Side of the crops of each group.", unit="pixels")
    counts: tuple[int, ...] = setting((2, 6), "Number of crops of each group.", unit="crops")
    min_scales: tuple[float, ...] = setting((0.14, 0.05), "Smallest area of a crop.", unit="fraction of the image")
    max_scales: tuple[float, ...] = setting((1.0, 0.14), "Largest area of a crop.", unit="fraction of the image")

    def __post_init__(self) -> None:
        groups = len(self.sizes)
        _require(groups > 0, "crops.sizes", self.sizes, "needs at least one group of crops")
        for name in ("counts", "min_scales", "max_scales"):
            value = getattr(self, name)
            _require(len(value) == groups, f"crops.{name}", value, f"needs {groups} values, one for each crops.sizes")
        _require(all(s >= 8 for s in self.sizes), "crops.sizes", self.sizes, "every size must be at least 8 pixels")
        _require(len(set(self.sizes)) == groups, "crops.sizes", self.sizes, "sizes must differ; raise crops.counts")
        _require(all(n >= 1 for n in self.counts), "crops.counts", self.counts, "every count must be at least 1")
        for low, high in zip(self.min_scales, self.max_scales, strict=True):
            _require(0 < low <= high <= 1, "crops.min_scales", self.min_scales, "needs 0 < min_scale <= max_scale <= 1")

    @property
    def total(self) -> int:
        """Crops an image, over all groups."""
        return sum(self.counts)

    @property
    def pixels(self) -> int:
        """Pixels of all crops of one image; a pixel has three bytes."""
        return sum(count * size * size for count, size in zip(self.counts, self.sizes, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """The published augmentation of each crop (SimCLR's, in SwAV's order: crop, flip, colour, grey, blur)."""

    flip_probability: float = setting(0.5, "Horizontal flip.", unit="probability")
    jitter_probability: float = setting(0.8, "Colour jitter.", unit="probability")
    jitter_strength: float = setting(
        1.0, "Scales the jitter of brightness, contrast, saturation (0.8 each) and hue (0.2)."
    )
    greyscale_probability: float = setting(0.2, "Conversion to greyscale.", unit="probability")
    blur_probability: float = setting(0.5, "Gaussian blur.", unit="probability")
    blur_sigma: tuple[float, float] = setting((0.1, 2.0), "Range of the blur's standard deviation.", unit="pixels")
    color_device: str = setting("cpu", "Where colour and blur run: cpu (with the crops) or train (training device).")

    def __post_init__(self) -> None:
        for name in ("flip", "jitter", "greyscale", "blur"):
            value = getattr(self, f"{name}_probability")
            _require(0 <= value <= 1, f"augment.{name}_probability", value, "must be in [0, 1]")
        _require(
            0 <= self.jitter_strength <= 1.25, "augment.jitter_strength", self.jitter_strength, "must be in [0, 1.25]"
        )
        low, high = self.blur_sigma
        _require(0 < low <= high, "augment.blur_sigma", self.blur_sigma, "must be LOW HIGH with 0 < LOW <= HIGH")
        _require(
            self.color_device in ("cpu", "train"), "augment.color_device", self.color_device, "must be cpu or train"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The backbone, the projection head and the prototypes."""

    backbone: str = setting("resnet50", f"One of {', '.join(BACKBONES)}.")
    width: float = setting(1.0, "Multiplies the channels of every layer (paper: 1, 2, 4, 5).")
    small_image_stem: bool = setting(
        False, "3x3 stride-1 first convolution and no max-pool, for images of 32-64 pixels."
    )
    hidden_dim: int = setting(2048, "Hidden layer of the projection head; 0: a single linear layer.", unit="channels")
    output_dim: int = setting(128, "Dimension of the embeddings.", unit="channels")
    prototypes: tuple[int, ...] = setting((3000,), "Number of prototypes of each head.", unit="prototypes")

    def __post_init__(self) -> None:
        _require(self.backbone in BACKBONES, "model.backbone", self.backbone, f"must be one of {', '.join(BACKBONES)}")
        _require(0 < self.width <= 8, "model.width", self.width, "must be in (0, 8]")
        _require(self.hidden_dim >= 0, "model.hidden_dim", self.hidden_dim, "must be 0 (linear head) or positive")
        _require(self.output_dim >= 2, "model.output_dim", self.output_dim, "must be at least 2")
        ok = len(self.prototypes) > 0 and all(k >= 2 for k in self.prototypes)
        _require(ok, "model.prototypes", self.prototypes, "needs one count of at least 2 for each head")


@dataclass(frozen=True, kw_only=True, slots=True)
class AssignmentConfig:
    """Codes by Sinkhorn-Knopp (paper section 3.1, equations 3 to 5)."""

    epsilon: float = setting(0.05, "Entropy weight; high values collapse the codes.")
    iterations: int = setting(3, "Sinkhorn iterations; below 3 the loss does not converge (paper).", unit="iterations")
    hard: bool = setting(False, "Round the codes to one prototype each (paper: converges faster, ends worse).")
    crops_for_assign: tuple[int, ...] = setting((0, 1), "Crops whose codes the other crops predict.", unit="crop index")

    def __post_init__(self) -> None:
        _require(self.epsilon >= 0.001, "assignment.epsilon", self.epsilon, "must be at least 0.001")
        _require(self.iterations >= 1, "assignment.iterations", self.iterations, "must be at least 1; the paper uses 3")
        crops = self.crops_for_assign
        ok = len(crops) > 0 and len(set(crops)) == len(crops) and min(crops) >= 0
        _require(ok, "assignment.crops_for_assign", crops, "needs distinct crop indices, counted from 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueConfig:
    """The queue of past embeddings, for small batches (paper section 4.3)."""

    length: int = setting(
        0, "Embeddings of past batches that join the assignment, over all workers; 0: no queue.", unit="samples"
    )
    start_epoch: int = setting(0, "First epoch that fills the queue.", unit="epochs")

    def __post_init__(self) -> None:
        _require(self.length >= 0, "queue.length", self.length, "must be 0 (no queue) or positive")
        _require(self.start_epoch >= 0, "queue.start_epoch", self.start_epoch, "must not be negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """SGD with LARC: rates of the warm-up and the cosine, and the freeze of the prototypes."""

    base_lr: float = setting(4.8, "Learning rate after warm-up, at this global batch size.")
    final_lr: float = setting(0.0048, "Learning rate at the end of the cosine.")
    start_warmup_lr: float = setting(0.3, "Learning rate at the start of the warm-up.")
    warmup_epochs: float = setting(10.0, "Length of the linear warm-up.", unit="epochs")
    weight_decay: float = setting(1e-6, "Weight decay, applied inside LARC.")
    momentum: float = setting(0.9, "Momentum of SGD.")
    trust_coefficient: float = setting(0.001, "LARC's trust coefficient.")
    freeze_prototypes_steps: int = setting(
        313, "Steps at the start in which the prototypes get no gradient.", unit="steps"
    )

    def __post_init__(self) -> None:
        _require(self.base_lr > 0, "optim.base_lr", self.base_lr, "must be above 0")
        _require(
            0 <= self.final_lr <= self.base_lr, "optim.final_lr", self.final_lr, "must be between 0 and optim.base_lr"
        )
        _require(self.start_warmup_lr >= 0, "optim.start_warmup_lr", self.start_warmup_lr, "must not be negative")
        _require(self.warmup_epochs >= 0, "optim.warmup_epochs", self.warmup_epochs, "must not be negative")
        _require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "must not be negative")
        _require(0 <= self.momentum < 1, "optim.momentum", self.momentum, "must be in [0, 1)")
        _require(self.trust_coefficient > 0, "optim.trust_coefficient", self.trust_coefficient, "must be above 0")
        steps = self.freeze_prototypes_steps
        _require(steps >= 0, "optim.freeze_prototypes_steps", steps, "must not be negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Length and batch of a run, numerics, and what a worker does at a time."""

    epochs: int = setting(100, "Length of the run.", unit="epochs")
    global_batch_size: int = setting(
        4096, "Images a step over all workers; fixed whatever the world size.", unit="images"
    )
    temperature: float = setting(0.1, "Temperature of the swapped prediction (paper equation 2).")
    precision: str = setting("fp32", "fp32, or bf16 autocast; codes and the loss stay in float32.")
    max_rows_per_pass: int = setting(
        0,
        "Images a worker backpropagates at once; a larger slice is embedded first and then backpropagated in passes, "
        "with the same codes; 0: all at once.",
        unit="images",
    )
    sync_batchnorm: bool = setting(True, "BatchNorm statistics over the global batch instead of a worker's slice.")
    batchnorm_groups: int = setting(
        1,
        "Equal parts of the global batch over which sync_batchnorm takes statistics, whatever the number of workers; "
        "parts that lie within a worker cost no communication; 1: the whole batch.",
        unit="parts",
    )
    deterministic: bool = setting(
        False, "Only kernels that repeat bit for bit, so that a resumed run on GPUs equals one that never stopped."
    )
    max_refused_steps: int = setting(
        10,
        "Steps with a loss or gradient that is not finite, or exploding, before the run stops.",
        unit="steps",
        resumable=True,
    )
    init_from: str = setting(
        "",
        "Weights that the run starts from: a run directory (its newest checkpoint), a checkpoint, or a file of "
        "anybody's weights, local, s3:// or hf://; empty: random weights.",
    )
    init_prefix: str = setting(
        "", "What the trunk's names in train.init_from begin with, needed only if the file holds several networks."
    )
    init_head: bool = setting(
        True, "Take the projection head and the prototypes of train.init_from too, as far as their shapes match."
    )
    init_trunk_epochs: float = setting(
        0.0,
        "Time at the start in which the trunk of train.init_from learns at train.init_trunk_lr_factor of the learning "
        "rate, while new heads warm up.",
        unit="epochs",
    )
    init_trunk_lr_factor: float = setting(
        0.0, "Learning rate of the trunk during train.init_trunk_epochs; 0: frozen.", unit="fraction of the rate"
    )

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "train.epochs", self.epochs, "must be at least 1")
        _require(self.global_batch_size >= 2, "train.global_batch_size", self.global_batch_size, "must be at least 2")
        _require(self.temperature > 0, "train.temperature", self.temperature, "must be above 0; the paper uses 0.1")
        _require(self.precision in ("fp32", "bf16"), "train.precision", self.precision, "must be fp32 or bf16")
        _require(self.max_rows_per_pass >= 0, "train.max_rows_per_pass", self.max_rows_per_pass, "must be 0 or more")
        groups, batch = self.batchnorm_groups, self.global_batch_size
        ok = 1 <= groups <= batch // 2 and batch % groups == 0
        right = f"must divide train.global_batch_size ({batch}) into parts of at least 2 images"
        _require(ok, "train.batchnorm_groups", groups, right)
        _require(self.max_refused_steps >= 0, "train.max_refused_steps", self.max_refused_steps, "must be 0 or more")
        held, right = self.init_trunk_epochs, f"must be between 0 and train.epochs ({self.epochs})"
        _require(0 <= held <= self.epochs, "train.init_trunk_epochs", held, right)
        right = "needs train.init_from: a trunk of random weights has nothing to keep"
        _require(not held or bool(self.init_from), "train.init_trunk_epochs", held, right)
        factor = self.init_trunk_lr_factor
        _require(0 <= factor <= 1, "train.init_trunk_lr_factor", factor, "must be between 0 (frozen) and 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class PerformanceConfig:
    """How fast a step is, beside train.precision; what is learned stays the same but for rounding."""

    keep_memory: bool = setting(
        True,
        "On CPUs, keep the memory that a step frees for the next one instead of giving it back to the system.",
        resumable=True,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointConfig:
    """How often the state is saved, and which checkpoints stay."""

    every_epochs: float = setting(
        1.0, "Time between checkpoints, in epochs; parts of one are allowed.", unit="epochs", resumable=True
    )
    keep_last: int = setting(2, "Number of newest checkpoints that stay.", unit="checkpoints", resumable=True)
    keep_every_epochs: int = setting(
        0, "Checkpoints of every so many epochs stay as well; 0: none.", unit="epochs", resumable=True
    )
    keep_best: int = setting(
        0,
        "Checkpoints of the best kNN accuracy stay as well, so many; needs eval.knn_every_epochs.",
        unit="checkpoints",
        resumable=True,
    )

    def __post_init__(self) -> None:
        _require(self.every_epochs > 0, "checkpoint.every_epochs", self.every_epochs, "must be above 0")
        _require(self.keep_last >= 1, "checkpoint.keep_last", self.keep_last, "must be at least 1")
        every = self.keep_every_epochs
        _require(every >= 0, "checkpoint.keep_every_epochs", every, "must be 0 (none) or a number of epochs")
        _require(self.keep_best >= 0, "checkpoint.keep_best", self.keep_best, "must be 0 (none) or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingConfig:
    """Workers, their CPUs and GPUs, and the CPUs that make crops."""

    num_workers: tuple[int, ...] = setting(
        (1,),
        "Training workers: a number, or MIN MAX for as many as the cluster has room for.",
        unit="workers",
        resumable=True,
    )
    device: str = setting("auto", "cpu, gpu, or auto: gpu if the cluster has one.", resumable=True)
    cpus_per_worker: float = setting(
        1.0, "CPUs reserved for a training worker; the rest make crops.", unit="CPUs", resumable=True
    )
    gpus_per_worker: float = setting(
        1.0, "GPU that a training worker holds; below 1, runs of one worker share one.", unit="GPUs", resumable=True
    )
    crop_cpus: float = setting(
        0.0,
        "Most CPUs that make crops, for runs that share a cluster; 0: all that the workers leave.",
        unit="CPUs",
        resumable=True,
    )
    check_seconds: float = setting(
        30.0, "Time between polls for nodes that joined, which become workers with MIN MAX.", unit="s", resumable=True
    )
    cache_dir: str = setting(
        "",
        "Folder on each node's own disk that caches what crops read from S3, so that later epochs need no S3; empty: "
        "no cache.",
        resumable=True,
    )
    cache_bytes: int = setting(
        100_000_000_000,
        "Size of the cache of a node, at most; the least recently used images are evicted.",
        unit="bytes",
        resumable=True,
    )

    @property
    def worker_threads(self) -> int:
        """Threads of a worker on CPUs."""
        return max(1, round(self.cpus_per_worker))

    def __post_init__(self) -> None:
        numbers = self.num_workers
        ok = len(numbers) in (1, 2) and 1 <= numbers[0] <= numbers[-1]
        _require(ok, "scaling.num_workers", numbers, "needs a number of at least 1, or MIN MAX with 1 <= MIN <= MAX")
        _require(self.device in ("auto", "cpu", "gpu"), "scaling.device", self.device, "must be auto, cpu or gpu")
        _require(self.cpus_per_worker > 0, "scaling.cpus_per_worker", self.cpus_per_worker, "must be above 0")
        gpus = self.gpus_per_worker
        _require(0 < gpus <= 1, "scaling.gpus_per_worker", gpus, "must be above 0 and at most 1")
        right = "must be 1 if scaling.num_workers is above 1, since NCCL refuses two workers on one GPU"
        _require(gpus == 1 or numbers == (1,), "scaling.gpus_per_worker", gpus, right)
        right = "must be 0 (all that the workers leave) or at least 1, which two tasks share"
        _require(self.crop_cpus == 0 or self.crop_cpus >= 1, "scaling.crop_cpus", self.crop_cpus, right)
        _require(self.check_seconds > 0, "scaling.check_seconds", self.check_seconds, "must be above 0")
        where = self.cache_dir
        right = "must be an absolute path on each node's own disk (or begin with ~/), or empty for no cache"
        _require(not where or where.startswith(("/", "~/")), "scaling.cache_dir", where, right)
        right = "must be at least 67108864 (64 MiB), since an image takes at most a 64th of it"
        _require(self.cache_bytes >= 64 << 20, "scaling.cache_bytes", self.cache_bytes, right)


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
        _require(self.knn_every_epochs >= 0, "eval.knn_every_epochs", self.knn_every_epochs, "must not be negative")
        _require(self.knn_k >= 1, "eval.knn_k", self.knn_k, "must be at least 1")
        _require(self.knn_temperature > 0, "eval.knn_temperature", self.knn_temperature, "must be above 0")
        _require(self.image_size >= 8, "eval.image_size", self.image_size, "must be at least 8 pixels")
        _require(self.max_bank >= 1, "eval.max_bank", self.max_bank, "must be at least 1")
        _require(self.max_queries >= 1, "eval.max_queries", self.max_queries, "must be at least 1")
        beside = self.beside_training
        _require(beside in ("auto", "always", "never"), "eval.beside_training", beside, "must be auto, always or never")
        images = self.label_free_images
        _require(images == 0 or images >= 64, "eval.label_free_images", images, "must be 0 (none) or at least 64")


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
        _require(self.on_collapse in ("warn", "stop", "remedy"), "health.on_collapse", self.on_collapse, right)


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
        _require(total >= 2, "crops.counts", self.crops.counts, right)
        crops = self.assignment.crops_for_assign
        right = f"must be below {self.crops.total}, the number of crops in crops.counts"
        _require(max(crops) < self.crops.total, "assignment.crops_for_assign", crops, right)
        batch, length = self.train.global_batch_size, self.queue.length
        right = f"must be 0 or at least train.global_batch_size ({batch}), so that a batch fits in it"
        _require(length == 0 or length >= batch, "queue.length", length, right)
        workers = self.scaling.num_workers[-1]
        right = f"must be at most train.global_batch_size ({batch}), so that every worker has an image"
        _require(workers <= batch, "scaling.num_workers", self.scaling.num_workers, right)
        best = self.checkpoint.keep_best
        right = "needs eval.knn_every_epochs, which gives checkpoints the accuracy that they are chosen by"
        _require(not best or self.eval.knn_every_epochs > 0, "checkpoint.keep_best", best, right)
        epochs = self.train.epochs
        right = f"must be at most train.epochs ({epochs})"
        _require(self.optim.warmup_epochs <= epochs, "optim.warmup_epochs", self.optim.warmup_epochs, right)


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
