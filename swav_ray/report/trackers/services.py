"""One class for each service of `run.trackers`. Each knows its library, and nothing of runs but what it is given.

Where a service is, and who may write there, it reads from its own settings: MLFLOW_TRACKING_URI, `wandb login` or
WANDB_MODE, `comet login` or COMET_API_KEY. `swav_ray` is the project unless MLFLOW_EXPERIMENT_NAME, WANDB_PROJECT or
COMET_PROJECT_NAME names another.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from swav_ray.config import ConfigError

_PROJECT = "swav_ray"
_MODULES = {"mlflow": "mlflow", "wandb": "wandb", "comet": "comet_ml"}
_MOST_METRICS, _MOST_PARAMS = 1000, 100  # of one request to MLflow


@dataclass(frozen=True)
class Point:
    """Figures of one step.

    Attributes:
        step: that they belong to. time: Unix seconds. figures: by name, such as train/loss.
    """

    step: int
    time: float
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """What a service is told of a run when it hears of it first.

    Attributes:
        name: of the run. settings: by name, section.field. known: what the service called the run before; '' if it is
            new there.
    """

    name: str
    settings: Mapping[str, Any]
    known: str = ""


class Service(Protocol):
    """A run at one service. Every method may raise whatever the service's library raises."""

    def log(self, points: Sequence[Point]) -> None:
        """Takes figures; of a step that was taken before, the same ones again."""

    def note(self, name: str, text: str) -> None:
        """Takes a word about the run that replaces the one before, such as its health."""

    def end(self, state: str, page: Path | None) -> None:
        """Ends with the run's state, one of run.state.STATES, and its page if there is one."""

    @property
    def id(self) -> str:
        """What the service calls the run."""

    @property
    def where(self) -> str:
        """Where a person finds it."""


def check_installed(names: Sequence[str]) -> None:
    """Raises ConfigError if the library of a service is missing."""
    for name in names:
        if importlib.util.find_spec(_MODULES[name]) is None:
            right = f"needs the package {_MODULES[name]}: pip install 'swav_ray[trackers]'"
            raise ConfigError("run.trackers", name, right)


def open_service(name: str, run: Run) -> Service:
    """The run at a service, continued if it is known there."""
    services: dict[str, Callable[[Run], Service]] = {"mlflow": _MLflow, "wandb": _Wandb, "comet": _Comet}
    return services[name](run)


class _MLflow:
    def __init__(self, run: Run) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric = Metric
        self._params: list[Param] = []  # that it has not got yet
        self._client = MlflowClient()
        if run.known:
            self.id = run.known
            self.where = self._where()
            self._client.update_run(self.id, status="RUNNING")
            return
        project = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        experiment = self._client.get_experiment_by_name(project)
        where = experiment.experiment_id if experiment else self._client.create_experiment(project)
        self.id = self._client.create_run(where, run_name=run.name).info.run_id
        self.where = self._where()
        self._params = [Param(key, str(value)) for key, value in run.settings.items()]

    def _where(self) -> str:
        return f"run {self.id} in {self._client.tracking_uri}"

    def log(self, points: Sequence[Point]) -> None:
        while self._params:
            self._client.log_batch(self.id, params=self._params[:_MOST_PARAMS])
            del self._params[:_MOST_PARAMS]
        metrics = [
            self._metric(key, value, int(point.time * 1000), point.step)
            for point in points
            for key, value in point.figures.items()
        ]
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self.id, metrics=metrics[start : start + _MOST_METRICS])

    def note(self, name: str, text: str) -> None:
        self._client.set_tag(self.id, name, text)

    def end(self, state: str, page: Path | None) -> None:
        if page is not None:
            self._client.log_artifact(self.id, str(page))
        if state:
            self.note("state", state)
        status = {"finished": "FINISHED", "stopped": "KILLED"}.get(state, "FAILED")
        self._client.set_terminated(self.id, status)


class _Wandb:
    def __init__(self, run: Run) -> None:
        import wandb

        alone = wandb.Settings(silent=True, console="off")  # what this process prints is no part of the run
        self._html = wandb.Html
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            id=run.known or None,
            resume="allow",
            name=run.name,
            config=dict(run.settings),
            settings=alone,
        )
        self._run.define_metric("*", step_metric="step")  # its own count refuses a step that comes again
        self.id = str(self._run.id)
        offline = f"run {self.id} in {Path(self._run.dir).parent}, for `wandb sync`"
        self.where = offline if self._run.offline else str(self._run.url)

    def log(self, points: Sequence[Point]) -> None:
        for point in points:
            self._run.log({"step": point.step, **point.figures})

    def note(self, name: str, text: str) -> None:
        self._run.summary[name] = text

    def end(self, state: str, page: Path | None) -> None:
        if page is not None:
            self._run.log({"page": self._html(str(page))})
        self.note("state", state)
        self._run.finish(exit_code=0 if state in ("finished", "stopped") else 1)


class _Comet:
    def __init__(self, run: Run) -> None:
        import comet_ml

        # Nothing that it would find by itself: its view of this process is not the run's.
        alone = comet_ml.ExperimentConfig(
            name=run.name,
            log_code=False,
            log_graph=False,
            log_git_metadata=False,
            log_git_patch=False,
            log_env_details=False,
            parse_args=False,
            auto_output_logging="",
            auto_param_logging=False,
            auto_metric_logging=False,
            display_summary_level=0,
        )
        self._experiment = comet_ml.start(
            project_name=os.environ.get("COMET_PROJECT_NAME", _PROJECT),
            experiment_key=run.known or None,
            experiment_config=alone,
        )
        if not self._experiment.alive:
            raise ConnectionError("Comet does not take the experiment: is COMET_API_KEY right, and is there a network?")
        self.id = str(self._experiment.get_key())
        self.where = self._experiment.url or f"run {self.id} in a file, for `comet upload`"
        self._experiment.log_parameters(dict(run.settings))

    def log(self, points: Sequence[Point]) -> None:
        for point in points:
            self._experiment.log_metrics(dict(point.figures), step=point.step)

    def note(self, name: str, text: str) -> None:
        self._experiment.log_other(name, text)

    def end(self, state: str, page: Path | None) -> None:
        if page is not None:
            self._experiment.log_asset(str(page))
        self.note("state", state)
        self._experiment.end()
