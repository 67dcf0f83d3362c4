"""Any data set of torchvision.datasets, by name, for `import`. torchvision is imported only when one is asked for.

If a data set has image files their bytes are copied. Pixels that it makes itself are stored as PNG, with a warning.
"""

from __future__ import annotations

import inspect
import io
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from swav_ray.data.formats.names import kind_of
from swav_ray.data.formats.shard_writer import StoredImage
from swav_ray.one_line import one_line
from swav_ray.storage.place import PlaceError

PREFIX = "torchvision:"
_PATH_ATTRIBUTES = ("samples", "imgs", "_samples", "_image_files", "_images", "images", "data")
_TEST_NAMES = ("test", "val", "valid")

log = logging.getLogger("swav_ray.data")


class TorchvisionSource:
    """``torchvision:CLASS:ROOT``, train and test, or ``torchvision:CLASS:ROOT:SPLIT``, that split as training data."""

    duplicates = 0
    notes: tuple[str, ...] = ()
    threads = 1  # nothing says that a data set may be used from several

    def __init__(self, text: str) -> None:
        name, _, rest = text.removeprefix(PREFIX).partition(":")
        root, _, split = rest.partition(":")
        self.name = text
        self._warned = False
        self._splits = _load(name, root, split)
        train = self._splits["train"]
        self.counts = {name: len(data) for name, data in self._splits.items()}
        self.fingerprint = f"{text} {self.counts}"
        labels = {_label(data, i) for data in self._splits.values() for i in (0, len(data) - 1)}
        self.has_labels = labels != {-1}
        classes = getattr(train, "classes", None)
        self.classes = [_class_name(c) for c in classes] if isinstance(classes, list | tuple) else []

    def mean_bytes(self) -> float:
        """Of an image as stored, from a few of them."""
        data = self._splits["train"]
        ids = np.linspace(0, len(data) - 1, 64).astype(int)
        return float(np.mean([len(sample.data) for sample in self.read("train", ids)]))

    def read(self, split: str, ids: Sequence[int] | np.ndarray) -> Iterator[StoredImage]:
        """The samples of these indices of a split."""
        data = self._splits[split]
        paths = _paths(data)
        for i in map(int, ids):
            if paths is not None:
                yield StoredImage(Path(paths[i]).read_bytes(), Path(paths[i]).name, _label(data, i))
                continue
            item = data[i]
            image, label = item[0] if isinstance(item, tuple) else item, _label(data, i, item)
            if (path := _opened(image)) is not None:
                yield StoredImage(path.read_bytes(), path.name, label)
                continue
            if not self._warned:
                self._warned = True
                log.warning("%s: gives pixels and not their files: images are stored as PNG", self.name)
            yield StoredImage(_png(image), f"{split}/{i:08d}.png", label)


def _load(name: str, root: str, split: str) -> dict[str, Any]:
    """The data set's splits, ``train`` and perhaps ``test``."""
    from torchvision import datasets

    kind = getattr(datasets, name, None)
    if not inspect.isclass(kind):
        right = "use torchvision:CLASS:ROOT with a class of torchvision.datasets, as in torchvision:CIFAR10:/data/cifar"
        raise PlaceError(f"{PREFIX}{name}:{root}: {right}")
    if not root:
        raise PlaceError(
            f"{PREFIX}{name}: names no root; use {PREFIX}{name}:ROOT, the folder that torchvision put it in"
        )
    options = inspect.signature(kind).parameters
    what = f"{PREFIX}{name}:{root}"
    if "train" in options:
        wanted = (
            {"train": {"train": split != "test"}} if split else {"train": {"train": True}, "test": {"train": False}}
        )
        return {key: _make(kind, root, option, what) for key, option in wanted.items()}
    if "split" not in options:
        return {"train": _make(kind, root, {}, what)}
    if split:
        return {"train": _make(kind, root, {"split": split}, what)}
    found = {"train": _make(kind, root, {"split": "train"}, what)}
    for other in _TEST_NAMES:
        try:
            found["test"] = _make(kind, root, {"split": other}, what)
            break
        except PlaceError:
            continue
    return found


def _make(kind: Any, root: str, options: dict[str, Any], what: str) -> Any:
    try:
        return kind(root, **options)
    except (RuntimeError, ValueError, OSError, TypeError) as error:
        # torchvision has no error class of its own; the reason is in its text.
        raise PlaceError(
            f"{what}: torchvision cannot load it with {options or 'no options'}: {one_line(error)}"
        ) from None


def _paths(data: Any) -> list[str] | None:
    """The image files of the samples, if the data set has them."""
    for attribute in _PATH_ATTRIBUTES:
        items = getattr(data, attribute, None)
        if isinstance(items, list) and len(items) == len(data):
            paths = [item[0] if isinstance(item, tuple) else item for item in items]
            are_images = all(isinstance(path, str | Path) and kind_of(str(path)) == "image" for path in paths)
            if are_images and Path(paths[0]).is_file():  # and not names in a folder that only the data set knows
                return [str(path) for path in paths]
    return None


def _opened(image: Any) -> Path | None:
    """The file of an image that is as it was opened: whatever PIL makes of one is no longer an ImageFile."""
    if not isinstance(image, ImageFile.ImageFile) or not image.filename:
        return None
    image.close()
    return Path(os.fsdecode(image.filename))


def _label(data: Any, i: int, item: Any = None) -> int:
    """The label of a sample as a number; -1 if it has none or a richer target."""
    for attribute in ("targets", "labels", "_labels"):
        labels = getattr(data, attribute, None)
        if labels is not None and len(labels) == len(data):
            return _number(labels[i])
    for attribute in _PATH_ATTRIBUTES:
        items = getattr(data, attribute, None)
        if isinstance(items, list) and len(items) == len(data) and isinstance(items[i], tuple) and len(items[i]) == 2:
            return _number(items[i][1])
    item = data[i] if item is None else item
    return _number(item[1]) if isinstance(item, tuple) and len(item) > 1 else -1


def _number(label: Any) -> int:
    try:
        return int(label)
    except (TypeError, ValueError):
        return -1


def _class_name(name: Any) -> str:
    """ImageNet's classes are tuples of synonyms."""
    return ", ".join(map(str, name)) if isinstance(name, tuple | list) else str(name)


def _png(image: Any) -> bytes:
    if not isinstance(image, Image.Image):
        array = np.asarray(image)
        if array.dtype != np.uint8:
            raise PlaceError(f"images of type {array.dtype} cannot be stored; uint8 arrays or PIL images can")
        if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
            array = array.transpose(1, 2, 0)  # a tensor's order
        image = Image.fromarray(array.squeeze())
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()
