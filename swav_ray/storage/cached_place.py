"""A place on S3 whose files are read through the cache on this node's disk.

A key names the version of the whole place, the file and the range. So bytes of another version of the place are never
found, and those of one version are the same however the reads of an epoch fall together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from swav_ray.storage.node_cache import NodeCache
from swav_ray.storage.place import Entry, Place
from swav_ray.storage.ranges import Span, read_spans


@dataclass(frozen=True, slots=True)
class CachedPlace(Place):
    """A file or folder on S3. `stat`, `read_bytes` and `read_range` ask the cache first, the others S3.

    Args:
        cache: of this node.
        version: another one whenever a file below the place has other bytes, such as `Manifest.fingerprint`.
    """

    cache: NodeCache
    version: str

    def __truediv__(self, name: str) -> CachedPlace:
        return CachedPlace(Place.__truediv__(self, name).uri, self.cache, self.version)

    def key(self, what: str) -> str:
        return f"{self.version}\n{self.uri}\n{what}"

    def stat(self) -> Entry:
        found = self.cache.get(self.key("stat"))
        if found is not None:
            size, _, version = found.decode().partition(" ")
            return Entry(self.name, int(size), version)
        entry = Place.stat(self)
        self.cache.put(self.key("stat"), f"{entry.size} {entry.etag_or_mtime}".encode())
        return entry

    def _read(self, offset: int, length: int | None) -> bytes:
        key = self.key(f"{offset if length is not None else -1} {length}")
        data = self.cache.get(key)
        if data is None:
            data = Place._read(self, offset, length)
            if length is None or len(data) == length:
                self.cache.put(key, data)
        return data


def read_cached_spans(root: CachedPlace, names: Sequence[str], spans: Sequence[Span]) -> Iterator[bytes | Exception]:
    """As `read_spans`: what is not in the cache is read with its neighbours in one request, and cached span by span.

    Raises StorageUnavailable only.
    """
    keys = [
        (root / name).key(f"span {offset} {length}") for name, (_, offset, length) in zip(names, spans, strict=True)
    ]
    absent = [position for position, key in enumerate(keys) if not root.cache.has(key)]
    missing = set(absent)
    plain = Place(root.uri)
    fresh = read_spans(plain, [names[i] for i in absent], [(n, *spans[i][1:]) for n, i in enumerate(absent)])
    for position, (key, name, (_, offset, length)) in enumerate(zip(keys, names, spans, strict=True)):
        data = None if position in missing else root.cache.get(key)
        if data is not None:
            yield data
            continue
        # An entry may have been evicted since, or be damaged: then it is read by itself.
        answer = next(fresh) if position in missing else next(read_spans(plain, [name], [(0, offset, length)]))
        # A longer file than the one that was indexed is another one: it is what the bucket has, and not cached.
        if isinstance(answer, bytes) and (length < 0 or len(answer) == length):
            root.cache.put(key, answer)
        yield answer
