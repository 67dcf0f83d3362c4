"""What a person reads of each message of the workers."""

from __future__ import annotations

import pytest

from swav_ray.recipes import quickstart
from swav_ray.report.terminal import Terminal
from swav_ray.run.messages import (
    Finishing,
    KnnMeasured,
    Leaving,
    Measured,
    Message,
    Preempted,
    Resizing,
    Resumed,
    Stopped,
    Warned,
)
from tests.run.test_metrics_log import record


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (Resumed(7, 1), "resumed from the checkpoint before step 7, with 1 worker"),
        (Resumed(7, 4), "resumed from the checkpoint before step 7, with 4 workers"),
        (Stopped(7), "stopped before step 7, with a checkpoint; the same command resumes from there"),
        (
            Preempted(("0123456789", "abcdefghij"), 57.6),
            "node 01234567, abcdefgh is preempted in 58 s: a checkpoint now, and another shortly before",
        ),
        (Leaving(7), "saved before step 7; resuming without the preempted node"),
        (Resizing(7), "saved before step 7; changing the number of workers"),
        (KnnMeasured(7, 43.21), "step 7: kNN top-1 43.2%"),
        (Finishing(), "kNN on held-out images"),
        (Warned("the disk is full"), "warning: the disk is full"),
        (record(3, loss=None, refused="the loss is nan"), "warning: step 3 was refused: the loss is nan; "),
        (record(3), "epoch 1/24  step 4/9  loss 3.0000  lr 0.1  80 images/s  waiting for data 50%  ETA -"),
    ],
)
def test_each_message_is_a_line(message: Message, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(0.0)
    with terminal.live(quickstart()):
        terminal.show(message)
    (shown,) = capsys.readouterr().out.splitlines()
    assert shown.startswith(line)


def test_a_measurement_is_for_sweeps_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(0.0).show(Measured({"step": 3}))
    assert capsys.readouterr().out == ""
