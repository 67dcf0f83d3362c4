"""What a worker measures of its run while it trains, and at its end. Rank 0 also writes and reports it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from swav_ray.config import Config
from swav_ray.data.quarantine import Quarantine
from swav_ray.evaluate.in_training.measurer import Measurer
from swav_ray.evaluate.in_training.probe import Knn
from swav_ray.measuring.beside import Beside, Start
from swav_ray.measuring.checkpoints import load_model
from swav_ray.model.swav import SwAVModel
from swav_ray.run import messages
from swav_ray.run.checkpoint_files import BadCheckpoint
from swav_ray.run.measurements import HELD_OUT_UNREADABLE, Figures
from swav_ray.run.messages import Message
from swav_ray.storage.place import Place
from swav_ray.training.learner import Learner, build_model
from swav_ray.training.run_files import RunFiles

T = TypeVar("T")

_INITIALISATIONS = 5  # whose spread is part of the noise that a result is compared by


class MeasuredRun:
    """The measurements of a run. Every worker has one, and calls are collective unless that is said.

    A measurement beside training holds up no worker. If the next but one is due before it is done, or the run ends, the
    workers measure what is left themselves: no measurement depends on how fast anything is.

    Args:
        config: the run. run_dir: its directory.
        measurer: measures a model. learner: has the model that trains.
        quarantine: takes the held-out images that cannot be read.
        files: those of the run; None on other workers than rank 0.
        start: starts a measurement beside training, on rank 0; None if the workers are to measure.
        report: sends a message.
    """

    def __init__(
        self,
        config: Config,
        run_dir: Place,
        measurer: Measurer,
        learner: Learner,
        *,
        quarantine: Quarantine,
        files: RunFiles | None,
        start: Start | None,
        report: Callable[[Message], None],
    ) -> None:
        self._config, self._run_dir, self._measurer, self._learner = config, run_dir, measurer, learner
        self._quarantine, self._files, self._report = quarantine, files, report
        self._unreadable = 0.0  # held-out images, as they were told last
        self._end = config.train.epochs * learner.steps_per_epoch
        self._beside: Beside | None = None
        if files is not None and start is not None:
            self._beside = Beside(start, files.written, self._give_up)
        self._is_beside = learner.world.gather_objects(self._beside is not None)[0]

    def is_beside(self) -> bool:
        """Whether measurements are made beside training, each from a checkpoint."""
        return self._is_beside

    def make_up(self, start: int) -> None:
        """Has measured what was saved before a kill and not measured; the learner's state is that before `start`."""
        missing = self._from_chief([step for step in self._files.unmeasured if step < self._end] if self._files else [])
        for step in missing:
            if self._beside is not None:
                self._beside.add(step)
            elif not self._is_beside:
                self._in_workers(step, current=step == start)

    def due(self, step: int) -> float | None:
        """Measures the state before `step`, which is the learner's, or has it measured from its checkpoint.

        Returns:
            Top-1 in percent; None if it is not known, or not yet.
        """
        if self._is_beside:
            self.poll()
            if not self._from_chief(self._beside is not None and self._beside.full):
                if self._beside is not None and self._files is not None:
                    self._files.await_measurement(step)
                    self._beside.add(step)
                return None
            self._warn("kNN beside training is slower than training: the workers measure now, which training waits for")
            self._take_over()
        return self._in_workers(step, current=True)

    def poll(self) -> None:
        """Notes what was measured beside training, and starts what is next; on rank 0 alone, without waiting."""
        if self._beside is None:
            return
        if found := self._beside.poll():
            step, figures = found
            self._note(step, lambda: figures)

    def leave(self) -> None:
        """Ends what is measured beside training, to be made up later; on any worker."""
        if self._beside is not None:
            self._beside.cancel()

    def finish(self, init: SwAVModel | None = None) -> Knn:
        """Measures what is left, and the result with its baselines.

        Args:
            init: the model that the run started from, if its weights were not random.

        Returns:
            `trained`, `untrained`, `pixels`, `chance`, perhaps `init`; and if kNN is quick, `untrained_1` and so on,
            the same network with other random weights.
        """
        if self._is_beside:
            self.poll()
            self._take_over()
        more = range(1, _INITIALISATIONS) if self._measurer.is_quick else ()
        others = {f"untrained_{seed}": build_model(self._config, seed) for seed in more}
        knn = self._knn(self._learner.model, untrained=build_model(self._config), init=init, **others)
        self._note(self._end, lambda: self._measurer.figures(self._learner.model, knn))
        return knn

    def _take_over(self) -> None:
        """From here on the workers measure, first what waits."""
        left = self._from_chief(self._beside.cancel() if self._beside is not None else [])
        self._beside, self._is_beside = None, False
        for step in left:
            self._in_workers(step, current=False)

    def _in_workers(self, step: int, *, current: bool) -> float | None:
        """Measures the state before `step`: the learner's, or else that of a checkpoint."""
        if self._files is not None:
            self._report(messages.Waiting(f"kNN before step {step}"))
        model = self._learner.model if current else self._saved_model(step)
        if model is None:
            return None
        knn = self._knn(model)
        self._note(step, lambda: self._measurer.figures(model, knn))
        return knn.top1.get("trained")

    def _knn(self, model: SwAVModel, **baselines: SwAVModel | None) -> Knn:
        found = self._measurer.knn(model, **baselines)
        self._quarantine.add_held_out(found.unreadable)
        return found

    def _saved_model(self, step: int) -> SwAVModel | None:
        """The model of a checkpoint, on every worker; None if rank 0 cannot read it. RuntimeError if others cannot."""
        model, why = None, ""
        try:
            model = load_model(self._config, self._run_dir, step)
        except (BadCheckpoint, OSError) as error:
            why = str(error)
        if reason := self._from_chief(why):
            self._give_up(step, reason)
            return None
        if model is None:
            # A fault of this node or of the way to it, worth another try.
            raise RuntimeError(f"rank {self._learner.world.rank} cannot read what rank 0 could: {why}")
        return model.to(self._learner.device)

    def _note(self, step: int, figures: Callable[[], Figures]) -> None:
        if self._files is None:
            return
        # There already, if a kill came between the last measurement and the summary; its report may be lost.
        row = self._files.measurement(step)
        if row is None:
            row = self._measurer.row(step, self._files.mean_loss(step), figures())
            self._files.measure(row)
        self._report(messages.Measured(row))
        self._note_unreadable(row.get(HELD_OUT_UNREADABLE, 0), step)
        if "knn_top1" in row:
            self._report(messages.KnnMeasured(step, row["knn_top1"], row.get("knn_error", 0.0)))
            self._files.scalar("eval/knn_top1", row["knn_top1"], step)

    def _note_unreadable(self, count: float, step: int) -> None:
        """Tells of held-out images that kNN left out, when there are more of them than before."""
        if self._files is None or count <= self._unreadable:
            return
        self._unreadable = count
        named = next(iter(self._quarantine.held_out.values()), None)  # one that was measured in this process
        example = f"; for example {named.uri}: {named.reason}" if named else ""
        self._warn(f"{count:,.0f} held-out images cannot be read and are left out of kNN{example}")
        self._files.scalar(f"eval/{HELD_OUT_UNREADABLE}", count, step)

    def _give_up(self, step: int, why: str) -> None:
        if self._files is not None:
            self._files.forgo_measurement(step)
        self._warn(f"kNN before step {step} is left out: {why}")

    def _warn(self, text: str) -> None:
        if self._files is not None:
            self._report(messages.Warned(text))

    def _from_chief(self, value: T) -> T:
        """Rank 0's value, on every worker."""
        return self._learner.world.gather_objects(value)[0]
