"""The job under test, started from the command line as a user would, and what can be seen of it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from swav_ray import settings
from swav_ray.config import Config
from swav_ray.run.layout import METRICS
from swav_ray.storage.place import Place

COMMAND = ("-m", "swav_ray.pretrain")
_STEP = re.compile(r"\bstep (\d+)/\d+")
_RESUMED = re.compile(r"resumed from the checkpoint before step (\d+)")


class Job:
    """`python -m swav_ray.pretrain` in a process group of its own.

    Args:
        config: the run.
        address: of the Ray cluster that it joins.
        folder: for its config file and its output.
        command: the arguments between the interpreter and `--config`.
    """

    def __init__(self, config: Config, address: str, folder: Path, command: tuple[str, ...] = COMMAND) -> None:
        self._command = command
        self._file = folder / f"{config.run.name}.yaml"
        self._file.write_text(settings.to_yaml(config))
        self.log = folder / f"{config.run.name}.log"
        self._environment = {**os.environ, "RAY_ADDRESS": address, "COLUMNS": "200"}
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        self.starts += 1
        command = [sys.executable, "-u", *self._command, "--config", str(self._file)]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )

    def poll(self) -> int | None:
        """The exit status of the last start, None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def kill(self) -> None:
        """SIGKILL of the command and of everything in its process group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


class Progress:
    """How far a run has come, from its metrics.jsonl if that is local, else from what the command prints.

    `step` is the last one of the committed lineage as seen, `furthest` the highest ever seen, both -1 before the
    first; `recomputed` counts steps that were done again.
    """

    def __init__(self, run_dir: Place, log: Path) -> None:
        self.step = self.furthest = -1
        self.recomputed = 0
        self._metrics = (run_dir / METRICS).local_path if run_dir.is_local else None
        self._log = log
        self._inode = -1
        self._offset = 0
        self._log_offset = 0
        self.reached: dict[int, float] = {}

    def update(self) -> None:
        """Looks again."""
        for step in self._from_metrics() if self._metrics else self._from_output():
            self._note(step)

    def _note(self, step: int) -> None:
        if step > self.furthest:
            self.reached[step] = time.monotonic()
            self.furthest = step
        self.step = step

    def _went_back(self, next_step: int) -> None:
        self.recomputed += max(0, self.step + 1 - next_step)
        self.step = next_step - 1

    def _from_metrics(self) -> list[int]:
        """Steps of the lines that are new; a file of another inode is the one that a restart wrote."""
        assert self._metrics is not None
        with contextlib.suppress(FileNotFoundError), open(self._metrics, "rb") as file:
            status = os.fstat(file.fileno())
            if again := status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset = status.st_ino, 0
            file.seek(self._offset)
            data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offset += len(whole)
            steps = [json.loads(line)["step"] for line in whole.splitlines()]
            if again:
                kept = [step for step in steps if step <= self.step]
                self._went_back(kept[-1] + 1 if kept else 0)
            return [step for step in steps if step > self.step]
        return []

    def _from_output(self) -> list[int]:
        if not self._log.exists():
            return []
        with open(self._log, "rb") as file:
            file.seek(self._log_offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._log_offset += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if match := _RESUMED.search(line):
                self._went_back(int(match[1]))
            elif match := _STEP.search(line):
                self._note(int(match[1]) - 1)
        return []
