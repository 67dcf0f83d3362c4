"""`python -m swav_ray.watch RUN`: the live panel of a run that trains anywhere, read from its storage."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from swav_ray import command_line
from swav_ray.report.complaint import complain
from swav_ray.report.panel import LivePanel
from swav_ray.report.screen import Screen
from swav_ray.report.watched import WatchedRun
from swav_ray.run.state import RUNNING
from swav_ray.storage.place import place

_SECONDS = 5.0  # between looks
_LINE_SECONDS = 10.0  # between lines elsewhere than in a terminal


def parser() -> command_line.Parser:
    """The command's options."""
    made = command_line.Parser(
        prog="python -m swav_ray.watch",
        description="Shows how a run is doing until it ends, from its files. Needs no Ray and disturbs nothing.",
    )
    made.add_argument("run", metavar="RUN", help="a run directory, local or s3://")
    made.add_argument("--once", action="store_true", help="look once, and end")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 the run has ended, 1 it failed, 2 the user's mistake, 130 interrupted."""
    try:
        options = command_line.read(parser(), sys.argv[1:] if arguments is None else arguments)
        watch(WatchedRun(place(options.run)), Console(highlight=False), once=options.once)
    except (ValueError, OSError) as error:
        return complain(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def watch(
    run: WatchedRun, console: Console, *, once: bool = False, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Shows a run until it is not running any more, or once.

    Args:
        sleep: waits so many seconds.
    """
    run.look()
    panel = LivePanel(run.progress, time.time)
    if not console.is_terminal:
        _say(run, console)
        while not once and run.state == RUNNING:
            sleep(_LINE_SECONDS)
            run.look()
            _say(run, console)
        return
    with Screen(console) as screen:
        screen.show(panel)
        while not once and run.state == RUNNING:
            sleep(_SECONDS)
            run.look()
    console.print(panel)
    console.print(Text(f"{run.progress.name}: {run.state}" + (f", {run.why}" if run.why else "")))


def _say(run: WatchedRun, console: Console) -> None:
    console.print(Text(run.line()), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
