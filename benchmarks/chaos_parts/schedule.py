"""What happens when: a schedule of disturbances as a function of a seed. Knows nothing of Ray.

An event is due at a step and never at a time, so that a seed means the same schedule on a fast machine and a slow one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

KINDS = (
    "kill_worker",  # SIGKILL of a training worker's process
    "lose_node",  # every process of a node gone at once
    "join_node",  # a new node
    "drain_node",  # a preemption notice with a deadline; the node is gone when it has passed
    "kill_controller",  # SIGKILL of Ray Train's controller
    "kill_job",  # SIGKILL of the command and all it started; the same command again
    "storage_outage",  # S3 refuses or stalls for some seconds
    "truncate_checkpoint",  # the job killed, a file of the newest checkpoint cut short, the same command again
)
CACHE_KINDS = (  # of a run with a cache on the nodes' disk
    "remove_cache",  # its folder removed
    "corrupt_cache",  # all entries damaged
    "fill_cache",  # its disk full
)
TARGETS = ("chief", "worker", "any")
AT_ONCE = 0.2  # fraction of events that come right after the one before, while the run recovers from it
MOST_AT_ONCE = 2  # events at one step: more in a row without progress are a broken cluster, and the run says so


@dataclass(frozen=True)
class Event:
    """One disturbance.

    Args:
        step: it is due when this step has been recorded.
        kind: one of KINDS or CACHE_KINDS.
        target: whose process or node: rank 0's, another training worker's, or any.
        draw: a number in [0, 1) that decides what is left open (which worker, which file, how much of it is left).
        seconds: the notice of a drain, the length of an outage; 0 for the others.
    """

    step: int
    kind: str
    target: str
    draw: float
    seconds: float


@dataclass(frozen=True)
class Nodes:
    """How many nodes the cluster has at the start, and the bounds within which they come and go."""

    start: int
    least: int
    most: int


def draw(seed: int, count: int, steps: int, nodes: Nodes, kinds: Sequence[str] = KINDS) -> list[Event]:
    """A schedule of `count` events for a run of `steps` steps, in the order in which they are due.

    Kinds are dealt like cards, so `len(kinds)` events have all of them if the number of nodes allows.
    The first event leaves time for two checkpoints, the last one time to recover.
    """
    if count and steps < 20:
        raise ValueError(f"a run of {steps} steps is too short for events; it needs 20")
    rng = np.random.default_rng([seed, 0x6368616F73])
    due = np.sort(rng.integers(steps // 5, steps * 9 // 10, count)).tolist()
    events: list[Event] = []
    deck: list[str] = []
    alive = nodes.start
    together = 1
    for step in due:
        if events and together < MOST_AT_ONCE and rng.random() < AT_ONCE:
            step = events[-1].step
        step = max(step, events[-1].step) if events else step
        together = together + 1 if events and events[-1].step == step else 1
        kind, deck = _deal(rng, deck, kinds, alive, nodes)
        alive += {"join_node": 1, "lose_node": -1, "drain_node": -1}.get(kind, 0)
        low, high = {"drain_node": (8.0, 15.0), "storage_outage": (3.0, 30.0)}.get(kind, (0.0, 0.0))
        events.append(
            Event(
                step, kind, TARGETS[rng.integers(len(TARGETS))], float(rng.random()), round(rng.uniform(low, high), 1)
            )
        )
    return events


def _deal(
    rng: np.random.Generator, deck: list[str], kinds: Sequence[str], alive: int, nodes: Nodes
) -> tuple[str, list[str]]:
    """The next card that the number of nodes allows, and the deck without it."""
    for _ in range(2):
        for index, kind in enumerate(deck):
            if kind in ("lose_node", "drain_node") and alive <= nodes.least:
                continue
            if kind == "join_node" and alive >= nodes.most:
                continue
            return kind, deck[:index] + deck[index + 1 :]
        deck = deck + [str(kind) for kind in rng.permutation(np.array(kinds))]
    raise ValueError(f"none of {', '.join(kinds)} is possible with {nodes.least} to {nodes.most} nodes")
