"""A run's figures in Ray's metrics: as Prometheus reads them from a cluster, and as the dashboard asks for them."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from swav_ray.launch.monitor import Monitor
from swav_ray.launch.ray_metrics import GAUGES
from swav_ray.run.messages import HealthChanged, KnnMeasured
from tests.run.test_metrics_log import record

DASHBOARD = Path(__file__).parents[2] / "clusters" / "grafana-dashboard.json"
SECONDS = 60.0  # until figures have passed through Ray's agent


@pytest.fixture
def metrics_port() -> Iterator[int]:
    """Of a cluster whose agent tells its metrics."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _metrics_export_port=port,
        _system_config={"metrics_report_interval_ms": 200},
    )
    yield port
    ray.shutdown()


def exported(port: int) -> dict[tuple[str, str], float]:
    """Figures by name and word, as Prometheus would read them, of the run `mine`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    found = {}
    for name, labels, value in re.findall(r"^ray_(swav_\w+)\{(.*)\} (\S+)$", text, re.M):
        tags = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        assert tags["run"] == "mine"
        found[name, tags.get("word", "")] = float(value)
    return found


@pytest.mark.ray
def test_prometheus_reads_a_runs_figures(metrics_port: int) -> None:
    monitor = Monitor.remote(run="mine", ln_k=4.6)  # type: ignore[attr-defined]
    for message in (record(3, loss=2.5, workers=2), KnnMeasured(4, 71.5), HealthChanged(4, "stuck", "why")):
        monitor.report.remote(message)
    assert len(ray.get(monitor.read.remote())) == 3
    wanted = {
        "swav_step": 4.0,
        "swav_steps": 9.0,
        "swav_loss": 2.5,
        "swav_ln_k": 4.6,
        "swav_learning_rate": 0.1,
        "swav_images_per_second": 80.0,
        "swav_data_wait": 0.5,
        "swav_workers": 2.0,
        "swav_bad_images": 0.0,
        "swav_knn_top1": 71.5,
        "swav_alarm": 1.0,
    }
    assert wanted.keys() | {"swav_health"} == GAUGES.keys()
    deadline = time.monotonic() + SECONDS
    found: dict[tuple[str, str], float] = {}
    while not (len(found) >= len(wanted) + 6 and found["swav_health", "stuck"]) and time.monotonic() < deadline:
        time.sleep(0.2)
        found = exported(metrics_port)
    assert {name: value for (name, word), value in found.items() if not word} == wanted
    assert {word for (name, word), value in found.items() if name == "swav_health" and value} == {"stuck"}


def test_the_dashboard_asks_for_what_there_is() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert set(re.findall(r"ray_(\w+)", asked)) == GAUGES.keys()
    assert {item["name"] for item in dashboard["templating"]["list"]} == {"datasource", "run"}
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    corners = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}
    assert len(corners) == len(numbers)
