"""The mailbox of a run: what passes through it, and when it has a run give up."""

from __future__ import annotations

from typing import Any

from swav_ray.launch.monitor import Monitor
from swav_ray.run.messages import Stopped


def mailbox() -> Any:
    """The class behind the actor, without a cluster."""
    return Monitor.__ray_metadata__.modified_class()  # type: ignore[attr-defined]


def test_workers_that_start_from_the_same_step_for_ever_are_given_up() -> None:
    monitor = mailbox()
    assert [monitor.begin(7) for _ in range(4)] == [""] * 4
    assert "4 times in a row without a checkpoint past step 7" in monitor.begin(7)
    assert monitor.given_up() == monitor.begin(7)


def test_workers_that_come_further_may_start_as_often_as_they_must() -> None:
    monitor = mailbox()
    assert [monitor.begin(step) for step in range(50)] == [""] * 50


def test_workers_that_fail_before_they_begin_are_given_up_with_their_reason() -> None:
    monitor = mailbox()
    for start in "abcd":
        for _ in range(8):
            monitor.note_failure(start, "FileNotFoundError: manifest.parquet")
    assert monitor.given_up() == ""
    monitor.note_failure("e", "FileNotFoundError: manifest.parquet")
    assert "failed 5 times in a row, last with: FileNotFoundError: manifest.parquet;" in monitor.given_up()


def test_workers_that_fail_after_a_checkpoint_may_fail_again() -> None:
    monitor = mailbox()
    for step in range(50):
        assert monitor.begin(step) == ""
        monitor.note_failure(str(step), "RuntimeError: connection reset")
        assert monitor.given_up() == ""


def test_workers_may_be_ended_once_they_have_saved_or_failed() -> None:
    monitor = mailbox()
    monitor.begin(0)
    monitor.request_resize()
    assert (monitor.request(), monitor.saved()) == ("RESIZE", False)
    monitor.note_saved()
    assert monitor.saved()
    monitor.note_starting()
    assert (monitor.request(), monitor.saved()) == ("NONE", False)
    monitor.request_resize()
    monitor.begin(3)  # workers that were still on their way when the request came
    assert (monitor.request(), monitor.saved()) == ("RESIZE", False)
    monitor.note_starting()
    monitor.note_failure("a", "RuntimeError: connection reset")
    assert monitor.saved()
    monitor.note_starting()
    monitor.request_stop()
    monitor.request_resize()
    assert (monitor.request(), monitor.saved()) == ("STOP", False)


def test_a_controller_that_dies_before_any_worker_starts_is_given_up() -> None:
    monitor = mailbox()
    assert [monitor.controller_died() for _ in range(4)] == [""] * 4
    assert "controller died 5 times in a row before it had started a worker" in monitor.controller_died()


def test_a_controller_that_has_started_workers_may_die_again() -> None:
    monitor = mailbox()
    for step in range(50):
        assert monitor.controller_died() == ""
        assert monitor.begin(step) == ""


def test_while_nobody_reads_the_oldest_messages_are_dropped_and_none_is_read_twice() -> None:
    monitor = mailbox()
    for number in range(1500):
        monitor.report(Stopped(number))
    assert [message.step for message in monitor.read()] == list(range(500, 1500))
    assert monitor.read() == []


def test_requests_reach_no_worker_until_some_have_started_and_after_their_controller_died() -> None:
    monitor = mailbox()
    assert monitor.waiting()
    assert monitor.note_waiting(False) == ""
    assert not monitor.waiting()
    monitor.controller_died()
    assert monitor.waiting()
    monitor.give_up("stopped")
    assert monitor.note_waiting(True) == "stopped"
