"""Jobs are done one ahead of their answers, in order, and no further."""

from __future__ import annotations

import threading

import pytest

from swav_ray.features.ahead import one_ahead


def test_the_next_job_runs_while_an_answer_is_used_and_the_one_after_it_has_not_begun() -> None:
    begun = [threading.Event() for _ in range(4)]

    def read(job: int) -> int:
        begun[job].set()
        return 10 * job

    found = []
    for answer in one_ahead(read, range(4)):
        found.append(answer)
        assert all(begun[job].wait(60) for job in range(min(len(found) + 1, 4)))
        assert not any(event.is_set() for event in begun[len(found) + 1 :])
    assert found == [0, 10, 20, 30]
    assert list(one_ahead(read, [])) == []


def test_a_job_that_fails_raises_when_its_turn_comes() -> None:
    answers = one_ahead(lambda job: 1 // job, [1, 0])
    assert next(answers) == 1
    with pytest.raises(ZeroDivisionError):
        next(answers)
