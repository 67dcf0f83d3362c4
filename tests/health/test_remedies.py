"""What is changed after a collapse, in the authors' order, and that it lasts."""

from __future__ import annotations

from typing import Any

import pytest

from swav_ray.config import Config, replace
from swav_ray.health.remedies import Remedy, next_remedy, pending, remedied, remedies
from tests.quickstarts import quickstart

STEPS_PER_EPOCH = 23
LOWER = {"optim.base_lr": pytest.approx(0.4), "optim.final_lr": pytest.approx(0.00006)}


def all_of(config: Config, step: int = 200, back_to: int = 0) -> list[Remedy]:
    """One remedy after the other, as if none helped."""
    done: list[Remedy] = []
    while True:
        now = remedied(config, done)
        found = next_remedy(now, done, STEPS_PER_EPOCH, step=step, back_to=back_to, word="stuck", why="it is")
        if found is None:
            return done
        done.append(found)


def changes(config: Config, **where: int) -> list[dict[str, Any]]:
    return [remedy.changes for remedy in all_of(config, **where)]


def test_the_order_is_the_authors() -> None:
    config = replace(
        quickstart(), assignment={"epsilon": 0.5, "iterations": 1}, queue={"length": 2048, "start_epoch": 2}
    )
    assert changes(config) == [
        {"optim.freeze_prototypes_steps": 200},
        {"assignment.epsilon": 0.03},
        {"queue.length": 1024, "queue.start_epoch": 11},
        {"assignment.iterations": 3},
        LOWER,
    ]


def test_a_queue_that_shows_in_the_evidence_is_remedied_first() -> None:
    config = replace(quickstart(), queue={"length": 2048, "start_epoch": 2})
    where: dict[str, Any] = {"step": 200, "back_to": 46, "word": "collapsing", "why": "it is"}
    first = next_remedy(config, [], STEPS_PER_EPOCH, **where, by_queue=True)
    assert first is not None
    assert first.changes == {"queue.length": 1024, "queue.start_epoch": 11}
    second = next_remedy(config, [first], STEPS_PER_EPOCH, **where, by_queue=True)
    assert second is not None
    assert second.name == "freeze the prototypes longer"


def test_a_run_that_diverges_gets_a_lower_rate_first() -> None:
    found = next_remedy(quickstart(), [], STEPS_PER_EPOCH, step=60, back_to=0, word="diverging", why="it is")
    assert found is not None
    assert (found.name, found.changes) == ("lower the rate", LOWER)


def test_what_has_nothing_to_change_is_left_out() -> None:
    assert changes(quickstart()) == [{"optim.freeze_prototypes_steps": 200}, {"assignment.epsilon": 0.01}, LOWER]
    assert changes(replace(quickstart(), assignment={"epsilon": 0.01}))[1:] == [LOWER]


def test_a_freeze_counts_from_where_training_resumes_and_leaves_half_of_the_rest() -> None:
    assert changes(quickstart(), step=300, back_to=230)[0] == {"optim.freeze_prototypes_steps": 391}
    assert changes(quickstart(), back_to=46)[0] == {"optim.freeze_prototypes_steps": 246}
    unfrozen = replace(quickstart(), optim={"freeze_prototypes_steps": 0})
    assert changes(unfrozen)[0] == {"optim.freeze_prototypes_steps": 46}


def test_a_queue_that_has_not_begun_is_not_to_blame() -> None:
    config = replace(quickstart(), queue={"length": 2048, "start_epoch": 20})
    assert not any("queue.length" in change for change in changes(config))


def test_a_queue_stays_as_long_as_a_batch_and_within_the_run() -> None:
    config = replace(quickstart(), queue={"length": 300, "start_epoch": 0})
    assert changes(config, step=550)[-2] == {"queue.length": 256, "queue.start_epoch": 24}


def test_remedies_are_read_back_from_the_history_and_change_the_config() -> None:
    done = all_of(replace(quickstart(), assignment={"epsilon": 0.5}))
    history = [{"event": "start", "step": 0}, *({"event": "remedy", "time": 1.0} | one.entry() for one in done)]
    assert remedies(history) == done
    config = remedied(quickstart(), remedies(history))
    assert (config.optim.freeze_prototypes_steps, config.assignment.epsilon) == (200, 0.03)
    assert "back to step 0 with optim.freeze_prototypes_steps = 200" in done[0].line()


def test_a_remedy_is_pending_until_the_workers_have_started_since() -> None:
    entry = {"event": "remedy"} | all_of(quickstart())[0].entry()
    start, claim = {"event": "start", "step": 0}, {"event": "claim", "id": "1"}
    assert pending([start, entry, claim]) == all_of(quickstart())[0]
    assert pending([start, entry, claim, start]) is None
    assert pending([start]) is None
