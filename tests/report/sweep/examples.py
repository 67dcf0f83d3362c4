"""Sweep directories as a sweep leaves them, written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from swav_ray import settings
from swav_ray.recipes import quickstart
from swav_ray.report.sweep.record import SweepRecord, read_sweep
from swav_ray.run import measurements
from swav_ray.storage.place import place

EPOCHS = 6


def write_trial(folder: Path, name: str, state: str, values: dict[str, Any], knn: list[float], **about: Any) -> None:
    generation = about.pop("generation", 0)
    run_dir = place(folder / "trials" / (f"{name}-g{generation}" if generation else name))
    whole = {"trial": name, "generation": generation, "values": values, "origin": None, "state": state}
    whole |= {"reason": "", "seconds": 60.0, **about}
    (run_dir / "trial.json").write_bytes(json.dumps(whole).encode())
    (run_dir / "config.yaml").write_bytes(settings.to_yaml(quickstart()).encode())
    first = about.get("first", 0)
    for number, value in enumerate(knn):
        epoch = first + number + 1
        row = {"step": epoch * 10, "epochs": float(epoch), "samples_seen": epoch * 1000, "loss": 3.0, "knn_top1": value}
        measurements.append(run_dir, row)


def write_search(folder: Path, objective: list[str], space: dict[str, str], own: dict[str, Any] | None = None) -> None:
    search = {"objective": objective, "searcher": "random", "scheduler": "asha", "num_samples": 12, "grace_epochs": 2}
    document = {"search": {**search, "seed": 0, "space": space}, "seconds": 720.0, "own": own}
    place(folder / "sweep.yaml").write_bytes(yaml.safe_dump(document).encode())


def eleven_trials(folder: Path) -> SweepRecord:
    """Eight finished trials that temperature decides, one stopped while it led, one collapsed, one failed at once."""
    generator = np.random.default_rng(0)
    write_search(folder, ["knn"], {"train.temperature": "float (0.05, 0.3)", "queue.length": "categorical [0, 512]"})
    for number in range(8):
        temperature = 0.05 + 0.03 * number
        end = 60 - 100 * abs(temperature - 0.14) + generator.normal(0, 0.3)
        values = {"train.temperature": temperature, "queue.length": [0, 512][number % 2]}
        write_trial(folder, f"t_{number}", "finished", values, list(np.linspace(30, end, EPOCHS)))
    values = {"train.temperature": 0.3, "queue.length": 0}
    write_trial(folder, "t_8", "stopped", values, [70.0, 71.0], reason="by the scheduler after epoch 2")
    write_trial(folder, "t_9", "collapsed", values, [80.0, 80.0], reason="the loss is stuck")
    write_trial(folder, "t_a", "failed", values, [], reason="no <room>")
    return read_sweep(place(folder))
