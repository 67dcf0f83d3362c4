"""What is made of embeddings that are whole: the list of unreadable images, clusters, the page, folders of images."""

from __future__ import annotations

import csv
import dataclasses
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from swav_ray.embed.clusters import folders, kmeans
from swav_ray.embed.clusters.folders import into_folders
from swav_ray.embed.clusters.members import assigned, collect, table_of
from swav_ray.embed.clusters.page import BORDERLINE, NEAREST, Content, page
from swav_ray.embed.errors import EmbedError
from swav_ray.embed.neighbours.duplicates import Pair, near_duplicates
from swav_ray.embed.neighbours.index import write_index
from swav_ray.embed.neighbours.vectors import sample
from swav_ray.embed.network import Network
from swav_ray.embed.output import INDEX, PAGE, PROTOTYPES, How, Output
from swav_ray.storage.place import Place, place

UNREADABLE_CSV, DUPLICATES_CSV = "unreadable.csv", "duplicates.csv"


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What is made of the embeddings.

    Attributes:
        neighbours: of each image; 0: none. clusters: by k-means: a number, "auto", or empty for the prototypes.
        into_folders: place of folders of images, a cluster each; empty: none. how: one of `folders.HOW`.
        index: one of `index.KINDS`; empty: none.
    """

    neighbours: int = 0
    clusters: str = ""
    into_folders: str = ""
    how: str = "link"
    index: str = ""

    def check(self, how: How, images: Place, out: Place) -> None:
        """Raises EmbedError if embeddings of that kind, of these images in the folder `out`, do not allow it."""
        for option, wanted in (("clusters", self.clusters), ("index", self.index)):
            if wanted and how.layer == "map":
                raise EmbedError(f"--{option}: needs vectors; use --layer pooled or --layer projection")
        if self.into_folders and not (self.clusters or how.prototypes):
            raise EmbedError("--into-folders: these weights have no prototypes; give --clusters K for clusters")
        if self.into_folders:
            folders.check(place(self.into_folders), self.how, images, out)


def write_unreadable(output: Output) -> int:
    """Writes unreadable.csv if some image cannot be read, else removes it; returns how many.

    Raises:
        EmbedError: no image can be read.
    """
    file = output.folder / UNREADABLE_CSV
    listed = sorted({int(entry.name[5:11]) for entry in output.unreadable.folder.list()})
    if not listed:
        file.delete()
        return 0
    count, first = 0, ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / UNREADABLE_CSV
        with path.open("w", newline="") as sink:
            rows = csv.writer(sink)
            rows.writerow(["sample_id", "uri", "reason"])
            for part in listed:
                for row in output.unreadable.read(part).to_pylist():
                    rows.writerow([row["sample_id"], row["uri"], row["reason"]])
                    first = first or f"{row['uri']}: {row['reason']}"
                    count += 1
        file.upload_file(path)
    if count == output.images:
        raise EmbedError(f"{output.root}: none of its {count:,} images can be read; {first}")
    return count


def finish(
    output: Output, network: Network, extras: Extras, unreadable: int, say: Callable[[str], None]
) -> Iterator[str]:
    """Clusters, page and folders; lines for the user when each is done.

    Args:
        unreadable: how many images cannot be read.
    """
    if unreadable:
        yield f"{unreadable:,} of {output.images:,} images cannot be read: {output.folder / UNREADABLE_CSV}"
    if output.unreadable.to_try_again():
        yield "storage could not deliver some of these; the same command tries them again"
    yield f"embeddings: {output.folder / 'embeddings'}"
    if extras.index:
        write_index(output, extras.index)
        yield f"index for searches: {output.folder / INDEX}"
    if not (extras.clusters or output.how.prototypes):
        yield "these weights have no prototypes: --clusters K, or --clusters auto, groups the embeddings"
        return
    count, notes = _count(output, extras.clusters, say)
    head = kmeans.learn(output, count) if count else network.first_head()
    assert head is not None
    if count:
        kmeans.write_clusters(output, head)
    clusters = collect(assigned(output, count), head.prototypes.numpy(), most=NEAREST, borderline=BORDERLINE)
    pairs = None if output.how.layer == "map" else near_duplicates(output, extras.neighbours)
    _write_pairs(output, pairs)
    sink = io.BytesIO()
    pq.write_table(table_of(clusters), sink, compression="zstd")
    (output.folder / PROTOTYPES).write_bytes(sink.getvalue())
    what = f"{count} clusters by spherical k-means" if count else f"{len(clusters.sizes):,} prototypes"
    content = Content(clusters, what, pairs, unreadable, notes)
    (output.folder / PAGE).write_bytes(page(output, content).encode())
    yield f"{len(clusters.found):,} clusters with images, {clusters.empty:,} empty; page: {output.folder / PAGE}"
    if extras.into_folders:
        dest = place(extras.into_folders)
        placed = into_folders(output, lambda: assigned(output, count), clusters.merged, dest, extras.how, count)
        yield from placed.lines(dest)


def _count(output: Output, wanted: str, say: Callable[[str], None]) -> tuple[int, list[str]]:
    """The number of clusters by k-means, 0 if prototypes are used; and why it was chosen."""
    if wanted != "auto":
        return int(wanted or 0), []
    count, score = kmeans.suggested(sample(output, kmeans.sample_size(output, 2)))
    note = f"{count} clusters have the best mean silhouette ({score:.3f}) of a grid from 2 to 200"
    say(f"--clusters auto: {note}")
    return count, [note]


def _write_pairs(output: Output, pairs: Sequence[Pair] | None) -> None:
    file = output.folder / DUPLICATES_CSV
    if not pairs:
        file.delete()
        return
    sink = io.StringIO(newline="")
    rows = csv.writer(sink)
    rows.writerow([item.name for item in dataclasses.fields(Pair)])
    rows.writerows(dataclasses.astuple(pair) for pair in pairs)
    file.write_bytes(sink.getvalue().encode())
