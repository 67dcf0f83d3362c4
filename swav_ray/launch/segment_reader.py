"""One segment's batches of this worker, prefetched by a thread, so that fetching overlaps with training."""

from __future__ import annotations

import contextlib
import queue
import threading

import ray.data

from swav_ray.data.batch import Batch
from swav_ray.data.batches import BatchMaker
from swav_ray.launch.crop_task import unpack

PREFETCH = 2  # batches ready in a worker, and blocks on their way to it


class SegmentReader:
    """The thread starts with the reader, so the segment's tasks run before its first batch is needed.

    Args:
        iterator: of this worker, from `streaming_split`.
        maker: of the batches.
        parts: blocks that make up a batch.
    """

    def __init__(self, iterator: ray.data.DataIterator, maker: BatchMaker, parts: int) -> None:
        self._ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=PREFETCH)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(iterator, maker, parts), name="feed", daemon=True)
        self._thread.start()

    def ready(self, seconds: float) -> bool:
        """Whether `get` has an answer within so many seconds."""
        with self._ready.not_empty:
            return bool(self._ready.not_empty.wait_for(lambda: self._ready.queue, seconds))

    def ended(self) -> bool:
        """Whether the answer that is ready is the segment's end."""
        return self._ready.queue[0] is None

    def get(self) -> Batch | None:
        """The next batch, or None at the segment's end; raises what the task or the thread failed with."""
        ready = self._ready.get()
        try:
            if isinstance(ready, BaseException):
                raise ready
            return ready
        finally:
            del ready  # the error's traceback would hold the error, and with it the segment

    def close(self) -> None:
        """Ends the thread, and with it the segment's tasks."""
        self._closed.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._ready.get_nowait()
        self._thread.join(timeout=5)

    def _run(self, iterator: ray.data.DataIterator, maker: BatchMaker, parts: int) -> None:
        try:
            collected: list[Batch] = []
            blocks = iterator.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=PREFETCH)  # type: ignore[arg-type]
            for row in blocks:
                collected.append(unpack(row))
                if len(collected) == parts:
                    if not self._put(Batch.join(collected, maker.multi_crop.crops)):
                        return
                    collected = []
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: Batch | BaseException | None) -> bool:
        """Whether the reader is still open."""
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(item, timeout=0.5)
                return True
        return False
