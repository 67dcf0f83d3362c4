"""Carries out a schedule on a real run: sees how far it is, does what is due, starts it again after it was killed."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos_parts.cluster import Cluster, is_chief
from benchmarks.chaos_parts.job import COMMAND, Job, Progress
from benchmarks.chaos_parts.node_cache import CacheFolder
from benchmarks.chaos_parts.schedule import Event, Nodes
from benchmarks.chaos_parts.storage import Storage
from swav_ray.config import Config
from swav_ray.run.layout import SUMMARY, checkpoint_folder
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint

PATIENCE = 600.0  # seconds without a step, an event or a start after which a run counts as stuck
POLL = 0.02  # seconds
_BEGAN = time.monotonic()


def tell(text: str) -> None:
    """A line for a person, on standard error."""
    print(f"[{time.monotonic() - _BEGAN:7.1f} s] {text}", file=sys.stderr, flush=True)


@dataclass
class Fired:
    """An event that took place, and when."""

    event: Event
    at: float


@dataclass
class Conductor:
    """Carries out a schedule on a running job."""

    job: Job
    cluster: Cluster
    storage: Storage
    run_dir: Place
    progress: Progress
    nodes: Nodes
    schedule: deque[Event]
    cache: CacheFolder | None = None
    fired: list[Fired] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _outage_ends: float = 0.0

    def run(self) -> None:
        """Until the job is done, stuck, or given up."""
        self.job.start()
        moved = (time.monotonic(), -2, 0, 0)
        while not self.problems:
            self.progress.update()
            self.cluster.tick()
            now = time.monotonic()
            if self._outage_ends and now >= self._outage_ends:
                self.storage.gate.open()
                self._outage_ends = 0.0
                tell("storage is back")
            if self._ended():
                break
            if self.schedule and self.progress.furthest >= self.schedule[0].step and self._possible(self.schedule[0]):
                self._fire(self.schedule.popleft())
            state = (self.progress.step, len(self.fired), self.job.starts)
            if state != moved[1:] or self._outage_ends:
                moved = (now, *state)
            elif now - moved[0] > PATIENCE:
                self.problems.append(f"stuck at step {self.progress.step} for {PATIENCE:.0f} s")
            time.sleep(POLL)
        self.progress.update()
        self.storage.gate.open()
        if self.schedule:
            self.problems.append(f"{len(self.schedule)} events did not take place: {[e.kind for e in self.schedule]}")

    def _ended(self) -> bool:
        """Whether the job has ended; before its time is a problem, since nothing that happens to it may end it."""
        status = self.job.poll()
        if status is None:
            return False
        if status != 0 or not (self.run_dir / SUMMARY).exists():
            tell(f"the job ended with status {status}:\n{self.job.tail()}")
            self.problems.append(f"the job ended by itself with status {status}")
        return True

    def _possible(self, event: Event) -> bool:
        if event.kind == "kill_worker":
            return bool(self.cluster.training_workers())
        if event.kind == "kill_controller":
            return bool(self.cluster.controllers())
        if event.kind in ("lose_node", "drain_node"):
            return len(self.cluster.nodes()) > self.nodes.least
        if event.kind == "truncate_checkpoint":
            return not self._outage_ends and len(self._sound_checkpoints()) > 1
        if event.kind in ("remove_cache", "corrupt_cache"):
            return self.cache is not None and bool(self.cache.entries())
        return not (event.kind == "storage_outage" and self._outage_ends)

    def _sound_checkpoints(self) -> list[int]:
        sound = []
        for step in checkpoint.steps(self.run_dir):
            try:
                checkpoint.load(self.run_dir, step)
            except checkpoint.BadCheckpoint:
                continue
            sound.append(step)
        return sound

    def _fire(self, event: Event) -> None:
        detail = getattr(self, f"_{event.kind}")(event)
        self.fired.append(Fired(event, time.monotonic()))
        tell(f"{event.kind} at step {self.progress.step} (due at {event.step}): {detail}")

    def _kill_worker(self, event: Event) -> str:
        workers = self.cluster.training_workers()
        chosen = workers[int(event.draw * len(workers))]
        if event.target == "chief":
            chosen = workers[0]
        elif event.target == "worker":
            chosen = workers[-1]
        rank = "rank 0" if is_chief(chosen) else "a worker"
        chosen.kill()
        return f"{rank}, pid {chosen.pid}"

    def _node(self, event: Event) -> Any:
        """The node that an event is aimed at."""
        nodes = self.cluster.nodes()
        by_any = nodes[int(event.draw * len(nodes))]
        if event.target == "any":
            return by_any
        for node in nodes:
            chief = [is_chief(worker) for worker in self.cluster.training_workers(node)]
            if chief and (event.target == "chief") == any(chief):
                return node
        return by_any

    def _lose_node(self, event: Event) -> str:
        node = self._node(event)
        training = len(self.cluster.training_workers(node))
        self.cluster.lose(node)
        return f"{node.node_id[:8]} with {training} training workers"

    def _join_node(self, _: Event) -> str:
        self.cluster.join()
        return f"now {len(self.cluster.nodes())} nodes"

    def _drain_node(self, event: Event) -> str:
        node = self._node(event)
        training = len(self.cluster.training_workers(node))
        self.cluster.drain(node, event.seconds)
        return f"{node.node_id[:8]} with {training} training workers, gone in {event.seconds} s"

    def _kill_controller(self, _: Event) -> str:
        controllers = self.cluster.controllers()
        for process in controllers:
            process.kill()
        return f"pid {', '.join(str(process.pid) for process in controllers)}"

    def _kill_job(self, _: Event) -> str:
        self.job.kill()
        self.job.start()
        return "started again at once"

    def _truncate_checkpoint(self, event: Event) -> str:
        self.job.kill()
        while self.cluster.training_workers():
            time.sleep(POLL)
        newest = max(checkpoint.steps(self.run_dir))
        folder = checkpoint_folder(self.run_dir, newest)
        files = sorted(entry.name for entry in folder.list())
        file = folder / files[int(event.draw * len(files))]
        data = file.read_bytes()
        left = int(event.draw * 997) % 100 * len(data) // 100
        file.write_bytes(data[:left])
        self.job.start()
        return f"{file} cut to {left} of {len(data)} bytes, the job started again"

    def _storage_outage(self, event: Event) -> str:
        how = "refused" if event.draw < 0.5 else "stalled"
        self.storage.gate.shut("refused" if how == "refused" else "stalled")
        self._outage_ends = time.monotonic() + event.seconds
        return f"{how} for {event.seconds} s"

    def _remove_cache(self, _: Event) -> str:
        assert self.cache is not None
        return self.cache.remove()

    def _corrupt_cache(self, _: Event) -> str:
        assert self.cache is not None
        return self.cache.corrupt()

    def _fill_cache(self, _: Event) -> str:
        assert self.cache is not None
        return self.cache.fill()


def seconds_lost(fired: list[Fired], reached: dict[int, float], usual: float) -> dict[str, list[float]]:
    """For each kind the longest time without a new step from each of its events to the next event, in seconds.

    Args:
        reached: when each step was first seen, in order. usual: seconds of an undisturbed step, which are subtracted.
    """
    lost: dict[str, list[float]] = {}
    waits = [(a, b, b - a - usual * (later - step)) for (step, a), (later, b) in itertools.pairwise(reached.items())]
    ends = [one.at for one in fired[1:]] + [math.inf]
    for one, end in zip(fired, ends, strict=True):
        longest = max((wait for a, b, wait in waits if b > one.at and a < end), default=0.0)
        lost.setdefault(one.event.kind, []).append(round(max(0.0, longest), 2))
    return lost


@dataclass
class Run:
    """A run that was carried out."""

    config: Config
    run_dir: Place
    conductor: Conductor
    seconds: float

    @property
    def problems(self) -> list[str]:
        return self.conductor.problems


def carry_out(
    config: Config,
    schedule: list[Event],
    nodes: Nodes,
    cluster: Cluster,
    storage: Storage,
    folder: Path,
    command: tuple[str, ...] = COMMAND,
    cache: CacheFolder | None = None,
) -> Run:
    """Runs a config from its start to its end, with the events of a schedule on the way."""
    cluster.restore(nodes.start)
    run_dir = place(config.run.storage) / config.run.name
    job = Job(config, cluster.address, folder, command)
    conductor = Conductor(job, cluster, storage, run_dir, Progress(run_dir, job.log), nodes, deque(schedule), cache)
    began = time.monotonic()
    try:
        conductor.run()
    finally:
        job.kill()
    seconds = time.monotonic() - began
    tell(f"{config.run.name}: step {conductor.progress.step + 1} after {seconds:.0f} s")
    if conductor.problems:
        tell("; ".join(conductor.problems) + "\n" + job.tail(40))
    return Run(config, run_dir, conductor, seconds)
