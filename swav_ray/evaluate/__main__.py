"""`python -m swav_ray.evaluate PROTOCOL --checkpoint C [--train PLACE] [--val PLACE] ...`: judges a backbone."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console

from swav_ray import command_line
from swav_ray.evaluate.protocols import ON_FEATURES
from swav_ray.evaluate.results import table
from swav_ray.report.complaint import complain

_PLACE = "a local folder or s3://bucket/prefix of images, Parquet shards, tars or IDX files"


def parser() -> command_line.Parser:
    """The command's options."""
    made = command_line.Parser(
        prog="python -m swav_ray.evaluate", description="Judges a backbone by a protocol of the field."
    )
    made.add_argument("protocol", choices=list(ON_FEATURES), help="what to judge by")
    made.add_argument(
        "--checkpoint",
        required=True,
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
    made.add_argument("--limit", type=command_line.at_least_one, default=0, help="most images of a split (all)")
    made.add_argument("--ray-logs", action="store_true", help="show Ray's own messages")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """The command; 0 done, 2 the user's mistake in one line, 1 it failed."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        options = vars(command_line.read(parser(), sys.argv[1:] if words is None else words))
        # Ray takes seconds to import, and a wrong word should be told at once.
        from swav_ray.launch.evaluate import Request, evaluate

        protocol = options.pop("protocol")
        result = evaluate(protocol, Request(**options), lambda line: console.print(line, markup=False))
    except (ValueError, OSError) as error:
        return complain(error)
    console.print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
