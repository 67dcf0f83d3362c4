"""The images: where they lie, and the crops and colours that are made of them."""

from __future__ import annotations

from dataclasses import dataclass

from swav_ray.config.setting import require, setting


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
        require(ordered, "data.value_range", self.value_range, right)
        alphas = ("drop", "white", "grey", "random")
        require(self.alpha in alphas, "data.alpha", self.alpha, "must be drop, white, grey or random")
        require(self.max_pixels >= 1, "data.max_pixels", self.max_pixels, "must be at least 1")
        require(self.shuffle_block >= 0, "data.shuffle_block", self.shuffle_block, "must be 0 (no blocks) or positive")
        window = "must be at least data.shuffle_block"
        require(self.shuffle_window >= self.shuffle_block, "data.shuffle_window", self.shuffle_window, window)
        require(self.limit >= 0, "data.limit", self.limit, "must be 0 (all) or a positive number of images")
        require(0 <= self.holdout_fraction < 1, "data.holdout_fraction", self.holdout_fraction, "must be in [0, 1)")
        require(0 <= self.max_bad_fraction <= 1, "data.max_bad_fraction", self.max_bad_fraction, "must be in [0, 1]")


@dataclass(frozen=True, kw_only=True, slots=True)
class CropsConfig:
    """Multi-crop (paper section 3.3): groups of crops of one size, the first group the global crops."""

    sizes: tuple[int, ...] = setting((224, 96), "Side of the crops of each group.", unit="pixels")
    counts: tuple[int, ...] = setting((2, 6), "Number of crops of each group.", unit="crops")
    min_scales: tuple[float, ...] = setting((0.14, 0.05), "Smallest area of a crop.", unit="fraction of the image")
    max_scales: tuple[float, ...] = setting((1.0, 0.14), "Largest area of a crop.", unit="fraction of the image")

    def __post_init__(self) -> None:
        groups = len(self.sizes)
        require(groups > 0, "crops.sizes", self.sizes, "needs at least one group of crops")
        for name in ("counts", "min_scales", "max_scales"):
            value = getattr(self, name)
            require(len(value) == groups, f"crops.{name}", value, f"needs {groups} values, one for each crops.sizes")
        require(all(s >= 8 for s in self.sizes), "crops.sizes", self.sizes, "every size must be at least 8 pixels")
        require(len(set(self.sizes)) == groups, "crops.sizes", self.sizes, "sizes must differ; raise crops.counts")
        require(all(n >= 1 for n in self.counts), "crops.counts", self.counts, "every count must be at least 1")
        for low, high in zip(self.min_scales, self.max_scales, strict=True):
            require(0 < low <= high <= 1, "crops.min_scales", self.min_scales, "needs 0 < min_scale <= max_scale <= 1")

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
            require(0 <= value <= 1, f"augment.{name}_probability", value, "must be in [0, 1]")
        require(
            0 <= self.jitter_strength <= 1.25, "augment.jitter_strength", self.jitter_strength, "must be in [0, 1.25]"
        )
        low, high = self.blur_sigma
        require(0 < low <= high, "augment.blur_sigma", self.blur_sigma, "must be LOW HIGH with 0 < LOW <= HIGH")
        require(
            self.color_device in ("cpu", "train"), "augment.color_device", self.color_device, "must be cpu or train"
        )
