"""`python -m swav_ray.export --checkpoint C --format F OUT`: a backbone for other people's code, verified by it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from swav_ray import command_line
from swav_ray.report.complaint import complain
from swav_ray.storage.place import place


def parser() -> command_line.Parser:
    """The command's options."""
    made = command_line.Parser(
        prog="python -m swav_ray.export",
        description="Writes a backbone for other people's code, with a model card and a loader script beside it. "
        "Nothing is written unless the library that reads it computes the same features of real photos.",
    )
    made.add_argument("out", metavar="OUT", help="the folder to write, local or s3://bucket/prefix")
    made.add_argument(
        "--checkpoint",
        required=True,
        metavar="C",
        help="a run directory, one of its checkpoints, or a file of anybody's weights: local, s3:// or hf://",
    )
    made.add_argument(
        "--format",
        required=True,
        metavar="F",
        help="torchvision, timm, safetensors, onnx, torch.export, published (the SwAV authors', with the head), "
        "detectron2 or mmdet",
    )
    made.add_argument("--which", choices=["newest", "best"], default="newest", help="of a run's checkpoints")
    made.add_argument("--prefix", default="", help="what the names begin with, if a file holds several networks")
    made.add_argument(
        "--image-size", type=command_line.at_least_one, default=0, help="side of an image, in pixels (the run's)"
    )
    made.add_argument(
        "--pixels", action="store_true", help="onnx, torch.export: take uint8 pixels and normalise them in the network"
    )
    made.add_argument("--licence", default="", metavar="TEXT", help="for the model card")
    made.add_argument(
        "--overwrite",
        action="store_true",
        help="write into OUT whatever it holds",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 done, 2 the user's mistake in one line, 1 it failed, 130 interrupted."""
    try:
        options = command_line.read(parser(), sys.argv[1:] if arguments is None else arguments)
        # torch takes a second to import, and a wrong argument should be refused at once.
        from swav_ray.weights.backbone import load_backbone
        from swav_ray.weights.export.formats import format_named
        from swav_ray.weights.export.run import export

        kind, out = format_named(options.format), place(options.out)
        backbone = load_backbone(
            options.checkpoint,
            which=options.which,
            prefix=options.prefix or None,
            image_size=options.image_size or None,
        )
        for line in backbone.describe().splitlines()[:2]:
            _say(line)
        export(
            backbone,
            kind,
            out,
            _say,
            pixels=options.pixels,
            licence=options.licence,
            overwrite=options.overwrite,
        )
    except (ValueError, OSError) as error:
        return complain(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
