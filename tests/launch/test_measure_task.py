"""Measurements beside training as Ray tasks: the figures are those of a run that measures itself, kills included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from swav_ray import worker
from swav_ray.config import Config, replace
from swav_ray.data import manifest as manifests
from swav_ray.data.batch import Batch
from swav_ray.data.batches import BatchMaker
from swav_ray.launch.measure_task import _Task, beside_training, resources
from swav_ray.launch.train import train
from swav_ray.measuring.beside import Start
from swav_ray.recipes import quickstart
from swav_ray.run import measurements
from swav_ray.run.events import Events
from swav_ray.run.layout import MANIFEST
from swav_ray.run.messages import Waiting, Warned
from swav_ray.run.metrics_log import read_metrics
from swav_ray.storage.place import Place, place
from swav_ray.training.control import Request
from swav_ray.training.distributed import World
from tests.in_process import InProcess
from tests.launch.conftest import tiny


def config_of(how: str, **scaling: float) -> Config:
    return replace(quickstart(), eval={"beside_training": how}, scaling=scaling)


@pytest.mark.parametrize(
    ("how", "scaling", "workers", "cpus", "expected"),
    [
        ("auto", {}, 1, 4, {"num_cpus": 1}),
        ("auto", {}, 1, 3, None),  # one for the worker, two for crops
        ("auto", {"crop_cpus": 1.0}, 1, 3, {"num_cpus": 1}),
        ("auto", {"crop_cpus": 8.0}, 1, 4, None),
        ("auto", {}, 4, 6, None),
        ("auto", {"cpus_per_worker": 4.0}, 1, 10, {"num_cpus": 4}),
        ("auto", {"cpus_per_worker": 4.0}, 1, 9, None),
        ("always", {}, 1, 2, {"num_cpus": 1}),
    ],
)
def test_a_measurement_takes_cpus_that_neither_workers_nor_crops_need(
    how: str, scaling: dict[str, float], workers: int, cpus: int, expected: dict[str, float] | None
) -> None:
    assert resources(config_of(how, **scaling), workers, {"CPU": cpus}, gpu=False) == expected


@pytest.mark.parametrize(
    ("how", "gpus_per_worker", "workers", "gpus", "expected"),
    [
        ("auto", 1.0, 1, 2, {"num_cpus": 1, "num_gpus": 1}),
        ("auto", 1.0, 2, 2, None),
        ("auto", 0.5, 1, 1, None),  # half of it is not a GPU of its own
        ("always", 1.0, 2, 2, {"num_cpus": 1}),
    ],
)
def test_beside_gpus_a_measurement_takes_a_whole_one_that_is_free_and_never_a_trainers(
    how: str, gpus_per_worker: float, workers: int, gpus: int, expected: dict[str, float] | None
) -> None:
    config = config_of(how, gpus_per_worker=gpus_per_worker)
    assert resources(config, workers, {"CPU": 64, "GPU": gpus}, gpu=True) == expected


class Slices:
    """The real batches of a run, made in this process; before each step it does what a test wants."""

    def __init__(self, maker: BatchMaker, start: int, end: int, before: Callable[[int], None]) -> None:
        self._maker, self._end, self._before = maker, end, before
        self.step = start - 1  # given last

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        self.step += 1
        self._before(self.step)
        (ids,) = self._maker.plan.batches(self.step, self.step + 1)
        return self._maker.make(self.step, ids)

    def ready(self, seconds: float) -> bool:  # noqa: ARG002
        return True

    def usage(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        pass


class Worker(InProcess):
    """The only worker of a run, in this process. Its tasks are Ray's.

    The checkpoints of steps 9 and 18 are waited for, so that their tasks start with steps 9 and 18.
    """

    def __init__(self, config: Config, run_dir: Place, before: Callable[[int, list[_Task]], None]) -> None:
        super().__init__(config, {8: Request.SAVE, 17: Request.SAVE})
        self._run_dir, self._before = run_dir, before
        self.tasks: list[_Task] = []

    def beside_training(self, workers: int) -> Start | None:
        start = beside_training(self._config, self._run_dir, workers, gpu=False)

        def noted(step: int) -> Any:
            assert start is not None
            self.tasks.append(start(step))  # type: ignore[arg-type]
            return self.tasks[-1]

        return noted if start is not None else None

    def feed(self, maker: BatchMaker, world: World, start: int, end: int) -> Any:  # noqa: ARG002
        self.given = Slices(maker, start, end, lambda step: self._before(step, self.tasks))  # type: ignore[assignment]
        return self.given


def ended(task: _Task) -> None:
    done, _ = ray.wait([task._figures], timeout=120)
    assert done


def nothing(step: int, tasks: list[_Task]) -> None:
    pass


@pytest.fixture(autouse=True)
def torch_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Events, "write", lambda *_: None)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def three_epochs(shapes: Path, how: str) -> Config:
    """Nine steps each, measured after each, the labels and without labels."""
    measured = {"image_size": 16, "knn_every_epochs": 1, "label_free_images": 64, "beside_training": how}
    return tiny(shapes, shapes, "run", eval=measured)


def go(
    shapes: Path,
    folder: Path,
    before: Callable[[int, list[_Task]], None] = nothing,
    *,
    how: str = "auto",
) -> Worker:
    run_dir, config = place(folder / "run"), three_epochs(shapes, how)
    if not (run_dir / MANIFEST).exists():
        manifests.save(manifests.build(str(shapes)), run_dir / MANIFEST)
    coordinator = Worker(config, run_dir, before)
    worker.run(config, run_dir, coordinator)
    return coordinator


def outcome(folder: Path) -> tuple[list[dict[str, Any]], list[float | None]]:
    """What was measured, and the losses."""
    run_dir = place(folder / "run")
    return measurements.read(run_dir), [record["loss"] for record in read_metrics(run_dir)]


def said(coordinator: Worker) -> list[str]:
    """Warnings, and the measurements that training waited for."""
    texts = [event.text for event in coordinator.events if isinstance(event, Warned)]
    waits = [event.what for event in coordinator.events if isinstance(event, Waiting) and "kNN" in event.what]
    return texts + waits


@pytest.fixture(scope="module")
def inside(cluster: None, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The outcome of a run that measures itself."""
    folder = tmp_path_factory.mktemp("inside")
    coordinator = go(shapes, folder, how="never")
    assert coordinator.tasks == []
    found = outcome(folder)
    assert [row["step"] for row in found[0]] == [9, 18, 27]
    assert {"knn_top1", "rankme", "code_agreement"} < found[0][0].keys()
    return found


