"""``python -m swav_ray.data {index,import,check,preview}``: what can be done with images before they train anything."""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from swav_ray import command_line
from swav_ray.command_line import Parser, at_least_one
from swav_ray.config import ConfigError, RunConfig
from swav_ray.data.formats.names import TEST, TRAIN
from swav_ray.data.indexing.listed import how_long_ago
from swav_ray.data.manifest import Manifest, cache_of, cached_at, load_or_build, save
from swav_ray.report.complaint import complain
from swav_ray.storage.inventory import Inventory, read_inventory
from swav_ray.storage.place import Place, PlaceError, place

_FIRST_CONTACT = 10.0  # seconds after which an S3 that never answered is taken for a wrong address
_PLACE = "a local folder or s3://bucket/prefix of images, Parquet shards, tars or IDX files"


class Answer(NamedTuple):
    """What a command prints at its end, and its exit status."""

    text: str
    status: int = 0


class _ProgressLine:
    """One line on stderr: rewritten in a terminal, every ten seconds elsewhere."""

    def __init__(self, what: str) -> None:
        self._what, self._live = what, sys.stderr.isatty()
        self._start = self._last = time.monotonic()
        self._shown = False

    def __call__(self, done: int, total: int | None = None) -> None:
        now = time.monotonic()
        if now - self._last < (0.1 if self._live else 10.0):
            return
        self._last, self._shown = now, True
        of = f" of {total:,}" if total else ""
        left = f", {(total - done) * (now - self._start) / done:,.0f} s left" if total and done else ""
        rate = f"{done / max(1e-9, now - self._start):,.0f}/s"
        text = f"{self._what}: {done:,}{of} ({rate}{left})"
        print(f"\r{text}\033[K" if self._live else text, end="" if self._live else "\n", file=sys.stderr, flush=True)  # noqa: T201

    def end(self) -> None:
        if self._live and self._shown:
            print(file=sys.stderr)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status: 0 done; 2 the user's mistake, in one line; 1 it failed."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        options = command_line.read(_parser(), sys.argv[1:] if arguments is None else arguments)
    except (ValueError, OSError) as error:
        return complain(error)
    try:
        answer = options.run(options)
        _say(answer.text)
        return int(answer.status)
    except (PlaceError, ConfigError, OSError, MemoryError) as error:
        return complain(error)
    except KeyboardInterrupt:
        return 130


def _parser() -> Parser:
    parser = Parser(prog="python -m swav_ray.data", description="Work on images before training.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{index,import,check,preview}")

    command = commands.add_parser("index", help="list the samples of a place", description=_index.__doc__)
    command.add_argument("place", help=_PLACE)
    command.add_argument("--out", help="also write the manifest to this Parquet file (a place)")
    command.add_argument("--inventory", help="read this manifest.json of an S3 Inventory and do not list the bucket")
    command.set_defaults(run=_index)

    command = commands.add_parser("import", help="make Parquet shards of even size", description=_import.__doc__)
    command.add_argument("source", help=f"{_PLACE}; or torchvision:CLASS:ROOT[:SPLIT], as in torchvision:CIFAR10:/data")
    command.add_argument("out", help="an empty folder or prefix, or the one of an import that was cut short")
    command.add_argument("--shard-mib", type=at_least_one, default=64, help="size of a shard in MiB (default: 64)")
    command.add_argument(
        "--max-side", type=at_least_one, default=0, help="make larger images smaller, in pixels (default: as they are)"
    )
    command.add_argument("--deduplicate", action="store_true", help="keep one of several byte-identical images")
    command.add_argument(
        "--shuffle", action="store_true", help="in a random order, for training that reads neighbours together"
    )
    command.set_defaults(run=_import)

    command = commands.add_parser("check", help="find images that cannot be read", description=_check.__doc__)
    command.add_argument("place", help=_PLACE)
    command.add_argument("--json", action="store_true", help="print the whole report as JSON")
    command.add_argument("--csv", metavar="FILE", help="write the unreadable images to this CSV (a place)")
    command.add_argument("--allow", action="store_true", help="exit with 0 although images are unreadable")
    command.add_argument("--workers", type=at_least_one, help="processes that decode (default: one a core)")
    command.set_defaults(run=_check)

    command = commands.add_parser(
        "preview",
        help="draw originals and their crops",
        description=_preview.__doc__,
    )
    command.add_argument("place", help=_PLACE)
    command.add_argument("out", help="the PNG file to write (a place)")
    command.add_config(default="swav_100ep")
    command.add_argument("--samples", type=at_least_one, default=8, help="images to show (default: 8)")
    command.add_argument("--epoch", type=int, default=0, help="epoch whose crops to show (default: 0)")
    command.set_defaults(run=_preview)

    for name in ("index", "check", "preview"):
        commands.choices[name].add_argument(
            "--storage",
            default=RunConfig().storage,
            help="run.storage of the runs to come, which find the manifest there (default: %(default)s)",
        )
    return parser


