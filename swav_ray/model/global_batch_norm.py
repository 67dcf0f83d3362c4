"""BatchNorm over the rows of all workers, or over fixed parts of the global batch; any device, uneven slices.

torch's SyncBatchNorm refuses CPU tensors and knows no parts. Here means and variances are combined (Chan et al., 1979)
in rank order, so that the statistics are the same whatever the number of workers. A part (a virtual rank) is an equal
run of consecutive rows of the global batch: full synchronisation is the price of large clusters, while parts that lie
within one worker cost no communication. The published runs synchronise within groups of 8 of their 64 GPUs.

Shape suffixes: N rows of this worker (crops x images, crop-major), P parts, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist


class Parts:
    """Which part of the global batch each image of the coming forward belongs to; one object for all modules.

    Args:
        count: parts of a global batch.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.communicate = True
        self._of_images = torch.zeros(1, dtype=torch.int64)

    def begin(self, rows: range, batch: int, device: torch.device, *, communicate: bool) -> None:
        """Announces a forward of the images `rows` of a global batch of `batch` images.

        `communicate` is False if no part lies on two workers; it must be the same on all of them.
        """
        self.communicate = communicate
        self._of_images = torch.arange(rows.start, rows.stop, device=device) * self.count // batch

    def of_rows_N(self, rows: int) -> Tensor:
        """The part of each of `rows` crop-major rows."""
        return self._of_images.repeat(rows // len(self._of_images))


def _own_statistics(x: Tensor, parts_N: Tensor | None, parts: int) -> Tensor:
    """Count, mean and biased variance of this worker's rows of each part, (P, 1 + 2C); zeros if it has none."""
    spatial = list(range(2, x.dim()))
    size = x.numel() // (x.shape[0] * x.shape[1])
    if parts_N is None:
        var, mean = torch.var_mean(x, [0, *spatial], correction=0)
        return torch.cat([x.new_full((1,), x.shape[0] * size), mean, var])[None]
    if spatial:
        var_NC, mean_NC = torch.var_mean(x, spatial, correction=0)
    else:
        var_NC, mean_NC = torch.zeros_like(x), x
    rows_P1 = x.new_zeros(parts, 1).index_add_(0, parts_N, x.new_ones(len(x), 1))
    divisor_P1 = rows_P1.clamp(min=1)
    mean_PC = x.new_zeros(parts, x.shape[1]).index_add_(0, parts_N, mean_NC) / divisor_P1
    spread_NC = var_NC + (mean_NC - mean_PC[parts_N]) ** 2
    var_PC = torch.zeros_like(mean_PC).index_add_(0, parts_N, spread_NC) / divisor_P1
    return torch.cat([rows_P1 * size, mean_PC, var_PC], dim=1)


class _Normalize(torch.autograd.Function):
    """Normalises (N, C, ...) by mean and variance of its part over all workers; returns those and the counts too.

    In float32 at least inside, whatever the input has.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, eps: float, group: dist.ProcessGroup | None, parts_N: Tensor | None, parts: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Sums over a whole batch are no matter for bf16's eight bits, and a count above 256 even less.
        given, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))
        channels = x.shape[1]
        own = _own_statistics(x, parts_N, parts)
        everyone = [own]
        if group is not None:
            everyone = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
            dist.all_gather(everyone, own, group=group)
        counts, means, variances = torch.stack(everyone).split([1, channels, channels], dim=2)
        total = counts.sum(0)
        divisor = total.clamp(min=1)
        mean = (means * counts).sum(0) / divisor
        var = ((variances + (means - mean) ** 2) * counts).sum(0) / divisor
        inv_std = (var + eps).rsqrt()
        shape = (-1, channels, *([1] * (x.dim() - 2)))
        of_row = slice(None) if parts_N is None else parts_N
        normal = ((x - mean[of_row].view(shape)) * inv_std[of_row].view(shape)).to(given)
        ctx.save_for_backward(normal, inv_std, divisor)
        ctx.group, ctx.of_row, ctx.parts_N, ctx.shape = group, of_row, parts_N, shape
        ctx.mark_non_differentiable(mean, var, total)
        return normal, mean, var, total

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, None, None, None, None]:
        normal, inv_std, divisor = ctx.saved_tensors
        given, grad, normal = grad.dtype, grad.to(inv_std.dtype), normal.to(inv_std.dtype)
        if ctx.parts_N is None:
            dims = [0, *range(2, grad.dim())]
            sums = torch.stack([grad.sum(dims), (grad * normal).sum(dims)])[:, None]
        else:
            rows = (len(grad), grad.shape[1], -1)
            pairs = torch.stack([grad.reshape(rows).sum(2), (grad * normal).reshape(rows).sum(2)])
            sums = pairs.new_zeros(2, *inv_std.shape).index_add_(1, ctx.parts_N, pairs)
        if ctx.group is not None:
            dist.all_reduce(sums, group=ctx.group)
        mean_grad, mean_grad_normal = (sums / divisor)[:, ctx.of_row]
        centred = grad - mean_grad.view(ctx.shape) - normal * mean_grad_normal.view(ctx.shape)
        return (centred * inv_std[ctx.of_row].view(ctx.shape)).to(given), None, None, None, None


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm1d and BatchNorm2d with statistics over a process group, or parts of its batch; evaluation is as ever.

    The running statistics, which only evaluation uses, follow the mean over the parts.
    """

    group: dist.ProcessGroup | None
    parts: Parts
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
        count = self.parts.count
        parts_N = self.parts.of_rows_N(len(input)) if count > 1 else None
        group = self.group if self.parts.communicate else None
        normal, mean, var, total = _Normalize.apply(input, self.eps, group, parts_N, count)
        with torch.no_grad():
            present = (total > 0).to(total)
            unbiased = var * (total / (total - 1).clamp(min=1))
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_((mean * present).sum(0) / present.sum(), self.momentum)
            self.running_var.lerp_((unbiased * present).sum(0) / present.sum(), self.momentum)
        shape = (1, -1, *([1] * (input.dim() - 2)))
        return (normal * self.weight.view(shape) + self.bias.view(shape)).to(input.dtype)


def synchronize(model: nn.Module, group: dist.ProcessGroup | None, parts: Parts) -> nn.Module:
    """Replaces every BatchNorm of `model` by one over `group` (None: this process) and `parts` of its batch.

    Parameters, buffers and their names stay.
    """
    if group is None and parts.count == 1:
        return model
    if parts.count == 1 and next(model.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(model, group)
    for name, child in list(model.named_modules()):
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            norm = GlobalBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight)
            norm.load_state_dict(child.state_dict())
            norm.group, norm.parts = group, parts
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, norm)
    return model


@torch.no_grad()
def average_running_statistics(model: nn.Module, group: dist.ProcessGroup, weight: float) -> None:
    """Makes running statistics the same on every worker, after each has followed only its own parts; a collective.

    `weight` is this worker's fraction of the global batch; all fractions add up to 1.
    """
    running = [buffer for name, buffer in model.named_buffers() if name.endswith(("running_mean", "running_var"))]
    flat = torch.cat(running) * weight
    dist.all_reduce(flat, group=group)
    for buffer, mean in zip(running, flat.split([len(buffer) for buffer in running]), strict=True):
        buffer.copy_(mean)
