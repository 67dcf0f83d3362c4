"""BatchNorm over the rows of all workers, or over fixed parts of the global batch; any device, uneven slices.

torch's SyncBatchNorm refuses CPU tensors and knows no parts. Here means and variances are combined (Chan et al., 1979)
in rank order, so that the statistics are the same whatever the number of workers. A part (a virtual rank) is an equal
run of consecutive rows of the global batch: full synchronisation is the price of large clusters, while parts that lie
within one worker cost no communication. The published runs synchronise within groups of 8 of their 64 GPUs.

All passes over images are torch's own BatchNorm kernels, on pieces: consecutive rows of one part. What lies between
them has a number a channel.

Shape suffixes: N rows of this worker (crops x images, crop-major), S pieces, P parts, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F


@dataclass(frozen=True)
class Pieces:
    """Consecutive rows of one part each.

    Attributes:
        rows: of each piece. parts: the part that each belongs to.
        part_S, rows_S1: parts and numbers of rows as tensors.
    """

    rows: list[slice]
    parts: list[int]
    part_S: Tensor
    rows_S1: Tensor

    def __iter__(self) -> Iterator[tuple[slice, int]]:
        return zip(self.rows, self.parts, strict=True)


class Parts:
    """Which part of the global batch each image of the coming forward belongs to; one object for all modules.

    Args:
        count: parts of a global batch.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.communicate = True
        self._images = range(1)
        self._batch = count
        # Made once for a forward of as many rows: on CUDA small tensors from the host would hold it up at every layer.
        self._known: dict[tuple[int, torch.device], Pieces] = {}

    def begin(self, rows: range, batch: int, *, communicate: bool) -> None:
        """Announces a forward of the images `rows` of a global batch of `batch` images.

        `communicate` is False if no part lies on two workers; it must be the same on all of them.
        """
        self.communicate = communicate
        if (rows, batch) != (self._images, self._batch):
            self._images, self._batch, self._known = rows, batch, {}

    def pieces(self, rows: int, device: torch.device) -> Pieces:
        """The pieces of crop-major rows on a device."""
        if (rows, device) not in self._known:
            self._known[rows, device] = self._pieces(rows, device)
        return self._known[rows, device]

    def _pieces(self, rows: int, device: torch.device) -> Pieces:
        images, size = self._images, self._batch // self.count
        slices, parts = [slice(0, rows)], [0]
        if self.count > 1:
            slices, parts = [], []
            for crop in range(0, rows, len(images)):
                for part in range(images.start // size, -(-images.stop // size)):
                    first, end = max(part * size, images.start), min((part + 1) * size, images.stop)
                    slices.append(slice(crop + first - images.start, crop + end - images.start))
                    parts.append(part)
        lengths = [float(piece.stop - piece.start) for piece in slices]
        return Pieces(slices, parts, torch.tensor(parts, device=device), torch.tensor(lengths, device=device)[:, None])


def _own_statistics(x: Tensor, pieces: Pieces, parts: int) -> Tensor:
    """Count, mean and biased variance of this worker's rows of each part, (P, 1 + 2C); zeros if it has none."""
    wide = torch.promote_types(x.dtype, torch.float32)  # sums over a batch are no matter for bf16's eight bits
    channels = x.shape[1]
    unused = x.new_zeros(2, channels, dtype=wide)  # running statistics, whose type the kernel's results have
    found = [torch.batch_norm_update_stats(x[rows], unused[0], unused[1], 0.0) for rows in pieces.rows]
    mean_SC, var_SC = (torch.stack(statistic) for statistic in zip(*found, strict=True))
    part_S, count_S1 = pieces.part_S, pieces.rows_S1.to(wide) * x[0, 0].numel()
    count_P1 = x.new_zeros(parts, 1, dtype=wide).index_add_(0, part_S, count_S1)
    divisor_P1 = count_P1.clamp(min=1)
    mean_PC = x.new_zeros(parts, channels, dtype=wide).index_add_(0, part_S, mean_SC * count_S1) / divisor_P1
    spread_SC = (var_SC + (mean_SC - mean_PC[part_S]) ** 2) * count_S1
    var_PC = torch.zeros_like(mean_PC).index_add_(0, part_S, spread_SC) / divisor_P1
    return torch.cat([count_P1, mean_PC, var_PC], dim=1)


def _rejoined(x: Tensor, pieces: Pieces, found: list[Tensor]) -> Tensor:
    """What was computed of each piece, as one tensor like `x`."""
    if len(found) == 1:
        return found[0]
    whole = torch.empty_like(x)
    for rows, of_rows in zip(pieces.rows, found, strict=True):
        whole[rows] = of_rows
    return whole


class _Normalize(torch.autograd.Function):
    """BatchNorm of (N, C, ...) by mean and variance of each part over all workers; returns those and the counts too.

    Statistics and their gradients are float32 at least, whatever the input has.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        group: dist.ProcessGroup | None,
        pieces: Pieces,
        parts: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        own = _own_statistics(x, pieces, parts)
        everyone = [own]
        if group is not None:
            everyone = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
            dist.all_gather(everyone, own, group=group)
        counts, means, variances = torch.stack(everyone).split([1, channels, channels], dim=2)
        total = counts.sum(0)
        divisor = total.clamp(min=1)
        mean = (means * counts).sum(0) / divisor
        var = ((variances + (means - mean) ** 2) * counts).sum(0) / divisor
        out = _rejoined(
            x, pieces, [F.batch_norm(x[rows], mean[part], var[part], weight, bias, eps=eps) for rows, part in pieces]
        )
        ctx.save_for_backward(x, weight, mean, var, divisor)
        ctx.eps, ctx.group, ctx.pieces = eps, group, pieces
        ctx.mark_non_differentiable(mean, var, total)
        return out, mean, var, total

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var, divisor = ctx.saved_tensors
        sums = torch.zeros(2, *mean.shape, dtype=mean.dtype, device=mean.device)
        held = []  # the gradient as if mean and variance were constants
        for rows, part in ctx.pieces:
            of_rows, with_normal, plain = torch.ops.aten.native_batch_norm_backward(
                grad[rows], x[rows], weight, mean[part], var[part], None, None, False, ctx.eps, [True, True, True]
            )
            held.append(of_rows)
            sums[0, part] += plain
            sums[1, part] += with_normal
        grad_weight, grad_bias = sums[1].sum(0), sums[0].sum(0)
        if ctx.group is not None:
            dist.all_reduce(sums, group=ctx.group)
        mean_grad, mean_grad_normal = sums / divisor
        inv_std = (var + ctx.eps).rsqrt()
        slope = -weight * inv_std**2 * mean_grad_normal
        offset = -weight * inv_std * mean_grad
        shape = (-1, *([1] * (x.dim() - 2)))
        for of_rows, (rows, part) in zip(held, ctx.pieces, strict=True):
            # What their own dependence on x adds. A part of few values has next to no gradient, so x is centred first.
            centred = x[rows] - mean[part].view(shape)
            of_rows += centred.mul_(slope[part].view(shape)).add_(offset[part].view(shape))
        grad_x = _rejoined(x, ctx.pieces, held)
        return grad_x, grad_weight, grad_bias, None, None, None, None


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
        group = self.group if self.parts.communicate else None
        pieces = self.parts.pieces(len(input), input.device)
        out, mean, var, total = _Normalize.apply(
            input, self.weight, self.bias, self.eps, group, pieces, self.parts.count
        )
        with torch.no_grad():
            present = (total > 0).to(total)
            unbiased = var * (total / (total - 1).clamp(min=1))
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_((mean * present).sum(0) / present.sum(), self.momentum)
            self.running_var.lerp_((unbiased * present).sum(0) / present.sum(), self.momentum)
        return out


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
