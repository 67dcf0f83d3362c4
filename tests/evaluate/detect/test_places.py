"""What `--train` and `--val` may name, in both layouts, locally and on S3."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks.compose_detection import compose
from swav_ray.evaluate.detect.annotations import Annotated
from swav_ray.evaluate.detect.examples import pixels_of
from swav_ray.evaluate.detect.places import of_places
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.storage.place import place
from tests.evaluate.detect.digits import digits


def same_objects(first: Annotated, second: Annotated) -> bool:
    return all(
        np.array_equal(one.boxes, other.boxes) and np.array_equal(one.labels, other.labels)
        for one, other in zip(first.objects, second.objects, strict=True)
    )


def test_a_coco_folder_has_its_two_splits_by_their_names(composed: Path) -> None:
    train, val = of_places(str(composed / "coco"), "")
    assert (len(train), len(val), train.kind) == (8, 4, "coco")
    assert train.names[0] == "train_00000.jpg"
    named = of_places(
        str(composed / "coco/annotations/instances_train.json"), str(composed / "coco/annotations/instances_val.json")
    )
    assert named[0].about() == train.about()


def test_voc_has_the_same_objects_as_coco(composed: Path) -> None:
    for voc, coco in zip(of_places(str(composed / "voc"), ""), of_places(str(composed / "coco"), ""), strict=True):
        assert voc.kind == "voc"
        assert [name.rpartition("/")[2] for name in voc.names] == list(coco.names)
        assert np.array_equal(voc.sizes, coco.sizes)
        assert voc.classes == coco.classes
        assert same_objects(voc, coco)
        assert not voc.has_masks


def test_a_devkit_is_all_of_its_years(composed: Path, tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        shutil.copytree(composed / "voc", tmp_path / year)
    (tmp_path / "VOC2012/ImageSets/Main/test.txt").unlink()
    train, val = of_places(str(tmp_path), "")
    assert (len(train), len(val)) == (16, 4)
    assert train.names[8] == "VOC2012/JPEGImages/train_00000.jpg"
    assert pixels_of(train, 8).shape[:2] == tuple(train.sizes[8])


@pytest.mark.s3
def test_both_are_read_from_s3(s3: str, composed: Path) -> None:
    compose(place(s3) / "set", digits(2), train=8, val=4, side=64, seed=0)
    for layout in ("coco", "voc"):
        here, there = of_places(str(composed / layout), "")[0], of_places(f"{s3}/set/{layout}", "")[0]
        assert same_objects(here, there)
        assert np.array_equal(pixels_of(here, 3), pixels_of(there, 3))


def test_validation_classes_that_training_lacks_are_told(composed: Path, tmp_path: Path) -> None:
    shutil.copytree(composed / "coco", tmp_path / "coco")
    file = tmp_path / "coco/annotations/instances_val.json"
    document = json.loads(file.read_text())
    document["categories"][0]["name"] = "giraffe"
    file.write_text(json.dumps(document))
    with pytest.raises(EvaluationError, match=r"1 of its categories are not in --train .*: giraffe"):
        of_places(str(composed / "coco"), str(file))


def test_labels_of_validation_follow_the_classes_of_training(composed: Path, tmp_path: Path) -> None:
    shutil.copytree(composed / "coco", tmp_path / "coco")
    file = tmp_path / "coco/annotations/instances_val.json"
    document = json.loads(file.read_text())
    document["categories"].reverse()
    file.write_text(json.dumps(document))
    usual, reversed_ = of_places(str(composed / "coco"), ""), of_places(str(composed / "coco"), str(file))
    assert same_objects(usual[1], reversed_[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("rm -r coco/annotations", "holds no annotations; give a COCO JSON file"),
        ("cp coco/annotations/instances_train.json coco/annotations/instances_train2.json", "which of .* is meant"),
        ("rm coco/annotations/instances_val.json", "which of instances_train.json is meant"),
    ],
)
def test_a_folder_that_says_too_little_is_told(composed: Path, tmp_path: Path, change: str, message: str) -> None:
    shutil.copytree(composed / "coco", tmp_path / "coco")
    subprocess.run(change, shell=True, check=True, cwd=tmp_path)
    with pytest.raises(EvaluationError, match=message):
        of_places(str(tmp_path / "coco"), "")


def test_no_annotation_at_all_and_no_such_place_are_told(composed: Path, tmp_path: Path) -> None:
    shutil.copytree(composed / "voc", tmp_path / "voc")
    for file in (tmp_path / "voc/Annotations").iterdir():
        text = file.read_text()
        file.write_text(text[: text.index("<object>")] + "</annotation>")
    with pytest.raises(EvaluationError, match="none of its 8 images has an annotation"):
        of_places(str(tmp_path / "voc"), "")
    with pytest.raises(EvaluationError, match="does not exist"):
        of_places(str(tmp_path / "nowhere"), "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<xmax>", "<xmax>9", "lies outside its image"),
        ("<width>", "<width>0</width><other>", "has no <size>"),
    ],
)
def test_a_wrong_voc_annotation_is_told(composed: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    shutil.copytree(composed / "voc", tmp_path / "voc")
    file = tmp_path / "voc/Annotations/train_00002.xml"
    text = file.read_text().replace(old, new)
    file.write_text(text.replace("</width><height>", "</other><height>") if "other" in new else text)
    with pytest.raises(EvaluationError, match=f"train_00002.*{message}|{message}"):
        of_places(str(tmp_path / "voc"), "")


def test_an_image_of_voc_that_is_not_there_is_told(composed: Path, tmp_path: Path) -> None:
    shutil.copytree(composed / "voc", tmp_path / "voc")
    (tmp_path / "voc/JPEGImages/train_00001.jpg").unlink()
    with pytest.raises(EvaluationError, match=r"1 of its images are not there: JPEGImages/train_00001\.jpg"):
        of_places(str(tmp_path / "voc"), "")
