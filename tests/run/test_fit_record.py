"""A step of an evaluation that trains: its line in metrics.jsonl, and what the terminal shows of it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from swav_ray.run.fit_record import FitRecord


def record(step: int, figures: Mapping[str, float]) -> FitRecord:
    return FitRecord(
        step=step,
        steps=9,
        epoch=step // 3,
        figures=figures,
        images_per_second=80.0,
        data_wait=0.5,
        bad_images=0,
        workers=2,
        ids="00ff",
        time=1.5,
        seconds=0.1,
    )


def test_its_line_has_the_figures_of_the_training_last() -> None:
    line = record(4, {"loss": 2.5, "lr": 0.3}).line()
    assert json.dumps(line) == (
        '{"step": 4, "steps": 9, "epoch": 1, "images_per_second": 80.0, "data_wait": 0.5, "bad_images": 0, '
        '"workers": 2, "ids": "00ff", "time": 1.5, "seconds": 0.1, "loss": 2.5, "lr": 0.3}'
    )


def test_a_training_has_one_loss_or_none() -> None:
    assert record(4, {"loss": 2.5}).loss == 2.5
    assert record(4, {"loss boxes": 1.0, "loss masks": 2.0}).loss is None
    assert record(4, {"loss boxes": 1.0, "lr": 0.00123456}).shown() == "loss boxes 1  lr 0.001235"
