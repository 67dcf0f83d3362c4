"""A worker's batches on its device. Of a GPU the next one is copied while the device still computes with this one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from swav_ray.config import Config
from swav_ray.data.batch import Batch
from swav_ray.model.normalize import normalize
from swav_ray.training.device_color import color_and_blur


@dataclass(frozen=True)
class SentBatch:
    """A batch whose pixels are on the device, or on their way to it.

    Attributes:
        batch: as it came.
        pixels: uint8, one (count x rows, size, size, 3) a resolution.
        colors: parameters of `color_and_blur`, one tensor a resolution; None if the CPU has coloured the crops.
        copied: is recorded behind the copies, if they are on a stream of their own.
    """

    batch: Batch
    pixels: list[Tensor]
    colors: list[Tensor] | None
    copied: torch.cuda.Event | None = None

    def crops(self, config: Config) -> list[Tensor]:
        """As the network takes them: one (count x rows, 3, size, size) normalised tensor a resolution."""
        if self.copied is not None:
            stream = torch.cuda.current_stream(self.pixels[0].device)
            stream.wait_event(self.copied)
            for tensor in (*self.pixels, *(self.colors or ())):
                tensor.record_stream(stream)  # or their memory would be given away before this stream has read it
        if self.colors is None:
            return [normalize(pixels) for pixels in self.pixels]
        color = _compiled_color() if config.performance.compile else color_and_blur
        largest = config.augment.blur_sigma[1]
        pairs = zip(self.pixels, self.colors, strict=True)
        return [normalize(color(pixels, colors, largest)) for pixels, colors in pairs]


@functools.cache
def _compiled_color() -> Callable[[Tensor, Tensor, float], Tensor]:
    """`color_and_blur` with its dozens of passes over the pixels as a few kernels, once for each resolution."""
    return torch.compile(color_and_blur, dynamic=False)


def send(batch: Batch, config: Config, device: torch.device) -> SentBatch:
    """Starts the copy of a batch to the device, on the current stream."""
    colors = batch.colors(config.crops)
    return SentBatch(
        batch,
        [_send(torch.from_numpy(group).flatten(0, 1), device) for group in batch.groups(config.crops)],
        None if colors is None else [_send(torch.from_numpy(group), device) for group in colors],
    )


def to_device(batch: Batch, config: Config, device: torch.device) -> list[Tensor]:
    """A batch as the network takes it, at once."""
    return send(batch, config, device).crops(config)


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    # From pinned memory the copy overlaps with what the device is doing; torch keeps that memory for the next batch.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class DeviceBatches:
    """A worker's batches, each sent to its device; one ahead if `send_next` is called between two of them.

    Args:
        feed: the batches, in order. count: how many of them.
        ready: waits so many seconds for the feed's next batch; whether it is there.
        config: of the run. device: of the worker.
    """

    def __init__(
        self,
        feed: Iterator[Batch],
        ready: Callable[[float], bool],
        config: Config,
        device: torch.device,
        *,
        count: int,
    ) -> None:
        self._feed, self._ready, self._config, self._device = feed, ready, config, device
        self._left = count
        self._next: SentBatch | None = None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def ready(self, seconds: float) -> bool:
        """Waits so many seconds for the next batch; whether it is there."""
        return self._next is not None or self._ready(seconds)

    def send_next(self) -> None:
        """Sends the next batch if it has come; waits for nothing."""
        if self._next is None and self._left > 0 and self._ready(0.0):
            self._next = self._sent()

    def next(self) -> SentBatch:
        """The next batch; waits for it if need be."""
        sent, self._next = self._next or self._sent(), None
        return sent

    def _sent(self) -> SentBatch:
        batch = next(self._feed)
        self._left -= 1
        if self._stream is None:
            return send(batch, self._config, self._device)
        with torch.cuda.stream(self._stream):
            sent = send(batch, self._config, self._device)
            return SentBatch(batch, sent.pixels, sent.colors, self._stream.record_event())
