"""The learning rates of the published trainings, epoch by epoch, are those of torch's schedulers."""

from __future__ import annotations

import pytest
import torch

from swav_ray.evaluate.fit.classify.training import Training
from swav_ray.evaluate.protocols import finetune, linear, semisup, transfer


def by_torch(training: Training, scheduler: object) -> list[float]:
    """Learning rates of the classifier by epoch."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=training.lr)
    made = scheduler(optimizer)  # type: ignore[operator]
    rates = []
    for _ in range(training.epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    return rates


def by_us(training: Training) -> list[float]:
    return [training.lr * training.factor(5 * epoch + 3, 5) for epoch in range(training.epochs)]


def test_linear_follows_a_cosine_by_epoch() -> None:
    published = linear.PUBLISHED
    expected = by_torch(published, lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, 100))
    assert by_us(published) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("training", "milestones", "gamma"),
    [
        (semisup.PUBLISHED[10], [12, 16], 0.2),
        (semisup.PUBLISHED[1], [12, 16], 0.2),
        (transfer.PUBLISHED["places205"], [7, 14, 21], 0.1),
        (transfer.PUBLISHED["inaturalist18"], [21, 42, 63], 0.1),
    ],
)
def test_the_others_drop_at_the_published_epochs(training: Training, milestones: list[int], gamma: float) -> None:
    expected = by_torch(training, lambda opt: torch.optim.lr_scheduler.MultiStepLR(opt, milestones, gamma))
    assert by_us(training) == pytest.approx(expected)
    assert f"at epochs {', '.join(map(str, milestones))}" in training.settings()["decay"]


def test_finetune_follows_a_cosine_by_step() -> None:
    published = finetune.PUBLISHED
    steps = 30 * 5
    assert published.factor(0, 5) == 1.0
    assert published.factor(steps // 2, 5) == pytest.approx(0.5)
    assert 0 < published.factor(steps - 1, 5) < 1e-3
    assert published.factor(6, 5) < published.factor(5, 5)


def test_the_published_settings_are_the_papers() -> None:
    ten, one = semisup.PUBLISHED[10], semisup.PUBLISHED[1]
    assert (linear.PUBLISHED.epochs, linear.PUBLISHED.batch, linear.PUBLISHED.lr) == (100, 256, 0.3)
    assert (linear.PUBLISHED.weight_decay, linear.PUBLISHED.momentum) == (1e-6, 0.9)
    assert (ten.epochs, ten.batch, ten.trunk_lr, ten.lr, ten.weight_decay) == (20, 256, 0.01, 0.2, 0.0)
    assert (one.epochs, one.batch, one.trunk_lr, one.lr, one.weight_decay) == (20, 256, 0.02, 5.0, 0.0)
    places, species = transfer.PUBLISHED["places205"], transfer.PUBLISHED["inaturalist18"]
    assert (places.epochs, places.lr, places.weight_decay, places.batch) == (28, 0.01, 1e-4, 256)
    assert (species.epochs, species.lr, species.weight_decay, species.batch) == (84, 0.01, 1e-4, 256)
