"""`python -m swav_ray.embed --checkpoint C --data PLACE OUT`: embeddings and clusters of all images of a place.

The same command resumes what was interrupted, and adds what further options ask for.
`python -m swav_ray.embed search OUT IMAGE...` prints the embedded images that are nearest to others.
"""

from __future__ import annotations

import dataclasses
import signal
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from swav_ray import command_line
from swav_ray.command_line import Parser, WrongArgument
from swav_ray.report.complaint import complain
from swav_ray.report.terminal import Terminal

SEARCH = "search"
_PROGRESS_SECONDS = 10.0  # between progress lines without a terminal
_INDEXES = ("flat", "ivf")
_LAYERS, _DTYPES, _HOW = ("pooled", "projection", "map"), ("float16", "float32"), ("link", "symlink", "copy")


def parser() -> Parser:
    """Of the command that embeds."""
    made = Parser(
        prog="python -m swav_ray.embed",
        description="Embeds all images of a place to Parquet, with clusters. The same command resumes. "
        "`python -m swav_ray.embed search OUT IMAGE...` finds the images nearest to others.",
    )
    made.add_argument("out", nargs="?", default="", metavar="OUT", help="folder of the embeddings, local or s3://")
    made.add_argument(
        "--checkpoint",
        default="",
        metavar="C",
        help="a run directory, one of its checkpoints, or a file of anybody's weights, local or s3://",
    )
    made.add_argument(
        "--data", default="", metavar="PLACE", help="images, Parquet shards, tars or IDX files, local or s3://"
    )
    made.add_argument("--which", choices=["newest", "best"], default="newest", help="of a run's checkpoints")
    made.add_argument("--prefix", default="", help="what the names begin with, if a file holds several networks")
    made.add_argument(
        "--image-size", type=command_line.at_least_one, default=0, help="side of the centre crop, in pixels (the run's)"
    )
    made.add_argument("--layer", choices=_LAYERS, default="pooled", help="what is written (%(default)s)")
    made.add_argument("--dtype", choices=_DTYPES, default="float16", help="of the embeddings (%(default)s)")
    made.add_argument("--heads", action="store_true", help="clusters of every prototype head, not the first alone")
    made.add_argument(
        "--assign", choices=["hard", "soft"], default="hard", help="soft: the three best clusters too (%(default)s)"
    )
    made.add_argument(
        "--temperature", type=command_line.not_negative, default=0.0, help="of the clusters' probabilities (the run's)"
    )
    made.add_argument("--clusters", default="", metavar="K", help="clusters by k-means: a number, or auto")
    made.add_argument(
        "--neighbours", type=command_line.at_least_one, default=0, metavar="N", help="nearest images of each image"
    )
    made.add_argument("--index", choices=_INDEXES, default="", help="of faiss, for many searches in a large set")
    made.add_argument("--into-folders", default="", metavar="DEST", help="puts the images into a folder a cluster")
    made.add_argument("--how", choices=_HOW, default="link", help="they get there (%(default)s: hard links)")
    made.add_argument("--storage", default="runs", metavar="PLACE", help="where manifests are cached (%(default)s)")
    made.add_argument("--ray-logs", action="store_true", help="show Ray's own messages")
    return made


def search_parser() -> Parser:
    """Of the command that searches."""
    made = Parser(prog=f"python -m swav_ray.embed {SEARCH}", description="The embedded images nearest to others.")
    made.add_argument("out", metavar="OUT", help="folder of embeddings, local or s3://")
    made.add_argument("images", nargs="+", metavar="IMAGE", help="files, local or s3://")
    made.add_argument("--neighbours", type=command_line.at_least_one, default=10, metavar="N", help="(%(default)s)")
    made.add_argument("--exact", action="store_true", help="do not use the index, if there is one")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """The command; 0 done, 2 the user's mistake in one line, 1 it failed, 128 and a signal's number if one ended it:
    the same command resumes."""
    words = sys.argv[1:] if words is None else words
    try:
        if words and words[0] == SEARCH:
            return _search(vars(command_line.read(search_parser(), words[1:])))
        return _embed(vars(command_line.read(parser(), words)))
    except (ValueError, OSError, RuntimeError) as error:
        return complain(error)
    except KeyboardInterrupt as error:
        return 128 + int(getattr(error, "number", signal.SIGINT))


def _embed(options: dict[str, Any]) -> int:
    for name, what in (
        ("checkpoint", "--checkpoint: is missing; give a run directory or a file of weights"),
        ("data", "--data: is missing; give the place of the images"),
        ("out", "OUT: is missing; give a folder for the embeddings"),
    ):
        if not options[name]:
            raise WrongArgument(what)
    clusters = options.pop("clusters")
    if clusters not in ("", "auto") and not (clusters.isdecimal() and int(clusters) >= 2):
        raise WrongArgument(f"--clusters {clusters}: must be auto or a number of 2 or more")
    # Ray takes seconds to import, and a wrong argument should be told at once.
    from swav_ray.embed.finish import Extras
    from swav_ray.launch.embed import Request, embed

    extras = Extras(
        clusters=clusters, **{name: options.pop(name) for name in ("neighbours", "into_folders", "how", "index")}
    )
    terminal = Terminal(_PROGRESS_SECONDS)
    terminal.waiting_for("embed: {} so far")
    names = {item.name for item in dataclasses.fields(Request)}
    with terminal.attended():
        embed(
            Request(
                soft=options["assign"] == "soft",
                extras=extras,
                **{name: value for name, value in options.items() if name in names},
            ),
            terminal,
        )
    return 0


def _search(options: dict[str, Any]) -> int:
    from swav_ray.embed import output as outputs
    from swav_ray.embed.neighbours.nearest import search_all
    from swav_ray.storage.place import place

    found = search_all(
        outputs.read(place(options["out"])), options["images"], options["neighbours"], exact=options["exact"]
    )
    console = Console(highlight=False, soft_wrap=True)
    for image, neighbours in zip(options["images"], found, strict=True):
        table = Table(title=image, title_justify="left")
        table.add_column("cosine", justify="right")
        table.add_column("image")
        for neighbour in neighbours:
            table.add_row(f"{neighbour.similarity:.4f}", neighbour.uri)
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
