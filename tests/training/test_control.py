"""What workers are asked to do: a preempted node gets two checkpoints in time, and all workers agree on a step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swav_ray.data.bad_images import BadImage
from swav_ray.data.batch import Batch
from swav_ray.data.sample_plan import digest
from swav_ray.training.control import Preemption, Request, Requests, Tally, agree, tally
from swav_ray.training.distributed import World

CPU = torch.device("cpu")


class Cluster:
    """What a person and the cloud want, and a clock."""

    def __init__(self) -> None:
        self.asked = Request.NONE
        self.preempted: Preemption | None = None
        self.time = 1000.0
        self.reported: list[tuple[tuple[str, ...], float]] = []
        self.requests = Requests(
            lambda: self.asked,
            lambda: self.preempted,
            lambda nodes, seconds: self.reported.append((nodes, seconds)),
            clock=lambda: self.time,
            now=lambda: self.time,
        )

    def after(self, seconds: float) -> Request:
        """What is asked after so many seconds; a poll is carried out."""
        self.time += seconds
        request = self.requests.next()
        if request & Request.POLL:
            self.requests.poll()
        return request


@pytest.mark.parametrize(
    ("request_", "ends"),
    [
        (Request.NONE, False),
        (Request.POLL | Request.SAVE, False),
        (Request.STOP, True),
        (Request.RESIZE, True),
        (Request.LEAVE | Request.POLL, True),
    ],
)
def test_workers_end_to_stop_to_resize_and_to_leave(request_: Request, ends: bool) -> None:
    assert request_.ends == ends


def test_what_the_run_is_asked_for_is_passed_on() -> None:
    cluster = Cluster()
    assert cluster.after(0.1) == Request.NONE
    cluster.asked = Request.STOP
    assert cluster.after(0.1) == Request.STOP


def test_a_poll_costs_a_collective_so_it_is_asked_for_every_two_seconds() -> None:
    cluster = Cluster()
    assert [bool(cluster.after(0.5) & Request.POLL) for _ in range(10)] == [False] * 4 + [True] + [False] * 4 + [True]


def test_a_preempted_node_gets_a_checkpoint_at_once_and_is_left_before_its_deadline() -> None:
    cluster = Cluster()
    cluster.requests.save_seconds = 3.0
    cluster.preempted = Preemption(("a",), deadline=1060.0)
    assert cluster.after(2.1) == Request.POLL
    assert cluster.reported == [(("a",), pytest.approx(57.9))]
    assert cluster.after(0.1) == Request.SAVE
    assert cluster.after(0.1) == Request.NONE
    assert not cluster.after(47.0) & Request.LEAVE
    assert cluster.after(1.0) & Request.LEAVE  # ten seconds before: two checkpoints and a margin
    assert len(cluster.reported) == 1


def test_a_node_whose_cloud_names_no_time_has_two_minutes() -> None:
    cluster = Cluster()
    cluster.preempted = Preemption(("a",))
    cluster.after(2.1)
    assert cluster.reported == [(("a",), pytest.approx(120.0))]


def test_of_two_preempted_nodes_the_earlier_deadline_counts() -> None:
    cluster = Cluster()
    cluster.preempted = Preemption(("a",), deadline=1030.0)
    cluster.after(2.1)
    cluster.preempted = Preemption(("a", "b"), deadline=1200.0)
    cluster.after(2.1)
    assert [nodes for nodes, _ in cluster.reported] == [("a",), ("a", "b")]
    assert cluster.after(22.0) & Request.LEAVE


def batch(ids: list[int], bad: int = 0) -> Batch:
    images = [BadImage(0, "a", "empty", "no bytes", 1)] * bad
    nothing = np.zeros(0, np.uint8), np.zeros(0, np.float32)
    return Batch(0, np.array(ids), *nothing, bad=images, seconds=0.1, bytes_read=10, retries=1, changed=4)


def test_a_step_of_one_worker_is_its_own() -> None:
    found = tally(World(), CPU, batch([1, 2**40], bad=2), 0.25, False, Request.SAVE | Request.LEAVE)
    ids = digest(np.array([1, 2**40]))
    assert found == Tally(
        ids=ids, wait=0.25, late=True, request=Request.SAVE | Request.LEAVE, bad=2, bytes_read=10, retries=1, changed=4
    )


def _step_of(world: World) -> tuple[Tally, tuple[bool, Request], tuple[bool, Request]]:
    own = batch([10 * world.rank, 10 * world.rank + 1], bad=world.rank)
    request = [Request.STOP, Request.POLL, Request.STOP][world.rank]
    total = tally(world, CPU, own, float(world.rank), world.rank != 1, request)
    return total, agree(world, CPU, world.rank != 1, request), agree(world, CPU, True, Request.NONE)


def test_a_step_is_summed_over_workers_and_any_of_them_may_ask(gloo_pool) -> None:
    steps = gloo_pool.run(3, _step_of)
    assert steps[0] == steps[1] == steps[2]
    total, some_late, all_ready = steps[0]
    assert total.ids == digest(np.array([0, 1, 10, 11, 20, 21]))
    assert (total.wait, total.late, total.bad, total.bytes_read, total.retries) == (1.0, True, 3, 30, 3)
    assert total.changed == 12
    assert total.request == Request.STOP | Request.POLL
    assert some_late == (False, Request.STOP | Request.POLL)
    assert all_ready == (True, Request.NONE)
