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
import warnings
import zipfile
import zlib
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
        raise WeightsError(f"{name}: is neither safetensors nor a file of torch.save ({_other_kind(data)})")
    if not tensors:
        raise WeightsError(f"{name}: holds no tensors; give a checkpoint or a state dict")
    for key, tensor in tensors.items():
        if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided:
            what = "has no values" if tensor.is_meta else "is quantized" if tensor.is_quantized else "is sparse"
            raise WeightsError(f"{name}: {key} {what}; save the weights as plain tensors")
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


def _other_kind(data: bytes) -> str:
    """What a file is that holds no weights, as far as its first bytes say."""
    if data.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS: fetch the file itself with `git lfs pull`"
    if data.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        return "it is compressed: unpack it"
    if data[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page: download the file itself"
    return f"{len(data):,} bytes"


def _torch_save(data: bytes, name: str) -> dict[str, Tensor]:
    if data[:2] == b"PK":
        _refuse_damaged(data, name)
    try:
        with torch.serialization.safe_globals(_PLAIN), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual files: what counts of them is refused in one line
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{name}: its pickle wants to run code, which is refused ({_wanted(error)}); "
            "have its tensors saved alone, best as safetensors"
        ) from None
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise WeightsError(f"{name}: is no whole file of torch.save ({one_line(error)}); copy it again") from None
    return dict(_flattened(content, ""))


def _refuse_damaged(data: bytes, name: str) -> None:
    """Raises WeightsError for an archive with a changed byte, which torch would read, or one that is no state dict."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise WeightsError(f"{name}: is no whole file of torch.save ({one_line(error)}); copy it again") from None
    members = archive.infolist()
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise WeightsError(
            f"{name}: is a TorchScript archive, which holds code; save the network's state_dict() instead"
        )
    wrong = [member.filename for member in members if not _is_whole(archive, member)]
    if wrong and len(wrong) < len(members):  # torch writes no checksums at all if `set_crc32_options(False)`
        raise WeightsError(f"{name}: is damaged: {wrong[0]} in it does not match its checksum; copy it again")


def _is_whole(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    try:
        archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError):
        return False
    return True


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
