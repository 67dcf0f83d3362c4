"""`python -m swav_ray.report RUN [RUN ...]`: a run's page, or several side by side, as one file without network."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence

from swav_ray import command_line
from swav_ray.report.complaint import complain
from swav_ray.report.page.run_record import read_run
from swav_ray.report.page.write import of_run, of_several, pictures_of
from swav_ray.run.layout import PAGE
from swav_ray.storage.place import Place, place

_SEVERAL = "comparison.html"


def parser() -> command_line.Parser:
    """The command's options."""
    made = command_line.Parser(
        prog="python -m swav_ray.report",
        description="Writes one HTML file about a run, or about several runs side by side.",
    )
    made.add_argument("runs", nargs="+", metavar="RUN", help="a run directory, local or s3://")
    made.add_argument(
        "--out",
        default="",
        metavar="FILE",
        help=f"where the page goes ({PAGE} in the run directory; {_SEVERAL} here for several runs)",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 done, 1 it failed, 2 the user's mistake, in one line."""
    try:
        options = command_line.read(parser(), sys.argv[1:] if arguments is None else arguments)
        places = [place(name) for name in options.runs]
        runs = [read_run(where) for where in places]
        make = functools.partial(pictures_of, patient=True)
        text = of_run(runs[0], make) if len(runs) == 1 else of_several(runs, make)
        out = _out(options.out, places)
        out.write_bytes(text.encode())
    except (ValueError, OSError) as error:
        return complain(error)
    sys.stdout.write(f"{out}\n")
    return 0


def _out(given: str, runs: Sequence[Place]) -> Place:
    if given:
        return place(given)
    return runs[0] / PAGE if len(runs) == 1 else place(_SEVERAL)


if __name__ == "__main__":
    sys.exit(main())
