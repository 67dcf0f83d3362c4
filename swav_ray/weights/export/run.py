"""An export from beginning to end: written aside, verified by what will read it, and only then put in its place."""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from swav_ray.storage.place import Place
from swav_ray.weights.backbone import Backbone
from swav_ray.weights.export import card, destination, formats
from swav_ray.weights.export.facts import facts_of
from swav_ray.weights.export.format import Format
from swav_ray.weights.export.source import Source
from swav_ray.weights.read import WeightsError

TOLERANCE = 1e-4  # of the largest output; other arithmetic differs by 1e-6, a wrong padding or order by 1e-2 and more


def export(
    backbone: Backbone,
    kind: Format,
    out: Place,
    say: Callable[[str], None],
    *,
    pixels: bool = False,
    licence: str = "",
    overwrite: bool = False,
) -> None:
    """Writes a folder: the weights, a model card, a loader script, and export.json.

    Args:
        backbone: on the CPU. kind: the format.
        out: the folder, local or on S3.
        say: is given lines for the user.
        pixels: the exported network takes uint8 pixels and normalises them itself.
        licence: for the model card; empty: what is known.
        overwrite: whatever is in the folder may be replaced.

    Raises:
        WeightsError: the format cannot hold the backbone, a library is missing, the folder holds something else, or the
            file gives other outputs than the backbone; then nothing is written.
        StorageUnavailable: the storage does not answer.
    """
    _check(kind, backbone, pixels=pixels)
    destination.check(out, backbone.origin.sha256, kind.name, kind.suffix, overwrite=overwrite)
    source = Source(backbone, pixels=pixels)
    with tempfile.TemporaryDirectory(prefix="swav_ray-export-") as folder, torch.inference_mode():
        file = Path(folder) / f"{backbone.architecture.depth}{kind.suffix}"
        expected = kind.expected(source)
        kind.write(source, file)
        difference = _verified(kind, kind.outputs(source, file), expected)
        say(f"verified by {kind.verified_by()}: {difference}")
        weights = sorted(file.parent.glob(f"{file.name}*"))  # ONNX puts more than 2 GB into a second file
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        beside = _beside(kind, source, file, sha256=digest, difference=difference, licence=licence)
        record = {
            "format": kind.name,
            "source": backbone.origin.place,
            "source_sha256": backbone.origin.sha256,
            "sha256": digest,
            "pixels": pixels,
            "swav_ray": version("swav_ray"),
        }
        destination.write(out, [*weights, *beside], record)
        size = sum(part.stat().st_size for part in weights) / 1e6
        names, others = (", ".join(part.name for part in parts) for parts in (weights, beside))
        say(f"{out}: {names} ({size:,.1f} MB), {others}, {destination.RECORD}")


def _check(kind: Format, backbone: Backbone, *, pixels: bool) -> None:
    """Raises WeightsError if the format cannot hold what is asked for, or cannot be written here."""
    formats.check(kind, backbone)
    if pixels and not kind.holds_program:
        raise WeightsError(f"--pixels: {kind.name} holds weights and no network; onnx and torch.export can")
    if missing := [name for name in kind.packages if importlib.util.find_spec(name) is None]:
        raise WeightsError(f"--format {kind.name}: needs {', '.join(missing)}; pip install 'swav_ray[export]'")


def _beside(
    kind: Format, source: Source, file: Path, *, sha256: str, difference: str, licence: str
) -> tuple[Path, Path]:
    """Writes the model card and the loader beside the file."""
    facts = facts_of(source.backbone)
    text, script = file.with_name(card.CARD), file.with_name(card.LOADER)
    text.write_text(
        card.card(kind, source, facts, file=file.name, sha256=sha256, difference=difference, licence=licence)
    )
    script.write_text(card.loader(kind, source, file.name))
    return text, script


def _verified(kind: Format, outputs: Tensor, expected: Tensor) -> str:
    """The largest difference, in words.

    Raises:
        WeightsError: it is above the tolerance, or not a number.
    """
    if outputs.shape != expected.shape:
        raise WeightsError(
            f"--format {kind.name}: outputs {tuple(outputs.shape)} instead of {tuple(expected.shape)}; "
            "nothing is written"
        )
    largest, scale = float((outputs - expected).abs().max()), float(expected.abs().max())
    told = f"largest difference {largest:.2g}, of features up to {scale:.3g}"
    if not largest <= TOLERANCE * scale:
        raise WeightsError(f"--format {kind.name}: {told}, is above {TOLERANCE:g} of that; nothing is written")
    return told
