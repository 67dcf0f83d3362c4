"""The folder of an export: whose it is, and how it is written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from swav_ray.storage.place import Place
from swav_ray.weights.read import WeightsError

RECORD = "export.json"  # written last: with it an export is complete


def check(out: Place, sha256: str, kind: str, suffix: str, *, overwrite: bool) -> None:
    """Whether an export may be written to `out`.

    Args:
        sha256: of the source. kind: name of the format. suffix: of its files.
        overwrite: whatever is there may be replaced.

    Raises:
        WeightsError: it is a file, or holds something that is not the same export.
    """
    if out.is_file():
        raise WeightsError(f"{out}: is a file; OUT is a folder, which gets the weights, a model card and a loader")
    if out.name.endswith(suffix):
        folder = out.name.removesuffix(suffix)
        raise WeightsError(f"{out}: OUT is a folder, which gets the weights, a model card and a loader; give {folder}")
    if out.is_local:
        _check_writable(out.local_path)
    if overwrite or not _occupied(out):
        return
    there = _record(out)
    if there is None:
        raise WeightsError(f"{out}: holds files of something else; give another OUT, or --overwrite")
    if (there.get("source_sha256"), there.get("format")) != (sha256, kind):
        raise WeightsError(
            f"{out}: holds the export of {there.get('source')} as {there.get('format')}; "
            "give another OUT, or --overwrite"
        )


def _check_writable(folder: Path) -> None:
    """Before minutes of work: whether a folder can be made there."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "not writable" if there.is_dir() else "a file"
        raise WeightsError(f"{folder}: cannot be written, since {there} is {why}; give another OUT")


def _occupied(out: Place) -> bool:
    return next(iter(out.list()), None) is not None


def _record(out: Place) -> dict[str, Any] | None:
    """What an earlier export says of itself; None if there is none that can be read."""
    try:
        found = json.loads((out / RECORD).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write(out: Place, files: list[Path], record: dict[str, Any]) -> None:
    """Copies the files into `out`, and removes what an earlier export left there under another name.

    A failure leaves none of them.
    """
    earlier = (_record(out) or {}).get("files", [])
    (out / RECORD).delete()
    try:
        for name in {str(name) for name in earlier} - {file.name for file in files}:
            if "/" not in name:
                (out / name).delete()
        for file in files:
            (out / file.name).upload_file(file)
        content = {**record, "files": [file.name for file in files]}
        (out / RECORD).write_bytes(json.dumps(content, indent=1).encode())
    except BaseException:
        for file in files:
            (out / file.name).delete()
        raise
