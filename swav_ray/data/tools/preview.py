"""A contact sheet: originals, and beside each its crops, exactly as training would see them."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from swav_ray.config import Config
from swav_ray.data.crops.multi_crop import MultiCrop
from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.decoding.decode import UnreadableImage, decode
from swav_ray.data.holdout import split_ids
from swav_ray.data.manifest import Manifest
from swav_ray.data.order.selected_ids import Ids
from swav_ray.data.sources import Sample, name_of, read_samples

_GAP, _CAPTION = 4, 14  # pixels
_PAPER, _INK = (255, 255, 255), (60, 60, 60)
_LARGEST_ROW = 224
_SMALLEST_ROW = 96


def contact_sheet(manifest: Manifest, config: Config, *, samples: int = 8, epoch: int = 0) -> Image.Image:
    """One row a sample, spread evenly over the training images: the original, then its crops, group after group.

    The crops are those of ``epoch`` with ``run.seed``, colour included wherever ``augment.color_device`` puts it.
    """
    train, _ = split_ids(manifest, config.data)
    ids: Ids = train if len(train) else np.arange(len(manifest))
    chosen = ids[np.linspace(0, len(ids) - 1, min(samples, len(ids))).astype(int)]
    augment = dataclasses.replace(config.augment, color_device="cpu")
    multi_crop = MultiCrop(config.crops, augment, config.run.seed)
    decoding = manifest.decoded_by(config.data).decoding
    rows = []
    for sample_id, sample in zip(map(int, chosen), read_samples(manifest, chosen), strict=True):
        rows.append(_row(_title(manifest, sample_id), sample, sample_id, epoch, multi_crop, decoding))
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height + _GAP for r in rows)), _PAPER)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + _GAP
    return sheet


def _title(manifest: Manifest, sample_id: int) -> str:
    label = int(manifest.labels_of(np.array([sample_id]))[0])
    name = f"  {manifest.classes[label]}" if 0 <= label < len(manifest.classes) else ""
    return f"{sample_id}{name}  {name_of(manifest, sample_id).removeprefix(manifest.root).lstrip('/')}"


def _row(
    title: str, sample: Sample, sample_id: int, epoch: int, multi_crop: MultiCrop, decoding: Decoding
) -> Image.Image:
    """The original scaled to the row's height, then each group of crops at its own size, stacked to that height."""
    height = min(max(max(multi_crop.crops.sizes), _SMALLEST_ROW), _LARGEST_ROW)
    try:
        if isinstance(sample, Exception):
            raise sample
        crops = multi_crop.buffers(1)
        multi_crop(sample, epoch, sample_id, crops, 0, decoding=decoding)
        tiles = [_fitted(Image.fromarray(decode(sample, decoding)), height)]
        tiles += [_stacked(group[:, 0], height) for group in crops]
    except (UnreadableImage, OSError, ValueError) as error:
        tiles, title = [Image.new("RGB", (height, height), _INK)], f"{title}: {error}"
    tall = max(tile.height for tile in tiles)
    text = title.encode("latin-1", "replace").decode("latin-1")  # what the built-in font has
    wide = max(sum(tile.width + 3 * _GAP for tile in tiles), int(ImageFont.load_default().getlength(text)) + 1)
    row = Image.new("RGB", (wide, tall + _CAPTION), _PAPER)
    ImageDraw.Draw(row).text((0, 0), text, fill=_INK)
    left = 0
    for tile in tiles:
        row.paste(tile, (left, _CAPTION))
        left += tile.width + 3 * _GAP
    return row


def _fitted(image: Image.Image, height: int) -> Image.Image:
    """As high as the row and at most twice as wide; small originals in whole pixels."""
    scale = min(height / image.height, 2 * height / image.width)
    if scale > 1:
        scale = int(scale)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BICUBIC)


def _stacked(crops: np.ndarray, height: int) -> Image.Image:
    """(count, size, size, 3) crops in columns as high as the row allows."""
    count, size = crops.shape[:2]
    per_column = max(1, (height + _GAP) // (size + _GAP))
    columns = -(-count // per_column)
    used = min(count, per_column)
    tile = Image.new("RGB", (columns * (size + _GAP) - _GAP, used * (size + _GAP) - _GAP), _PAPER)
    for i, crop in enumerate(crops):
        tile.paste(Image.fromarray(crop), (i // per_column * (size + _GAP), i % per_column * (size + _GAP)))
    return tile
