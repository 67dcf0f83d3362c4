"""A small network and folder of images, embedded in this process as tasks do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from swav_ray.embed import output as outputs
from swav_ray.embed.network import Network, heads_for
from swav_ray.embed.output import How, Output
from swav_ray.embed.work import EmbedPart
from swav_ray.features.making import make_parts
from swav_ray.storage.place import place
from swav_ray.weights.backbone import load_backbone
from tests.data.images import image, write_files
from tests.weights import foreign

CPU = torch.device("cpu")


def weights(folder: Path, prototypes: tuple[int, ...] = (6,), *, head: bool = True, seed: int = 0) -> Path:
    """A file of a narrow ResNet-18, with or without its head."""
    torch.manual_seed(seed)
    tensors = foreign.model(prototypes=prototypes).state_dict()
    file = folder / f"weights-{prototypes}-{head}-{seed}.pth"
    torch.save(tensors if head else foreign.split(tensors)[0], file)
    return file


def images(folder: Path, count: int = 40, broken: Mapping[str, bytes] = MappingProxyType({})) -> Path:
    """JPEGs of two classes, and other files."""
    files = {f"train/{'ab'[i % 2]}/{i:03d}.jpg": image(i) for i in range(count)}
    write_files(folder, files | dict(broken))
    return folder


def network_and_how(file: Path, *, layer: str = "pooled", every: bool = False, **changed: Any) -> tuple[Network, How]:
    backbone = load_backbone(str(file), image_size=changed.pop("image_size", 16))
    heads = heads_for(backbone.origin.parts, str(file), layer=layer, every=every)
    network = Network(backbone, heads, layer, 0.1)
    settings = {
        "checkpoint": str(file),
        "weights": backbone.origin.sha256,
        "prefix": "",
        "layer": layer,
        "shape": network.shape(),
        "dtype": "float32",
        "image_size": backbone.preprocess.image_size,
        "mean": backbone.preprocess.mean,
        "std": backbone.preprocess.std,
        "prototypes": tuple(len(head.prototypes) for head in heads),
        "temperature": 0.1,
        "soft": False,
    }
    return network, How(**(settings | changed))


def begin(out: Path, how: How, data: Path) -> Output:
    return outputs.begin(place(out), how, str(data), place(out.parent / "_data" / "manifests"))[0]


def embed(output: Output, network: Network) -> list[int]:
    """The parts that were missing, which it makes."""
    missing = output.missing()
    if missing:
        list(make_parts(EmbedPart(output, network), missing, CPU))
    return missing


def table(output: Output) -> pa.Table:
    names = output.embeddings.read(0).column_names
    return pa.concat_tables(output.blocks(names))


def embedded(tmp_path: Path, **keywords: Any) -> tuple[Output, Network]:
    """Forty images, one of which is broken, in parts of 16."""
    data = images(tmp_path / "images", broken={"train/a/broken.jpg": b""})
    network, how = network_and_how(weights(tmp_path), **keywords)
    output = begin(tmp_path / "out", how, data)
    embed(output, network)
    return output, network


def vectors_of(output: Output) -> np.ndarray:
    return output.vectors(table(output))
