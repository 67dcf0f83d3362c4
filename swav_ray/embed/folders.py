"""Images into a folder a cluster: linked or copied, never over a file that is there, resumed when run again."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from swav_ray.data.crops.decode import JPEG_START
from swav_ray.data.sources import read_samples
from swav_ray.embed.errors import EmbedError
from swav_ray.embed.output import Output
from swav_ray.features.parts import claim
from swav_ray.storage.place import Place, place

HOW = ("link", "symlink", "copy")
_ABOUT = "embed.json"
_THREADS = 16
_MOST_NAME = 150  # characters of an image's own name
_SUFFIXES = ((JPEG_START, ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"GIF8", ".gif"), (b"BM", ".bmp"))


def into_folders(
    output: Output, blocks: Iterable[pa.Table], target: dict[int, int], dest: Place, how: str, source: str
) -> tuple[int, int]:
    """Puts every image into `dest/cluster-NNNN/`, as NAME-SAMPLE.EXT, so that no two names collide.

    Args:
        blocks: as `clusters.assigned` gives them, one of each part in order.
        target: the folder of a cluster that is merged into another one.
        how: one of HOW. source: of the clusters, in words: a folder of other clusters is not mixed with these.

    Returns:
        Images that were put there now, and those that were there already.

    Raises:
        EmbedError: `dest` holds something else, or `how` cannot be done there. OSError: a file cannot be written.
    """
    _check(output, dest, how)
    about = {"embeddings": output.folder.uri, "weights": output.how.weights, "clusters": source}
    if not (dest / _ABOUT).exists() and any(True for _ in dest.list()):
        raise EmbedError(f"--into-folders {dest}: holds other files; give an empty folder")
    if not claim(dest / _ABOUT, about):
        raise EmbedError(f"--into-folders {dest}: holds other clusters; give another folder or delete it")
    made = there = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for part, table in enumerate(blocks):
            ids = table["sample_id"].to_numpy()
            clusters = [target.get(number, number) for number in table["cluster"].to_pylist()]
            names = [
                f"cluster-{number:04d}/{_name(uri, sample)}"
                for number, uri, sample in zip(clusters, table["uri"].to_pylist(), ids.tolist(), strict=True)
            ]
            present = list(pool.map(lambda name: _is_there(dest, name), names))
            left = [row for row, found in enumerate(present) if not found]
            there += len(names) - len(left)
            rows = ids[left] - part * output.how.part_rows
            if how == "copy":
                manifest = output.manifest(part)
                done = list(
                    pool.map(
                        lambda pair: _copy(dest, *pair),
                        zip((names[row] for row in left), read_samples(manifest, rows), strict=True),
                    )
                )
            else:
                sources = [Path(table["uri"][row].as_py()) for row in left]
                done = [_link(dest, names[row], file, how) for row, file in zip(left, sources, strict=True)]
            made += sum(done)
    return made, there


def _check(output: Output, dest: Place, how: str) -> None:
    if how == "copy":
        return
    if not dest.is_local or not place(output.root).is_local:
        raise EmbedError(f"--how {how}: needs images and a folder on this machine's disks; use --how copy")
    if any("#" in uri and not Path(uri).exists() for uri in _first_uris(output)):
        raise EmbedError(f"--how {how}: the images of {output.root} are inside larger files; use --how copy")


def _first_uris(output: Output) -> list[str]:
    for table in output.blocks(["uri"]):
        if table.num_rows:
            return [table["uri"][0].as_py()]
    return []


def _name(uri: str, sample_id: int) -> str:
    """The image's own name with its sample id; of one inside a larger file, that file's, its ending left for later."""
    base, inside, _ = uri.rpartition("/")[2].partition("#")
    stem, ending = os.path.splitext(base)
    stem = re.sub(r"[^\w+-]", "_", stem)[:_MOST_NAME]
    return f"{stem}-{sample_id}{'' if inside else ending[:10]}"


def _is_there(dest: Place, name: str) -> bool:
    endings = ("",) if os.path.splitext(name)[1] else ("", ".img", *(ending for _, ending in _SUFFIXES))
    return any((dest / f"{name}{ending}").is_file() for ending in endings)


def _link(dest: Place, name: str, source: Path, how: str) -> bool:
    """Whether the image was linked now."""
    file = dest.local_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        if how == "symlink":
            os.symlink(source, file)
        else:
            os.link(source, file)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise EmbedError(f"--how {how}: cannot link {source} into {dest}; use --how symlink or copy") from None
        raise
    return True


def _copy(dest: Place, name: str, sample: bytes | np.ndarray | Exception) -> bool:
    """Whether the image was copied now; one that cannot be read any more is left out."""
    if isinstance(sample, Exception):
        return False
    data = _png(sample) if isinstance(sample, np.ndarray) else sample
    if not os.path.splitext(name)[1]:
        name += next((ending for start, ending in _SUFFIXES if data.startswith(start)), ".img")
    if not dest.is_local:
        (dest / name).write_bytes(data)
        return True
    file = dest.local_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        temporary.write_bytes(data)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, file)  # unlike a rename, never over a file that is there
            return True
    finally:
        temporary.unlink(missing_ok=True)
    return False


def _png(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()
