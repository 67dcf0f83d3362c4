"""Pascal VOC's layout: objects of each image from XML, image sets from lists, locally as on S3."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.data.formats.voc import (
    VocImage,
    VocObject,
    image_set,
    image_sets,
    is_voc,
    parse_annotation,
    read_annotations,
)
from swav_ray.storage.place import PlaceError, place
from tests.data.formats.voc_files import annotation, write_voc
from tests.data.images import write_files
from tests.storage.servers import Answers, use_server

DEVKIT = b"""<annotation>
  <folder>VOC2007</folder><filename>000009.jpg</filename>
  <size><width>500</width><height>375</height><depth>3</depth></size>
  <object>
    <name>person</name><pose>Right</pose><truncated>0</truncated><difficult>1</difficult>
    <bndbox><xmin>69</xmin><ymin>172</ymin><xmax>270</xmax><ymax>330</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></part>
  </object>
  <object>
    <name>horse</name><bndbox><ymin>1</ymin><xmin>45.7</xmin><xmax>100</xmax><ymax>20</ymax></bndbox>
  </object>
</annotation>"""


def test_an_annotation_of_the_devkit_is_read_without_the_parts_of_its_people() -> None:
    assert parse_annotation(DEVKIT, "000009", "here") == VocImage(
        "000009",
        "JPEGImages/000009.jpg",
        500,
        375,
        (VocObject("person", (69, 172, 270, 330), True), VocObject("horse", (45.7, 1, 100, 20), False)),
    )


def test_an_image_is_named_by_its_annotation_and_not_by_what_a_tool_wrote_into_it() -> None:
    written = b"<annotation><filename>C:/photos/first try.PNG</filename></annotation>"
    assert parse_annotation(written, "shop_1", "here") == VocImage("shop_1", "JPEGImages/shop_1.PNG", 0, 0, ())


def test_annotations_come_in_the_order_of_an_image_set(tmp_path: Path) -> None:
    where = place(write_voc(tmp_path, {"b": ["dog"], "a": []}, {"trainval": ["b", "a"], "test": ["a"]}))
    write_files(tmp_path, {"ImageSets/Main/dog_trainval.txt": b"b  1\na -1\n"})
    assert is_voc(where)
    assert not is_voc(where / "JPEGImages")
    assert image_sets(where) == ["test", "trainval"]
    names = image_set(where, "trainval")
    found = list(read_annotations(where, names))
    assert [(one.name, [thing.name for thing in one.objects]) for one in found] == [("b", ["dog"]), ("a", [])]
    assert image_set(where, "dog_trainval") == ["b", "a"]


def test_what_an_image_set_lacks_is_told(tmp_path: Path) -> None:
    where = place(write_voc(tmp_path, {"a": ["dog"]}, {"train": ["a", "gone"], "val": []}))
    with pytest.raises(PlaceError, match=r"Main/test\.txt: no such image set; there are: train, val"):
        image_set(where, "test")
    with pytest.raises(PlaceError, match=r"Main/val\.txt: names no image"):
        image_set(where, "val")
    with pytest.raises(PlaceError, match=r"Annotations/gone\.xml: no such annotation, and an image set names its"):
        list(read_annotations(where, image_set(where, "train")))


def test_it_is_read_from_s3_as_from_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, folder = Answers(), "/b/VOC2007"
    use_server(answers.server.server_port, monkeypatch)
    answers.paths = {
        f"{folder}/ImageSets/Main/test.txt": [(200, b"a\nb\nc\n")],
        f"{folder}/Annotations/a.xml": [(200, annotation(["dog"]))],
        f"{folder}/Annotations/b.xml": [(200, annotation([]))],
    }
    where = place("s3://b/VOC2007")
    try:
        names = image_set(where, "test")
        found = list(read_annotations(where, names[:2]))
        assert [[thing.name for thing in one.objects] for one in found] == [["dog"], []]
        with pytest.raises(PlaceError, match=r"s3://b/VOC2007/Annotations/c\.xml: no such annotation"):
            list(read_annotations(where, names))
    finally:
        answers.server.shutdown()
        answers.server.server_close()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is no XML of an annotation"),
        (b"<annotation><object>", "is no XML of an annotation"),
        (b"<html></html>", "its root is <html> and not <annotation>"),
        (annotation(["dog"]).replace(b"dog", b""), "an <object> has no <name>"),
        (annotation(["dog"]).replace(b"xmin", b"left"), "the object dog has no whole <bndbox>"),
        (annotation(["dog"]).replace(b"<xmin>2", b"<xmin>two"), "could not convert string to float: 'two'"),
        (annotation(["dog"]).replace(b"<xmin>2", b"<xmin>"), "the object dog has no whole <bndbox>"),
        (annotation(["dog"]).replace(b"<width>24", b"<width>wide"), "could not convert string to float: 'wide'"),
    ],
)
def test_a_file_that_is_no_annotation_is_told_in_a_line(data: bytes, told: str) -> None:
    with pytest.raises(PlaceError, match=f"x.xml: .*{told}"):
        parse_annotation(data, "x", "x.xml")
