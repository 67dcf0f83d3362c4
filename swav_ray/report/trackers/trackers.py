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
from types import TracebackType
from typing import Any

from swav_ray import settings
from swav_ray.config import Config
from swav_ray.one_line import one_line
from swav_ray.report.trackers.services import Point, Run, Service, check_installed, open_service
from swav_ray.run.layout import PAGE, SUMMARY, TRACKERS
from swav_ray.run.messages import Measured, Message, Observed
from swav_ray.run.state import state_of
from swav_ray.run.step_record import StepRecord
from swav_ray.storage.place import Place

_SECONDS = 5.0  # between requests to a service
_RETRY_SECONDS = 60.0  # after one that failed
_LEAVE_SECONDS = 60.0  # that the end of a run waits for a service
_MOST = 100_000  # figures that wait for one
_NOT_FIGURES = ("step", "steps", "time")


class Trackers:
    """The services of one run, as long as the command that trains it lives.

    Args:
        config: of the run. run_dir: the run directory.
        say: is called with a line when a service fails, and when it works again.
        seconds: between requests; after a failure; that the end waits.

    Raises:
        ConfigError: the library of a service is not installed.
    """

    def __init__(
        self,
        config: Config,
        run_dir: Place,
        say: Callable[[str], None],
        seconds: tuple[float, float, float] = (_SECONDS, _RETRY_SECONDS, _LEAVE_SECONDS),
    ) -> None:
        check_installed(config.run.trackers)
        self._run_dir = run_dir
        self._senders = [_Sender(name, config, run_dir, say, seconds) for name in config.run.trackers]

    def __enter__(self) -> Trackers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Sends what is left, the run's state and its page, and ends."""
        if not any(sender.begun for sender in self._senders):
            return
        with _page(self._run_dir) as page:
            state, outcome = state_of(self._run_dir), _outcome(self._run_dir)
            for sender in self._senders:
                for name, text in outcome.items():
                    sender.note(name, text)
                sender.end(state, page)
            for sender in self._senders:
                sender.leave()

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


def _outcome(run_dir: Place) -> dict[str, str]:
    """What a finished run learned, and what it had to beat, in words."""
    try:
        summary = json.loads((run_dir / SUMMARY).read_bytes())
    except (OSError, ValueError):
        return {}
    found = {f"knn_top1 {name}": f"{top1:.1f}%" for name, top1 in (summary.get("knn_top1") or {}).items()}
    return found | ({"verdict": summary["verdict"]["line"]} if summary.get("verdict") else {})


@contextlib.contextmanager
def _page(run_dir: Place) -> Iterator[Path | None]:
    """The run's page as a local file; None if there is none that can be read."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / PAGE
        try:
            file.write_bytes((run_dir / PAGE).read_bytes())
        except OSError:
            yield None
        else:
            yield file


class _Sender:
    """One service, in a thread that begins with the first figures."""

    def __init__(
        self, name: str, config: Config, run_dir: Place, say: Callable[[str], None], seconds: tuple[float, float, float]
    ) -> None:
        self._name, self._say = name, say
        self._settings = {
            f"{section}.{field}": value
            for section, fields in settings.to_dict(config).items()
            for field, value in fields.items()
        }
        self._file = run_dir / TRACKERS / name
        self._run_name = run_dir.name
        self._pause, self._retry, self._patience = seconds
        self._lock = threading.Lock()
        self._points: list[Point] = []
        self._notes: dict[str, str] = {}
        self._lost = 0
        self._end: tuple[str, Path | None] = ("", None)
        self._ending = threading.Event()
        self._why = ""  # it takes nothing, if it does not
        self._service: Service | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @property
    def begun(self) -> bool:
        """Whether there was anything to send."""
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

    def leave(self) -> None:
        """Waits for the thread, for so long."""
        if not self.begun:
            return
        self._thread.join(timeout=self._patience)
        why = "it is still busy" if self._thread.is_alive() else self._why
        if why:
            self._say(f"warning: {self._name} has not taken everything: {why}; the run directory has it all")

    def _work(self) -> None:
        while not self._ending.wait(self._retry if self._why else self._pause):
            try:
                self._send()
            except Exception as error:  # each library has errors of its own
                if not self._why:
                    self._say(f"warning: {self._name} takes no figures, and is asked again: {one_line(error)}")
                self._why = one_line(error)
            else:
                self._works()
        try:
            self._send().end(*self._end)
            self._why = ""
        except Exception as error:
            self._why = one_line(error)

    def _send(self) -> Service:
        """Sends what there is; what is not taken stays."""
        if self._service is None:
            known = self._file.read_bytes().decode() if self._file.exists() else ""
            self._service = open_service(self._name, Run(self._run_name, self._settings, known))
            self._file.write_bytes(self._service.id.encode())
            self._say(f"{self._name} has its figures too: {self._service.where}")
        with self._lock:
            points, self._points = self._points, []
            notes, self._notes = self._notes, {}
        try:
            self._service.log(points)
            for name, text in notes.items():
                self._service.note(name, text)
        except BaseException:
            with self._lock:
                self._points = points + self._points
                self._notes = notes | self._notes
                self._shorten()
            raise
        return self._service

    def _shorten(self) -> None:
        if (more := len(self._points) - _MOST) > 0:
            self._lost += more
            del self._points[:more]

    def _works(self) -> None:
        if self._why:
            lost = f"; {self._lost:,} steps are missing there" if self._lost else ""
            self._say(f"{self._name} takes figures again{lost}")
        self._why, self._lost = "", 0
