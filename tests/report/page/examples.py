"""Run directories as a run leaves them, written by hand, and pictures of them that no network made."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from swav_ray import settings
from swav_ray.config import Config, replace
from swav_ray.recipes import quickstart
from swav_ray.report.page.gallery import Cluster, Crops, Gallery, Map, Neighbours, Picture
from swav_ray.run import measurements
from swav_ray.storage.place import Place, place

BEGAN = 1_700_000_000.0


def write_lines(file: Place, lines: list[dict[str, Any]]) -> None:
    file.write_bytes("".join(json.dumps(line) + "\n" for line in lines).encode())


def step_line(step: int, steps: int, loss: float | None, *, workers: int = 1, late: float = 0.0) -> dict[str, Any]:
    """A line of metrics.jsonl: a step takes half a second, of which a tenth is waited for data."""
    line: dict[str, Any] = {"step": step, "steps": steps, "epoch": step // 10, "samples_seen": 256 * (step + 1)}
    line |= {"loss": loss, "lr": 0.1, "images_per_second": 512.0, "data_wait": 0.1, "crop_seconds": 0.1}
    line |= {"bytes_read": 0, "retries": 0, "bad_images": 0, "workers": workers, "ids": "0", "seconds": 0.5}
    line |= {"time": BEGAN + 10 + 0.5 * (step + 1) + late, "checkpoint_seconds": 0.0, "evaluate_seconds": 0.0}
    return line | ({"refused": "loss is nan", "sample_ids": [1, 2]} if loss is None else {})


def write_run(folder: Path, steps: int = 40, *, config: Config | None = None, finished: bool = True) -> Place:
    """A run of so many steps that learns: it was resized half way, and measured every ten steps."""
    run_dir = place(folder)
    config = replace(config or quickstart(), run={"name": folder.name, "storage": str(folder.parent)})
    (run_dir / "config.yaml").write_bytes(settings.to_yaml(config).encode())
    losses = 3 + 1.6 * np.exp(-np.arange(steps) / (steps / 4))
    half = steps // 2
    write_lines(
        run_dir / "metrics.jsonl",
        [
            step_line(step, steps, float(loss), workers=1 if step < half else 2, late=0 if step < half else 5)
            for step, loss in enumerate(losses)
        ],
    )
    write_lines(
        run_dir / "history.jsonl",
        [
            {"time": BEGAN, "event": "launch"},
            {"time": BEGAN + 5, "event": "claim", "id": "a"},
            {"time": BEGAN + 5, "event": "start", "step": 0, "workers": 1, "lost_steps": 0, "lost_seconds": 0},
            {"time": BEGAN + 12, "event": "start", "step": half, "workers": 2, "lost_steps": 3, "lost_seconds": 1.5},
        ],
    )
    write_lines(
        run_dir / "health.jsonl",
        [
            {"step": step, "epoch": step // 10, "word": "healthy", "why": "", "sound": True, "loss": 3.5}
            | {"codes_entropy": 1.0, "left_to_learn": 2.5, "usage": 0.8, "spread": 0.9, "effective_rank": 30.0}
            for step in range(0, steps, 10)
        ],
    )
    for step in range(10, steps + 1, 10):
        row = {"step": step, "epochs": step / 10, "samples_seen": 256 * step, "loss": 3.5, "knn_top1": 30 + step / 2}
        measurements.append(run_dir, row)
    if finished:
        write_summary(run_dir, steps)
    return run_dir


def write_summary(run_dir: Place, steps: int, **more: Any) -> None:
    summary: dict[str, Any] = {"steps": steps, "epochs": steps // 10, "images": 1000, "loss_last_epoch": 3.1}
    summary |= {"knn_top1": {"trained": 50.0, "untrained": 34.0, "pixels": 30.0, "chance": 10.0}, "knn_queries": 400}
    summary |= {"seconds": {"training": 18.0, "data_wait": 2.0, "goodput": 0.9}, **more}
    (run_dir / "summary.json").write_bytes(json.dumps(summary).encode())


def jpeg(pixels: np.ndarray) -> str:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG")
    return base64.b64encode(sink.getvalue()).decode()


def gallery(names: list[str], labels: list[str]) -> Gallery:
    """Pictures of these names and labels ('' for none), each nearest to a prototype of its own label."""
    kinds = sorted(set(labels))
    assigned = tuple(kinds.index(label) for label in labels)
    members = [tuple(i for i, a in enumerate(assigned) if a == number) for number in range(len(kinds))]
    side = 8
    noise = np.random.default_rng(0).integers(0, 255, (-(-len(names) // 4) * side, 4 * side, 3), np.uint8)
    small = jpeg(noise[:side, :side])
    return Gallery(
        step=40,
        images=1000,
        sheet=jpeg(noise),
        columns=4,
        embedded_side=32,
        side=side,
        pictures=tuple(Picture(name, label) for name, label in zip(names, labels, strict=True)),
        prototypes=100,
        used=len(kinds),
        clusters=tuple(
            Cluster(number, len(own), own[:10], 1.0 if kinds[number] else None, kinds[number])
            for number, own in enumerate(members[:24])
        ),
        assigned=assigned,
        neighbours=(Neighbours(0, tuple(range(1, min(9, len(names)))), (len(names) - 1,)),) if len(names) > 1 else (),
        maps=(Map("PCA", tuple((float(np.cos(i)), float(np.sin(i))) for i in range(len(names)))),),
        crops=(Crops(names[0], labels[0], small, ((32, small), (24, small))),),
        began="the same network untrained",
    )
