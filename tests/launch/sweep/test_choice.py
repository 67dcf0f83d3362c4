"""What a sweep is to be: objectives, and how many trials the head node lets run at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import ray

from swav_ray.config import ConfigError, replace
from swav_ray.launch.sweep.choice import (
    MOST_AT_ONCE,
    Choice,
    concurrency,
    head_share,
    objectives_of,
    same_sweep,
    share_cpus,
)
from swav_ray.recipes import quickstart
from swav_ray.storage.place import place


@pytest.mark.parametrize("at_once", range(1, MOST_AT_ONCE + 1))
def test_as_many_trials_fit_on_the_head_as_told_with_room_for_their_cleaners(at_once: int) -> None:
    share, cleaner = head_share(at_once), 0.001
    assert at_once * (share + cleaner) <= 1 < (at_once + 1) * share


def of_cluster(monkeypatch: pytest.MonkeyPatch, **resources: float) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)


def test_a_cluster_without_room_is_waited_for_where_it_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own clusters begin with a head that has no CPU and with no worker."""
    of_cluster(monkeypatch)
    lines: list[str] = []
    config = replace(quickstart(), scaling={"num_workers": (2,)})
    assert concurrency(config, 0, grows=True, warn=lines.append) == 1
    assert concurrency(config, 4, grows=True, warn=lines.append) == 4
    assert len(lines) == 2
    assert lines[0].startswith("warning: a trial needs 3 CPUs for 2 workers and crops, and the cluster has 0 now")
    assert share_cpus(config, 1).scaling.crop_cpus == 0
    assert share_cpus(config, 4).scaling.crop_cpus == 1
    with pytest.raises(ConfigError, match=r"concurrent = 21: must be 0 .* or at most 20"):
        concurrency(config, 21, grows=True, warn=lines.append)


def test_a_cluster_that_will_not_grow_holds_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    of_cluster(monkeypatch, CPU=6.0, GPU=1.0)
    config = replace(quickstart(), scaling={"device": "cpu"})
    assert concurrency(config, 0, grows=False, warn=pytest.fail) == 3
    assert share_cpus(config, 2).scaling.crop_cpus == 2
    with pytest.raises(ConfigError, match=r"concurrent = 4: must be 0 .* or at most 3"):
        concurrency(config, 4, grows=False, warn=pytest.fail)
    with pytest.raises(ConfigError, match=r"cpus_per_worker = 6.0: a trial needs 7 CPUs .* the cluster has 6"):
        concurrency(replace(config, scaling={"cpus_per_worker": 6.0}), 0, grows=False, warn=pytest.fail)
    with pytest.raises(ConfigError, match=r"gpus_per_worker = 1.0: a trial needs 2 GPUs .* the cluster has 1"):
        concurrency(replace(config, scaling={"device": "gpu", "num_workers": (2,)}), 0, grows=False, warn=pytest.fail)


def test_the_loss_is_no_objective_and_knn_needs_labels() -> None:
    with pytest.raises(ConfigError, match=r"objective = 'loss': must be auto, knn.*ln K"):
        objectives_of("loss", labels=True)
    with pytest.raises(ConfigError, match=r"objective = 'knn': needs labels"):
        objectives_of("knn", labels=False)
    with pytest.raises(ConfigError, match="objective = 'images'"):
        objectives_of(["images", "knn"], labels=True)
    assert objectives_of("auto", labels=True) == ["knn"]
    assert objectives_of(["auto", "images"], labels=True) == ["knn", "images"]


def test_a_sweep_resumes_with_what_its_trials_learn_and_another_number_of_workers(tmp_path: Path) -> None:
    choice = Choice(
        objective=["knn"], searcher="random", scheduler="asha", num_samples=4, grace_epochs=3, seed=0, space={}
    )
    sweep_dir = place(str(tmp_path))
    assert not same_sweep(choice, quickstart(), sweep_dir)
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune" / "experiment_state-1.json").touch()
    free = replace(quickstart(), scaling={"num_workers": (2,)}, train={"max_refused_steps": 3}, run={"name": "other"})
    assert same_sweep(choice, free, sweep_dir)
    with pytest.raises(ConfigError, match=r"assignment.epsilon = 0.1: the sweep in .* began with 0.03; use that"):
        same_sweep(choice, replace(quickstart(), assignment={"epsilon": 0.1}), sweep_dir)
    with pytest.raises(ConfigError, match=r"search seed = 1: the sweep in .* began with 0; use that"):
        same_sweep(dataclasses.replace(choice, seed=1), quickstart(), sweep_dir)
