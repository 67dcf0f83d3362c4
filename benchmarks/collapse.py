"""Runs that are built to collapse, and healthy ones: what the health monitor says, when, and whether a remedy rescues.

    python -m benchmarks.collapse [CASE ...] [--whole] [--folder DIR] [--epochs N] [--only warn|remedy]

Prints a JSON line for each case. Every run is the quickstart on the built-in images with what breaks it, trained by the
real worker in this process. A broken case trains twice: with `health.on_collapse warn`, which shows how a run ends
that nobody rescues, and with `remedy`. `healthy-0` to `healthy-4` are the quickstart by seed, with nothing broken;
`--only remedy` remedies those too. Without --whole it is a quarter of it, seconds a run: 1,500 images in batches of
64, two crops, 30 prototypes, a freeze of 100 steps.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.parts.in_process_run import make_run, train
from swav_ray import settings
from swav_ray.config import Config, replace
from swav_ray.health.guard import Collapsed
from swav_ray.recipes import quickstart
from swav_ray.run.events import Events
from swav_ray.run.health_log import ALARMS, read_health
from swav_ray.run.history import read_history
from swav_ray.run.layout import SUMMARY
from swav_ray.run.messages import HealthChanged
from swav_ray.training.learner import Diverged

_UNFROZEN = {"optim.freeze_prototypes_steps": 0}


def broken(batch: int) -> dict[str, dict[str, Any]]:
    """What breaks a run of batches of so many images, by case."""
    return {
        "epsilon": {"assignment.epsilon": 0.5},
        "one-iteration": {"assignment.iterations": 1, "optim.base_lr": 100.0, **_UNFROZEN},
        "no-freeze": {"optim.base_lr": 300.0, **_UNFROZEN},
        "queue": {"queue.length": 23 * batch, "queue.start_epoch": 0},  # all images
        "queue-early": {"queue.length": 8 * batch, "queue.start_epoch": 2},
        "prototypes": {"model.prototypes": (3000,), "assignment.epsilon": 0.05},
    }


HEALTHY = {f"healthy-{seed}": {"run.seed": seed} for seed in range(5)}


def quarter() -> Config:
    """The quickstart, small enough for a run to take seconds."""
    return replace(
        quickstart(),
        data={"limit": 1500},
        crops={"sizes": (32,), "counts": (2,), "min_scales": (0.4,), "max_scales": (1.0,)},
        model={"prototypes": (30,)},
        optim={"base_lr": 4.0, "warmup_epochs": 1.0},  # with the quickstart's, one seed in five stays at ln K
        train={"global_batch_size": 64},
        eval={"max_bank": 1000, "max_queries": 500},
    )


def run_case(
    name: str, base: Config, changes: dict[str, Any], folder: Path, on_collapse: str, epochs: int
) -> dict[str, Any]:
    """One run; what its monitor said and what it ended with."""
    config = settings.with_values(
        base, changes | {"health.on_collapse": on_collapse, "eval.knn_every_epochs": 0, "train.epochs": epochs}
    )
    run_dir = make_run(folder / f"{name}-{on_collapse}", replace(config, run={"name": name}))
    began, ended, words = time.monotonic(), "", []
    try:
        coordinator = train(config, run_dir)
        words = [message for message in coordinator.messages if isinstance(message, HealthChanged)]
    except (Collapsed, Diverged) as error:
        ended = str(error)
    alarms = [message for message in words if message.word in ALARMS]
    found: dict[str, Any] = {
        "case": name,
        "on_collapse": on_collapse,
        "changes": {key: value for key, value in changes.items() if key != "run.seed"},
        "words": [(message.step, message.word) for message in words],
        "first_alarm": [alarms[0].step, alarms[0].word, alarms[0].why] if alarms else None,
        "remedies": [
            {key: entry[key] for key in ("step", "back_to", "word", "name", "changes")}
            for entry in read_history(run_dir)
            if entry["event"] == "remedy"
        ],
        "ended": ended,
        "last_word": read_health(run_dir)[-1]["word"],
        "seconds": round(time.monotonic() - began, 1),
    }
    if (run_dir / SUMMARY).exists():
        summary = json.loads((run_dir / SUMMARY).read_bytes())
        found |= {key: summary[key] for key in ("loss_last_epoch", "ln_k", "knn_top1", "knn_untrained")}
        found["verdict"] = summary["verdict"]["line"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=[], metavar="CASE", help=", ".join([*broken(0), *HEALTHY]))
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--epochs", type=int, default=quickstart().train.epochs)
    parser.add_argument("--only", choices=["warn", "remedy"], default=None)
    parser.add_argument("--whole", action="store_true", help="the quickstart itself, minutes a run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    Events.write = lambda *_: None  # type: ignore[method-assign]  # TensorBoard takes seconds to import
    folder = options.folder or Path(tempfile.mkdtemp())
    base = quickstart() if options.whole else quarter()
    cases = broken(base.train.global_batch_size)
    for name in options.cases or [*cases, *HEALTHY]:
        changes = cases.get(name) or HEALTHY[name]
        for how in ["warn", "remedy"]:
            if how == options.only or (options.only is None and (name in cases or how == "warn")):
                sys.stdout.write(json.dumps(run_case(name, base, changes, folder, how, options.epochs)) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
