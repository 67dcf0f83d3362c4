"""What is settled once a run has begun: its settings and how many images it holds out."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from swav_ray import settings
from swav_ray.config import Config, ConfigError
from swav_ray.run import layout
from swav_ray.storage.place import Place, PlaceError


def config_of(run_dir: Place) -> Config:
    """The settings of a run.

    Raises:
        PlaceError: no run lies there. ConfigError: its config.yaml is of another version.
    """
    try:
        text = (run_dir / layout.CONFIG).read_bytes().decode()
    except (FileNotFoundError, NotADirectoryError):
        raise PlaceError(f"{run_dir}: holds no run ({layout.CONFIG} is missing); give a run directory") from None
    try:
        return settings.from_yaml(text, Config(), str(run_dir / layout.CONFIG))
    except (ConfigError, settings.UnknownSetting) as error:
        raise ConfigError("RUN", run_dir, f"has settings that this version does not know: {error}") from None


def held_out_images(run_dir: Place) -> int:
    """How many images a run holds out; 0 if it is not known."""
    try:
        return int(pq.ParquetFile(io.BytesIO((run_dir / layout.HELD_OUT).read_bytes())).metadata.num_rows)
    except (FileNotFoundError, pa.ArrowInvalid):
        return 0