@pytest.mark.ray
@pytest.mark.slow
def test_the_figures_are_those_of_a_run_that_measures_itself_bit_for_bit(
    inside: Any, shapes: Path, tmp_path: Path
) -> None:
    def before(step: int, tasks: list[_Task]) -> None:
        if step in (10, 19):
            ended(tasks[-1])

    coordinator = go(shapes, tmp_path, before)
    assert outcome(tmp_path) == inside
    assert len(coordinator.tasks) == 2
    assert said(coordinator) == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_task_is_made_up_for_by_another(inside: Any, shapes: Path, tmp_path: Path) -> None:
    def before(step: int, tasks: list[_Task]) -> None:
        if step == 10:
            tasks[0].cancel()
        if step >= 10:  # what a poll starts after a failure, it may start a step later
            ended(tasks[-1])

    coordinator = go(shapes, tmp_path, before)
    assert outcome(tmp_path) == inside
    assert len(coordinator.tasks) == 3
    assert said(coordinator) == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_killed_while_it_is_measured_is_measured_by_the_next_start(
    inside: Any, shapes: Path, tmp_path: Path
) -> None:
    def killed(step: int, tasks: list[_Task]) -> None:
        if step == 12:
            assert tasks[0].poll() is None
            raise KeyboardInterrupt

    def before(step: int, tasks: list[_Task]) -> None:
        if step in (10, 19):
            ended(tasks[-1])

    with pytest.raises(KeyboardInterrupt):
        go(shapes, tmp_path, killed)
    assert measurements.read(place(tmp_path / "run")) == []
    coordinator = go(shapes, tmp_path, before)
    assert outcome(tmp_path) == inside
    assert said(coordinator) == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_task_that_always_fails_ends_no_run(inside: Any, shapes: Path, tmp_path: Path) -> None:
    def before(step: int, tasks: list[_Task]) -> None:
        if step >= 10:
            if len(tasks) <= 3:
                tasks[-1].cancel()
            ended(tasks[-1])

    coordinator = go(shapes, tmp_path, before)
    (line,) = said(coordinator)
    assert line.startswith("kNN before step 9 is left out: its task failed 3 times, last with: ")
    rows, losses = outcome(tmp_path)
    assert [row["step"] for row in rows] == [18, 27]
    assert losses == inside[1]


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_of_two_workers_has_the_same_lines_whoever_measures(shapes: Path, tmp_path: Path, cluster: None) -> None:
    """Its steps take milliseconds: when the third measurement is due or the run ends, the workers take over."""
    found = {}
    for how in ("never", "auto"):
        config = replace(three_epochs(shapes, how), run={"storage": str(tmp_path / how)}, scaling={"num_workers": (2,)})
        assert train(config) is not None
        found[how] = outcome(tmp_path / how)
    assert found["auto"] == found["never"]
    assert [row["step"] for row in found["auto"][0]] == [9, 18, 27]
