"""The unreadable images of a run: listed in quarantine.jsonl of its directory, and counted against its budget.

Held-out images are listed too, marked as such. They cost no budget: nothing is trained on in their place.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence

from swav_ray.data.bad_images import BadImage, TooManyBadImages
from swav_ray.run.layout import QUARANTINE
from swav_ray.run.messages import Quarantined
from swav_ray.storage.place import Place

_HELD_OUT = "held_out"  # a field of their lines; those of training images have the fields of BadImage alone


class Quarantine:
    """Images that could not be read, each once.

    Args:
        run_dir: the run directory; its entries, if it has any, count too.
        images: number of training images.
        max_fraction: the fraction of them that may be unreadable.
        writes: whether this worker writes the file; one does.

    Attributes:
        entries: the unreadable training images, by sample id. held_out: those that are held out.
    """

    def __init__(self, run_dir: Place, images: int, max_fraction: float, *, writes: bool) -> None:
        self._file = run_dir / QUARANTINE
        self._images, self._max_fraction, self._writes = images, max_fraction, writes
        self._allowed = int(max_fraction * images)
        self.entries: dict[int, BadImage] = {}
        self.held_out: dict[int, BadImage] = {}
        self._unwritten = False
        if self._file.exists():
            for line in self._file.read_bytes().decode().splitlines():
                fields = json.loads(line)
                which = self.held_out if fields.pop(_HELD_OUT, False) else self.entries
                which[fields["sample_id"]] = BadImage(**fields)
        self._reported = len(self.entries)  # by `newest`

    def add(self, found: Sequence[BadImage]) -> None:
        """Adds images, which `flush` will write. Raises TooManyBadImages once there are more than the budget allows."""
        new = {bad.sample_id: bad for bad in found if bad.sample_id not in self.entries}
        if not new:
            return
        self.entries = self.entries | new  # another dict: `flush` may be reading the old one
        self._unwritten = True
        if len(self.entries) > self._allowed:
            with contextlib.suppress(OSError):  # on a full disk the reason matters more than the list
                self.flush()
            some = "; ".join(f"{bad.uri} ({bad.kind})" for bad in list(self.entries.values())[:3])
            raise TooManyBadImages(
                f"{len(self.entries)} of {self._images} images cannot be read, data.max_bad_fraction = "
                f"{self._max_fraction:g} allows {self._allowed}: {some}; all are in {self._file}"
            )

    def add_held_out(self, found: Sequence[BadImage]) -> None:
        """Adds held-out images, which `flush` will write."""
        new = {bad.sample_id: bad for bad in found if bad.sample_id not in self.held_out}
        if new:
            self.held_out = self.held_out | new
            self._unwritten = True

    def newest(self) -> Quarantined | None:
        """The newest image and how many there are, if that has not been asked since; None otherwise."""
        if len(self.entries) == self._reported:
            return None
        self._reported = len(self.entries)
        bad = list(self.entries.values())[-1]
        return Quarantined(self._reported, self._allowed, bad.uri, bad.kind)

    def flush(self) -> None:
        """Writes the file if there are new entries; may be called from another thread. Raises OSError."""
        if self._writes and self._unwritten:
            self._unwritten = False
            lines = [json.dumps(vars(bad)) for _, bad in sorted(self.entries.items())]
            lines += [json.dumps(vars(bad) | {_HELD_OUT: True}) for _, bad in sorted(self.held_out.items())]
            try:
                self._file.write_bytes(("\n".join(lines) + "\n").encode())
            except OSError:
                self._unwritten = True
                raise
