"""Codes: equipartition, stability, and the same at any number of workers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from swav_ray.loss.sinkhorn import sinkhorn
from swav_ray.training.distributed import World


def scores(samples: int, prototypes: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    embeddings = F.normalize(torch.randn(samples, 16, generator=generator, dtype=dtype), dim=1)
    centres = F.normalize(torch.randn(prototypes, 16, generator=generator, dtype=dtype), dim=1)
    return embeddings @ centres.T


def published(scores_BK: torch.Tensor, epsilon: float, iterations: int) -> torch.Tensor:
    """The algorithm as the paper's listing states it, on the exponentials."""
    q = torch.exp(scores_BK / epsilon).T
    q /= q.sum()
    k, b = q.shape
    for _ in range(iterations):
        q /= q.sum(dim=1, keepdim=True) * k
        q /= q.sum(dim=0, keepdim=True) * b
    return (q * b).T


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("epsilon", [0.03, 0.05, 0.5])
def test_equals_the_published_algorithm_unless_that_overflows(epsilon: float, iterations: int) -> None:
    x = scores(24, 10)
    ours = sinkhorn(x, epsilon=epsilon, iterations=iterations)
    torch.testing.assert_close(ours, published(x, epsilon, iterations), rtol=1e-10, atol=1e-13)


@given(samples=st.integers(2, 40), prototypes=st.integers(2, 20), seed=st.integers(0, 1000))
def test_every_sample_has_one_unit_of_code(samples: int, prototypes: int, seed: int) -> None:
    codes = sinkhorn(scores(samples, prototypes, seed))
    torch.testing.assert_close(codes.sum(1), torch.ones(samples, dtype=torch.float64))


def test_prototypes_get_equal_mass_once_it_has_converged() -> None:
    codes = sinkhorn(scores(60, 10), epsilon=0.5, iterations=200)
    torch.testing.assert_close(codes.sum(0), torch.full((10,), 6.0, dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_smallest_epsilon_gives_finite_codes_in_float32(dtype: torch.dtype) -> None:
    codes = sinkhorn(scores(50, 300).to(dtype), epsilon=0.001)
    assert codes.dtype == torch.float32
    assert torch.isfinite(codes).all()
    torch.testing.assert_close(codes.sum(1), torch.ones(50), rtol=1e-4, atol=1e-4)


def test_autocast_does_not_lower_the_precision_of_codes() -> None:
    x = scores(30, 20, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = sinkhorn(x)
    torch.testing.assert_close(inside, sinkhorn(x), rtol=0, atol=0)


def test_hard_codes_are_the_argmax_of_the_soft_ones() -> None:
    x = scores(30, 20)
    hard, soft = sinkhorn(x, hard=True), sinkhorn(x)
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(hard.argmax(1), soft.argmax(1))


def _own_codes(world: World, x: torch.Tensor, epsilon: float) -> torch.Tensor:
    return sinkhorn(x[world.own_slice(len(x))], epsilon=epsilon, group=world.group)


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
@pytest.mark.parametrize(("epsilon", "samples"), [(0.05, 22), (0.001, 22), (0.05, 3)])
def test_codes_do_not_depend_on_which_worker_has_which_samples(
    gloo_pool, workers: int, epsilon: float, samples: int
) -> None:
    x = scores(samples, 12)
    sharded = torch.cat(gloo_pool.run(workers, _own_codes, x, epsilon))
    torch.testing.assert_close(sharded, sinkhorn(x, epsilon=epsilon), rtol=1e-9, atol=1e-12)


def test_the_queues_samples_take_part_and_get_no_codes() -> None:
    x = scores(30, 12)
    together = sinkhorn(x)
    torch.testing.assert_close(sinkhorn(x[20:], x[:20].clone()), together[20:], rtol=1e-12, atol=0)


@pytest.mark.parametrize("epsilon", [0.02, 0.05])
def test_exponentials_and_logarithms_agree(epsilon: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x = scores(40, 12)
    by_factors = sinkhorn(x, epsilon=epsilon)
    monkeypatch.setattr("swav_ray.loss.sinkhorn._LARGEST_EXPONENT", 0.0)
    torch.testing.assert_close(by_factors, sinkhorn(x, epsilon=epsilon), rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_whose_exponentials_overflow_are_balanced_all_the_same(dtype: torch.dtype) -> None:
    x = scores(40, 12, dtype=dtype)
    torch.testing.assert_close(sinkhorn(x * 30, epsilon=0.03), sinkhorn(x, epsilon=0.001), rtol=1e-3, atol=1e-5)


def _with_large_scores(world: World, x: torch.Tensor) -> torch.Tensor:
    return sinkhorn(x[world.own_slice(len(x))], epsilon=0.01, group=world.group)


def test_one_worker_may_balance_in_logarithms_and_another_not(gloo_pool) -> None:
    x = scores(20, 8)
    x[:10] *= 0.3
    x[10:] /= x[10:].abs().max()  # exponents of 100; the first worker's stay below 40
    assert x[:10].abs().max() < 0.4 < x[10:].abs().max()
    codes = torch.cat(gloo_pool.run(2, _with_large_scores, x))
    torch.testing.assert_close(codes, sinkhorn(x, epsilon=0.01), rtol=1e-9, atol=1e-12)
