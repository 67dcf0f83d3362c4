"""A run's TensorBoard events. A picture of a run is not worth the run: what the disk does not take is left out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# One chart, below Custom Scalars, for what means something beside each other alone.
_TOGETHER = {"run": {"loss beside ln K": ["Multiline", ["health/loss", "health/ln_k", "health/codes_entropy"]]}}

_RETRY_SECONDS = 30.0  # after the disk took nothing


class Events:
    """Writes event files to a folder, from the first call on.

    Args:
        folder: where. step: the step that the run resumes from; TensorBoard hides what an earlier start wrote past it.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        self._purge: int | None = step
        self._writer: Any = None
        self._failed = float("-inf")

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Figures of a step, a chart each."""
        for name, value in values.items():
            self.write(lambda writer, name=name, value=value: writer.add_scalar(name, value, step))  # type: ignore[misc]

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        """(H, W, 3) uint8."""
        self.write(lambda writer: writer.add_image(name, pixels, step, dataformats="HWC"))

    def histogram(self, name: str, values: np.ndarray, step: int) -> None:
        """Of any number of values; those that are not finite are left out."""
        finite = values[np.isfinite(values)]
        if len(finite):
            self.write(lambda writer: writer.add_histogram(name, finite, step))

    def vectors(self, name: str, rows: np.ndarray, columns: Sequence[str], words: list[list[str]], step: int) -> None:
        """Points for the projector: (N, D) floats, and of each the words for these columns."""
        self.write(
            lambda writer: writer.add_embedding(
                rows, metadata=words, metadata_header=list(columns), global_step=step, tag=name
            )
        )

    def write(self, what: Callable[[Any], None]) -> None:
        """Calls `what` with torch's SummaryWriter."""
        if time.monotonic() - self._failed < _RETRY_SECONDS:
            return
        try:
            if self._writer is None:
                # Imported here: TensorBoard takes seconds to import, and only rank 0 writes.
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self._folder), purge_step=self._purge)
                self._purge = None  # a second file of this start hides nothing of the first
                self._writer.add_custom_scalars(_TOGETHER)
            what(self._writer)
        except OSError:
            self._fails()

    def flush(self) -> None:
        """What was written so far is in the folder's files."""
        try:
            if self._writer is not None:
                self._writer.flush()
        except OSError:
            self._fails()

    def close(self) -> None:
        """Ends the files."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None

    def _fails(self) -> None:
        """The next call after a while opens another file."""
        self._writer, self._failed = None, time.monotonic()
