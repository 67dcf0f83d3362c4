"""What a person reads: a line for each message of the workers, and never more than 15 s without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from swav_ray.report.silence import duration
from swav_ray.report.terminal import Terminal
from swav_ray.run.messages import (
    Finishing,
    HealthChanged,
    Judged,
    KnnMeasured,
    Leaving,
    Measured,
    Message,
    Preempted,
    Quarantined,
    Remedied,
    Resizing,
    Resumed,
    Stopped,
    Waiting,
    Warned,
)
from tests.run.test_fit_record import record as fit_record
from tests.run.test_metrics_log import record

LIMIT = 15.0


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A terminal on a fake clock, attended once a second."""

    def __init__(self, capsys: pytest.CaptureFixture[str], seconds: float = 10.0) -> None:
        self.clock = Clock()
        self.terminal = Terminal(seconds, self.clock)
        self._capsys = capsys

    def after(self, seconds: int) -> list[str]:
        """The lines of the next seconds."""
        self._capsys.readouterr()
        for _ in range(seconds):
            self.clock.now += 1.0
            self.terminal.quiet()
        return self._capsys.readouterr().out.splitlines()


@pytest.fixture
def watched(capsys: pytest.CaptureFixture[str]) -> Watched:
    return Watched(capsys)


def test_what_takes_long_is_said_every_15_seconds(watched: Watched) -> None:
    watched.terminal.waiting_for("starting Ray: {}")
    assert watched.after(14) == []
    assert watched.after(60) == [
        "starting Ray: 15 s",
        "starting Ray: 30 s",
        "starting Ray: 45 s",
        "starting Ray: 1 min 00 s",
    ]


def test_a_line_of_any_kind_breaks_the_silence(watched: Watched) -> None:
    watched.terminal.waiting_for("starting Ray: {}")
    watched.after(10)
    watched.terminal.line("warning: 2 workers need 3 CPUs")
    assert watched.after(14) == []
    assert watched.after(1) == ["starting Ray: 25 s"]


def test_a_name_with_braces_is_shown_as_it_is(watched: Watched) -> None:
    watched.terminal.waiting_for("waiting for s3://bucket/{a}: {}")
    assert watched.after(15) == ["waiting for s3://bucket/{a}: 15 s"]


def test_who_asked_for_fewer_lines_gets_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    watched = Watched(capsys, seconds=60.0)
    watched.terminal.waiting_for("starting Ray: {}")
    assert watched.after(120) == ["starting Ray: 1 min 00 s", "starting Ray: 2 min 00 s"]


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (7380, "2 h 03 min")])
def test_a_duration_is_as_a_person_says_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_workers_say_what_they_wait_for(watched: Watched) -> None:
    watched.terminal.show(Waiting("crops"))
    assert watched.after(10) == []
    watched.terminal.show(Waiting("crops"))  # as they do until crops come
    assert watched.after(5) == ["waiting for crops: 15 s"]
    watched.terminal.show(Waiting("kNN before step 9"))
    assert watched.after(15) == ["waiting for kNN before step 9: 15 s"]
    watched.terminal.show(Finishing())
    assert watched.after(15) == ["kNN on held-out images: 15 s"]


@pytest.mark.parametrize("message", [Leaving(9), Resizing(9)])
def test_after_workers_that_left_others_are_waited_for(watched: Watched, message: Message) -> None:
    watched.terminal.show(message)
    assert watched.after(15) == ["starting other workers: 15 s"]


def test_after_a_stop_its_workers_end(watched: Watched) -> None:
    watched.terminal.show(Stopped(9))
    assert watched.after(15) == ["ending the workers: 15 s"]


