"""A first SIGINT or SIGTERM asks for a stop, a second one ends the run at once."""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import dataclass

import pytest

from swav_ray.launch.signals import SIGNALS, Interrupted, StopSignals


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("number", SIGNALS)
def test_before_training_the_first_signal_ends_what_is_done(number: signal.Signals) -> None:
    with StopSignals(), pytest.raises(Interrupted, match=number.name) as caught:
        signal.raise_signal(number)
    assert caught.value.number == number
    assert not caught.value.again


@pytest.mark.parametrize("number", SIGNALS)
def test_while_training_the_first_signal_is_noted_and_the_second_ends_it(number: signal.Signals) -> None:
    clock = Clock()
    with StopSignals(clock) as stop, stop.noted():
        signal.raise_signal(number)
        assert stop.asked is number
        clock.now += 2.0
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(number)
    assert caught.value.again


def test_the_twin_that_timeout_sends_to_the_group_is_no_second_signal() -> None:
    clock = Clock()
    with StopSignals(clock) as stop, stop.noted():
        signal.raise_signal(signal.SIGTERM)
        clock.now += 0.1
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked is signal.SIGTERM


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_exception_python_has_ignored_is_not_lost_and_not_printed() -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    with StopSignals() as stop:
        stop.raise_if_asked()
        Finalized()
        with stop.noted(), pytest.raises(Interrupted, match="SIGTERM"):
            stop.raise_if_asked()


def test_what_python_ignores_beside_a_signal_is_printed_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError("broken")

    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: told.append(found.exc_value))
    hook = sys.unraisablehook
    with StopSignals():
        Broken()
    assert [str(error) for error in told] == ["broken"]
    assert sys.unraisablehook is hook


def test_the_signals_mean_afterwards_what_they_meant_before() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopSignals():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before, seen = [signal.getsignal(number) for number in SIGNALS], []

    def enter() -> None:
        with StopSignals():
            seen.extend(signal.getsignal(number) for number in SIGNALS)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == before
