"""What training needs of a process group, and nothing else: whose rows are whose, and rows gathered in global order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from swav_ray.data.sample_plan import even_slice

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among the workers; `group` is None if it is the only one."""

    rank: int = 0
    size: int = 1
    group: dist.ProcessGroup | None = None

    @staticmethod
    def current() -> World:
        """The default process group, or a world of one if none is initialised."""
        if dist.is_initialized() and dist.get_world_size() > 1:
            return World(dist.get_rank(), dist.get_world_size(), dist.group.WORLD)
        return World()

    def own_slice(self, rows: int) -> slice:
        """This worker's slice of `rows`."""
        return even_slice(rows, self.size, self.rank)

    def sum(self, values: Tensor) -> Tensor:
        """Sum over workers; `values` is changed in place and returned."""
        if self.group is not None:
            dist.all_reduce(values, group=self.group)
        return values

    def average_gradients(self, model: nn.Module) -> nn.Module:
        """The model, whose backward pass averages gradients over workers; the model itself if this is the only one."""
        if self.group is None:
            return model
        # Not that any were unused: DDP otherwise lays its buckets out anew after the first step. From three workers on,
        # a gradient's place in a bucket decides the order in which workers' parts of it are added. A run that resumes
        # from a checkpoint would then round differently from one that was not interrupted.
        return nn.parallel.DistributedDataParallel(
            model,
            process_group=self.group,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            find_unused_parameters=True,
        )

    def gather(self, rows: Tensor, total: int) -> Tensor:
        """All workers' rows in global order: (own slice, ...) to (total, ...)."""
        if self.group is None:
            return rows
        longest = -(-total // self.size)
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows
        everyone = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(everyone, padded, group=self.group)
        parts = [even_slice(total, self.size, rank) for rank in range(self.size)]
        return torch.cat([block[: part.stop - part.start] for block, part in zip(everyone, parts, strict=True)])

    def gather_objects(self, value: T) -> list[T]:
        """Every worker's value, in rank order, on each; for things that are small or rare."""
        if self.group is None:
            return [value]
        everyone: list[T] = [value] * self.size
        dist.all_gather_object(everyone, value, group=self.group)
        return everyone
