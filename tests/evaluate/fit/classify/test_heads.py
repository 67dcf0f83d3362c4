"""Heads that train side by side, one matrix product for all, are what torch's SGD makes of each by itself."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from benchmarks.parts.gloo import GlooPool
from swav_ray.evaluate.fit.classify.heads import Heads
from swav_ray.training.distributed import World

SETTINGS = [(0.1, 0.0), (0.3, 1e-2), (1.0, 1e-4)]
STEPS, BATCH, FEATURES, CLASSES = 6, 10, 7, 4


def heads(settings: list[tuple[float, float]] = SETTINGS) -> Heads:
    lrs, decays = torch.tensor(settings).T
    return Heads(CLASSES, FEATURES, lrs, decays, momentum=0.9, seed=0, device=torch.device("cpu"))


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    features = torch.randn(BATCH, FEATURES, generator=generator)
    return features, torch.randint(0, CLASSES, (BATCH,), generator=generator)


def factor(step: int) -> float:
    return 1.0 - step / STEPS


def train(made: Heads, world: World | None = None) -> list[torch.Tensor]:
    """The losses by step."""
    world = world or World()
    own = world.own_slice(BATCH)
    losses = []
    for step in range(STEPS):
        features, labels = batch(step)
        losses.append(made.step(features[own], labels[own], factor(step), BATCH, world))
    return losses


def test_each_head_is_torchs_sgd() -> None:
    made = heads()
    begun = made.weight_HCD[0].clone()
    losses = train(made)
    for head, (lr, decay) in enumerate(SETTINGS):
        weight, bias = begun.clone().requires_grad_(), torch.zeros(CLASSES, requires_grad=True)
        optimizer = torch.optim.SGD([weight, bias], lr=lr, momentum=0.9, weight_decay=decay)
        for step in range(STEPS):
            features, labels = batch(step)
            optimizer.param_groups[0]["lr"] = factor(step) * lr
            loss = F.cross_entropy(F.linear(features, weight, bias), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert float(losses[step][head]) == pytest.approx(loss.item(), rel=1e-5)
        torch.testing.assert_close(made.weight_HCD[head], weight.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(made.bias_HC[head], bias.detach(), rtol=1e-5, atol=1e-6)


def test_a_head_that_diverges_leaves_the_others_alone() -> None:
    beside = heads([(0.1, 0.0), (float("inf"), 0.0)])
    train(beside)
    alone = heads([(0.1, 0.0)])
    train(alone)
    assert not beside.weight_HCD[1].isfinite().all()
    torch.testing.assert_close(beside.weight_HCD[0], alone.weight_HCD[0], rtol=1e-5, atol=1e-6)


def work(world: World) -> torch.Tensor:
    made = heads()
    train(made, world)
    return made.weight_HCD


def test_two_and_three_workers_train_them_as_one_does(gloo_pool: GlooPool) -> None:
    (alone,) = gloo_pool.run(1, work)
    for workers in (2, 3):
        found = gloo_pool.run(workers, work)
        assert all(torch.equal(found[0], other) for other in found[1:])
        torch.testing.assert_close(found[0], alone, rtol=1e-5, atol=1e-6)
