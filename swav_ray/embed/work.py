"""What a task does to parts of the embeddings; pickled once and sent to every task."""

from __future__ import annotations

import torch

from swav_ray.embed import part as parts
from swav_ray.embed.errors import EmbedError
from swav_ray.embed.network import Network
from swav_ray.embed.output import Output
from swav_ray.embed.part import Crops
from swav_ray.features.folded import folded
from swav_ray.features.packed import on_device


class EmbedPart:
    """Reads, embeds and writes parts of an output."""

    mistake = EmbedError

    def __init__(self, output: Output, network: Network) -> None:
        self.output, self.network = output, network.on(folded(network.backbone))
        self._ready: Network | None = None  # for the device of this process

    def images(self, part: int) -> int:
        span = self.output.embeddings.span(part)
        return span.stop - span.start

    def is_made(self, part: int) -> bool:
        return self.output.is_made(part)

    def read(self, part: int, threads: int) -> Crops:
        return parts.read_crops(self.output, part, threads)

    def write(self, read: Crops, device: torch.device) -> None:
        if self._ready is None:
            self._ready = self.network.on(on_device(self.network.backbone, device)).to(device)
        parts.write(self.output, read, self._ready, device)
