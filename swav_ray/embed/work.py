"""What a task does to a part of the embeddings; pickled once and sent to every task."""

from __future__ import annotations

import torch

from swav_ray.embed import part as parts
from swav_ray.embed.errors import EmbedError
from swav_ray.embed.network import Network
from swav_ray.embed.output import Output
from swav_ray.embed.part import Crops


class EmbedPart:
    """Reads, embeds and writes parts of an output."""

    mistake = EmbedError

    def __init__(self, output: Output, network: Network) -> None:
        self.output, self.network = output, network.to(memory_format=torch.channels_last)

    def read(self, part: int, threads: int) -> Crops:
        return parts.read_crops(self.output, part, threads)

    def write(self, read: Crops, device: torch.device) -> int:
        parts.write(self.output, read, self.network.to(device), device)
        return len(read.reasons)
