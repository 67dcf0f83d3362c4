"""The services' real libraries, without a network: MLflow's files, and what W&B and Comet keep to be uploaded later."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from swav_ray.report.trackers.services import Point, Run, Service, open_service

SETTINGS = {"optim.base_lr": 2.0, "model.prototypes": [100], "run.name": "mine"}
POINTS = [Point(step, 1e9 + step, {"train/loss": 3.0 - step, "train/lr": 0.5}) for step in range(3)]


def filled(name: str, folder: Path, known: str = "") -> Service:
    page = folder / "report.html"
    page.write_text("<p>what it learned</p>")
    service = open_service(name, Run("mine", SETTINGS, known))
    service.log(POINTS)
    service.log([])
    service.note("health", "healthy")
    service.end("finished", page)
    return service


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "shapes")
    monkeypatch.chdir(tmp_path)
    service = filled("mlflow", tmp_path)
    client = mlflow.MlflowClient()
    run = client.get_run(service.id)
    assert service.where == f"run {service.id} in sqlite:///{tmp_path}/mlflow.db"
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert client.get_experiment(run.info.experiment_id).name == "shapes"
    assert run.data.params["model.prototypes"] == "[100]"
    assert {name: run.data.tags[name] for name in ("health", "state")} == {"health": "healthy", "state": "finished"}
    history = client.get_metric_history(service.id, "train/loss")
    assert [(item.step, item.value, item.timestamp) for item in history] == [
        (0, 3.0, 10**12),
        (1, 2.0, 10**12 + 1000),
        (2, 1.0, 10**12 + 2000),
    ]
    assert [file.path for file in client.list_artifacts(service.id)] == ["report.html"]
    # A run that resumes has the same settings, and figures that were sent before may come again.
    again = open_service("mlflow", Run("mine", SETTINGS, service.id))
    again.log([POINTS[-1], Point(3, 1e9 + 3, {"train/loss": 0.5})])
    assert client.get_run(service.id).info.status == "RUNNING"
    again.end("stopped", None)
    assert client.get_run(service.id).info.status == "KILLED"
    assert client.get_run(service.id).data.metrics["train/loss"] == 0.5


def test_mlflow_takes_more_settings_and_figures_than_fit_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    service = open_service("mlflow", Run("mine", {f"a.b{number}": number for number in range(250)}))
    service.log([Point(step, 1e9, {"x": step, "y": step}) for step in range(700)])
    run = mlflow.MlflowClient().get_run(service.id)
    assert len(run.data.params) == 250
    assert run.data.metrics == {"x": 699, "y": 699}


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    service = filled("wandb", tmp_path)
    (file,) = tmp_path.glob(f"wandb/offline-run-*-{service.id}/run-{service.id}.wandb")
    assert service.where == f"run {service.id} in {file.parent}, for `wandb sync`"
    written = file.read_bytes()
    for text in (b"train/loss", b"optim.base_lr", b"healthy", b"finished"):
        assert text in written
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/html/page_*.html"))


def test_comet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("comet_ml")
    monkeypatch.setenv("COMET_START_ONLINE", "0")
    monkeypatch.setenv("COMET_OFFLINE_DIRECTORY", str(tmp_path / "comet"))
    service = filled("comet", tmp_path)
    assert service.where == f"run {service.id} in a file, for `comet upload`"
    (archive,) = (tmp_path / "comet").glob(f"{service.id}*.zip")
    with zipfile.ZipFile(archive) as found:
        written = b"".join(found.read(name) for name in found.namelist())
    for text in (b"train/loss", b"optim.base_lr", b"healthy", b"finished", b"what it learned"):
        assert text in written
