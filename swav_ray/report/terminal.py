"""What a person sees while it runs: a live panel in a terminal, plain lines elsewhere, and a table at the end."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from swav_ray.report.panel import LivePanel
from swav_ray.report.progress import Progress
from swav_ray.report.result import result_lines, result_table
from swav_ray.report.screen import Screen
from swav_ray.report.silence import Silence, duration
from swav_ray.run.fit_record import FitRecord
from swav_ray.run.health_log import ALARMS
from swav_ray.run.messages import (
    Finishing,
    HealthChanged,
    Judged,
    KnnMeasured,
    Leaving,
    Message,
    Preempted,
    Quarantined,
    Remedied,
    Resizing,
    Resumed,
    Stopped,
    Waiting,
    Warned,
)
from swav_ray.run.step_record import StepRecord

_BETWEEN_STEPS = "no step for "
_NO_STEP = _BETWEEN_STEPS + "{}: a slow step, or workers that were lost"
_SAVED_SECONDS = 10.0  # between questions for the newest checkpoint
_EACH_BAD_IMAGE = 3  # that is named by itself
_ATTENTION_SECONDS = 1.0  # between checks whether something should be said


class Terminal:
    """Writes to standard output.

    Args:
        seconds: between progress lines when the output is no terminal.
        clock: seconds, monotonic.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(soft_wrap=True, highlight=False)
        self._seconds, self._clock = seconds, clock
        self._shown = float("-inf")
        self._screen: Screen | None = None
        self._run: Progress | None = None  # of the run that the panel shows
        self._saved: Callable[[], int | None] = lambda: None
        self._asked_for_saved = float("-inf")
        self._epochs = 0
        self._began: tuple[float, int] | None = None
        self._silence = Silence(seconds, clock)
        self._bad_images_shown = 0
        self._held_back = ""  # the last step's line, when it came too soon after another
        self._lock = threading.RLock()

    def line(self, text: str) -> None:
        """One line that stays."""
        with self._lock:
            self._console.print(Text(text))
            sys.stdout.flush()
            self._silence.shown()

    @contextlib.contextmanager
    def attended(self) -> Iterator[None]:
        """While entered, something is said at least every 15 s, whatever the main thread does; a terminal, always."""
        done = threading.Event()

        def attend() -> None:
            while not done.wait(_ATTENTION_SECONDS):
                self.quiet()

        thread = threading.Thread(target=attend, name="terminal", daemon=True)
        thread.start()
        try:
            with self._on_screen():
                yield
        finally:
            done.set()
            thread.join()

    @contextlib.contextmanager
    def _on_screen(self) -> Iterator[None]:
        """While entered, a terminal has a part that is redrawn."""
        if self._screen is not None or not self._console.is_terminal:
            yield
            return
        try:
            with Screen(self._console) as self._screen:
                yield
        finally:
            self._screen = None

    def waiting_for(self, what: str, *, anew: bool = False) -> None:
        """From now on `what` is shown when nothing else is; `{}` in it stands for how long it is waited for.

        Args:
            anew: how long is counted from now, even if the same was waited for already.
        """
        with self._lock:
            self._held_back = ""
            self._silence.waiting_for(what, anew=anew)

    def quiet(self) -> None:
        """Shows what is waited for: on a terminal always, elsewhere if nothing has been shown for too long."""
        if self._screen is not None:
            self._look_for_checkpoint()
            with self._lock:
                self._redraw()
            return
        with self._lock:
            if self._silence.due() and (text := self._held_back or self._silence.line()):
                self._held_back, self._shown = "", self._clock()
                self.line(text)

    def _redraw(self) -> None:
        assert self._screen is not None
        waited = self._silence.line()
        if self._run is None:
            self._screen.show(Text(waited, overflow="ellipsis", no_wrap=True))
            return
        # Between two steps nothing is waited for that a person should know.
        self._run.now = waited if self._silence.due() or not waited.startswith(_BETWEEN_STEPS) else ""
        self._screen.show(LivePanel(self._run, self._clock))

    def _look_for_checkpoint(self) -> None:
        if self._run is None or self._clock() - self._asked_for_saved < _SAVED_SECONDS:
            return
        self._asked_for_saved = self._clock()
        with contextlib.suppress(OSError, ValueError):  # a storage that is unavailable now
            if (step := self._saved()) is not None:
                self._run.with_checkpoint(step, self._clock())

    def count(self, files: int) -> None:
        """Progress of a listing."""
        if self._clock() - self._shown > self._seconds:
            self._shown = self._clock()
            self.line(f"listing: {files:,} so far")

    @contextlib.contextmanager
    def live(
        self, epochs: int, *, name: str = "", ln_k: float = 0.0, saved: Callable[[], int | None] = lambda: None
    ) -> Iterator[None]:
        """While entered, progress is shown, of a run of so many epochs.

        Args:
            name: of the run. ln_k: the loss that teaches nothing; 0: it has another loss.
            saved: the step of the newest checkpoint; is asked now and then. May raise OSError.
        """
        self._epochs, self._saved = epochs, saved
        self._run = Progress(name=name, epochs=epochs, ln_k=ln_k)
        try:
            with self._on_screen():
                yield
        finally:
            self._run = None

    def show(self, message: Message) -> None:
        """A message of the workers."""
        match message:
            case StepRecord() | FitRecord():
                self._progress(message)
            case Judged(epoch, figures):
                shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
                self.line(f"epoch {epoch}/{self._epochs}: {shown}")
            case Resumed(step, workers):
                self._began = None
                self.line(
                    f"resumed from the checkpoint before step {step}, with {workers} worker{'s' if workers > 1 else ''}"
                )
            case Stopped(step):
                self.line(f"stopped before step {step}, with a checkpoint; the same command resumes from there")
                self.waiting_for("ending the workers: {}")
            case Preempted(nodes, seconds):
                names = ", ".join(node[:8] for node in nodes)
                self.line(f"node {names} is preempted in {seconds:.0f} s: a checkpoint now, and another shortly before")
            case Leaving(step):
                self.line(f"saved before step {step}; resuming without the preempted node")
                self.waiting_for("starting other workers: {}")
            case Resizing(step):
                self.line(f"saved before step {step}; changing the number of workers")
                self.waiting_for("starting other workers: {}")
            case KnnMeasured(step, top1, error):
                self._measured(step, top1, error)
                self.line(
                    f"step {step}: kNN top-1 {top1:.1f}%" + (f" \N{PLUS-MINUS SIGN} {error:.1f}" if error else "")
                )
            case HealthChanged():
                self._health(message)
            case Remedied(_, line):
                self.line(f"remedy: {line}")
                self.waiting_for("starting the workers again: {}")
            case Quarantined():
                self._quarantined(message)
            case Finishing():
                self.line("kNN on held-out images")
                self.waiting_for("kNN on held-out images: {}")
            case Waiting(what):
                self.waiting_for(f"waiting for {what}: {{}}")
            case Warned(text):
                self.line(f"warning: {text}")

    def _measured(self, step: int, top1: float, error: float) -> None:
        if self._run is not None and self._run.steps:
            epoch = step * self._epochs / self._run.steps
            self._run.knn = [known for known in self._run.knn if known[0] < epoch] + [(epoch, top1, error)]

    def _health(self, message: HealthChanged) -> None:
        if self._run is not None:
            self._run.health, self._run.why = message.word, message.why
        if message.word in ALARMS:
            self.line(f"warning: step {message.step}: {message.word}: {message.why}")
            self.line(f"  {message.remedy}")
        else:
            self.line(f"step {message.step}: {message.word}")

    def _quarantined(self, message: Quarantined) -> None:
        """Each of the first images, then whenever their number has doubled: a bad folder must not hide the rest."""
        if message.images <= _EACH_BAD_IMAGE or message.images >= 2 * self._bad_images_shown:
            self._bad_images_shown = message.images
            self.line(
                f"warning: {message.uri} cannot be read ({message.kind}) and is replaced: {message.images:,} so far, "
                f"data.max_bad_fraction allows {message.allowed:,}; quarantine.jsonl lists them"
            )

    def _progress(self, record: StepRecord | FitRecord) -> None:
        now = self._clock()
        self.waiting_for(_NO_STEP, anew=True)
        if isinstance(record, StepRecord) and record.refused:
            self.line(f"warning: step {record.step} was refused: {record.refused}; metrics.jsonl has its images")
            return
        if self._began is None:
            self._began = (now, record.step)
        if self._screen is not None and self._run is not None:
            self._update(self._run, record, now)
            self._silence.shown()
            self._redraw()
        elif now - self._shown > self._seconds:
            self._shown = now
            self.line(self._describe(record, now))
        else:
            self._held_back = self._describe(record, now)

    def _update(self, progress: Progress, record: StepRecord | FitRecord, now: float) -> None:
        progress.step, progress.steps, progress.epoch = record.step + 1, record.steps, record.epoch + 1
        progress.images_per_second, progress.data_wait = record.images_per_second, record.data_wait
        progress.with_workers(record.workers, record.step)
        progress.eta = self._eta(record, now)
        if record.loss is not None:
            progress.losses.append(record.loss)

    def _eta(self, record: StepRecord | FitRecord, now: float) -> float | None:
        assert self._began is not None
        since, first = self._began
        if record.step <= first or now <= since:
            return None
        return (now - since) / (record.step - first) * (record.steps - record.step - 1)

    def _describe(self, record: StepRecord | FitRecord, now: float) -> str:
        done, total = record.step + 1, record.steps
        left = self._eta(record, now)
        eta = duration(left) if left is not None else "-"
        return (
            f"epoch {record.epoch + 1}/{self._epochs}  step {done}/{total}  {record.shown()}  "
            f"{record.images_per_second:,.0f} images/s  waiting for data {record.data_wait:.0%}  ETA {eta}"
        )

    def summary(self, summary: dict[str, Any], run_dir: str) -> None:
        """The table at the end of a run, its verdict, the run's directory, and what to do next."""
        self._console.print(result_table(summary))
        for line in result_lines(summary, run_dir):
            self.line(line)