def _index(options: argparse.Namespace) -> Answer:
    """Builds the manifest of a place (the list of its samples) and caches it for the runs of that storage."""
    inventory = read_inventory(options.inventory) if options.inventory else None
    manifest = _manifest(options.place, options.storage, inventory)
    if inventory is not None:
        print(f"the inventory is {how_long_ago(inventory.made)} old; what is newer is not in the list", file=sys.stderr)  # noqa: T201
    file = cached_at(options.place, cache_of(options.storage))
    if options.out:
        file = place(options.out)
        save(manifest, file)
    return Answer(f"{_described(manifest)}\nmanifest: {file}")


def _import(options: argparse.Namespace) -> Answer:
    """Writes images, byte for byte, into Parquet shards with labels and splits. Cut short, run it again: it resumes."""
    from swav_ray.data.tools.importer import SKIPPED, import_shards

    _reach(place(options.out))
    progress = _ProgressLine("imported")
    done = import_shards(
        options.source,
        options.out,
        shard_bytes=options.shard_mib << 20,
        max_side=options.max_side,
        deduplicate=options.deduplicate,
        shuffle=options.shuffle,
        progress=progress,
    )
    progress.end()
    for note in done.notes:
        print(note, file=sys.stderr)  # noqa: T201
    before = "" if done.written == done.shards else f", {done.shards - done.written:,} of which were there already"
    skipped = f"; {done.skipped:,} skipped that are not there, see {SKIPPED}*.csv in it" if done.skipped else ""
    copies = f"; {done.duplicates:,} byte-identical copies left out" if done.duplicates else ""
    return Answer(f"{place(options.out)}: {done.images:,} images in {done.shards:,} shards{before}{skipped}{copies}")


def _check(options: argparse.Namespace) -> Answer:
    """Decodes every image in parallel and reports the bad ones by kind. Exit status 1 if there are any."""
    from swav_ray.data.tools.check import check

    manifest = _manifest(options.place, options.storage).in_memory()
    progress = _ProgressLine("decoded")
    report = check(manifest, workers=options.workers, progress=progress)
    progress.end()
    # A run that begins from now on then knows which images are copies, without reading them.
    save(manifest.with_contents(report.contents), cached_at(options.place, cache_of(options.storage)))
    if options.csv:
        place(options.csv).write_bytes(report.csv())
    text = json.dumps(report.document(), indent=1) if options.json else report.text()
    return Answer(text, 1 if report.bad and not options.allow else 0)


def _preview(options: argparse.Namespace) -> Answer:
    """Draws a contact sheet of originals and of their crops exactly as training would see them."""
    from swav_ray.data.tools.preview import contact_sheet

    sheet = contact_sheet(
        _manifest(options.place, options.storage), options.config, samples=options.samples, epoch=options.epoch
    )
    sink = io.BytesIO()
    sheet.save(sink, "PNG")
    place(options.out).write_bytes(sink.getvalue())
    return Answer(f"{place(options.out)}: {sheet.width} x {sheet.height} pixels")


def _manifest(uri: str, storage: str, inventory: Inventory | None = None) -> Manifest:
    """The place's manifest, the cached one if the place has not changed; progress and notes on stderr."""
    _reach(place(uri))
    progress = _ProgressLine("indexed")
    manifest = load_or_build(uri, cache_of(storage), progress=progress, inventory=inventory)
    progress.end()
    looks = manifest.looks.notes(manifest.decoding) if manifest.looks else []
    for note in (*manifest.notes, *looks):
        print(note, file=sys.stderr)  # noqa: T201
    return manifest


def _reach(where: Place) -> None:
    """Fails fast if S3 cannot be reached at all; later, the same silence is an outage and is waited out."""
    where.exists(patience=_FIRST_CONTACT)


def _described(manifest: Manifest) -> str:
    train, test = manifest.count(TRAIN), manifest.count(TEST)
    splits = f" ({train:,} train, {test:,} test)" if test else ""
    classes = f"{len(manifest.classes):,} classes" if manifest.classes else "no labels"
    return f"{manifest.root}: {len(manifest):,} images{splits}, {classes}"


def _say(text: str) -> None:
    print(text)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
