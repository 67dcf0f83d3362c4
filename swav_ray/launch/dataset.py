"""The data set of a run: the place of its images, and the list of samples that it trains on."""

from __future__ import annotations

from dataclasses import replace as with_newest

from swav_ray.config import Config, ConfigError, replace
from swav_ray.data import manifest as manifests
from swav_ray.data.holdout import with_twins
from swav_ray.data.indexing.partitions import Partitions
from swav_ray.data.labels.in_memory import with_labels
from swav_ray.data.labels.in_storage import labelled_in_storage
from swav_ray.data.manifest import Manifest
from swav_ray.data.shapes import write_shapes
from swav_ray.report.terminal import Terminal
from swav_ray.run.layout import MANIFEST, shapes_folder
from swav_ray.storage.place import Place, place

SHAPES = "shapes://"
FIRST_CONTACT = 10.0  # seconds after which a storage that never answered is taken for a wrong address
_SHAPES_SIZE = {"train": 6000, "test": 1000, "size": 48, "seed": 0, "rows_per_shard": 1024}


def images_of(config: Config, own: Manifest | None = None) -> str:
    """The place of a run's images; the built-in ones are made if need be. Raises ConfigError if none is named.

    Args:
        own: the list that the run began with. The built-in images may have been drawn anew since then; a run goes on
            with those that it has.
    """
    uri = config.data.uri
    if not uri:
        raise ConfigError("data.uri", uri, "names no images; give a local folder or s3://bucket/prefix")
    if uri == SHAPES:
        folder = shapes_folder(place(config.run.storage))
        if own is not None and place(own.root).name != folder.name:
            return own.root
        write_shapes(folder, **_SHAPES_SIZE)
        uri = folder.uri
    return uri


def manifest_of(config: Config, run_dir: Place, terminal: Terminal, *, begun: bool) -> Manifest:
    """The run's list of samples: the one that it began with, or a new one. Writes nothing there.

    Raises ConfigError, PlaceError: no place is named, or what is there cannot be trained on.
    """
    begun = begun and (run_dir / MANIFEST).exists()
    own = manifests.load(run_dir / MANIFEST) if begun else None
    uri = images_of(config, own)
    place(uri).exists(patience=FIRST_CONTACT)
    cache = manifests.cache_of(config.run.storage)
    found = manifests.load_or_build(uri, cache, progress=terminal.count, recheck=config.data.recheck)
    said: tuple[str, ...] = ()
    if config.data.labels and not isinstance(found.table, Partitions):
        found, said = with_labels(found, place(config.data.labels), keep_own=True)
    elif config.data.labels and own is None:  # a run that has begun has them in its own list
        terminal.waiting_for("finding the labels: {}")
        found = labelled_in_storage(found, place(config.data.labels), cache)
    found = found.decoded_by(config.data)
    looks = found.looks.notes(found.decoding) if found.looks else []
    for note in (*found.notes, *said, *looks):
        terminal.line(f"note: {note}")
    if own is None:
        terminal.waiting_for("comparing the images: {}")
        found, note = with_twins(found, config.data)
        if note:
            terminal.line(f"note: {note}")
        return found
    if own.fingerprint != found.fingerprint:
        terminal.line(
            f"warning: {uri} has changed since this run began ({len(own):,} images, now {len(found):,}); "
            "it resumes with the list that it began with"
        )
        return own
    return with_newest(own, newest=found.newest)


def with_usable_cache(config: Config, manifest: Manifest, terminal: Terminal) -> Config:
    """The config without `scaling.cache_dir`, and a line that says so, if the cache could not help or could be wrong.

    An entry is known by the fingerprint of the run's list. If the place has changed since the list was made, the cache
    may hold the bytes of before, and would answer with them.
    """
    if not config.scaling.cache_dir:
        return config
    if place(manifest.root).is_local:
        terminal.line(f"note: scaling.cache_dir caches nothing: {manifest.root} is on a disk already")
    elif _fingerprint_now(config, manifest) != manifest.fingerprint:
        terminal.line(
            "warning: scaling.cache_dir is not used: what it holds may be older than what has changed; a new run uses "
            "it again"
        )
    else:
        return config
    return replace(config, scaling={"cache_dir": ""})


def _fingerprint_now(config: Config, manifest: Manifest) -> str:
    """Of the place, as `manifest_of` has found it at this start."""
    return manifests.load(manifests.cached_at(manifest.root, manifests.cache_of(config.run.storage))).fingerprint
