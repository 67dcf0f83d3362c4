"""How a run is carried out: its name, speed, checkpoints and machines."""

from __future__ import annotations

from dataclasses import dataclass

from swav_ray.config.setting import require, setting

TRACKERS = ("mlflow", "wandb", "comet")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Name and place of a run, its seed, and what it prints."""

    name: str = setting("", "Name of the run and of its directory; a recipe has its own.", resumable=True)
    storage: str = setting("runs", "Where run directories live: a local path or s3://bucket/prefix.", resumable=True)
    seed: int = setting(0, "Seeds the weights, the order of samples and every crop.")
    progress_seconds: float = setting(10.0, "Time between progress lines without a terminal.", unit="s", resumable=True)
    ray_logs: bool = setting(False, "Show Ray's own messages.", resumable=True)
    trackers: tuple[str, ...] = setting(
        (), f"Services that get the figures too: {', '.join(TRACKERS)}; needs the extra trackers.", resumable=True
    )

    def __post_init__(self) -> None:
        require("/" not in self.name, "run.name", self.name, "must be a plain name without '/'; use run.storage")
        require(self.name not in (".", ".."), "run.name", self.name, "must name a directory of its own")
        require(self.name.isprintable(), "run.name", self.name, "must be a plain name without line breaks")
        require(bool(self.storage), "run.storage", self.storage, "must be a local path or s3://bucket/prefix")
        require(0 <= self.seed < 2**63, "run.seed", self.seed, "must be between 0 and 2**63 - 1")
        require(self.progress_seconds > 0, "run.progress_seconds", self.progress_seconds, "must be above 0")
        known = set(self.trackers) <= set(TRACKERS) and len(set(self.trackers)) == len(self.trackers)
        require(known, "run.trackers", self.trackers, f"must be some of {', '.join(TRACKERS)}, each once")


@dataclass(frozen=True, kw_only=True, slots=True)
class PerformanceConfig:
    """How fast a step is, beside train.precision; what is learned stays the same but for rounding."""

    keep_memory: bool = setting(
        True,
        "On CPUs, keep the memory that a step frees for the next one instead of giving it back to the system.",
        resumable=True,
    )
    compile: bool = setting(
        False,
        "Run the backbone, and colour on the training device, through torch.compile, which takes minutes at each start "
        "of the workers. No faster on a CPU; never measured on a GPU.",
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
        require(self.every_epochs > 0, "checkpoint.every_epochs", self.every_epochs, "must be above 0")
        require(self.keep_last >= 1, "checkpoint.keep_last", self.keep_last, "must be at least 1")
        every = self.keep_every_epochs
        require(every >= 0, "checkpoint.keep_every_epochs", every, "must be 0 (none) or a number of epochs")
        require(self.keep_best >= 0, "checkpoint.keep_best", self.keep_best, "must be 0 (none) or more")


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
        require(ok, "scaling.num_workers", numbers, "needs a number of at least 1, or MIN MAX with 1 <= MIN <= MAX")
        require(self.device in ("auto", "cpu", "gpu"), "scaling.device", self.device, "must be auto, cpu or gpu")
        require(self.cpus_per_worker > 0, "scaling.cpus_per_worker", self.cpus_per_worker, "must be above 0")
        gpus = self.gpus_per_worker
        require(0 < gpus <= 1, "scaling.gpus_per_worker", gpus, "must be above 0 and at most 1")
        right = "must be 1 if scaling.num_workers is above 1, since NCCL refuses two workers on one GPU"
        require(gpus == 1 or numbers == (1,), "scaling.gpus_per_worker", gpus, right)
        right = "must be 0 (all that the workers leave) or at least 1, which two tasks share"
        require(self.crop_cpus == 0 or self.crop_cpus >= 1, "scaling.crop_cpus", self.crop_cpus, right)
        require(self.check_seconds > 0, "scaling.check_seconds", self.check_seconds, "must be above 0")
        where = self.cache_dir
        right = "must be an absolute path on each node's own disk (or begin with ~/), or empty for no cache"
        require(not where or where.startswith(("/", "~/")), "scaling.cache_dir", where, right)
        right = "must be at least 67108864 (64 MiB), since an image takes at most a 64th of it"
        require(self.cache_bytes >= 64 << 20, "scaling.cache_bytes", self.cache_bytes, right)
