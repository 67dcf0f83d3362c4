"""What TensorBoard shows of a run beside figures, read as TensorBoard reads it."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.parts.small import crops, small_config
from swav_ray.config import replace
from swav_ray.model.normalize import normalize
from swav_ray.run.metrics_log import MetricsLog
from swav_ray.storage.place import Place, place
from swav_ray.training.event_pictures import EventPictures, crop_grids
from swav_ray.training.learner import Learner

STEPS_PER_EPOCH = 3


def trained(folder: Place, steps: int = 6) -> Learner:
    learner = Learner(small_config(), STEPS_PER_EPOCH)
    log = MetricsLog(folder, 0)
    pictures = EventPictures(learner, log.draw)
    for step in range(steps):
        batch = [group.float() for group in crops(learner.config, step, slice(None))]
        pictures.observe(step, learner.step(batch, step), batch)
    pictures.finish(steps)
    log.close()
    return learner


def test_crops_are_shown_as_they_were_an_image_a_row() -> None:
    config = replace(small_config(), crops={"sizes": (16, 8), "counts": (2, 1)})
    rng = np.random.default_rng(0)
    groups = [rng.integers(0, 256, (count, 12, size, size, 3), dtype=np.uint8) for size, count in ((16, 2), (8, 1))]
    grids = crop_grids(config, [normalize(torch.from_numpy(group).flatten(0, 1)) for group in groups])
    assert {name: grid.shape for name, grid in grids.items()} == {
        "crops/16_pixels": (8 * 16, 2 * 16, 3),
        "crops/8_pixels": (8 * 8, 8, 3),
    }
    for (size, count), group, grid in zip(((16, 2), (8, 1)), groups, grids.values(), strict=True):
        for image in range(8):
            for crop in range(count):
                shown = grid[image * size : (image + 1) * size, crop * size : (crop + 1) * size]
                np.testing.assert_array_equal(shown, group[crop, image])


def test_tensorboard_reads_crops_distributions_and_prototypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swav_ray.training.event_pictures._AT_LEAST", 3)
    learner = trained(place(tmp_path))
    found = EventAccumulator(str(tmp_path / "events"), size_guidance={"images": 0, "histograms": 0})
    found.Reload()
    config = learner.config
    assert found.Tags()["images"] == [f"crops/{size}_pixels" for size in config.crops.sizes]
    (image,) = found.Images(f"crops/{config.crops.sizes[0]}_pixels")
    pixels = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert (image.step, pixels.shape[1]) == (0, config.crops.sizes[0] * config.crops.counts[0])
    names = [f"distributions/{name}" for name in ("nearest_prototype", "cosine_to_it", "largest_of_a_code")]
    assert sorted(found.Tags()["histograms"]) == sorted(names)
    rows = len(config.assignment.crops_for_assign) * config.train.global_batch_size
    for name in names:
        taken = found.Histograms(name)
        assert [(item.step, item.histogram_value.num) for item in taken] == [(2, rows), (5, rows)]
    projector = (tmp_path / "events" / "projector_config.pbtxt").read_text()
    assert "prototypes" in projector
    (vectors,) = (tmp_path / "events").glob("*/prototypes/tensors.tsv")
    weights = torch.nn.functional.normalize(learner.model.prototype_weights()[0].detach().float(), dim=1)
    np.testing.assert_allclose(np.loadtxt(vectors, delimiter="\t"), weights.numpy(), atol=1e-5)
    with (vectors.parent / "metadata.tsv").open() as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    assert [int(row["prototype"]) for row in table] == list(range(len(weights)))
    assert sum(int(row["embeddings"]) for row in table) == rows


def test_short_epochs_do_not_have_distributions_each(tmp_path: Path) -> None:
    trained(place(tmp_path), 24)
    found = EventAccumulator(str(tmp_path / "events"), size_guidance={"histograms": 0})
    found.Reload()
    assert [item.step for item in found.Histograms("distributions/cosine_to_it")] == [2, 23]


def test_many_prototypes_are_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swav_ray.training.event_pictures._PROTOTYPES", 3)
    learner = trained(place(tmp_path), 1)
    (metadata,) = (tmp_path / "events").glob("*/prototypes/metadata.tsv")
    numbers = [int(line.split("\t")[0]) for line in metadata.read_text().splitlines()[1:]]
    count = len(learner.model.prototype_weights()[0])
    assert numbers == list(range(0, count, -(-count // 3)))
    assert len(numbers) <= 3


@pytest.mark.s3
def test_on_s3_the_projectors_files_are_uploaded_too(s3: str) -> None:
    trained(place(f"{s3}/run"))
    names = {entry.name for entry in place(f"{s3}/run").list()}
    assert "events/projector_config.pbtxt" in names
    assert any(name.endswith("/prototypes/tensors.tsv") for name in names)
