"""The model card beside an export: what the weights are, how to prepare an image, and what is known of them."""

from __future__ import annotations

from importlib.metadata import version

from swav_ray import settings
from swav_ray.data.crops.short_side import short_side
from swav_ray.weights.export.facts import Facts
from swav_ray.weights.export.format import Format
from swav_ray.weights.export.source import Source
from swav_ray.weights.layouts import PUBLISHED

CARD, LOADER = "README.md", "load.py"
_AUTHORS = " The names are those of the SwAV authors' checkpoints, which are under CC BY-NC 4.0."


def loader(kind: Format, source: Source, file: str) -> str:
    """The script that reads the export from its own folder, wherever it is run."""
    lines = kind.loader(source).splitlines()
    end = lines.index("")
    path = f'FILE = str(Path(__file__).with_name("{file}"))'
    return "\n".join(
        ["from pathlib import Path", "", *lines[:end], "", path, *lines[end + 1 :], "print(features.shape)", ""]
    )


def card(kind: Format, source: Source, facts: Facts, *, file: str, sha256: str, difference: str, licence: str) -> str:
    """The card as Markdown.

    Args:
        file: name of the exported file. sha256: of it.
        difference: the largest that its verification found, in words.
        licence: as the user states it; empty: what the run says.
    """
    backbone = source.backbone
    about = backbone.origin.about
    sections = [
        f"# {_title(source)}\n\n{_network(source)}, in the format `{kind.name}`.",
        f"## Load it\n\n`python {LOADER}` runs as it stands, if what it imports is installed:\n\n"
        f"```python\n{loader(kind, source, file)}```\n\n" + kind.usage(source).replace("FILE", file),
        f"## Prepare an image\n\n{_preprocessing(source)}",
        f"## Training\n\n{_training(about.samples_seen, about.step, facts)}",
        f"## Figures\n\n{_figures(facts)}",
        f"## Licence\n\n{_licence(source, facts, licence)}",
        f"## Origin\n\n{_origin(kind, source, file, sha256, difference)}",
    ]
    if facts.config is not None:
        sections.append(f"## Every setting\n\n```yaml\n{settings.to_yaml(facts.config)}```")
    return "\n\n".join(sections) + "\n"


def _title(source: Source) -> str:
    about = source.backbone.origin.about
    return f"{about.run}, step {about.step:,}" if about.run else f"{source.backbone.architecture.depth} backbone"


def _network(source: Source) -> str:
    shape = source.backbone.architecture
    width = f", {shape.width:g} times as wide" if shape.width != 1 else ""
    stem = ", with a 3 x 3 first convolution and no max-pool" if shape.small_image_stem else ""
    return f"A {shape.depth}{width}{stem}, without a classifier: {source.backbone.feature_dim} features an image"


def _preprocessing(source: Source) -> str:
    prepare = source.backbone.preprocess
    size = prepare.image_size
    rows = [
        f"RGB. The short side is resized to {short_side(size)} pixels (averaged over pixel areas), and the middle "
        f"{size} x {size} are cut out.",
        (
            "The network takes the pixels as they are (uint8, 0..255) and normalises them itself, with these:"
            if source.pixels
            else "Then, of pixels divided by 255: (pixel - mean) / std."
        ),
        "\n| | red | green | blue |\n|---|---|---|---|",
        f"| mean | {_cells(prepare.mean)} |\n| std | {_cells(prepare.std)} |",
    ]
    if prepare.std[0] == 0.228:
        rows.append("\nThe deviation of red is .228, as in the published SwAV code; torchvision's is .229.")
    return "\n".join(rows)


def _cells(values: tuple[float, float, float]) -> str:
    return " | ".join(f"{value:g}" for value in values)


def _training(samples_seen: int, step: int, facts: Facts) -> str:
    config = facts.config
    if config is None:
        return f"{step:,} steps, {samples_seen:,} images seen. The file says no more." if step else "Not known."
    crops = " + ".join(f"{count} x {size}" for count, size in zip(config.crops.counts, config.crops.sizes, strict=True))
    known = [
        ("recipe", f"SwAV, all settings below; {config.train.precision}"),
        ("data", config.data.uri + (f", {facts.images:,} images" if facts.images else "")),
        ("epochs", f"{facts.epochs:.4g} of {config.train.epochs}" if facts.epochs else f"of {config.train.epochs}"),
        ("steps", f"{step:,} of {config.train.global_batch_size} images"),
        ("images seen", f"{samples_seen:,}"),
        ("crops", f"{crops} pixels"),
        ("prototypes", ", ".join(map(str, config.model.prototypes))),
        ("seed", str(config.run.seed)),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in known)


def _figures(facts: Facts) -> str:
    rows = []
    if facts.knn_top1 and facts.config is not None:
        chosen = facts.config.eval
        protocol = f"kNN during training, k {chosen.knn_k}, T {chosen.knn_temperature:g}, on held-out images"
        rows += [f"| top-1, {name} | {value:.1f}% | {protocol} |" for name, value in facts.knn_top1.items()]
    rows += [f"| {' | '.join(row)} |" for row in facts.figures]
    if not rows:
        return "None is known. `python -m swav_ray.evaluate all --checkpoint C` measures them before an export."
    return "| figure | value, 95% interval | protocol |\n|---|---|---|\n" + "\n".join(rows)


def _licence(source: Source, facts: Facts, stated: str) -> str:
    if stated:
        return stated
    if began := source.backbone.origin.about.init:
        return (
            f"Unknown. The run started from `{began.get('place')}` ({began.get('layout')}), which does not state its "
            f"licence.{_AUTHORS if began.get('layout') == PUBLISHED else ''}"
        )
    if facts.config is not None:
        return (
            "Trained from random weights: no other weights' licence binds them. What the training images allow is "
            "for whoever has them to say."
        )
    origin = source.backbone.origin
    told = _AUTHORS if origin.layout == PUBLISHED else ""
    return f"Unknown: `{origin.place}` does not state it. Ask whoever gave it to you.{told}"


def _origin(kind: Format, source: Source, file: str, sha256: str, difference: str) -> str:
    origin = source.backbone.origin
    return "\n".join(
        [
            f"- source: `{origin.place}` ({origin.layout}), sha256 `{origin.sha256}`",
            f"- this export: `{file}`, sha256 `{sha256}`",
            f"- verified by {kind.verified_by()} on five photos: {difference}",
            f"- written by swav_ray {version('swav_ray')}",
        ]
    )
