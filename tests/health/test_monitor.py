"""What is observed of a run, when, and that observing changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.parts.small import small_config
from swav_ray.config import Config
from swav_ray.health import monitor as monitors
from swav_ray.health.monitor import Monitor
from swav_ray.health.observer import EVERY
from swav_ray.health.rules import Evidence, Judgement
from swav_ray.run.health_log import COLLAPSING, DIVERGING, HEALTHY, STUCK, WARMING_UP
from swav_ray.run.messages import HealthChanged
from swav_ray.training.control import Request
from swav_ray.training.device_batches import to_device
from swav_ray.training.learner import Learner
from tests.training.test_loop import PLAN, batches

LONG = {"train": {"epochs": 9}}  # 27 steps, three an epoch
OF_A_STEP = {"codes_entropy", "codes_usage", "code_agreement", "spread", "effective_rank", "usage", "left_to_learn"}
GRADIENTS = {"gradient_trunk", "gradient_head", "gradient_prototypes"}
OF_AN_EPOCH = {"duplicates", "near_duplicates", "drift", "batchnorm_gap"}


class Watched:
    """A learner that trains under a monitor; what the monitor wrote and said."""

    def __init__(self, config: Config, steps: int, losses: list[tuple[int, float | None]] | None = None) -> None:
        self.lines: list[dict[str, Any]] = []
        self.said: list[HealthChanged] = []
        self.requests: list[Request] = []
        self.learner = Learner(config, PLAN.steps_per_epoch)
        self.monitor = Monitor(self.learner, losses or [], write=self.lines.append, report=self.said.append)
        self.losses = []
        for batch in batches(config, steps):
            crops = to_device(batch, config, torch.device("cpu"))
            result = self.learner.step(crops, batch.step)
            self.losses.append(result.loss)
            self.monitor.observe(batch.step, result, crops)
            self.requests.append(self.monitor.request())


def test_every_tenth_step_has_its_figures_and_epochs_have_theirs_but_not_too_often() -> None:
    watched = Watched(small_config(**LONG), 27)
    with_figures = {line["step"]: set(line) for line in watched.lines}
    assert {step for step, names in with_figures.items() if names >= OF_A_STEP | GRADIENTS} == {0, 10, 20}
    assert {step for step, names in with_figures.items() if names >= OF_AN_EPOCH} == {20}
    assert {step for step, names in with_figures.items() if "unused" in names} == {2, 11, 20}
    assert watched.lines[0]["left_to_learn"] == pytest.approx(watched.losses[0] - watched.lines[0]["codes_entropy"])
    assert EVERY == 10


def test_figures_lie_within_their_ranges() -> None:
    for line in Watched(small_config(**LONG), 27).lines:
        for name in ("codes_usage", "spread", "usage", "unused", "duplicates", "near_duplicates"):
            assert 0 <= line.get(name, 0.5) <= 1.0001, (line["step"], name)
        assert 1 <= line.get("effective_rank", 1.0) <= 8


def test_watching_moves_no_loss_no_weight_and_no_random_number() -> None:
    config = small_config(**LONG)
    torch.manual_seed(3)
    watched = Watched(config, 27)
    state = torch.get_rng_state()
    torch.manual_seed(3)
    alone = Learner(config, PLAN.steps_per_epoch)
    losses = [
        alone.step(to_device(batch, config, torch.device("cpu")), batch.step).loss for batch in batches(config, 27)
    ]
    assert watched.losses == losses
    assert torch.equal(state, torch.get_rng_state())
    for name, tensor in alone.model.state_dict().items():
        assert torch.equal(tensor, watched.learner.model.state_dict()[name]), name


def test_a_slice_that_is_backpropagated_in_passes_is_observed_like_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swav_ray.health.observer._AT_LEAST", 1)
    watched = Watched(small_config(train={"epochs": 9, "max_rows_per_pass": 3}), 12)
    assert watched.lines[0].keys() >= OF_A_STEP | GRADIENTS
    assert any(line.keys() >= OF_AN_EPOCH for line in watched.lines)


def test_a_refused_step_has_a_line_without_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = iter(["for the test"] * 1)
    monkeypatch.setattr("swav_ray.training.learner.why_refuse", lambda *_: next(reasons, ""))
    first = Watched(small_config(**LONG), 3).lines[0]
    assert (first["step"], first["loss"], first["sound"]) == (0, None, False)
    assert "spread" not in first


@pytest.mark.parametrize(
    ("on_collapse", "request_"), [("warn", Request.NONE), ("stop", Request.FAIL), ("remedy", Request.REMEDY)]
)
def test_an_alarm_is_said_with_a_remedy_and_asks_once(
    monkeypatch: pytest.MonkeyPatch, on_collapse: str, request_: Request
) -> None:
    words = {0: WARMING_UP, 1: HEALTHY, 2: STUCK}
    monkeypatch.setattr("swav_ray.health.observer.EVERY", 1)
    monkeypatch.setattr(monitors, "judge", lambda evidence: Judgement(words[evidence.step], "why"))
    config = small_config(train={"epochs": 9}, health={"on_collapse": on_collapse})
    watched = Watched(config, 3)
    assert [(one.step, one.word) for one in watched.said] == [(1, HEALTHY), (2, STUCK)]
    assert "freeze_prototypes_steps" in watched.said[-1].remedy
    assert watched.requests == [Request.NONE, Request.NONE, request_]
    assert watched.monitor.request() == Request.NONE


def test_an_alarm_keeps_its_word_until_the_state_is_sound_or_the_run_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [HEALTHY, STUCK, COLLAPSING, HEALTHY, HEALTHY, COLLAPSING, DIVERGING]
    monkeypatch.setattr("swav_ray.health.observer.EVERY", 1)
    monkeypatch.setattr(monitors, "judge", lambda evidence: Judgement(words[evidence.step]))
    monkeypatch.setattr(Evidence, "sound", property(lambda evidence: evidence.step != 3))
    said = [(one.step, one.word) for one in Watched(small_config(**LONG), 7).said]
    assert said == [(0, HEALTHY), (1, STUCK), (4, HEALTHY), (5, COLLAPSING), (6, DIVERGING)]


def test_what_the_steps_before_a_resumption_showed_counts() -> None:
    config = small_config(**LONG)
    assert Watched(config, 1).lines[0]["word"] == WARMING_UP
    assert Watched(config, 1, [(step, 1.0) for step in range(3, 60)]).lines[0]["word"] == HEALTHY
