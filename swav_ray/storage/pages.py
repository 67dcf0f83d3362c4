"""The files below a place, some at a time, and what a later process needs to continue after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from swav_ray.storage import local
from swav_ray.storage.changed import written_of
from swav_ray.storage.entry import Entry


class Pages(Protocol):
    """Some way to list files; iterated over once."""

    def __iter__(self) -> Iterator[list[Entry]]: ...

    def state(self) -> Any:
        """What comes after the pages given so far, as JSON has it; None if that cannot be said at this point."""

    def __len__(self) -> int:
        """How long the state is, about: pieces of the place that are known and not listed."""


def pages_of(uri: str, dangling: Callable[[str], None] = lambda _: None, state: Any = None) -> Pages:
    """Every file below a place, recursively, in no particular order, in bounded memory; none if it does not exist.

    Args:
        uri: of the place. Symbolic links to files and folders are followed.
        dangling: gets the names of those that lead nowhere.
        state: of earlier pages, which these continue.
    """
    return _LocalPages(uri, dangling, state) if _is_local(uri) else _S3Pages(uri, state)


def server_of(uri: str) -> str:
    """The address of the S3 that a bucket is on; empty for a local place."""
    if _is_local(uri):
        return ""
    from swav_ray.storage.s3.client import client

    return str(client().meta.endpoint_url)


def _is_local(uri: str) -> bool:
    return not uri.startswith("s3://")


class _LocalPages:
    def __init__(self, uri: str, dangling: Callable[[str], None], state: Any) -> None:
        self._walk = local.Walk(uri, dangling, state)

    def __iter__(self) -> Iterator[list[Entry]]:
        for files in self._walk:
            yield [Entry(name, found.st_size, str(found.st_mtime_ns)) for name, found in files]

    def state(self) -> Any:
        return self._walk.state()

    def __len__(self) -> int:
        return len(self._walk)


class _S3Pages:
    def __init__(self, uri: str, state: Any) -> None:
        from swav_ray.storage.s3.list import BucketListing

        bucket, _, key = uri.removeprefix("s3://").partition("/")
        self._prefix = f"{key}/" if key else ""
        self._listing = BucketListing(bucket, self._prefix, state)

    def __iter__(self) -> Iterator[list[Entry]]:
        start = len(self._prefix)
        for objects in self._listing:
            named = [(found["Key"][start:], found) for found in objects]
            # Consoles mark folders by empty objects that end in a slash.
            yield [
                Entry(name, found["Size"], found["ETag"], written_of(found))
                for name, found in named
                if name and name[-1] != "/"
            ]

    def state(self) -> Any:
        return self._listing.state()

    def __len__(self) -> int:
        return len(self._listing)
