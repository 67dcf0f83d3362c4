"""`python -m swav_ray.replay RUN [STEP]`: runs a refused step again and names the first tensor that is not finite."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch

from swav_ray import command_line
from swav_ray.command_line import whole_number
from swav_ray.config import ConfigError
from swav_ray.health import black_box
from swav_ray.health.replay import replay
from swav_ray.report.complaint import complain
from swav_ray.storage.place import Place, place
from swav_ray.training.torch_setup import set_up_torch


def parser() -> command_line.Parser:
    """The command's options."""
    made = command_line.Parser(
        prog="python -m swav_ray.replay",
        description="Runs a refused step of a run again and names the first tensor that is not finite.",
    )
    made.add_argument("run", metavar="RUN", help="the run's directory, local or s3://")
    made.add_argument("step", metavar="STEP", nargs="?", type=whole_number, help="default: the first that was saved")
    made.add_argument("--device", default="cpu", help="where to run it, cpu or cuda (default: %(default)s)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 the step has run, 2 the user's mistake in one line."""
    try:
        options = command_line.read(parser(), sys.argv[1:] if arguments is None else arguments)
        run_dir = place(options.run)
        step = _step(run_dir, options.step)
        lines = _replay(run_dir, step, _device(options.device))
    except (ValueError, OSError) as error:
        return complain(error)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _step(run_dir: Place, asked: int | None) -> int:
    there = black_box.saved_steps(run_dir)
    if not there:
        raise ConfigError("RUN", str(run_dir), "has no refused step; a run saves the first that it refuses")
    if asked is not None and asked not in there:
        raise ConfigError("STEP", asked, f"was not saved; the run has step {', '.join(map(str, there))}")
    return there[0] if asked is None else asked


def _device(name: str) -> torch.device:
    gpu = torch.cuda.is_available()
    if name != "cpu" and not (name == "cuda" and gpu):
        raise ConfigError("--device", name, "must be cpu or cuda" if gpu else "must be cpu: torch finds no GPU here")
    return torch.device(name)


def _replay(run_dir: Place, step: int, device: torch.device) -> list[str]:
    box = black_box.load(run_dir, step)
    set_up_torch(box.config, device)
    return [f"step {step} of {run_dir}", *replay(box, device).lines()]


if __name__ == "__main__":
    sys.exit(main())
