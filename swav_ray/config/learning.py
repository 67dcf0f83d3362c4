"""What learns from the crops: the network, the assignment, the queue, the optimiser, the length of training."""

from __future__ import annotations

from dataclasses import dataclass

from swav_ray.config.setting import require, setting

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101")


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
        require(self.backbone in BACKBONES, "model.backbone", self.backbone, f"must be one of {', '.join(BACKBONES)}")
        require(0 < self.width <= 8, "model.width", self.width, "must be in (0, 8]")
        require(self.hidden_dim >= 0, "model.hidden_dim", self.hidden_dim, "must be 0 (linear head) or positive")
        require(self.output_dim >= 2, "model.output_dim", self.output_dim, "must be at least 2")
        ok = len(self.prototypes) > 0 and all(k >= 2 for k in self.prototypes)
        require(ok, "model.prototypes", self.prototypes, "needs one count of at least 2 for each head")


@dataclass(frozen=True, kw_only=True, slots=True)
class AssignmentConfig:
    """Codes by Sinkhorn-Knopp (paper section 3.1, equations 3 to 5)."""

    epsilon: float = setting(0.05, "Entropy weight; high values collapse the codes.")
    iterations: int = setting(3, "Sinkhorn iterations; below 3 the loss does not converge (paper).", unit="iterations")
    hard: bool = setting(False, "Round the codes to one prototype each (paper: converges faster, ends worse).")
    crops_for_assign: tuple[int, ...] = setting((0, 1), "Crops whose codes the other crops predict.", unit="crop index")

    def __post_init__(self) -> None:
        require(self.epsilon >= 0.001, "assignment.epsilon", self.epsilon, "must be at least 0.001")
        require(self.iterations >= 1, "assignment.iterations", self.iterations, "must be at least 1; the paper uses 3")
        crops = self.crops_for_assign
        ok = len(crops) > 0 and len(set(crops)) == len(crops) and min(crops) >= 0
        require(ok, "assignment.crops_for_assign", crops, "needs distinct crop indices, counted from 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueConfig:
    """The queue of past embeddings, for small batches (paper section 4.3)."""

    length: int = setting(
        0, "Embeddings of past batches that join the assignment, over all workers; 0: no queue.", unit="samples"
    )
    start_epoch: int = setting(0, "First epoch that fills the queue.", unit="epochs")

    def __post_init__(self) -> None:
        require(self.length >= 0, "queue.length", self.length, "must be 0 (no queue) or positive")
        require(self.start_epoch >= 0, "queue.start_epoch", self.start_epoch, "must not be negative")


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
        require(self.base_lr > 0, "optim.base_lr", self.base_lr, "must be above 0")
        require(
            0 <= self.final_lr <= self.base_lr, "optim.final_lr", self.final_lr, "must be between 0 and optim.base_lr"
        )
        require(self.start_warmup_lr >= 0, "optim.start_warmup_lr", self.start_warmup_lr, "must not be negative")
        require(self.warmup_epochs >= 0, "optim.warmup_epochs", self.warmup_epochs, "must not be negative")
        require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "must not be negative")
        require(0 <= self.momentum < 1, "optim.momentum", self.momentum, "must be in [0, 1)")
        require(self.trust_coefficient > 0, "optim.trust_coefficient", self.trust_coefficient, "must be above 0")
        steps = self.freeze_prototypes_steps
        require(steps >= 0, "optim.freeze_prototypes_steps", steps, "must not be negative")


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
        require(self.epochs >= 1, "train.epochs", self.epochs, "must be at least 1")
        require(self.global_batch_size >= 2, "train.global_batch_size", self.global_batch_size, "must be at least 2")
        require(self.temperature > 0, "train.temperature", self.temperature, "must be above 0; the paper uses 0.1")
        require(self.precision in ("fp32", "bf16"), "train.precision", self.precision, "must be fp32 or bf16")
        require(self.max_rows_per_pass >= 0, "train.max_rows_per_pass", self.max_rows_per_pass, "must be 0 or more")
        groups, batch = self.batchnorm_groups, self.global_batch_size
        ok = 1 <= groups <= batch // 2 and batch % groups == 0
        right = f"must divide train.global_batch_size ({batch}) into parts of at least 2 images"
        require(ok, "train.batchnorm_groups", groups, right)
        require(self.max_refused_steps >= 0, "train.max_refused_steps", self.max_refused_steps, "must be 0 or more")
        held, right = self.init_trunk_epochs, f"must be between 0 and train.epochs ({self.epochs})"
        require(0 <= held <= self.epochs, "train.init_trunk_epochs", held, right)
        right = "needs train.init_from: a trunk of random weights has nothing to keep"
        require(not held or bool(self.init_from), "train.init_trunk_epochs", held, right)
        factor = self.init_trunk_lr_factor
        require(0 <= factor <= 1, "train.init_trunk_lr_factor", factor, "must be between 0 (frozen) and 1")
