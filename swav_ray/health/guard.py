"""What a run does about its health, the same on every worker: watch, stop, or go back with other settings.

Rank 0 judges and decides. The others hear of it through the sum over workers that every step makes anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from torch import Tensor

from swav_ray.config import Config
from swav_ray.data.batch import Batch
from swav_ray.health import black_box
from swav_ray.health.advice import advice
from swav_ray.health.monitor import Monitor
from swav_ray.health.remedies import Remedy, next_remedy, pending, remedied, remedies
from swav_ray.health.rules import Judgement
from swav_ray.health.verdict import verdict
from swav_ray.one_line import one_line
from swav_ray.run import checkpoint_files
from swav_ray.run.health_log import DIVERGING, WARMING_UP, read_health
from swav_ray.run.history import read_history
from swav_ray.run.messages import Observed, Remedied, Warned
from swav_ray.storage.place import Place
from swav_ray.training.control import Request
from swav_ray.training.coordinator import Coordinator, Restart
from swav_ray.training.distributed import World
from swav_ray.training.learner import Learner, StepResult
from swav_ray.training.run_files import RunFiles

T = TypeVar("T")


class Collapsed(RuntimeError):
    """The run has collapsed and was to stop then, or no remedy is left; the message is one line."""


class Guard:
    """The health of a run, on each of its workers.

    Args:
        config: as the run was given it. run_dir: the run directory.
        world: the workers. coordinator: hears of alarms.

    Attributes:
        config: what to train with, after the remedies of the run so far.
        back_to: the step to which the run has yet to go back for the last of them; None if it has.
    """

    def __init__(self, config: Config, run_dir: Place, world: World, coordinator: Coordinator) -> None:
        self._run_dir, self._world, self._coordinator = run_dir, world, coordinator
        history = read_history(run_dir) if world.rank == 0 else []
        self._done: list[Remedy] = world.gather_objects(remedies(history))[0]
        last = pending(history)
        self.back_to = last.back_to if last is not None else None
        self.config = remedied(config, self._done)
        self._monitor: Monitor | None = None  # of rank 0
        self._files: RunFiles | None = None

    def held(self) -> set[int]:
        """Steps whose checkpoints must stay, for a remedy to go back to; of rank 0, before the files are open."""
        if self.config.health.on_collapse != "remedy":
            return set()
        sound = [line["step"] for line in read_health(self._run_dir) if line.get("sound")]
        good = self._newest_good(max(sound, default=-1))
        return {good} if good else set()

    def watch(self, learner: Learner, files: RunFiles) -> None:
        """Begins to observe; on rank 0, once its files are open."""
        self._files = files
        since = self._done[-1].back_to if self._done else 0
        report = self._coordinator.report

        def write(line: dict[str, Any]) -> None:
            files.observe(line)
            report(Observed(line))

        self._monitor = Monitor(learner, files.losses, since=since, write=write, report=report)

    def observe(self, step: int, result: StepResult, crops: list[Tensor]) -> None:
        """Takes a step; waits for nobody."""
        if self._monitor is not None:
            self._monitor.observe(step, result, crops)

    def request(self) -> Request:
        """What all workers are to do; of rank 0."""
        return self._monitor.request() if self._monitor is not None else Request.NONE

    def saving(self, step: int) -> None:
        """The state before `step` is about to be saved: it is kept if a remedy may go back to it."""
        if self.config.health.on_collapse != "remedy" or self._monitor is None or self._files is None:
            return
        if self._monitor.sound:
            self._files.hold(step)

    def keep_refused(self, learner: Learner, batch: Batch, result: StepResult) -> None:
        """Saves the first refused step, for `python -m swav_ray.replay`. A full disk is no reason to stop."""
        try:
            black_box.save(self._run_dir, learner, batch, result)
        except OSError as error:
            self._coordinator.report(Warned(f"the refused step {batch.step} could not be saved: {one_line(error)}"))

    def verdict(self, knn: dict[str, float], *, queries: int, others: Sequence[float], steps: int) -> dict[str, Any]:
        """What the finished run learned, with `health`, its last word; of rank 0. Arguments as of `verdict`."""
        lines = read_health(self._run_dir)
        last = Judgement(lines[-1]["word"], lines[-1]["why"]) if lines else Judgement(WARMING_UP)
        found = verdict(self.config, last, knn, queries=queries, others=others, steps=steps)
        return {"health": last.word, **asdict(found)}

    def leave(self, reached: int, request: Request, steps_per_epoch: int) -> None:
        """Ends the workers for the run's health, if that was requested; on every worker.

        Raises:
            Restart: a remedy is noted, and the next start goes back. Collapsed: the run is to stop, or none is left.
        """
        if request & Request.STOP:
            return  # a person's request comes first; a run that resumes raises its alarm again
        if request & Request.FAIL:
            judgement = self._judgement()
            self._note_end(reached, judgement)
            raise Collapsed(self._from_chief(self._reason(judgement)))
        if request & Request.REMEDY:
            self._go_back(reached, self._judgement(), steps_per_epoch)

    def diverged(self, why: str, steps_per_epoch: int) -> None:
        """The state can be trained no further; raises Restart if a remedy is wanted and left. On every worker."""
        if self.config.health.on_collapse == "remedy":
            reached = self._monitor.step + 1 if self._monitor is not None else 0
            self._go_back(reached, Judgement(DIVERGING, why, reached), steps_per_epoch)

    def _go_back(self, reached: int, judgement: Judgement, steps_per_epoch: int) -> None:
        remedy = None
        if self._files is not None and self._monitor is not None:
            remedy = next_remedy(
                self.config,
                self._done,
                steps_per_epoch,
                step=reached,
                back_to=self._newest_good(self._monitor.last_sound),
                word=judgement.word,
                why=judgement.why,
                by_queue=judgement.by_queue,
            )
            if remedy is not None:
                self._files.remedy(remedy.entry())
                self._coordinator.report(Remedied(remedy.back_to, remedy.line()))
                self._coordinator.saved()
            else:
                self._note_end(reached, judgement)
        # On every worker at once: all of them are ended as soon as one leaves.
        if line := self._from_chief(remedy.line() if remedy is not None else ""):
            raise Restart(line)
        raise Collapsed(self._from_chief(f"no remedy is left: {self._reason(judgement)}"))

    def _note_end(self, reached: int, judgement: Judgement) -> None:
        if self._files is not None:
            self._files.collapsed(reached, judgement.word, judgement.why)

    def _newest_good(self, sound: int) -> int:
        """The step of the newest checkpoint that is no newer than a sound state; 0 if there is none."""
        return max((step for step in checkpoint_files.steps(self._run_dir) if step <= sound + 1), default=0)

    def _judgement(self) -> Judgement:
        """Rank 0's; another worker's is none, and waits for what rank 0 says."""
        return self._monitor.judgement if self._monitor is not None else Judgement(WARMING_UP)

    def _reason(self, judgement: Judgement) -> str:
        return f"{judgement.word}: {judgement.why}. {advice(self.config, judgement)}"

    def _from_chief(self, value: T) -> T:
        """Rank 0's value, on every worker."""
        return self._world.gather_objects(value)[0]
