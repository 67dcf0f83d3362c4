"""Sends what the workers report to the services of `run.trackers`, each from a thread of its own.

metrics.jsonl is the record of a run. A service that is away, slow or refuses costs figures there at the most: never a
step, and never the run.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from swav_ray import settings
from swav_ray.config import Config
from swav_ray.one_line import one_line
from swav_ray.report.trackers.process import Home, RemoteService
from swav_ray.report.trackers.services import Point, Run, check_installed
from swav_ray.run.layout import PAGE, SUMMARY, TRACKERS
from swav_ray.run.messages import Measured, Message, Observed
from swav_ray.run.state import state_of
from swav_ray.run.step_record import StepRecord
from swav_ray.storage.place import Place

_SECONDS = 5.0  # between requests to a service
_RETRY_SECONDS = 60.0  # after one that failed
_LEAVE_SECONDS = 60.0  # that the end of a run waits for a service
_MOST = 100_000  # steps whose figures wait for one
_NOT_FIGURES = ("step", "steps", "time")


class Trackers:
    """The services of one run, as long as the command that trains it lives.

    Args:
        config: of the run. run_dir: the run directory.
        say: is called with a line when a service fails, and when it works again.
        home: of the command; None: this process is it.
        seconds: between requests; after a failure; that the end waits, for all services together.

    Raises:
        ConfigError: the library of a service is not installed.
    """

    def __init__(
        self,
        config: Config,
        run_dir: Place,
        say: Callable[[str], None],
        home: Home | None = None,
        seconds: tuple[float, float, float] = (_SECONDS, _RETRY_SECONDS, _LEAVE_SECONDS),
    ) -> None:
        check_installed(config.run.trackers)
        self._run_dir, self._patience = run_dir, seconds[2]
        home = home or Home.here()
        self._senders = [_Sender(name, config, run_dir, say, home, seconds) for name in config.run.trackers]

    @property
    def begun(self) -> bool:
        """Whether there was anything to send."""
        return any(sender.begun for sender in self._senders)

    def close(self) -> None:
        """Sends what is left, the run's state and its page, and ends. Raises nothing but what a signal does."""
        begun = [sender for sender in self._senders if sender.begun]
        if not begun:
            return
        deadline = time.monotonic() + self._patience
        try:
            with _page(self._run_dir) as page:
                state, outcome = _ended(self._run_dir)
                for sender in begun:
                    for name, text in outcome.items():
                        sender.note(name, text)
                    sender.end(state, page)
                for sender in begun:
                    sender.leave(deadline)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Ends at once; what was not sent yet is left out there."""
        for sender in self._senders:
            sender.abandon()

    def take(self, message: Message) -> None:
        """A message of the workers; waits for nobody."""
        match message:
            case StepRecord():
                self._put(_point("train", message.line()))
            case Measured(row):
                self._put(_point("eval", {"time": time.time(), **row}))
            case Observed(line):
                self._put(_point("health", {"time": time.time(), **line}))
                for sender in self._senders:
                    sender.note("health", line["word"])

    def _put(self, point: Point) -> None:
        for sender in self._senders:
            sender.put(point)


def _point(kind: str, line: dict[str, Any]) -> Point:
    figures = {
        f"{kind}/{name}": float(value)
        for name, value in line.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in _NOT_FIGURES
    }
    return Point(line["step"], line["time"], figures)


def _ended(run_dir: Place) -> tuple[str, dict[str, str]]:
    """The run's state, and what a finished run learned and had to beat, in words; of what can be read."""
    state, found = "", {}
    with contextlib.suppress(OSError, ValueError):
        state = state_of(run_dir)
        summary = json.loads((run_dir / SUMMARY).read_bytes())
        found = {f"knn_top1 {name}": f"{top1:.1f}%" for name, top1 in (summary.get("knn_top1") or {}).items()}
        if summary.get("verdict"):
            found["verdict"] = summary["verdict"]["line"]
    return state, found


@contextlib.contextmanager
def _page(run_dir: Place) -> Iterator[Path | None]:
    """The run's page as a local file; None if there is none that can be read."""
    with contextlib.ExitStack() as held:
        file = None
        with contextlib.suppress(OSError, ValueError):
            if run_dir.is_local:
                file = run_dir.local_path / PAGE if (run_dir / PAGE).exists() else None
            else:
                copy = Path(held.enter_context(tempfile.TemporaryDirectory())) / PAGE
                (run_dir / PAGE).download_file(copy)
                file = copy
        yield file


