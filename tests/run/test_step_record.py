"""A step's line in metrics.jsonl: its keys and their order are a format."""

from __future__ import annotations

import json

from tests.run.test_metrics_log import record

LINE = (
    '{"step": 3, "steps": 9, "epoch": 0, "samples_seen": 32, "loss": 3.0, "lr": 0.1, "images_per_second": 80.0, '
    '"data_wait": 0.5, "crop_seconds": 0.25, "bytes_read": 10, "retries": 0, "bad_images": 0, "workers": 1, '
    '"ids": "00ff", "time": 1.5, "seconds": 0.1, "checkpoint_seconds": 0.0, "evaluate_seconds": 0.0'
)


def test_a_line_is_byte_for_byte_that_of_earlier_versions() -> None:
    assert json.dumps(record(3).line()) == LINE + "}"


def test_figures_of_the_cluster_come_after_those_of_the_step() -> None:
    assert json.dumps(record(3, usage={"crop_nodes": 2}).line()) == LINE + ', "crop_nodes": 2}'


def test_a_refused_step_has_no_loss_and_names_its_samples_last() -> None:
    refused = record(3, loss=None, refused="the loss is nan", sample_ids=(5, 2), usage={"crop_nodes": 2})
    without = LINE.replace('"loss": 3.0', '"loss": null')
    assert json.dumps(refused.line()) == (
        without + ', "crop_nodes": 2, "refused": "the loss is nan", "sample_ids": [5, 2]}'
    )
