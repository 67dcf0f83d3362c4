"""A place on S3 whose files are read through the cache on this node's disk.

A key names the version of the whole place, the file and the range. So bytes of another version of the place are never
found, and those of one version are the same however the reads of an epoch fall together.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeGuard

from swav_ray.storage.changed import ChangedBytes
from swav_ray.storage.node_cache import NodeCache
from swav_ray.storage.place import Entry, Place
from swav_ray.storage.prefetch import ReadThreads
from swav_ray.storage.ranges import Span, read_spans

_READERS = 4  # entries that are read from the disk at a time, while others are used
_READ_AT_ONCE = 4  # entries of a thread: passing them on one by one costs more than reading them
_LOOKED_FOR = 64  # entries that a thread looks for at a time


@dataclass(frozen=True, slots=True)
class CachedPlace(Place):
    """A file or folder on S3. `stat`, `read_bytes` and `read_range` ask the cache first, the others S3.

    Args:
        cache: of this node.
        version: another one whenever a file below the place has other bytes, such as `Manifest.fingerprint`.
        newest: when the newest file of that version was written, in Unix seconds; 0 if not known. What was written
            later is not cached.
    """

    cache: NodeCache
    version: str
    newest: float = 0.0

    def __truediv__(self, name: str) -> CachedPlace:
        return CachedPlace(Place.__truediv__(self, name).uri, self.cache, self.version, self.newest)

    def key(self, what: str) -> str:
        return f"{self.version}\n{self.uri}\n{what}"

    def stat(self) -> Entry:
        found = self.cache.get(self.key("entry"))
        if found is not None:
            size, written, version = found.decode().split(" ", 2)
            return Entry(self.name, int(size), version, float(written))
        entry = Place.stat(self)
        if not 0 < self.newest < entry.written:
            self.cache.put(self.key("entry"), f"{entry.size} {entry.written} {entry.etag_or_mtime}".encode())
        return entry

    def _read(self, offset: int, length: int | None) -> bytes:
        key = self.key(f"{offset if length is not None else -1} {length}")
        data = self.cache.get(key)
        if data is None:
            from swav_ray.storage.s3 import read

            data = read.read(self._bucket, (self._key, None if length is None else (offset, length)), self.newest)
            if (length is None or len(data) == length) and not isinstance(data, ChangedBytes):
                self.cache.put(key, data)
        return data


def read_cached_spans(root: CachedPlace, names: Sequence[str], spans: Sequence[Span]) -> Iterator[bytes | Exception]:
    """As `read_spans`: what is not in the cache is read with its neighbours in one request, and cached span by span.

    Raises StorageUnavailable only.
    """
    keys = [
        (root / name).key(f"span {offset} {length}") for name, (_, offset, length) in zip(names, spans, strict=True)
    ]
    with ReadThreads(_READERS) as threads:
        here = _in_cache(root.cache, keys, threads)
        absent = [position for position, is_here in enumerate(here) if not is_here]
        plain = Place(root.uri)
        wanted: list[Span] = [(number, *spans[position][1:]) for number, position in enumerate(absent)]
        fresh = read_spans(plain, [names[position] for position in absent], wanted, root.newest)
        found = _read_ahead(root.cache, [key for key, is_here in zip(keys, here, strict=True) if is_here], threads)
        for key, is_here, name, (_, offset, length) in zip(keys, here, names, spans, strict=True):
            data = next(found) if is_here else None
            if data is not None:
                yield data
                continue
            # An entry may have been evicted since, or be damaged: then it is read by itself.
            answer = next(read_spans(plain, [name], [(0, offset, length)], root.newest)) if is_here else next(fresh)
            if _is_of_list(answer, length):
                root.cache.put(key, answer)
            yield answer


def _is_of_list(answer: bytes | Exception, length: int) -> TypeGuard[bytes]:
    """Whether these are the bytes that the list is about; a longer file than the one that was listed is another one."""
    return isinstance(answer, bytes) and not isinstance(answer, ChangedBytes) and length in (-1, len(answer))


def _in_cache(cache: NodeCache, keys: Sequence[str], threads: ReadThreads) -> list[bool]:
    """Which of these entries there are. What a disk has not in memory takes it a while to find."""

    def look(some: Sequence[str]) -> list[bool]:
        return [cache.has(key) for key in some]

    asked = [threads.begin(look, keys[start : start + _LOOKED_FOR]) for start in range(0, len(keys), _LOOKED_FOR)]
    return [is_here for answer in asked for is_here in answer.result()]


def _read_ahead(cache: NodeCache, keys: Sequence[str], threads: ReadThreads) -> Iterator[bytes | None]:
    """These entries in order, the next ones under way while one is used: None for one that is damaged or evicted."""

    def get(some: Sequence[str]) -> list[bytes | None]:
        return [cache.get(key) for key in some]

    begun: collections.deque[Future[list[bytes | None]]] = collections.deque()
    for start in range(0, len(keys), _READ_AT_ONCE):
        begun.append(threads.begin(get, keys[start : start + _READ_AT_ONCE]))
        if len(begun) > _READERS:
            yield from begun.popleft().result()
    while begun:
        yield from begun.popleft().result()
