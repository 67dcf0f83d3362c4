"""The files of a run that rank 0 keeps while it trains. They are claimed, then read, then opened at the step to resume.

A checkpoint commits only while the run directory is still claimed, and after everything that belongs to it is durable:
metrics, unreadable images and measurements.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Set
from typing import Any

import numpy as np

from swav_ray.config import CheckpointConfig
from swav_ray.data.quarantine import Quarantine
from swav_ray.run import measurements
from swav_ray.run.events import Events
from swav_ray.run.fit_record import FitRecord
from swav_ray.run.health_log import read_health
from swav_ray.run.history import History
from swav_ray.run.layout import CHECKPOINT_MANIFEST, HEALTH, SUMMARY, checkpoint_folder
from swav_ray.run.line_file import LineFile
from swav_ray.run.metrics_log import MetricsLog, logged_steps
from swav_ray.run.step_record import StepRecord
from swav_ray.storage.place import Place, persistently
from swav_ray.training import checkpoint
from swav_ray.training.checkpoint import Checkpoint
from swav_ray.training.checkpoint_writer import CheckpointWriter
from swav_ray.training.distributed import World

_PATIENCE = 600.0  # seconds that a checkpoint may take which the run cannot continue without


class RunFiles:
    """Claims a run directory.

    Args:
        run_dir: the run directory.
        quarantine: the run's, written with each checkpoint.
        warn: is called with a line when storage takes nothing; what must be written waits until it does.
    """

    def __init__(self, run_dir: Place, quarantine: Quarantine, warn: Callable[[str], None]) -> None:
        self._run_dir, self._quarantine, self._warn = run_dir, quarantine, warn
        # Before anything is read: an earlier start that still lives may otherwise commit another checkpoint meanwhile.
        self._history = History(run_dir, warn)
        self._journal = measurements.Journal(run_dir)
        self._losses: list[tuple[int, float]] = []  # of the steps since the last measurement
        self._awaited: set[int] = set()  # steps whose measurement is to come after their checkpoint
        self._held: set[int] = set()  # steps whose checkpoints stay
        self._health: LineFile | None = None

    def newest(self) -> Checkpoint | None:
        """The checkpoint to resume from; raises BadCheckpoint."""
        found, problems = checkpoint.load_newest(self._run_dir, logged_steps(self._run_dir))
        for problem in problems:
            self._warn(f"a checkpoint cannot be used, resuming from the one before: {problem}")
        return found

    def go_back(self, step: int) -> None:
        """Drops the checkpoints past that before `step`, so that the run resumes from there; before `newest`."""
        for later in [found for found in checkpoint.steps(self._run_dir) if found > step]:
            folder = checkpoint_folder(self._run_dir, later)
            persistently((folder / CHECKPOINT_MANIFEST).delete, self._warn)
            persistently(folder.delete_tree, self._warn)

    def open(
        self,
        start: int,
        workers: int,
        keep: CheckpointConfig,
        steps_per_epoch: int,
        measure_every: int = 0,
        *,
        health: bool = False,
        held: Set[int] = frozenset(),
    ) -> None:
        """Drops what lies past step `start` and opens the files to continue from there.

        Args:
            measure_every: steps between measurements; 0: none. What was due and saved before a kill, and not measured,
                is in `unmeasured`.
            health: whether there is a health.jsonl.
            held: steps whose checkpoints stay, as by `hold`.
        """
        self._log = MetricsLog(self._run_dir, start, warn=self._warn)
        self._held.update(held)
        if health:
            before = [line for line in read_health(self._run_dir) if line["step"] < start]
            self._health = LineFile(self._run_dir / HEALTH, before, self._warn)
        self.losses = [(record["step"], record["loss"]) for record in self._log.records]
        self._history.start(start, workers, self._log.dropped)
        retention = checkpoint.Retention(
            last=keep.keep_last, every_steps=keep.keep_every_epochs * steps_per_epoch, best=keep.keep_best
        )
        rows = persistently(lambda: measurements.keep_until(self._run_dir, start), self._warn)
        self._measurements = {row["step"]: row for row in rows}
        self.measured = list(self._measurements)
        since = max(self.measured, default=0)
        earlier = [(record["step"], record["loss"]) for record in self._log.records if record["step"] >= since]
        self._losses = [(step, loss) for step, loss in earlier if loss is not None]
        self._saved = {step for step in checkpoint.steps(self._run_dir) if step <= start}
        due = (step for step in sorted(self._saved) if measure_every and step % measure_every == 0)
        self.unmeasured = [step for step in due if step > since]
        self._awaited.update(self.unmeasured)
        self._writer = CheckpointWriter(
            self._run_dir,
            retention,
            self._before_commit,
            report=self._warn,
            last=start or None,
            awaited=self._awaited,
            held=self._held,
        )

    def _before_commit(self) -> None:
        self._history.check()
        self._log.flush()
        if self._health is not None:
            self._health.flush()
        self._quarantine.flush()
        self._journal.flush()

    def append(self, record: StepRecord | FitRecord) -> None:
        """A step's line of metrics.jsonl."""
        self._log.append(record)
        if record.loss is not None:
            self._losses.append((record.step, record.loss))

    def observe(self, line: dict[str, Any]) -> None:
        """A line of health.jsonl; its figures go to TensorBoard as well."""
        assert self._health is not None
        self._health.append(line)
        for name, value in line.items():
            if isinstance(value, int | float) and name not in ("step", "epoch", "sound", "lr"):
                self._log.scalar(f"health/{name}", value, line["step"])

    def hold(self, step: int) -> None:
        """Keeps the checkpoint before `step`, and those held earlier until it is written."""
        newest = max((held for held in self._held if self.written(held)), default=0)
        self._held.difference_update({held for held in self._held if held < newest})
        self._held.add(step)

    def save(self, state: checkpoint.Snapshot, *, wait: bool) -> float:
        """Writes a checkpoint, in the background unless `wait`; the seconds that the last one took.

        Raises RuntimeError if it is waited for in vain.
        """
        self._writer.submit(state)
        if wait and not self._writer.wait(_PATIENCE):
            raise RuntimeError(f"the checkpoint of step {state.step} could not be written for {_PATIENCE:.0f} s")
        return self._writer.seconds

    def written(self, step: int) -> bool | None:
        """Whether the checkpoint before `step` is there; None while it is to come, False if it never will be."""
        return True if step in self._saved else self._writer.written(step)

    def await_measurement(self, step: int) -> None:
        """Keeps the checkpoint before `step` until its measurement is on disk."""
        self._awaited.add(step)

    def forgo_measurement(self, step: int) -> None:
        """Waits for a measurement no longer."""
        self._awaited.discard(step)

    def mean_loss(self, step: int) -> float | None:
        """Of the steps from the last measurement up to `step`, those before a restart included."""
        losses = [loss for at, loss in self._losses if at < step]
        return float(np.mean(losses)) if losses else None

    def measurement(self, step: int) -> dict[str, Any] | None:
        """The line of measurements.jsonl of a step that an earlier start measured; None if there is none."""
        return self._measurements.get(step)

    def measure(self, row: dict[str, Any]) -> None:
        """Takes a line of measurements.jsonl, to be written with the next checkpoint."""
        self._losses = [(step, loss) for step, loss in self._losses if step >= row["step"]]
        self._journal.add(row)

    def scalar(self, name: str, value: float, step: int) -> None:
        """One figure for TensorBoard that is not of a step."""
        self._log.scalar(name, value, step)

    def draw(self, what: Callable[[Events], None]) -> None:
        """Calls `what` with the run's TensorBoard events."""
        self._log.draw(what)

    def close_log(self) -> None:
        """Ends metrics.jsonl and health.jsonl; they can be read whole from then on."""
        self._log.close()
        if self._health is not None:
            self._health.close()

    def remedy(self, entry: dict[str, Any]) -> None:
        """Notes a remedy, with which the next start of the workers goes back."""
        self._history.remedy(entry)

    def stop(self, step: int) -> None:
        """Notes that a person stopped the run before `step`."""
        self._history.stop(step)

    def collapsed(self, step: int, word: str, why: str) -> None:
        """Notes that the run ended before `step` for its health."""
        self._history.collapsed(step, word, why)

    def finish(self, summarize: Callable[[], dict[str, Any]]) -> None:
        """Writes summary.json, which marks the run as finished."""
        self._history.check()
        persistently(self._journal.flush, self._warn)
        persistently(self._quarantine.flush, self._warn)
        if self._awaited:
            self._writer.prune()
        text = json.dumps(summarize(), indent=1)
        persistently(lambda: (self._run_dir / SUMMARY).write_bytes(text.encode()), self._warn)


def on_all_workers(found: Checkpoint | None, run_dir: Place, world: World) -> Checkpoint | None:
    """The checkpoint that rank 0 has found, on every worker; a collective.

    Raises:
        RuntimeError: it is sound on rank 0's node and not on this one.
    """
    step = world.gather_objects(found.step if found else 0)[0]
    if not step or found is not None:
        return found
    try:
        return checkpoint.load(run_dir, step)
    except checkpoint.BadCheckpoint as error:
        # Sound a moment ago, on rank 0's node: a fault of this node or of the way to it, worth another try.
        raise RuntimeError(f"rank {world.rank} cannot read what rank 0 could: {error}") from error
