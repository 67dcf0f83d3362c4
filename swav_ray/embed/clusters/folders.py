"""Images into a folder a cluster: linked or copied, never over a file that is there, resumed when run again."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from swav_ray.data.decoding.decode import JPEG_START
from swav_ray.data.sources import read_samples
from swav_ray.embed.errors import EmbedError
from swav_ray.embed.output import Output
from swav_ray.features.parts import claim
from swav_ray.one_line import one_line
from swav_ray.storage.place import Place, place

HOW = ("link", "symlink", "copy")
_ABOUT = "embed.json"
_THREADS = 16
_MOST_NAME, _MOST_BYTES = 150, 180  # characters of an image's own name, and bytes: a name has at most 255 in all
_SUFFIXES = ((JPEG_START, ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"GIF8", ".gif"), (b"BM", ".bmp"))


@dataclass(frozen=True)
class Placed:
    """What became of the images.

    Attributes:
        made, there: images that were put there now, and those that were there already.
        failed: images that cannot be read any more. example: one of them and why; empty if there is none.
    """

    made: int
    there: int
    failed: int
    example: str

    def lines(self, dest: Place) -> Iterator[str]:
        """What the user should know."""
        yield f"{self.made:,} images into {dest}, {self.there:,} were there"
        if self.failed:
            yield (
                f"{self.failed:,} images could not be read again, for example {self.example}; the same command tries "
                "them again"
            )


def check(dest: Place, how: str, images: Place, out: Place) -> None:
    """What can be known before any work is done.

    Args:
        images: that are embedded. out: the folder of the embeddings.

    Raises:
        EmbedError: `dest` holds something else or lies among the images, or `how` cannot be done there.
    """
    if how != "copy" and not (dest.is_local and images.is_local):
        raise EmbedError(f"--how {how}: needs images and a folder on this machine's disks; use --how copy")
    # The list of the images leaves a folder of embeddings out.
    if _is_within(dest, images) and not _is_within(dest, out):
        raise EmbedError(
            f"--into-folders {dest}: lies among the images of {images}, which the next command would find changed; "
            "give a folder elsewhere"
        )
    if not (dest / _ABOUT).exists() and any(True for _ in dest.list()):
        raise EmbedError(f"--into-folders {dest}: holds other files; give an empty folder")


def _is_within(inner: Place, outer: Place) -> bool:
    if inner.is_local != outer.is_local:
        return False
    names = [os.path.realpath(one.uri) if one.is_local else one.uri for one in (inner, outer)]
    return f"{names[0]}/".startswith(f"{names[1].rstrip('/')}/")


def into_folders(
    output: Output,
    blocks: Callable[[], Iterable[pa.Table]],
    target: Mapping[int, int],
    dest: Place,
    how: str,
    kmeans: int,
) -> Placed:
    """Puts every image into `dest/cluster-NNNN/`, as NAME-SAMPLE.EXT, so that no two names collide.

    Args:
        blocks: what `clusters.assigned` gives, one of each part in order.
        target: the folder of a cluster that is merged into another one.
        how: one of HOW. kmeans: of so many clusters by k-means; 0: the prototypes.

    Raises:
        EmbedError: `dest` holds something else, or `how` cannot be done there. OSError: a file cannot be written.
    """
    check(dest, how, place(output.root), output.folder)
    if how != "copy" and any("#" in uri and not Path(uri).exists() for uri in _first_uris(output)):
        raise EmbedError(f"--how {how}: the images of {output.root} are inside larger files; use --how copy")
    _claim(output, blocks, dest, kmeans)
    made = there = failed = 0
    example = ""
    with ThreadPoolExecutor(_THREADS) as pool:
        for part, table in enumerate(blocks()):
            ids, uris = table["sample_id"].to_numpy(), table["uri"].to_pylist()
            clusters = [target.get(number, number) for number in table["cluster"].to_pylist()]
            names = [
                f"cluster-{number:04d}/{_name(uri, sample)}"
                for number, uri, sample in zip(clusters, uris, ids.tolist(), strict=True)
            ]
            present = list(pool.map(lambda name: _is_there(dest, name), names))
            left = [row for row, found in enumerate(present) if not found]
            if how == "copy":
                samples = read_samples(output.manifest(part), ids[left] - part * output.how.part_rows)
                done = list(pool.map(_copy, repeat(dest), [names[row] for row in left], samples))
            else:
                done = [_link(dest, names[row], Path(uris[row]), how) for row in left]
            wrong = [(uris[row], why) for row, why in zip(left, done, strict=True) if why]
            there += len(names) - len(left)
            made += len(left) - len(wrong)
            failed += len(wrong)
            example = example or "".join(f"{uri}: {why}" for uri, why in wrong[:1])
    return Placed(made, there, failed, example)


def _claim(output: Output, blocks: Callable[[], Iterable[pa.Table]], dest: Place, kmeans: int) -> None:
    """Makes `dest` the folder of these clusters, or finds that it is."""
    about: dict[str, Any] = {
        "embeddings": output.folder.uri,
        "weights": output.how.weights,
        "clusters": f"{kmeans} by k-means" if kmeans else "prototypes",
    }
    if kmeans:  # they are learned again when embeddings are added, and an image must not lie in two folders
        about["assignment"] = _digest(blocks())
    if claim(dest / _ABOUT, about):
        return
    held = json.loads((dest / _ABOUT).read_bytes())
    differs = next((name for name in about if held.get(name) != about[name]), "")
    why = {
        "embeddings": f"holds images by the embeddings in {held.get('embeddings')}",
        "weights": "holds images by the clusters of another checkpoint",
        "clusters": f"holds images by other clusters ({held.get('clusters')}, not {about['clusters']})",
        "assignment": f"holds images by an earlier {about['clusters']}, which other embeddings have changed",
    }
    # A file of another command has none of these names.
    told = why[differs] if held.keys() >= {"embeddings", "clusters"} else "holds other files"
    raise EmbedError(f"--into-folders {dest}: {told}; give another folder or delete it")


def _digest(blocks: Iterable[pa.Table]) -> str:
    digest = hashlib.sha256()
    for table in blocks:
        for name in ("sample_id", "cluster"):
            digest.update(np.ascontiguousarray(table[name].to_numpy()).tobytes())
    return digest.hexdigest()[:16]


def _first_uris(output: Output) -> list[str]:
    for table in output.blocks(["uri"]):
        if table.num_rows:
            return [table["uri"][0].as_py()]
    return []


def _name(uri: str, sample_id: int) -> str:
    """The image's own name with its sample id; of one inside a larger file, that file's, its ending left for later."""
    base, inside, _ = uri.rpartition("/")[2].partition("#")
    stem, ending = os.path.splitext(base)
    stem = re.sub(r"[^\w+-]", "_", stem)[:_MOST_NAME].encode()[:_MOST_BYTES].decode(errors="ignore")
    return f"{stem}-{sample_id}{'' if inside else ending[:10]}"


def _is_there(dest: Place, name: str) -> bool:
    endings = ("",) if os.path.splitext(name)[1] else ("", ".img", *(ending for _, ending in _SUFFIXES))
    return any((dest / f"{name}{ending}").is_file() for ending in endings)


def _link(dest: Place, name: str, source: Path, how: str) -> str:
    """Why the image cannot be linked: it is gone. Empty if it is linked, by another command at the same time or now."""
    if not source.exists():
        return "no such file"
    file = dest.local_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        if how == "symlink":
            os.symlink(source, file)
        else:
            os.link(source, file)
    except FileExistsError:
        return ""
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise EmbedError(f"--how {how}: cannot link {source} into {dest}; use --how symlink or copy") from None
        raise
    return ""


def _copy(dest: Place, name: str, sample: bytes | np.ndarray | Exception) -> str:
    """Why the image cannot be read any more. Empty if it is copied, by another command at the same time or now."""
    if isinstance(sample, Exception):
        return one_line(sample)
    data = _png(sample) if isinstance(sample, np.ndarray) else sample
    if not os.path.splitext(name)[1]:
        name += next((ending for start, ending in _SUFFIXES if data.startswith(start)), ".img")
    if not dest.is_local:
        (dest / name).write_bytes(data)
        return ""
    file = dest.local_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        temporary.write_bytes(data)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, file)  # unlike a rename, never over a file that is there
    finally:
        temporary.unlink(missing_ok=True)
    return ""


def _png(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()
