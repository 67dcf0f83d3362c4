"""`python -m swav_ray.inspect C`: what a file of weights holds, how far it was trained, and what to do with it next."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import safetensors.torch
from torch import Tensor

from swav_ray import command_line, settings
from swav_ray.config import Config, ConfigError
from swav_ray.report.complaint import complain
from swav_ray.run.about import About
from swav_ray.run.layout import INIT
from swav_ray.run.next_commands import next_commands
from swav_ray.storage.place import Place
from swav_ray.training.learner import build_model
from swav_ray.weights import inspection
from swav_ray.weights.backbone import load_backbone


def parser() -> command_line.Parser:
    """The command's options."""
    made = command_line.Parser(
        prog="python -m swav_ray.inspect", description="Says what a file of weights holds and what to do with it."
    )
    made.add_argument(
        "checkpoint", metavar="C", help="a run directory, one of its checkpoints, or a file of anybody's weights"
    )
    made.add_argument("--which", choices=["newest", "best"], default="newest", help="of a run's checkpoints")
    made.add_argument("--prefix", default=None, help="what the names begin with, if a file holds several networks")
    made.add_argument("--keys", action="store_true", help="also what every name in the file became")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 done, 2 the user's mistake in one line."""
    try:
        options = command_line.read(parser(), sys.argv[1:] if arguments is None else arguments)
        lines = describe(options.checkpoint, which=options.which, prefix=options.prefix, with_keys=options.keys)
    except (ValueError, OSError) as error:
        return complain(error)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def describe(
    checkpoint: str, *, which: str = "newest", prefix: str | None = None, with_keys: bool = False
) -> list[str]:
    """What the command prints.

    Raises:
        WeightsError, PlaceError, StorageUnavailable: as `load_backbone`.
    """
    backbone = load_backbone(checkpoint, which=which, prefix=prefix)
    about = backbone.origin.about
    run_dir = inspection.run_directory(about)
    before, began = _first(about, run_dir)
    rows = [
        *inspection.holds(backbone),
        *inspection.trained(about, run_dir),
        *inspection.movement(before, backbone, began),
    ]
    if backbone.origin.parts.left_out:
        rows.append(("left out", f"{len(backbone.origin.parts.left_out)} tensors; --keys names them"))
    lines = [f"{name:12} {text}" for name, text in rows]
    if with_keys:
        lines += ["", *inspection.keys(backbone)]
    images = inspection.images_of(about, run_dir)
    commands = next_commands(checkpoint, images=images, labelled=inspection.has_labels(run_dir))
    return [*lines, "", "next:", *(f"  {command}" for command in commands)]


def _first(about: About, run_dir: Place | None) -> tuple[dict[str, Tensor] | None, str]:
    """The weights before the first step, and what they are: those that were given, or random ones of the run's seed."""
    if about.init or about.config.get("train", {}).get("init_from"):
        if run_dir is None or not (run_dir / INIT).exists():
            return None, ""
        return safetensors.torch.load((run_dir / INIT).read_bytes()), f"the weights of {about.init.get('place', '?')}"
    if not about.config:
        return None, ""
    try:
        config = settings.from_document(about.config, Config(), "the header")
    except (ConfigError, settings.UnknownSetting):  # of a later version
        return None, ""
    return dict(build_model(config).state_dict()), f"random weights of seed {config.run.seed}"


if __name__ == "__main__":
    sys.exit(main())
