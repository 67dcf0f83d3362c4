"""A file of anybody's weights as tensors by name: safetensors, or what `torch.save` wrote. Nothing in it is executed.

Knows nothing of networks: what the names mean is told by layouts.py.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from swav_ray.one_line import one_line
from swav_ray.storage.place import Place

_SCALAR = np.float64(0).__reduce__()[0]  # what a pickled number of numpy calls
# Plain values that published checkpoints hold beside their tensors: arguments of a command line, numbers of numpy.
_PLAIN: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *{type(np.dtype(kind)) for kind in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"},
    _SCALAR,
    (_SCALAR, "numpy.core.multiarray.scalar"),  # before numpy 2
]


class WeightsError(ValueError):
    """Weights that cannot be used: the message names the file, what is wrong, and what would be right."""


@dataclass(frozen=True)
class Stored:
    """What a file holds.

    Attributes:
        tensors: by name; names of nested dictionaries are joined by dots (`state_dict.conv1.weight`).
        metadata: the text entries of a safetensors header; empty for other files.
        sha256: of the file, 64 hex digits.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    sha256: str


def stored(data: bytes, name: str) -> Stored:
    """The tensors of a file.

    Args:
        data: the whole file.
        name: of the file, for messages.

    Raises:
        WeightsError: the file is truncated, is of another kind, holds no tensor, or is a pickle that would run code.
    """
    digest = hashlib.sha256(data).hexdigest()
    if data[8:9] == b"{":
        tensors, metadata = _safetensors(data, name)
    elif data[:2] == b"PK" or data[:1] == b"\x80":
        tensors, metadata = _torch_save(data, name), {}
    else:
        raise WeightsError(f"{name}: is neither safetensors nor a file of torch.save ({len(data):,} bytes)")
    if not tensors:
        raise WeightsError(f"{name}: holds no tensors; give a checkpoint or a state dict")
    return Stored(tensors, metadata, digest)


def header(file: Place) -> dict[str, str]:
    """The text entries of a safetensors file's header, without reading its tensors. Raises WeightsError."""
    length = int.from_bytes(file.read_range(0, 8), "little")
    try:
        found: dict[str, str] = json.loads(file.read_range(8, length)).get("__metadata__", {})
    except (ValueError, AttributeError) as error:
        raise WeightsError(f"{file}: is no whole safetensors file ({one_line(error)}); copy it again") from None
    return found


def _safetensors(data: bytes, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError) as error:
        raise WeightsError(f"{name}: is no whole safetensors file ({one_line(error)}); copy it again") from None
    header = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + header]).get("__metadata__", {})
    return tensors, metadata


def _torch_save(data: bytes, name: str) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals(_PLAIN):
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{name}: its pickle wants to run code, which is refused ({_wanted(error)}); "
            "have its tensors saved alone, best as safetensors"
        ) from None
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise WeightsError(f"{name}: is no whole file of torch.save ({one_line(error)}); copy it again") from None
    return dict(_flattened(content, ""))


def _flattened(content: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor below nested dictionaries; lists (an optimizer's parameter groups) hold no weights."""
    if isinstance(content, Tensor):
        yield prefix.removesuffix("."), content.detach()
    elif isinstance(content, Mapping):
        for name, value in content.items():
            yield from _flattened(value, f"{prefix}{name}.")


def _wanted(error: pickle.UnpicklingError) -> str:
    """What the pickle asked for, out of torch's page of advice."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return f"it asks for {found[1]}" if found else "it holds more than tensors and plain values"
