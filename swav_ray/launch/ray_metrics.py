"""A run's figures in Ray's own metrics: its dashboard, and any Prometheus that scrapes the cluster.

`clusters/grafana-dashboard.json` is a Grafana dashboard of them. Prometheus knows them as `ray_swav_...`.
"""

from __future__ import annotations

from ray.util.metrics import Gauge

from swav_ray.run.health_log import ALARMS, WORDS
from swav_ray.run.messages import HealthChanged, KnnMeasured, Message, Quarantined, Resumed
from swav_ray.run.step_record import StepRecord

GAUGES = {
    "swav_step": "Steps that are done.",
    "swav_steps": "Steps of the whole run.",
    "swav_loss": "Loss of the newest step.",
    "swav_ln_k": "The loss of a run that learns nothing.",
    "swav_learning_rate": "Learning rate of the newest step.",
    "swav_images_per_second": "Images a second, waiting for data included.",
    "swav_data_wait": "Fraction of a step that workers waited for their batch.",
    "swav_workers": "Workers that train.",
    "swav_bad_images": "Images that could not be read, so far.",
    "swav_knn_top1": "kNN accuracy on held-out images, in percent.",
    "swav_health": "1 beside the run's health, 0 beside every other word.",
    "swav_alarm": "1 while the run's health is an alarm.",
}


class RayMetrics:
    """The gauges of one run, in the process that hears of its steps.

    Args:
        run: its name. ln_k: the loss that teaches nothing; 0: it has another loss.
    """

    def __init__(self, run: str, ln_k: float) -> None:
        tags = {name: ("run", "word") if name == "swav_health" else ("run",) for name in GAUGES}
        self._gauges = {name: Gauge(name, text, tag_keys=tags[name]) for name, text in GAUGES.items()}
        for gauge in self._gauges.values():
            gauge.set_default_tags({"run": run})
        self._set("ln_k", ln_k)

    def take(self, message: Message) -> None:
        """A message of the workers."""
        match message:
            case StepRecord():
                self._step(message)
            case Resumed(step, workers):
                self._set("step", step)
                self._set("workers", workers)
            case KnnMeasured(top1=top1):
                self._set("knn_top1", top1)
            case Quarantined(images=images):
                self._set("bad_images", images)
            case HealthChanged(word=now):
                for word in WORDS:
                    self._gauges["swav_health"].set(float(word == now), tags={"word": word})
                self._set("alarm", now in ALARMS)

    def _step(self, record: StepRecord) -> None:
        self._set("step", record.step + 1)
        self._set("steps", record.steps)
        if record.loss is not None:
            self._set("loss", record.loss)
        self._set("learning_rate", record.lr)
        self._set("images_per_second", record.images_per_second)
        self._set("data_wait", record.data_wait)
        self._set("workers", record.workers)
        self._set("bad_images", record.bad_images)

    def _set(self, name: str, value: float) -> None:
        self._gauges[f"swav_{name}"].set(float(value))
