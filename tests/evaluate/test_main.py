"""What a user got wrong is one line that names it, before Ray starts and before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from swav_ray.evaluate.__main__ import main
from tests.data.formats.voc_files import write_voc
from tests.data.images import image, write_files
from tests.weights import foreign

TRAIN = {f"train/{name}/{i}.jpg": image(i) for i, name in enumerate("aabb")}
FLAT = {f"flat/{i}.jpg": image(i) for i in range(4)} | {f"more/v{i}.jpg": image(9 + i) for i in range(2)}
ONE_CLASS = {"train/a/1.jpg": image(1), "train/b.jpg": image(2), "val/a/2.jpg": image(3), "val/b.jpg": image(4)}
YAK = {"val/a/1.jpg": image(1), "val/yak/2.jpg": image(2)}
# Files, --train, --val and --labels in the folder @, and what the line begins with.
CASES = {
    "no such place": (TRAIN, "@/gone", "", "", "@/gone: does not exist; give a folder or s3://bucket/prefix"),
    "no val split": (TRAIN, "@/train", "", "", "--train @/train: has no test split; give --val PLACE"),
    "an empty place": (TRAIN, "@/train", "@/none", "", "@/none: holds no files; give a folder or"),
    "no image in it": (TRAIN | {"x/a.txt": b""}, "@/train", "@/x", "", "@/x: none of its files is an image"),
    "no labels": (FLAT, "@/flat", "@/more", "", "--train @/flat: has no labels; give class folders, or --labels CSV"),
    "val without labels": (TRAIN | FLAT, "@/train", "@/more", "", "--val @/more: has no labels; give class folders"),
    "one class": (
        ONE_CLASS,
        "@/train",
        "@/val",
        "@/1.csv",
        "--train @/train: its labelled images are all of one",
    ),
    "a class of val": (TRAIN | YAK, "@", "", "", "--val @: 1 of its classes have no image in --train @: yak"),
    "judged by the learned": (TRAIN, "@/train", "@/train", "", "--val @/train: holds images of --train"),
    "no CSV": (FLAT, "@/flat", "@/more", "@/gone.csv", "@/gone.csv: no such file; give a CSV of name,label"),
    "a CSV of others": (FLAT, "@/flat", "@/more", "@/x.csv", "@/x.csv: none of its names (y, z) is an image of @/flat"),
    "a CSV of train": (FLAT, "@/flat", "@/more", "@/t.csv", "@/t.csv: none of its names (0, 1) is an image of @/more"),
    "a table": (FLAT, "@/flat", "@/more", "@/3.csv", "@/3.csv: line 1 has 3 columns instead of name,label"),
    "two labels": (FLAT, "@/flat", "@/more", "@/2.csv", "@/2.csv: @/flat/0.jpg has the labels 1 and 2; this protocol"),
}
TABLES = {
    "1.csv": "1,a\n2,a\n",
    "x.csv": "y,a\nz,b\n",
    "t.csv": "0,a\n1,b\n",
    "3.csv": "0,a,b\n",
    "2.csv": "0,1|2\nv0,1\n",
}


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command with a mistake says."""
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("swav_ray: ")
    assert shown.count("\n") == 1
    return shown.removeprefix("swav_ray: ")


@pytest.fixture
def weights(tmp_path: Path) -> str:
    file = tmp_path / "weights.pth"
    file.write_bytes(foreign.saved(foreign.published(foreign.model().state_dict())))
    return str(file)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_images_and_labels_that_do_not_fit(
    case: tuple[dict[str, bytes], str, str, str, str],
    weights: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "places"
    (root / "none").mkdir(parents=True)
    write_files(root, case[0])
    train, val, labels, line = (word.replace("@", str(root)) for word in case[1:])
    for name, text in TABLES.items():
        (root / name).write_text(text)
    words = ["knn", "--checkpoint", weights, "--train", train, "--val", val, "--labels", labels]
    out = tmp_path / "out"
    assert told([*words, "--out", str(out), "--storage", str(tmp_path / "storage")], capsys).startswith(line)
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"no weights", "is neither safetensors nor a file of torch.save"),
        (b"", "is neither safetensors nor a file of torch.save"),
        (foreign.saved({"state_dict": {}}), "holds no tensors"),
        (foreign.saved({"embeddings.word.weight": torch.ones(3, 4)}), "holds no ResNet that is known"),
    ],
    ids=["a text", "an empty file", "no tensors", "another network"],
)
def test_a_checkpoint_of_something_else(
    content: bytes, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    write_files(tmp_path / "d", TRAIN)
    shown = told(["knn", "--checkpoint", str(tmp_path / "x.pth"), "--train", str(tmp_path / "d")], capsys)
    assert shown.startswith(f"{tmp_path / 'x.pth'}: {line}")


def test_annotations_of_voc_that_are_missing_or_broken(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = write_voc(tmp_path / "VOC", {"a": ["dog"], "b": ["cat"]}, {"train": ["a", "b"], "val": ["a"]})
    words = [
        "--checkpoint",
        weights,
        "--train",
        str(where),
        "--storage",
        str(tmp_path / "s"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert told(["svm", *words], capsys).startswith(f"--val {where}/JPEGImages: holds images of --train")
    (where / "Annotations" / "b.xml").write_bytes(b"<annotation>")
    assert told(["svm", *words], capsys).startswith(f"{where}/Annotations/b.xml: is no XML of an annotation")
    (where / "Annotations" / "b.xml").unlink()
    assert told(["svm", *words], capsys).startswith(f"{where}/Annotations/b.xml: no such annotation")
    (where / "ImageSets" / "Main" / "val.txt").unlink()
    (where / "Annotations" / "b.xml").write_bytes((where / "Annotations" / "a.xml").read_bytes())
    assert told(["svm", *words], capsys).startswith(f"{where}/ImageSets/Main/val.txt: no such image set; there are: tr")
    assert told(["knn", *words], capsys).startswith(f"--train {where}: has VOC's layout, whose images have any number")
