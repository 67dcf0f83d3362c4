"""Embeddings of a whole place on Ray: the list of images, the parts that are missing, then what is made of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
import ray.data

from swav_ray.config import Config
from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.manifest import cache_of
from swav_ray.embed import output as outputs
from swav_ray.embed.errors import EmbedError
from swav_ray.embed.finish import Extras, finish, write_unreadable
from swav_ray.embed.neighbours.nearest import write_neighbours
from swav_ray.embed.network import Network, heads_for
from swav_ray.embed.output import How, Output
from swav_ray.embed.work import EmbedPart
from swav_ray.launch import parts
from swav_ray.launch.connect import connect
from swav_ray.launch.signals import StopSignals
from swav_ray.one_line import one_line
from swav_ray.report.terminal import Terminal
from swav_ray.storage.place import PlaceError, place
from swav_ray.weights.backbone import Backbone, load_backbone

_PROGRESS_SECONDS = 5.0
_FIRST_CONTACT = 10.0  # seconds after which a storage that never answered is taken for a wrong address
_QUERY_ROWS = 8192  # of a task that looks for neighbours


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command asks for.

    Attributes:
        checkpoint, which, prefix, image_size: as for `load_backbone`; 0 and empty: not given.
        data: place of the images. out: folder of the embeddings. storage: where manifests are cached.
        layer, dtype: see `output`. heads: every head's clusters. soft: the three best clusters of each image.
        temperature: of the probabilities; 0: the run's, or 0.1.
        extras: what is made of the embeddings. ray_logs: show Ray's own messages.
    """

    checkpoint: str
    data: str
    out: str
    which: str = "newest"
    prefix: str = ""
    image_size: int = 0
    storage: str = "runs"
    layer: str = "pooled"
    dtype: str = "float16"
    heads: bool = False
    soft: bool = False
    temperature: float = 0.0
    extras: Extras
    ray_logs: bool = False


def embed(request: Request, terminal: Terminal) -> Output:
    """Embeds all images of a place, or what is left of them, and makes what is asked of the embeddings.

    Raises:
        EmbedError, WeightsError, PlaceError, ConfigError: something that was given is wrong.
        OSError: storage is unavailable, or a file cannot be written. The same command resumes.
        Interrupted: a signal stopped it. The same command resumes.
    """
    say = terminal.line
    with StopSignals():
        network, how = _network(request, say)
        if not place(request.data).exists(patience=_FIRST_CONTACT):  # before Ray starts, which takes seconds
            raise EmbedError(f"--data {request.data}: there is nothing; give a folder or s3://bucket/prefix of images")
        request.extras.check(how, place(request.data), place(request.out))
        own = connect(request.ray_logs)
        try:
            output = _begin(request, how, network.backbone.preprocess.decoding, say)
            _embed(output, network, say)
            unreadable = write_unreadable(output)
            if request.extras.neighbours:
                _neighbours(output, request.extras.neighbours, say)
        finally:
            if own:
                ray.shutdown()
        for line in finish(output, network, request.extras, unreadable, say):
            say(line)
    return output


def _network(request: Request, say: Callable[[str], None]) -> tuple[Network, How]:
    backbone = load_backbone(
        request.checkpoint,
        which=request.which,
        prefix=request.prefix or None,
        image_size=request.image_size or None,
    )
    for line in backbone.describe().splitlines()[:2]:
        say(line)
    temperature = request.temperature or _temperature(backbone)
    name = backbone.origin.place
    heads = heads_for(backbone.origin.parts, name, layer=request.layer, every=request.heads)
    network = Network(backbone, heads, request.layer, temperature)
    how = How(
        checkpoint=name,
        weights=backbone.origin.sha256,
        prefix=request.prefix,
        layer=request.layer,
        shape=network.shape(),
        dtype=request.dtype,
        image_size=backbone.preprocess.image_size,
        mean=backbone.preprocess.mean,
        std=backbone.preprocess.std,
        prototypes=tuple(len(head.prototypes) for head in heads),
        temperature=temperature,
        soft=request.soft,
    )
    return network, how


def _temperature(backbone: Backbone) -> float:
    """That the weights were trained with, if they say; else the default."""
    told = backbone.origin.about.config.get("train", {})
    return float(told.get("temperature", Config().train.temperature))


def _begin(request: Request, how: How, decoding: Decoding, say: Callable[[str], None]) -> Output:
    """Lists the images in a process of its own: the list of many of them must not stay in this one."""
    found = ray.get(ray.remote(num_cpus=0)(_listed).remote(request.data, request.storage, request.out, how, decoding))
    if "mistake" in found:
        raise PlaceError(found["mistake"])
    if "failure" in found:
        raise OSError(found["failure"])
    for note in found["notes"]:
        say(f"note: {note}")
    return outputs.read(place(request.out))


def _listed(data: str, storage: str, out: str, how: How, decoding: Decoding) -> dict[str, Any]:
    try:
        return {"notes": outputs.begin(place(out), how, data, cache_of(storage), decoding=decoding)[1]}
    except ValueError as error:
        return {"mistake": one_line(error, most=2000)}
    except OSError as error:
        return {"failure": one_line(error)}


def _embed(output: Output, network: Network, say: Callable[[str], None]) -> None:
    missing = output.missing()
    if not missing:
        say(f"all {output.images:,} images are embedded already")
        return
    output.drop_derived()
    total = sum(span.stop - span.start for span in map(output.embeddings.span, missing))
    if total < output.images:
        say(f"resuming: {output.images - total:,} of {output.images:,} images are embedded already")
    parts.make(EmbedPart(output, network), missing, _Progress("embedded", total, say))


def _neighbours(output: Output, count: int, say: Callable[[str], None]) -> None:
    """A task for as many missing parts as fit: each reads all embeddings once."""
    missing = output.neighbours(count).missing()
    step = max(1, _QUERY_ROWS // output.how.part_rows)
    groups = [{"parts": missing[start : start + step]} for start in range(0, len(missing), step)]
    if not groups:
        return
    progress = _Progress("neighbours", sum(len(group["parts"]) for group in groups), say, "parts")
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    items: Any = ray.data.from_items(groups, override_num_blocks=len(groups))
    rows = items.map(_write_neighbours, fn_kwargs={"output": output, "count": count}, num_cpus=1)
    done = 0
    for row in rows.iter_rows():
        if row["failure"]:
            raise OSError(row["failure"])
        done += row["parts"]
        progress(done)


def _write_neighbours(row: dict[str, Any], *, output: Output, count: int) -> dict[str, Any]:
    wanted = [int(part) for part in row["parts"]]
    try:
        write_neighbours(output, wanted, count)
    except (OSError, EmbedError) as error:
        return {"parts": 0, "failure": one_line(error)}
    return {"parts": len(wanted), "failure": ""}


class _Progress:
    """A line every few seconds."""

    def __init__(self, what: str, total: int, say: Callable[[str], None], unit: str = "images") -> None:
        self._what, self._total, self._say, self._unit = what, total, say, unit
        self._began = self._said = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._said > _PROGRESS_SECONDS or done == self._total:
            self._said = now
            rate = done / max(now - self._began, 1e-9)
            self._say(f"{self._what}: {done:,} of {self._total:,} {self._unit}, {rate:,.0f} {self._unit}/s")
