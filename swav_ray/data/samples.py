"""The samples of a place by their ids, as manifest.py makes, writes and reads them.

A row's index is its sample_id, the same on every machine and in every run. Up to MOST_IN_MEMORY rows are held; more of
them stay in storage (indexing/partitions.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from swav_ray.config import DataConfig
from swav_ray.data.decoding.choices import Decoding, decoding_of
from swav_ray.data.formats.names import TEST, TRAIN
from swav_ray.data.indexing.partitions import Partitions
from swav_ray.data.looks import Looks


@dataclass(frozen=True)
class Manifest:
    """Samples of the place ``root``; ``table`` has the columns of `rows.SCHEMA`, row index == sample_id.

    ``classes`` names the labels (empty if none). ``fingerprint`` changes when a file of the place does. ``notes`` are
    lines for the user: what was left out, what will be slow. ``looks`` is what a sample of the images looks like (None
    in lists that an earlier version wrote), ``decoding`` how they are decoded. ``newest`` is when the newest object of
    the place was written as it was last listed, in Unix seconds; 0 on a local disk and in lists of an earlier version.
    """

    table: pa.Table | Partitions
    root: str
    classes: list[str]
    fingerprint: str
    notes: tuple[str, ...] = ()
    looks: Looks | None = None
    decoding: Decoding = field(default_factory=Decoding)
    newest: float = 0.0

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def labels(self) -> np.ndarray:
        """(samples,) int32; -1 if a sample has none."""
        return self.table["label"].to_numpy()

    @property
    def has_contents(self) -> bool:
        return "content" in self.table.column_names

    @property
    def contents(self) -> np.ndarray | None:
        """(samples,) uint64, equal for byte-identical images, 0 if not known; None in lists of an earlier version."""
        return self.table["content"].to_numpy() if self.has_contents else None

    def rows(self, sample_ids: np.ndarray) -> pa.Table:
        """These samples' rows (N,) in the order given."""
        return self.table.take(pa.array(np.asarray(sample_ids, np.int64)))

    def labels_of(self, sample_ids: np.ndarray) -> np.ndarray:
        """(N,) int32; -1 if a sample has none."""
        found: np.ndarray = self.rows(sample_ids)["label"].to_numpy()
        return found

    def count(self, split: int, *, labelled: bool = False) -> int:
        """Samples of a split (names.TRAIN, TEST), all or those with a label."""
        if isinstance(self.table, Partitions):
            return int(self.table.counts(split, labelled=labelled).sum(dtype=np.int64))
        chosen = self.table["split"].to_numpy() == split
        return int((chosen & (self.labels >= 0)).sum() if labelled else chosen.sum())

    def in_memory(self) -> Manifest:
        """The same samples, all held in memory: for commands that look at every one of them."""
        if not isinstance(self.table, Partitions):
            return self
        return replace(self, table=pa.concat_tables(list(self.table.tables())).combine_chunks())

    def with_contents(self, contents: np.ndarray) -> Manifest:
        """The same samples with these contents (samples,) uint64; those that are 0 stay what they are."""
        assert isinstance(self.table, pa.Table)
        known = self.contents
        if known is not None:
            contents = np.where(contents == 0, known, contents)
        columns = self.table.drop_columns(["content"] if known is not None else [])
        return replace(self, table=columns.append_column("content", pa.array(contents, pa.uint64())))

    def train_ids(self) -> np.ndarray:
        """Sample ids, int64 ascending, of split train: all of them if the place has no splits."""
        return np.flatnonzero(self.table["split"].to_numpy() == TRAIN)

    def test_ids(self) -> np.ndarray:
        """Sample ids, int64 ascending, of split test (val, validation, t10k)."""
        return np.flatnonzero(self.table["split"].to_numpy() == TEST)

    def decoded_by(self, data: DataConfig) -> Manifest:
        """The same samples, to be decoded as these settings ask for."""
        return replace(self, decoding=decoding_of(data, self.looks.value_range if self.looks else None))

    def decoded_as(self, decoding: Decoding) -> Manifest:
        """The same samples, to be decoded as other images were: those that a network was trained on.

        Without a range of its own `decoding` leaves deep images the one that fits them.
        """
        return replace(self, decoding=replace(decoding, value_range=decoding.value_range or self.decoding.value_range))

    def take(self, sample_ids: np.ndarray) -> Manifest:
        """Only these samples, renumbered from 0 in the order given: small to pickle, for one task's block."""
        return replace(self, table=self.rows(sample_ids), notes=())

    def uri_of(self, sample_id: int) -> str:
        """Where a sample is, for people: its file's uri and, inside a file, its byte offset or row."""
        (row,) = self.rows(np.array([sample_id])).to_pylist()
        at = [f"{name}={row[name]}" for name in ("offset", "row_group", "row") if row[name] >= 0]
        return f"{self.root.rstrip('/')}/{row['uri']}" + (f"#{','.join(at)}" if at else "")
