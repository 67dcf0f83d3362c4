"""A place: a local path or s3://bucket/prefix, the same word everywhere.

`Place` is a name, not a connection: picklable, hashable and cheap. What a file system needs is in local.py, what S3
needs in s3/, whose clients are loaded when an s3:// place is first used. Nothing here knows what the bytes mean.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from swav_ray.storage import local
from swav_ray.storage.changed import written_of
from swav_ray.storage.counters import counters
from swav_ray.storage.entry import Entry
from swav_ray.storage.errors import CredentialsError, PlaceError, StorageUnavailable
from swav_ray.storage.local import is_leftover
from swav_ray.storage.patience import persistently

__all__ = [
    "CredentialsError",
    "Entry",
    "Place",
    "PlaceError",
    "StorageUnavailable",
    "is_leftover",
    "persistently",
    "place",
    "stats",
]


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder, local or on S3. Made by `place`; ``uri`` is an absolute path or s3://bucket/key."""

    uri: str

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> Place:
        # A key on S3 may continue with a slash of its own (prefix//a.jpg): a listed name is read back as it is.
        name = name.strip("/") if self.is_local else name.rstrip("/")
        return Place(f"{self.uri.rstrip('/')}/{name}") if name else self

    @property
    def is_local(self) -> bool:
        return not self.uri.startswith("s3://")

    @property
    def local_path(self) -> Path:
        """The path, of a local place only."""
        if not self.is_local:
            raise ValueError(f"{self.uri}: not a local path")
        return Path(self.uri)

    @property
    def name(self) -> str:
        """The last part of the uri; empty for a bucket."""
        return Path(self.uri).name if self.is_local else self._key.rpartition("/")[2]

    @property
    def parent(self) -> Place:
        return Place(self.uri.rpartition("/")[0] or "/") if self.is_local or self._key else self

    @property
    def _bucket(self) -> str:
        return self.uri[5:].partition("/")[0]

    @property
    def _key(self) -> str:
        return self.uri[5:].partition("/")[2]

    @property
    def _prefix(self) -> str:
        return f"{self._key}/" if self._key else ""

    def exists(self, *, patience: float | None = None) -> bool:
        """Whether there is a file here, or a folder with something in it (local: any folder).

        ``patience`` in seconds bounds the wait for an S3 that does not answer: a first contact should fail fast.
        """
        if self.is_local:
            return self.local_path.exists()
        from swav_ray.storage.s3 import objects

        return self.is_file(patience=patience) or objects.any_below(self._bucket, self._prefix, patience)

    def is_file(self, *, patience: float | None = None) -> bool:
        """Whether there is a file (an object) of exactly this name."""
        if self.is_local:
            return self.local_path.is_file()
        from swav_ray.storage.s3 import objects

        return bool(self._key) and objects.head(self._bucket, self._key, patience) is not None

    def stat(self) -> Entry:
        """Size and version of this file; FileNotFoundError if there is none."""
        if self.is_local:
            try:
                found = self.local_path.stat()
            except FileNotFoundError:
                raise _missing(self) from None
            return Entry(self.name, found.st_size, str(found.st_mtime_ns))
        from swav_ray.storage.s3 import objects

        head = objects.head(self._bucket, self._key)
        if head is None:
            raise _missing(self)
        return Entry(self.name, head["ContentLength"], head["ETag"], written_of(head))

    def read_bytes(self) -> bytes:
        """The whole file."""
        return self._read(0, None)

    def read_range(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer if the file ends before."""
        return self._read(offset, length) if length > 0 else b""

    def _read(self, offset: int, length: int | None) -> bytes:
        if not self.is_local:
            from swav_ray.storage.s3 import read

            return read.read(self._bucket, (self._key, None if length is None else (offset, length)))
        try:
            data = local.read(self.uri, offset, length)
        except FileNotFoundError:
            raise _missing(self) from None
        counters().add("bytes_read", len(data))
        return data

    def read_ahead(
        self, requests: Sequence[tuple[str, tuple[int, int] | None]], newest: float = 0.0
    ) -> Iterator[bytes | Exception]:
        """The bytes of each request below this place, or what went wrong with it; in order.

        A request is a name, and the offset and length of a range or None for the whole file. A range may come short if
        the file ends before it does. On S3 the next requests are under way while an answer is used; local files are
        read when they are asked for, since they come from one disk. With ``newest``, the time of the newest object when
        the place was listed, those that were written later are `ChangedBytes`. Raises StorageUnavailable only.
        """
        if not self.is_local:
            from swav_ray.storage.s3 import read

            yield from read.read_ahead(self._bucket, [((self / name)._key, span) for name, span in requests], newest)
            return
        for name, span in requests:
            yield (self / name)._read_or_error(span)

    def _read_or_error(self, span: tuple[int, int] | None) -> bytes | Exception:
        try:
            return self.read_bytes() if span is None else self.read_range(*span)
        except StorageUnavailable:
            raise
        except (OSError, ValueError) as error:
            return error

    def read_version(self) -> tuple[bytes, str]:
        """The bytes of this file on S3, and the version that `write_if_version` takes."""
        bucket, key = self._on_s3()
        from swav_ray.storage.s3 import objects

        return objects.read_version(bucket, key)

    def write_if_version(self, data: bytes, version: str | None) -> str | None:
        """Writes this file on S3 if it still has that version, or for None if there is no such file; atomically.

        Returns the new version, or None if it is not so. Two writers at once: one succeeds. The answer may be lost and
        the write repeated: None can also mean that the file is what was to be written. Raises
        NoConditionalWrites if the server says that it has none; one that ignores the condition writes in any case.
        """
        bucket, key = self._on_s3()
        from swav_ray.storage.s3 import objects

        return objects.write_if_version(bucket, key, data, version)

    def _on_s3(self) -> tuple[str, str]:
        if self.is_local:
            raise ValueError(f"{self.uri}: not on S3")
        return self._bucket, self._key

    def write_bytes(self, data: bytes) -> None:
        """Writes the whole file or, on any failure, nothing; folders are made as needed."""
        if not self.is_local:
            from swav_ray.storage.s3 import objects

            objects.write(self._bucket, self._key, data)
            return
        with local.replacing(self.local_path) as temporary:
            temporary.write_bytes(data)

    def upload_file(self, path: str | os.PathLike[str]) -> None:
        """Copies a local file here, in parts if it is large; whole or absent."""
        if not self.is_local:
            from swav_ray.storage.s3 import objects

            objects.upload(path, self._bucket, self._key)
            return
        with local.replacing(self.local_path) as temporary:
            shutil.copyfile(path, temporary)

    def download_file(self, path: str | os.PathLike[str]) -> None:
        """Copies this file to a local path, in parts if it is large; whole or absent."""
        with local.replacing(Path(path)) as temporary:
            if self.is_local:
                try:
                    shutil.copyfile(self.uri, temporary)
                except FileNotFoundError:
                    raise _missing(self) from None
            else:
                from swav_ray.storage.s3 import objects

                objects.download(self._bucket, self._key, temporary)
            counters().add("bytes_read", temporary.stat().st_size)

    def list(self, dangling: Callable[[str], None] = lambda _: None) -> Iterator[Entry]:
        """Every file below this place, recursively, in no particular order, in bounded memory.

        Nothing if the place does not exist. Symbolic links to files and folders are followed; ``dangling`` is told the
        names of those that lead nowhere.
        """
        from swav_ray.storage.pages import pages_of

        for page in pages_of(self.uri, dangling):
            yield from page

    def delete(self) -> None:
        """Removes this file; no error if there is none."""
        if self.is_local:
            self.local_path.unlink(missing_ok=True)
            return
        from swav_ray.storage.s3 import objects

        objects.delete(self._bucket, self._key)

    def delete_tree(self) -> None:
        """Removes this place and everything below it; no error if there is nothing."""
        if self.is_local:
            if self.local_path.is_dir():
                shutil.rmtree(self.uri)
            else:
                self.delete()
            return
        from swav_ray.storage.s3 import objects

        objects.delete_below(self._bucket, self._prefix)
        if self._key:
            objects.delete(self._bucket, self._key)


def place(uri: str | os.PathLike[str]) -> Place:
    """The place of that name: a local path (``~`` expanded, made absolute), file://, or s3://bucket/prefix.

    s3a:// and S3:// mean s3://. Raises PlaceError for another scheme, a missing bucket, or a name that is not UTF-8.
    """
    text = os.fspath(uri)
    if not _is_utf8(text):
        shown = os.fsencode(text)
        raise PlaceError(f"place = {shown!r}: its name is not UTF-8; rename it, or give a link to it of another name")
    scheme, found, rest = text.partition("://")
    scheme = scheme.lower() if found else ""
    if not found or scheme == "file":
        path = rest if found else text
        if not path:
            raise PlaceError(f"place = {text!r}: must be a local path or s3://bucket/prefix")
        return Place(os.path.abspath(os.path.expanduser(path)))
    if scheme not in ("s3", "s3a"):
        raise PlaceError(f"place = {text!r}: the scheme {scheme}:// is not known; {_remedy(scheme)}")
    parts = [part for part in rest.split("/") if part]
    if not parts or rest.startswith("/"):
        raise PlaceError(f"place = {text!r}: names no bucket; use s3://bucket/prefix")
    return Place("s3://" + "/".join(parts))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _remedy(scheme: str) -> str:
    if scheme in ("gs", "gcs"):
        return "Google's storage speaks S3 to HMAC keys: use s3:// with AWS_ENDPOINT_URL=https://storage.googleapis.com"
    if scheme in ("az", "abfs", "abfss", "wasb", "wasbs"):
        return "Azure's storage speaks no S3: mount it (blobfuse2) and use the local path, or copy it to S3"
    return "use a local path or s3://bucket/prefix"


def stats() -> dict[str, int]:
    """What this process has done so far: bytes_read (local and S3), requests and retries (S3)."""
    return counters().snapshot()


def _missing(where: Place) -> FileNotFoundError:
    return FileNotFoundError(f"{where.uri}: no such file" if where.is_local else f"{where.uri}: no such object")
