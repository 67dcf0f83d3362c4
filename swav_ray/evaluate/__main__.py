"""`python -m swav_ray.evaluate {PROTOCOL,all,compare} --checkpoint C ...`: judges backbones by the field's protocols.

PROTOCOL: one protocol on one backbone, with options of its own. all: every protocol on frozen features that the given
images allow. compare: several backbones side by side, `compare A B ...`, with a paired test of whether the others
differ from the first by more than noise. Each is a command: how another one is added is told in `protocols`.
"""

from __future__ import annotations

import dataclasses
import functools
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from swav_ray import command_line
from swav_ray.command_line import Parser, WrongArgument
from swav_ray.evaluate.detect import protocol as detection
from swav_ray.evaluate.protocols import ON_FEATURES, ON_IMAGES
from swav_ray.evaluate.results.files import comparison, table
from swav_ray.features.embedding import BF16, FLOAT32
from swav_ray.report.complaint import complain
from swav_ray.report.terminal import Terminal

_PLACE = "a local folder or s3://bucket/prefix of images, Parquet shards, tars or IDX files"
_FLAG = "flag"
_PROGRESS_SECONDS = 10.0  # between progress lines without a terminal

Options = dict[str, Any]
Command = Callable[[Options, Terminal], list[Table]]  # what a command shows at its end


def parser() -> Parser:
    """Every command's options."""
    made = Parser(prog="python -m swav_ray.evaluate", description="Judges backbones by the protocols of the field.")
    commands = made.add_subparsers(dest="protocol", metavar="PROTOCOL", required=True)

    def add(name: str, doc: str, run: Command) -> Parser:
        one: Parser = commands.add_parser(name, help=doc.replace("%", "%%"), description=doc)
        one.set_defaults(run=run)
        return one

    for name, on_features in ON_FEATURES.items():
        one = add(name, on_features.help, functools.partial(_on_features, name))
        _add_backbone(one)
        _add_images(one)
        _add_precision(one)
        for flag, other in on_features.flags.items():
            one.add_argument(f"--{flag}", dest=_FLAG, action="store_const", const=flag, help=other.help)
    for name, on_images in ON_IMAGES.items():
        one = add(name, on_images.help, functools.partial(_on_images, name))
        _add_backbone(one)
        _add_images(one)
        on_images.add_options(one)
    one = add(detection.NAME, "a detector on the network, trained on boxes and masks: PASCAL VOC or COCO", _detect)
    _add_backbone(one)
    _add_annotated(one)
    detection.add_options(one)
    one = add("all", "every protocol on frozen features that the images and the weights allow", _all)
    _add_backbone(one)
    _add_images(one)
    _add_precision(one)
    _add_trained(one)
    one = add("compare", "the same for several backbones, side by side", _compare)
    one.add_argument("backbones", nargs="*", metavar="C", help="two or more, each as --checkpoint of the others")
    _add_images(one)
    _add_precision(one)
    _add_trained(one)
    return made


def _add_backbone(parser: Parser) -> None:
    parser.add_argument(
        "--checkpoint",
        default="",
        metavar="C",
        help="a run directory, one of its checkpoints, or a file of anybody's weights, local or s3://; untrained:C is "
        "the same network with fresh weights, pixels:C the images' own pixels",
    )


def _add_annotated(parser: Parser) -> None:
    """What detection is given beside its backbone."""
    annotations = "a COCO JSON file, the folder around it, or a folder of PASCAL VOC (a year or VOCdevkit), local or S3"
    parser.add_argument("--train", default="", metavar="PLACE", help=f"annotated images to learn from: {annotations}")
    parser.add_argument("--val", default="", metavar="PLACE", help="to judge by; without it, --train's own")
    _add_common(parser)


def _add_images(parser: Parser) -> None:
    """What every protocol on labelled images of a place is given beside its backbone."""
    parser.add_argument(
        "--train", default="", metavar="PLACE", help=f"images to learn from: {_PLACE}; without it, the run's own"
    )
    parser.add_argument(
        "--val", default="", metavar="PLACE", help="images to judge by; without it, --train's test split"
    )
    parser.add_argument(
        "--labels", default="", metavar="CSV", help="name,label for images without class folders; several: dog|cat"
    )
    parser.add_argument(
        "--image-size", type=command_line.at_least_one, default=0, help="side of the centre crop, in pixels (the run's)"
    )
    _add_common(parser)


