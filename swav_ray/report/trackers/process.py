"""A process of its own for each service of `run.trackers`: what its library prints, asks for or hangs in harms no run.

The command's end is `RemoteService`, the other one `serve`. A request and its answer are a line of JSON each.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swav_ray.one_line import one_line
from swav_ray.report.trackers.services import Point, Run, Service, open_service

_ROOT = str(Path(__file__).parents[3])  # of this package, wherever it was imported from
_GRACE = 60.0  # seconds that a service has to take what is left when the command has died
_OF_A_SERVICE = ("MLFLOW_", "WANDB_", "COMET_")  # how the names of their own settings begin


@dataclass(frozen=True)
class Home:
    """Where a service's library works: the folder of the files that it keeps, and its own settings.

    Attributes:
        folder: the current one of the command. settings: environment variables.
    """

    folder: str
    settings: Mapping[str, str]

    @classmethod
    def here(cls) -> Home:
        """Of this process."""
        return cls(os.getcwd(), {key: value for key, value in os.environ.items() if key.startswith(_OF_A_SERVICE)})


class RemoteService:
    """services.Service in a process of its own, which ends with this one at the latest.

    Its methods raise ConnectionError if the service refuses, with what its library says; or if the process has ended.
    """

    id = where = ""

    def __init__(self, name: str, home: Home) -> None:
        self._name, self._killed = name, False
        environment = {**os.environ, **home.settings}
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()", str(os.getpid()), str(_GRACE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a person's Ctrl-C is for the run
            cwd=home.folder if os.path.isdir(home.folder) else None,  # a trial may be on another node
            env={**environment, "PYTHONPATH": os.pathsep.join([_ROOT, environment.get("PYTHONPATH", "")])},
            text=True,
        )

    def open(self, run: Run) -> None:
        """Opens or continues the run there; before anything else."""
        opened = self._ask({"open": {"service": self._name, **asdict(run)}})
        self.id, self.where = opened["id"], opened["where"]

    @property
    def alive(self) -> bool:
        """Whether its process is."""
        return self._process.poll() is None

    def log(self, points: Sequence[Point]) -> None:
        self._ask({"log": [asdict(point) for point in points]})

    def note(self, name: str, text: str) -> None:
        self._ask({"note": [name, text]})

    def end(self, state: str, page: Path | None) -> None:
        self._ask({"end": [state, str(page) if page else None]})

    def kill(self) -> None:
        """Ends the process and what it has started, whatever they do."""
        if self._killed:
            return  # by now its number may be another's
        self._killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            raise ConnectionError("the process that speaks to it has ended") from None
        if "error" in answer:
            raise ConnectionError(answer["error"])
        return answer


def serve() -> None:
    """Answers the requests on standard input, until there are no more."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):  # libraries ask for passwords, and print
        os.dup2(nothing, number)
    threading.Thread(target=_end_with, args=(int(sys.argv[1]), float(sys.argv[2])), daemon=True).start()
    service: Service | None = None
    for line in requests:
        ((what, given),) = json.loads(line).items()
        answer: dict[str, Any] = {}
        try:
            if what == "open":
                service = open_service(given.pop("service"), Run(**given))
                answer = {"id": service.id, "where": service.where}
            elif service is not None and what == "log":
                service.log([Point(**point) for point in given])
            elif service is not None and what == "note":
                service.note(*given)
            elif service is not None:
                state, page = given
                service.end(state, Path(page) if page else None)
        except BaseException as error:  # some libraries raise KeyboardInterrupt
            answer = {"error": one_line(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _end_with(parent: int, grace: float) -> None:
    """Ends this process and what it has started some time after its parent has, however busy a library is."""
    while os.getppid() == parent:
        time.sleep(1)
    time.sleep(grace)
    os.killpg(0, signal.SIGKILL)
