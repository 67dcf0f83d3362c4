"""Memory of batches, reused once nothing refers to it.

Fresh memory is cleared by the kernel page by page, and a batch of the paper's crops is 60 MB of it.
"""

from __future__ import annotations

import weakref

import numpy as np


class ReusedMemory:
    """Hands out arrays. Memory is reused when its earlier array is gone, with every view, buffer and tensor of it.

    A weak reference to the array says whether it is gone. Not safe to use from several threads.
    """

    def __init__(self) -> None:
        self._pieces: list[tuple[np.ndarray, weakref.ref[np.ndarray]]] = []

    def take(self, size: int) -> np.ndarray:
        """(size,) uint8, not initialised."""
        self._pieces = [(memory, array) for memory, array in self._pieces if array() is not None or len(memory) == size]
        fits = (index for index, (memory, user) in enumerate(self._pieces) if len(memory) == size and user() is None)
        index = next(fits, None)
        memory = np.empty(size, np.uint8) if index is None else self._pieces.pop(index)[0]
        # Through a memoryview, since views of a view of an array refer to that array and not to the view.
        array = np.frombuffer(memory.data, np.uint8)
        self._pieces.append((memory, weakref.ref(array)))
        return array
