"""Makes the pictures of a run's page: embeds a bounded sample of its images with its newest checkpoint.

Shape suffixes: N images, D features, E embedding, K prototypes.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import time

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swav_ray.config import Config
from swav_ray.data import manifest as manifests
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.decoding.decode import UnreadableImage, decode
from swav_ray.data.holdout import evenly, split_ids
from swav_ray.data.manifest import Manifest
from swav_ray.data.sources import name_of, read_samples
from swav_ray.features.embedding import batches, crops_of, embed
from swav_ray.model.swav import Trunk
from swav_ray.report.page import gallery
from swav_ray.report.page.gallery import Cluster, Crops, Gallery, Map, Neighbours, Picture
from swav_ray.report.page.maps import has_umap, maps_of
from swav_ray.run import checkpoint_files
from swav_ray.run.layout import INIT, MANIFEST, checkpoint_folder
from swav_ray.storage.place import Place
from swav_ray.training.learner import build_model
from swav_ray.weights import initial
from swav_ray.weights.backbone import Backbone, load_backbone
from swav_ray.weights.head import Head, head_of

_MOST_IMAGES = 1000
_MOST_PIXELS = 1000 * 96 * 96  # that are embedded: fewer images if they are large, since a CPU does it
_LEAST_IMAGES = 64
_SECONDS, _TRIED = 20.0, 32  # for all images and both networks; images that are timed
_THREADS = 4
_SIDE, _COLUMNS = 48, 32  # of the sheet
_CLUSTERS, _NEAREST = 24, 10
_QUERIES, _NEIGHBOURS = 8, 8
_CROPPED, _CROP_PIXELS = 4, 224  # images whose crops are shown; a shown image is at most so wide
_SCORES = 2**25  # that are held at a time


class NoPictures(ValueError):
    """Why there are no pictures, in one line."""


def gallery_of(run_dir: Place, config: Config, *, patient: bool = False) -> Gallery:
    """The pictures of a run, from the cache if they are there; else made, which takes seconds, and cached.

    Args:
        patient: whether somebody asked for them, and waits for UMAP's map too if it is installed.

    Raises:
        NoPictures: there is no checkpoint, or no image can be read. WeightsError, PlaceError, OSError: reading failed.
    """
    steps = checkpoint_files.steps(run_dir)
    if not steps:
        raise NoPictures("there is no checkpoint yet")
    umap = patient and has_umap()
    found = gallery.cached(run_dir, steps[-1])
    if found is None or (umap and len(found.maps) == 1):
        found = _made(run_dir, config, steps[-1], umap=umap)
        gallery.save(found, run_dir)
    return found


def _made(run_dir: Place, config: Config, step: int, *, umap: bool) -> Gallery:
    manifest = manifests.load(run_dir / MANIFEST)
    backbone = load_backbone(checkpoint_folder(run_dir, step))
    size = backbone.preprocess.image_size
    wanted = min(_MOST_IMAGES, max(_LEAST_IMAGES, _MOST_PIXELS // size**2))
    trained_on, _ = split_ids(manifest, config.data)
    ids = evenly(trained_on, wanted)
    crops, reasons, _ = crops_of(manifest, ids, size, _THREADS)
    readable = np.array([reason is None for reason in reasons])
    if not readable.any():
        raise NoPictures(f"no image of {manifest.root} can be read: {reasons[0]}")
    side = _assigned_side(config)
    ids, crops = _affordable(ids[readable], crops[readable], side, backbone)
    seen = _resized(crops, side)
    head = head_of(backbone.origin.parts.head, backbone.origin.place)
    features_ND = torch.from_numpy(embed(backbone, seen, torch.device("cpu")))
    before_ND, began = _before(run_dir, config, backbone, seen)
    labels = manifest.labels_of(ids)
    nearest_N, score_N = _nearest(features_ND, head)
    return Gallery(
        step=step,
        images=len(trained_on),
        sheet=_jpeg(_sheet(crops)),
        columns=_COLUMNS,
        side=_SIDE,
        embedded_side=side,
        pictures=tuple(
            Picture(_name(manifest, sample_id), _label(manifest, int(label)))
            for sample_id, label in zip(ids.tolist(), labels, strict=True)
        ),
        prototypes=len(head.prototypes),
        used=len(np.unique(nearest_N)),
        clusters=_clusters(nearest_N, score_N, labels, manifest),
        assigned=tuple(nearest_N.tolist()),
        neighbours=_neighbours(features_ND, before_ND),
        maps=tuple(Map(how, points) for how, points in maps_of(features_ND.numpy(), umap=umap)),
        crops=_cropped(manifest, config, ids),
        began=began,
    )


def _assigned_side(config: Config) -> int:
    """Pixels of the crops whose codes were learned from; BatchNorm's running statistics are those of the crops.

    At another size images use few of the prototypes: those of the quickstart 19 of 100 at 48 pixels, 97 at 32.
    """
    sides = np.repeat(config.crops.sizes, config.crops.counts)
    return int(sides[config.assignment.crops_for_assign[0]])


def _resized(crops: np.ndarray, side: int) -> np.ndarray:
    """(N, S, S, 3) uint8 with S = `side`."""
    if crops.shape[1] == side:
        return crops
    how = cv2.INTER_AREA if crops.shape[1] > side else cv2.INTER_LINEAR
    return np.stack([cv2.resize(crop, (side, side), interpolation=how) for crop in crops])


def _affordable(ids: np.ndarray, crops: np.ndarray, side: int, backbone: Backbone) -> tuple[np.ndarray, np.ndarray]:
    """As many of the images, spread evenly, as this machine embeds twice in so many seconds at `side` pixels."""
    tried = _resized(crops[:_TRIED], side)
    embed(backbone, tried[:2], torch.device("cpu"))  # the first forward pass of a process sets much up
    began = time.perf_counter()
    embed(backbone, tried, torch.device("cpu"))
    each = (time.perf_counter() - began) / len(tried)
    chosen = evenly(np.arange(len(ids)), max(_LEAST_IMAGES, int(_SECONDS / (2 * each))))
    return ids[chosen], crops[chosen]


def _name(manifest: Manifest, sample_id: int) -> str:
    return name_of(manifest, sample_id).removeprefix(manifest.root).lstrip("/")


def _label(manifest: Manifest, label: int) -> str:
    if label < 0:
        return ""
    return manifest.classes[label] if label < len(manifest.classes) else f"label {label}"


@torch.inference_mode()
def _before(run_dir: Place, config: Config, backbone: Backbone, crops: np.ndarray) -> tuple[Tensor, str]:
    """Features of the network before its first step, (N, D), and what it began with, in words."""
    model = build_model(config)
    if (run_dir / INIT).exists():
        initial.restore(model, run_dir)
        began = "the weights that the run started from"
    else:
        began = f"the same network untrained, seed {config.run.seed}"
    trunk = Trunk(model).eval()
    parts = [trunk(batch).float() for batch in batches(backbone, crops, torch.device("cpu"))]
    return torch.cat(parts), began


@torch.inference_mode()
def _nearest(features_ND: Tensor, head: Head) -> tuple[np.ndarray, np.ndarray]:
    """The best prototype of each image and its score, (N,) each; a few rows at a time, since K may be 100,000."""
    rows = max(1, _SCORES // len(head.prototypes))
    best = [head(part).max(dim=1) for part in features_ND.split(rows)]
    return torch.cat([each.indices for each in best]).numpy(), torch.cat([each.values for each in best]).numpy()


def _clusters(
    nearest_N: np.ndarray, score_N: np.ndarray, labels: np.ndarray, manifest: Manifest
) -> tuple[Cluster, ...]:
    numbers, counts = np.unique(nearest_N, return_counts=True)
    found = []
    for at in np.argsort(-counts, kind="stable")[:_CLUSTERS]:
        members = np.flatnonzero(nearest_N == numbers[at])
        members = members[np.argsort(-score_N[members], kind="stable")]
        known, times = np.unique(labels[members][labels[members] >= 0], return_counts=True)
        purity = float(times.max() / times.sum()) if len(known) else None
        label = _label(manifest, int(known[times.argmax()])) if len(known) else ""
        nearest = tuple(members[:_NEAREST].tolist())
        found.append(Cluster(int(numbers[at]), len(members), nearest, purity, label))
    return tuple(found)


def _neighbours(after_ND: Tensor, before_ND: Tensor) -> tuple[Neighbours, ...]:
    """The images nearest to some, spread evenly, by cosine; none if there is one image alone."""
    if len(after_ND) < 2:
        return ()
    queries = evenly(np.arange(len(after_ND)), _QUERIES)
    found = [_others(features, queries) for features in (after_ND, before_ND)]
    return tuple(
        Neighbours(query, tuple(after), tuple(before))
        for query, after, before in zip(queries.tolist(), *found, strict=True)
    )


def _others(features_ND: Tensor, queries: np.ndarray) -> list[list[int]]:
    unit_ND = F.normalize(torch.nan_to_num(features_ND), dim=1)
    cosines = unit_ND[torch.from_numpy(queries)] @ unit_ND.T
    cosines[torch.arange(len(queries)), torch.from_numpy(queries)] = -2
    nearest: list[list[int]] = cosines.topk(min(_NEIGHBOURS, len(unit_ND) - 1), dim=1).indices.tolist()
    return nearest


def _sheet(crops: np.ndarray) -> np.ndarray:
    """All centre crops as thumbnails in one picture, (rows * side, columns * side, 3) uint8."""
    rows = -(-len(crops) // _COLUMNS)
    sheet = np.full((rows * _SIDE, _COLUMNS * _SIDE, 3), 255, np.uint8)
    for position, crop in enumerate(crops):
        top, left = position // _COLUMNS * _SIDE, position % _COLUMNS * _SIDE
        how = cv2.INTER_AREA if len(crop) > _SIDE else cv2.INTER_NEAREST
        sheet[top : top + _SIDE, left : left + _SIDE] = cv2.resize(crop, (_SIDE, _SIDE), interpolation=how)
    return sheet


def _cropped(manifest: Manifest, config: Config, ids: np.ndarray) -> tuple[Crops, ...]:
    """Some images and their crops of the first epoch, exactly as training sees them."""
    multi_crop = MultiCrop(config.crops, dataclasses.replace(config.augment, color_device="cpu"), config.run.seed)
    decoding = manifest.decoded_by(config.data).decoding
    found = []
    chosen = evenly(ids, _CROPPED)
    for sample_id, sample in zip(chosen.tolist(), read_samples(manifest, chosen), strict=True):
        name, label = _name(manifest, sample_id), _label(manifest, int(manifest.labels_of(np.array([sample_id]))[0]))
        try:
            if isinstance(sample, Exception):
                raise sample
            out = multi_crop.buffers(1)
            multi_crop(sample, 0, sample_id, out, 0, decoding=decoding)
            original = decode(sample, decoding)
        except (UnreadableImage, OSError, ValueError) as error:
            found.append(Crops(name, label, "", (), str(error)))
            continue
        crops = tuple((crop.shape[0], _jpeg(_small(crop))) for group in out for crop in group[:, 0])
        found.append(Crops(name, label, _jpeg(_small(original)), crops))
    return tuple(found)


def _small(image: np.ndarray) -> np.ndarray:
    """At most so many pixels wide or high."""
    scale = _CROP_PIXELS / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _jpeg(pixels: np.ndarray) -> str:
    """A JPEG file in base64."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=78)
    return base64.b64encode(sink.getvalue()).decode()
