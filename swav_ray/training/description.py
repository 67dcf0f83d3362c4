"""What a run says of itself, so that nobody needs its source: in the header of its weights and in its directory."""

from __future__ import annotations

import dataclasses
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

from swav_ray.config import Config
from swav_ray.data.crops.short_side import short_side
from swav_ray.data.decoding.choices import Decoding
from swav_ray.data.holdout import evenly
from swav_ray.data.indexing.partitions import MOST_IN_MEMORY
from swav_ray.data.manifest import Manifest
from swav_ray.data.order.selected_ids import Ids
from swav_ray.model.normalize import MEAN, STD
from swav_ray.model.swav import SwAVModel
from swav_ray.run.about import About
from swav_ray.run.layout import ABOUT, HELD_OUT, MANIFEST
from swav_ray.storage.place import Place


def about_of(
    config: Config, model: SwAVModel, decoding: Decoding | None = None, init: dict[str, str] | None = None
) -> About:
    """What is known of a run's weights before the first step; where its lists lie is not part of it.

    Args:
        decoding: how its images are decoded; None: as usual.
        init: of the weights that it starts from, as `About` has it; None: random ones.
    """
    size = config.eval.image_size
    return About(
        run=config.run.name,
        image_size=size,
        architecture=dataclasses.asdict(config.model)
        | {"feature_dim": model.feature_dim, "stem_padding": int(model.conv1.padding[0])},
        preprocessing={
            "decoding": dataclasses.asdict(decoding or Decoding()),
            "channels": "RGB",
            "resize_short_side": short_side(size),
            "interpolation": "OpenCV INTER_AREA, or INTER_LINEAR if the image grows",
            "center_crop": size,
            "mean": MEAN,
            "std": STD,
        },
        config=dataclasses.asdict(config),
        init=init or {},
    )


def placed(about: About, run_dir: Place) -> About:
    """The same with the places of the run's lists."""
    return dataclasses.replace(about, samples=(run_dir / MANIFEST).uri, held_out=(run_dir / HELD_OUT).uri)


def describe(run_dir: Place, about: About, manifest: Manifest, held_out: Ids) -> None:
    """Writes about.json and held_out.parquet, if they are not there.

    Args:
        about: what is known of the run's weights.
        manifest: the data set. held_out: the sample ids that it does not train on; their rows of the manifest go to
            held_out.parquet, with a column `sample_id`; of more than fit in memory some, spread evenly.
    """
    if not (run_dir / HELD_OUT).exists():
        ids = evenly(held_out, MOST_IN_MEMORY)
        sink = io.BytesIO()
        table = manifest.rows(ids).add_column(0, "sample_id", pa.array(ids, pa.int64()))
        pq.write_table(table, sink, compression="zstd")
        (run_dir / HELD_OUT).write_bytes(sink.getvalue())
    if not (run_dir / ABOUT).exists():
        text = json.dumps(dataclasses.asdict(placed(about, run_dir)), indent=1)
        (run_dir / ABOUT).write_bytes(text.encode())
