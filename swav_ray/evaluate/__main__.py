"""`python -m swav_ray.evaluate {PROTOCOL,all,compare} --checkpoint C ...`: judges backbones by the field's protocols.

PROTOCOL: one protocol on one backbone. all: every protocol that the given images allow. compare: several backbones side
by side, `compare A B ...`, with a paired test of whether the others differ from the first by more than noise.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from swav_ray import command_line
from swav_ray.evaluate.protocols import ON_FEATURES
from swav_ray.evaluate.results.files import comparison, table
from swav_ray.report.complaint import complain
from swav_ray.report.terminal import Terminal

_PLACE = "a local folder or s3://bucket/prefix of images, Parquet shards, tars or IDX files"
_ALL, _COMPARE = "all", "compare"


def parser() -> command_line.Parser:
    """The command's options."""
    made = command_line.Parser(
        prog="python -m swav_ray.evaluate", description="Judges backbones by the protocols of the field."
    )
    made.add_argument("protocol", choices=[*ON_FEATURES, _ALL, _COMPARE], help="what to judge by")
    made.add_argument("backbones", nargs="*", metavar="C", help="for compare: two or more, each as --checkpoint")
    made.add_argument(
        "--checkpoint",
        default="",
        metavar="C",
        help="a run directory, one of its checkpoints, or a file of anybody's weights, local or s3://; untrained:C is "
        "the same network with fresh weights, pixels:C the images' own pixels",
    )
    made.add_argument("--which", choices=["newest", "best"], default="newest", help="of a run's checkpoints")
    made.add_argument(
        "--train", default="", metavar="PLACE", help=f"images to learn from: {_PLACE}; without it, the run's own"
    )
    made.add_argument("--val", default="", metavar="PLACE", help="images to judge by; without it, --train's test split")
    made.add_argument("--labels", default="", metavar="CSV", help="name,label for images that have no class folders")
    made.add_argument("--out", default="", metavar="DIR", help="where results go (default: evaluations/ in the run)")
    made.add_argument("--storage", default="runs", metavar="PLACE", help="where manifests are cached (%(default)s)")
    made.add_argument(
        "--image-size", type=command_line.at_least_one, default=0, help="side of the centre crop, in pixels (the run's)"
    )
    made.add_argument("--prefix", default="", help="what the names begin with, if a file holds several networks")
    made.add_argument("--limit", type=command_line.at_least_one, default=0, help="most images of a split (all)")
    made.add_argument("--ray-logs", action="store_true", help="show Ray's own messages")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """The command; 0 done, 2 the user's mistake in one line, 1 it failed, 130 interrupted: the same command resumes."""
    terminal = Terminal(0.0)
    try:
        options = vars(command_line.read(parser(), sys.argv[1:] if words is None else words))
        protocol, backbones = options.pop("protocol"), options.pop("backbones")
        _check(protocol, backbones, options)
        terminal.waiting_for(f"{protocol}: {{}} so far")
        with terminal.attended():
            shown = _run(protocol, backbones, options, terminal.line)
    except (ValueError, OSError) as error:
        return complain(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    console = Console(highlight=False, soft_wrap=True)
    for one in shown:
        console.print(one)
    return 0


def _check(protocol: str, backbones: list[str], options: dict[str, Any]) -> None:
    """Raises WrongArgument for words that do not go together."""
    if not options["train"] and (options["val"] or options["labels"]):
        raise command_line.WrongArgument("--val, --labels: need --train; without it the run's own images are used")
    if protocol == _COMPARE:
        if options["checkpoint"] or len(backbones) < 2:
            raise command_line.WrongArgument("compare: needs two or more backbones and no --checkpoint")
    elif backbones:
        raise command_line.WrongArgument(f"{backbones[0]}: is not expected here; see --help")
    elif not options["checkpoint"]:
        raise command_line.WrongArgument("--checkpoint: is missing; give a run directory or a file of weights")


def _run(protocol: str, backbones: list[str], options: dict[str, Any], say: Callable[[str], None]) -> list[Table]:
    """What the command shows at its end."""
    # Ray takes seconds to import, and a wrong word should be told at once.
    from swav_ray.launch.evaluate import Request, all_of, evaluate

    if protocol == _COMPARE:
        requests = [Request(**options | {"checkpoint": word}) for word in backbones]
        return [comparison(backbones, [all_of(request, say) for request in requests])]
    if protocol == _ALL:
        return [table(result) for result in all_of(Request(**options), say).values()]
    return [table(evaluate(protocol, Request(**options), say))]


if __name__ == "__main__":
    sys.exit(main())