def _add_common(parser: Parser) -> None:
    """Where results go, and how much of what is given is taken."""
    parser.add_argument("--which", choices=["newest", "best"], default="newest", help="of a run's checkpoints")
    parser.add_argument("--out", default="", metavar="DIR", help="where results go (default: evaluations/ in the run)")
    parser.add_argument("--storage", default="runs", metavar="PLACE", help="where manifests are cached (%(default)s)")
    parser.add_argument("--prefix", default="", help="what the names begin with, if a file holds several networks")
    parser.add_argument("--limit", type=command_line.at_least_one, default=0, help="most images of a split (all)")
    parser.add_argument("--ray-logs", action="store_true", help="show Ray's own messages")


def _add_precision(parser: Parser) -> None:
    parser.add_argument(
        "--precision",
        choices=[FLOAT32, BF16],
        default=FLOAT32,
        help="of the network that makes features; bf16 is faster where the machine has it, and moves figures a little",
    )


def _add_trained(parser: Parser) -> None:
    parser.add_argument(
        "--with",
        dest="trained",
        action="append",
        default=[],
        metavar="PROTOCOL",
        help=f"a protocol that trains as well ({', '.join(ON_IMAGES)}), with its own options in quotes: "
        "--with 'linear --epochs 5'",
    )


def _trained(words: str) -> tuple[str, Options]:
    """A protocol that trains and its own options, from one argument."""
    name, *rest = shlex.split(words) or [""]
    if name not in ON_IMAGES:
        raise WrongArgument(f"--with {words}: must be one of {', '.join(ON_IMAGES)}, with its own options")
    own = Parser()
    ON_IMAGES[name].add_options(own)
    return name, vars(command_line.read(own, rest))


def main(words: Sequence[str] | None = None) -> int:
    """The command; 0 done, 2 the user's mistake in one line, 1 it failed, 128 and a signal's number if one ended it:
    the same command resumes."""
    # Ray takes seconds to import, and a wrong word should be told at once.
    terminal = Terminal(_PROGRESS_SECONDS)
    try:
        options = vars(command_line.read(parser(), sys.argv[1:] if words is None else words))
        protocol, run = options.pop("protocol"), options.pop("run")
        if not options.get("train", True) and (options["val"] or options.get("labels")):
            raise WrongArgument("--val, --labels: need --train; without it the run's own images are used")
        if not options.get("checkpoint", True):
            raise WrongArgument("--checkpoint: is missing; give a run directory or a file of weights")
        terminal.waiting_for(f"{protocol}: {{}} so far")
        with terminal.attended():
            shown = run(options, terminal)
    except (ValueError, OSError, RuntimeError) as error:
        return complain(error)
    except KeyboardInterrupt as error:
        return 128 + int(getattr(error, "number", signal.SIGINT))
    console = Console(highlight=False, soft_wrap=True)
    for one in shown:
        console.print(one)
    return 0


def _request(options: Options) -> Any:
    """What is asked of every protocol on labelled images."""
    from swav_ray.launch.evaluate import Request

    return Request(**{item.name: options[item.name] for item in dataclasses.fields(Request) if item.name in options})


def _on_features(name: str, options: Options, terminal: Terminal) -> list[Table]:
    from swav_ray.launch.evaluate import evaluate

    return [table(evaluate(name, _request(options), terminal.line, flag=options.get(_FLAG) or ""))]


def _on_images(name: str, options: Options, terminal: Terminal) -> list[Table]:
    from swav_ray.launch.evaluate import train

    return [table(train(name, _request(options), options, terminal))]


def _detect(options: Options, terminal: Terminal) -> list[Table]:
    from swav_ray.launch.detect import detect

    # --image-size is the detector's: the weights say what the network was trained with.
    return [table(detect(_request(options | {"image_size": 0}), options, terminal))]


def _all(options: Options, terminal: Terminal) -> list[Table]:
    from swav_ray.launch.evaluate import all_of

    trained = [_trained(words) for words in options["trained"]]
    return [table(result) for result in all_of(_request(options), terminal, trained).values()]


def _compare(options: Options, terminal: Terminal) -> list[Table]:
    from swav_ray.launch.evaluate import all_of

    backbones = options["backbones"]
    if len(backbones) < 2:
        raise WrongArgument("compare: needs two or more backbones and no --checkpoint")
    trained = [_trained(words) for words in options["trained"]]
    requests = [_request(options | {"checkpoint": word}) for word in backbones]
    return [comparison(backbones, [all_of(request, terminal, trained) for request in requests])]


if __name__ == "__main__":
    sys.exit(main())
