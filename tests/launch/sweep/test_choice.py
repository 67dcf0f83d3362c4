"""How a sweep searches: its objectives, and how many trials run at a time."""

from __future__ import annotations

import pytest
import ray

from swav_ray.config import ConfigError, replace
from swav_ray.launch.ray_internals.head_node import CLEANER
from swav_ray.launch.sweep.choice import MOST_AT_ONCE, concurrency, head_share, objectives_of, share_cpus
from swav_ray.recipes import quickstart


@pytest.mark.parametrize("at_once", range(1, MOST_AT_ONCE + 1))
def test_as_many_trials_fit_on_the_head_as_may_run_with_room_for_their_cleaners(at_once: int) -> None:
    assert at_once * (head_share(at_once) + CLEANER) <= 1 < (at_once + 1) * head_share(at_once)


def of_cluster(monkeypatch: pytest.MonkeyPatch, **resources: float) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)


def test_a_cluster_without_room_is_waited_for_if_it_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
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
