"""BatchNorm over workers equals BatchNorm over their rows put together, uneven slices included."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from swav_ray.model.global_batch_norm import Parts, synchronize
from swav_ray.training.distributed import World


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5))
    return net.double()


def _pass(world: World, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    net, rows = _net(), world.own_slice(len(x))
    if world.group is not None:
        synchronize(net, world.group, Parts(1))
    own = x[rows].clone().requires_grad_()
    y = net(own)
    (y * weight[rows]).sum().backward()
    assert own.grad is not None
    return y.detach(), own.grad, {name: value.clone() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_forward_backward_and_running_statistics_are_those_of_the_global_batch(gloo_pool, workers: int) -> None:
    x, weight = torch.randn(7, 3, 6, 6, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    y, gradient, state = _pass(World(), x, weight)
    parts = gloo_pool.run(workers, _pass, x, weight)
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), y, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), gradient, rtol=1e-9, atol=1e-12)
    for part in parts:
        assert list(part[2]) == list(state)
        for name, value in state.items():
            torch.testing.assert_close(part[2][name], value, rtol=1e-9, atol=1e-12)


def _bf16(world: World, x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    norm = nn.Sequential(nn.BatchNorm1d(x.shape[1]))
    synchronize(norm, world.group, Parts(1))
    own = x[world.own_slice(len(x))].to(dtype).requires_grad_()
    y = norm(own)
    (y.float() ** 3).sum().backward()
    assert own.grad is not None
    assert y.dtype == own.grad.dtype == dtype
    return y.detach().float(), own.grad.float(), norm[0].running_mean


def test_bf16_rows_have_float32_statistics(gloo_pool) -> None:
    # Six hundred rows of mean 3: bf16 has no number between 512 and 516, and none between 3 and 3.016.
    x = (torch.randn(603, 4) + 3).bfloat16().float()
    narrow, wide = (gloo_pool.run(2, _bf16, x, dtype) for dtype in (torch.bfloat16, torch.float32))
    for (y, gradient, mean), (y_wide, gradient_wide, mean_wide) in zip(narrow, wide, strict=True):
        torch.testing.assert_close(mean, mean_wide, rtol=1e-6, atol=0)
        torch.testing.assert_close(y, y_wide, rtol=2**-8, atol=2**-8)
        torch.testing.assert_close(gradient, gradient_wide, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_parts_within_a_worker_are_torchs_own_batchnorm_of_each(dtype: torch.dtype) -> None:
    """Three crops of four images in two parts; crop-major, so a part's rows lie in three places."""
    plain = nn.BatchNorm2d(5).to(dtype)
    nn.init.uniform_(plain.weight)
    nn.init.normal_(plain.bias)
    ours = nn.Sequential(copy.deepcopy(plain))
    parts = Parts(2)
    synchronize(ours, None, parts)
    parts.begin(range(4), 4, communicate=False)
    x, weight = torch.randn(2, 12, 5, 4, 4, dtype=dtype)
    own, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y = ours(own)
    halves = theirs.unflatten(0, (3, 4)).split(2, dim=1)
    expected = torch.cat([plain(half.flatten(0, 1)).unflatten(0, (3, 2)) for half in halves], dim=1).flatten(0, 1)
    for result in (y, expected):
        (result * weight).sum().backward()
    assert own.grad is not None
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(own.grad, theirs.grad)
    for mine, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
