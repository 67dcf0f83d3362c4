"""The row groups that a process has read last, for neighbours that the next call asks for."""

from __future__ import annotations

import pyarrow as pa

from swav_ray.storage.place import Place

_CACHED_BYTES = 64 << 20


class GroupCache:
    """The row groups used last, up to _CACHED_BYTES (or one). Threads may race: the worst is a second read."""

    def __init__(self) -> None:
        self._held: dict[tuple[Place, int], pa.ChunkedArray] = {}

    def get(self, key: tuple[Place, int]) -> pa.ChunkedArray | None:
        return self._held.get(key)

    def put(self, key: tuple[Place, int], column: pa.ChunkedArray) -> None:
        self._held[key] = column
        while len(self._held) > 1 and sum(held.nbytes for held in list(self._held.values())) > _CACHED_BYTES:
            self._held.pop(next(iter(self._held)), None)
