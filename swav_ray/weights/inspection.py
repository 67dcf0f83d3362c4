"""What a file of weights holds, in lines for people: its layout, network, training, and how far its weights moved."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from swav_ray.data import manifest
from swav_ray.run import layout, measurements
from swav_ray.run.about import About
from swav_ray.storage.place import Place, PlaceError, place
from swav_ray.weights.backbone import Backbone
from swav_ray.weights.movement import moved

_BUILT_IN = "shapes://"  # of a run alone, which writes them into its storage
Rows = list[tuple[str, str]]


def holds(backbone: Backbone) -> Rows:
    """The file, the network in it, and the preprocessing that belongs to it."""
    shape, origin, prepare = backbone.architecture, backbone.origin, backbone.preprocess
    wide = f", {shape.width:g} times as wide" if shape.width != 1 else ""
    stem = ", 3 x 3 stem" if shape.small_image_stem else ""
    count = sum(parameter.numel() for parameter in backbone.trunk.parameters())
    side = backbone.preprocess.image_size
    size = f"{side} x {side} pixels" + ("" if origin.about.image_size else ", as usual: the file does not say")
    std = " ".join(f"{value:.3f}" for value in prepare.std)
    return [
        ("file", origin.place),
        ("sha256", origin.sha256),
        ("layout", origin.layout),
        ("trunk", f"{shape.depth}{wide}{stem}: {backbone.feature_dim} features, {count:,} parameters"),
        ("head", _head(origin.parts.head)),
        ("images", f"{size}; mean {' '.join(f'{value:.3f}' for value in prepare.mean)}, std {std}"),
    ]


def _head(head: Mapping[str, Tensor]) -> str:
    if not head:
        return "none"
    matrices = [(name, value.shape) for name, value in sorted(head.items()) if value.ndim == 2]
    layers = [shape for name, shape in matrices if name.startswith("projection_head.")]
    widths = [str(layers[0][1]), *(str(shape[0]) for shape in layers)] if layers else []
    counts = [str(shape[0]) for name, shape in matrices if name.startswith("prototypes.")]
    parts = [f"projection {' -> '.join(widths)}"] if widths else []
    return "; ".join([*parts, *([f"prototypes {' + '.join(counts)}"] if counts else [])])


def trained(about: About, run_dir: Place | None) -> Rows:
    """How far it was trained, on what, and what it scored; nothing for files that do not say.

    Args:
        run_dir: of the run that wrote the weights, if there is one to be read.
    """
    if not about.step:
        return []
    epochs = f", {about.epochs:g} epochs" if about.epochs else ""
    rows = [
        ("trained", f"run {about.run or 'unknown'}, step {about.step:,}{epochs}, {about.samples_seen:,} images seen")
    ]
    images = about.config.get("data", {}).get("uri", "")
    if images:
        rows.append(("trained on", f"{images}; held out: {about.held_out or 'see ' + about.samples}"))
    measured = measurements.read(run_dir) if run_dir is not None else []
    found = [row["knn_top1"] for row in measured if row["step"] == about.step and "knn_top1" in row]
    if top1 := (found[0] if found else about.knn_top1):
        rows.append(("kNN top-1", f"{top1:.1f}% on the run's held-out images"))
    return rows


def has_labels(run_dir: Place | None) -> bool:
    """Whether a run has labelled images of its own, on which its weights can be judged: it measured kNN."""
    return run_dir is not None and any("knn_top1" in row for row in measurements.read(run_dir))


def movement(before: Mapping[str, Tensor] | None, backbone: Backbone, began: str) -> Rows:
    """How far each stage moved since the weights `before`, which are said to be `began`; nothing without them."""
    if before is None:
        return []
    parts = backbone.origin.parts
    stages = moved(before, {**parts.trunk, **parts.head})
    told = ", ".join(f"{stage} {way:.0%}" for stage, way in stages.items())
    return [("began with", began), ("moved by", f"{told} of their norm then")]


def run_directory(about: About) -> Place | None:
    """The run that wrote the weights, if it can be read from here."""
    if not about.samples:
        return None
    try:
        run_dir = place(about.samples).parent
        return run_dir if (run_dir / layout.CONFIG).exists() else None
    except (PlaceError, OSError):  # the weights came from another machine
        return None


def images_of(about: About, run_dir: Place | None) -> str:
    """The place of the images that weights were trained on, as other commands take it; '' if it is not known."""
    uri: str = about.config.get("data", {}).get("uri", "")
    if not uri.startswith(_BUILT_IN):
        return uri
    if run_dir is None or not (run_dir / layout.MANIFEST).exists():
        return ""
    return manifest.load(run_dir / layout.MANIFEST).root


def keys(backbone: Backbone) -> list[str]:
    """A line for every name in the file: what it became, or why it was left out."""
    parts = backbone.origin.parts
    lines = [f"{source} -> {name}" for name, source in sorted(parts.renamed.items())]
    return lines + [f"{name}: left out, {why}" for name, why in sorted(parts.left_out.items())]