class _Sender:
    """One service, in a thread that begins with the first figures."""

    def __init__(
        self,
        name: str,
        config: Config,
        run_dir: Place,
        say: Callable[[str], None],
        home: Home,
        seconds: tuple[float, float, float],
    ) -> None:
        self._name, self._say, self._home = name, say, home
        self._settings = {
            f"{section}.{field}": value
            for section, fields in settings.to_dict(config).items()
            for field, value in fields.items()
        }
        self._file = run_dir / TRACKERS / name
        self._run_name = run_dir.name
        self._pause, self._retry, _ = seconds
        self._lock = threading.Lock()
        self._points: list[Point] = []
        self._notes: dict[str, str] = {}
        self._lost = 0
        self._end: tuple[str, Path | None] = ("", None)
        self._ending = threading.Event()
        self._why = ""  # it takes nothing, if it does not
        self._done = self._abandoned = False
        self._service: RemoteService | None = None
        self._known: str | None = None  # what its file says that the service calls the run
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @property
    def begun(self) -> bool:
        return self._thread.ident is not None

    def put(self, point: Point) -> None:
        with self._lock:
            self._points.append(point)
            self._shorten()
        if not self.begun:
            self._thread.start()

    def note(self, name: str, text: str) -> None:
        with self._lock:
            self._notes[name] = text

    def end(self, state: str, page: Path | None) -> None:
        """Asks the thread to send what is left, and to end; does not wait for it."""
        self._end = (state, page)
        self._ending.set()

    def leave(self, deadline: float) -> None:
        """Waits for the thread until then, and says what became of it."""
        self._thread.join(timeout=max(0.0, deadline - time.monotonic()))
        if not self._done or self._lost:
            why = self._why or ("it is still busy" if not self._done else f"{self._lost:,} steps came too fast for it")
            self._say(f"warning: {self._name} has not taken everything: {why}; the run directory has it all")

    def abandon(self) -> None:
        self._abandoned = True
        self._ending.set()
        self._kill()

    def _work(self) -> None:
        while not self._ending.wait(self._retry if self._why else self._pause):
            try:
                self._send()
            except Exception as error:  # of the service or of the run's storage: neither may end this thread
                if not self._why:
                    self._say(f"warning: {self._name} takes no figures, and is asked again: {one_line(error)}")
                self._why = one_line(error)
            else:
                self._works()
        if self._abandoned:
            return
        try:
            self._send()
        except Exception as error:
            self._why = one_line(error)
        try:
            if self._service is not None and self._service.id:
                self._service.end(*self._end)
                self._done = not self._points
        except Exception as error:
            self._why = one_line(error)

    def _send(self) -> None:
        """Sends what there is; what is not taken stays."""
        service = self._opened()
        with self._lock:
            points, self._points = self._points, []
            notes, self._notes = self._notes, {}
        try:
            service.log(points)
            for name, text in notes.items():
                service.note(name, text)
        except Exception:
            with self._lock:
                self._points = points + self._points
                self._notes = notes | self._notes
                self._shorten()
            raise

    def _opened(self) -> RemoteService:
        if self._known is None:
            self._known = self._file.read_bytes().decode() if self._file.exists() else ""
        if self._service is None or not self._service.alive or not self._service.id:
            self._open(Run(self._run_name, self._settings, self._known))
        assert self._service is not None
        if self._service.id != self._known:
            self._file.write_bytes(self._service.id.encode())
            self._known = self._service.id
        return self._service

    def _open(self, run: Run) -> None:
        self._kill()
        self._service = RemoteService(self._name, self._home)
        if self._abandoned:  # since then, or before it was there to be ended
            self._kill()
        self._service.open(run)
        self._say(f"{self._name} has its figures too: {self._service.where}")

    def _kill(self) -> None:
        if self._service is not None:
            self._service.kill()

    def _shorten(self) -> None:
        if (more := len(self._points) - _MOST) > 0:
            self._lost += more
            del self._points[:more]

    def _works(self) -> None:
        if self._why or self._lost:
            lost = f"; {self._lost:,} steps are missing there" if self._lost else ""
            self._say(f"{self._name} takes figures again{lost}")
        self._why, self._lost = "", 0
