"""BatchNorm over the rows of all workers, on any device and with uneven shares.

torch's SyncBatchNorm refuses CPU tensors. On a GPU `synchronize` uses torch's own; on a CPU the modules here, which
combine means and variances of the workers (Chan et al., 1979) in rank order, so that the statistics are those of the
global batch whatever the number of workers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist


class _Normalize(torch.autograd.Function):
    """Normalises (N, C, ...) by the mean and variance of all workers' rows; returns them and the count as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, group: dist.ProcessGroup) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dims = [0, *range(2, x.dim())]
        shape = (1, -1, *([1] * (x.dim() - 2)))
        count = x.new_full((1,), x.numel() / x.shape[1])
        own_var, own_mean = torch.var_mean(x, dims, correction=0)
        own = torch.cat([count, own_mean, own_var])
        everyone = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
        dist.all_gather(everyone, own, group=group)
        counts, means, variances = torch.stack(everyone).split([1, x.shape[1], x.shape[1]], dim=1)
        total = counts.sum()
        mean = (means * counts).sum(0) / total
        var = ((variances + (means - mean) ** 2) * counts).sum(0) / total
        inv_std = (var + eps).rsqrt()
        normal = (x - mean.view(shape)) * inv_std.view(shape)
        ctx.save_for_backward(normal, inv_std, total)
        ctx.group, ctx.dims, ctx.shape = group, dims, shape
        ctx.mark_non_differentiable(mean, var, total)
        return normal, mean, var, total

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, None, None]:
        normal, inv_std, total = ctx.saved_tensors
        sums = torch.stack([grad.sum(ctx.dims), (grad * normal).sum(ctx.dims)])
        dist.all_reduce(sums, group=ctx.group)
        mean_grad, mean_grad_normal = (sums / total).view(2, *ctx.shape)
        return (grad - mean_grad - normal * mean_grad_normal) * inv_std.view(ctx.shape), None, None


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm1d and BatchNorm2d with statistics over a process group in training; the same in evaluation."""

    group: dist.ProcessGroup
    momentum: float
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (N, C, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        normal, mean, var, total = _Normalize.apply(input, self.eps, self.group)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (total / (total - 1)), self.momentum)
        shape = (1, -1, *([1] * (input.dim() - 2)))
        return normal * self.weight.view(shape) + self.bias.view(shape)


def synchronize(model: nn.Module, group: dist.ProcessGroup) -> nn.Module:
    """Replaces every BatchNorm of `model` by one over `group`; parameters, buffers and their names stay."""
    if next(model.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(model, group)
    for name, child in list(model.named_modules()):
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            norm = GlobalBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight)
            norm.load_state_dict(child.state_dict())
            norm.group = group
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, norm)
    return model