def test_a_step_that_came_too_soon_for_a_line_is_shown_before_anything_is_missed(watched: Watched) -> None:
    with watched.terminal.live(24):
        watched.terminal.show(record(0))
        assert watched.after(9) == []
        watched.terminal.show(record(1))
        assert [line.split("  ")[1] for line in watched.after(6)] == ["step 2/9"]
        assert watched.after(15) == ["no step for 21 s: a slow step, or workers that were lost"]


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
        (KnnMeasured(7, 43.21, 1.57), "step 7: kNN top-1 43.2% \N{PLUS-MINUS SIGN} 1.6"),
        (HealthChanged(7, "healthy"), "step 7: healthy"),
        (Remedied(0, "stuck (why): back to step 0 with x = 1"), "remedy: stuck (why): back to step 0 with x = 1"),
        (
            Quarantined(1, 60, "/x/001.jpg", "truncated"),
            "warning: /x/001.jpg cannot be read (truncated) and is replaced: 1 so far, data.max_bad_fraction allows",
        ),
        (Finishing(), "kNN on held-out images"),
        (Warned("the disk is full"), "warning: the disk is full"),
        (record(3, loss=None, refused="the loss is nan"), "warning: step 3 was refused: the loss is nan; "),
        (Judged(3, {"top-1": 45.678, "top-5": 90.0}), "epoch 3/24: top-1 45.68, top-5 90"),
        (
            fit_record(4, {"loss": 2.5, "lr": 0.3}),
            "epoch 2/24  step 5/9  loss 2.5  lr 0.3  80 images/s  waiting for data 50%  ETA -",
        ),
        (record(3), "epoch 1/24  step 4/9  loss 3.0000  lr 0.1  80 images/s  waiting for data 50%  ETA -"),
    ],
)
def test_each_message_is_a_line(message: Message, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(0.0)
    with terminal.live(24):
        terminal.show(message)
    (shown,) = capsys.readouterr().out.splitlines()
    assert shown.startswith(line)


def test_an_alarm_comes_with_what_usually_helps(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(0.0).show(HealthChanged(230, "stuck", "the loss stays at ln K", "try a longer freeze"))
    assert capsys.readouterr().out.splitlines() == [
        "warning: step 230: stuck: the loss stays at ln K",
        "  try a longer freeze",
    ]


def test_many_unreadable_images_are_named_ever_more_rarely(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(0.0)
    for count in range(1, 21):
        terminal.show(Quarantined(count, 60, f"/x/{count:03d}.jpg", "truncated"))
    named = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert named == [f"/x/{count:03d}.jpg" for count in (1, 2, 3, 6, 12)]


def test_a_measurement_is_for_sweeps_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(0.0).show(Measured({"step": 3}))
    assert capsys.readouterr().out == ""


def summary(**knn_top1: float) -> dict[str, Any]:
    """What summary.json of a finished run holds."""
    figures = {"loss_last_epoch": 2.0, "ln_k": 4.6, "images_per_second": 100.0, "data_wait": 0.1}
    return figures | {"seconds": {"goodput": 0.9}, "refused_steps": 0, "bad_images": 0, "knn_top1": knn_top1}


KNN = {"trained": 54.4, "untrained": 34.9, "pixels": 24.2, "chance": 10.0}


def test_a_run_that_started_from_weights_shows_them_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(0.0).summary(summary(**KNN, init=40.0), "/runs/mine")
    with_init = capsys.readouterr().out
    Terminal(0.0).summary(summary(**KNN), "/runs/mine")
    without = capsys.readouterr().out
    added = [line for line in with_init.splitlines() if line not in without.splitlines()]
    assert [line.strip("│ ") for line in added] == ["kNN top-1, the weights that it started from │ 40.0%"]


def test_accuracies_have_their_standard_error_and_the_spread_of_initialisations(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Terminal(0.0).summary(summary(**KNN) | {"knn_queries": 1000, "knn_untrained": [30.4, 26.1]}, "/runs/mine")
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in capsys.readouterr().out.splitlines()]
    assert ["kNN top-1, trained backbone", "54.4% \N{PLUS-MINUS SIGN} 1.6"] in rows
    assert ["kNN top-1, 3 untrained initialisations", "26.1 to 34.9%"] in rows


def test_a_run_ends_with_its_verdict_and_what_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = {"health": "stuck", "word": "nothing", "line": "it learned nothing", "remedy": "try this", "noise": 0.0}
    Terminal(0.0).summary(summary(**KNN) | {"verdict": verdict}, "/runs/mine")
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("verdict: it learned nothing")
    assert lines[at + 1] == "  try this"
    assert any("health at the end" in line and "stuck" in line for line in lines[:at])


def test_a_run_ends_with_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(0.0).summary(summary(**KNN), "/my runs/mine")
    *_, says, judge, embed, export = capsys.readouterr().out.splitlines()
    assert "python -m swav_ray.inspect '/my runs/mine'" in says
    assert judge == "  python -m swav_ray.evaluate all --checkpoint '/my runs/mine'"
    assert embed.startswith("  python -m swav_ray.embed --checkpoint '/my runs/mine' --data PLACE ")
    assert export.startswith("  python -m swav_ray.export --checkpoint '/my runs/mine' --format ")
    Terminal(0.0).summary(summary(), "/runs/mine")
    assert "evaluate all --checkpoint /runs/mine --train PLACE --val PLACE" in capsys.readouterr().out


def test_the_end_says_why_there_is_no_knn_and_which_held_out_images_it_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    none = {"why_no_knn": "none of 6 held-out images can be read", "held_out_images": 6, "held_out_unreadable": 6}
    Terminal(0.0).summary(summary() | none | {"held_out_twins": 0}, "/runs/mine")
    shown = " ".join(capsys.readouterr().out.split())
    assert "no kNN: none of 6 held-out images can be read the run lies in" in shown
    assert "left out of kNN, unreadable │ 6 of 6 (quarantine.jsonl)" in shown
    assert "copies" not in shown
    Terminal(0.0).summary(summary(**KNN) | {"why_no_knn": "", "held_out_twins": 195}, "/runs/mine")
    shown = " ".join(capsys.readouterr().out.split())
    assert "left out of kNN, copies of training images │ 195" in shown
    assert "no kNN" not in shown
