"""The splits of an evaluation share one list of classes, and say what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray import settings
from swav_ray.config import replace
from swav_ray.data import manifest as manifests
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.features.splits import of_places, of_places_with_sets, of_run
from swav_ray.recipes import quickstart
from swav_ray.storage.place import place
from tests.data.formats.voc_files import write_voc
from tests.data.images import image, write_files


def folder(where: Path, classes: list[str], each: int = 3) -> str:
    names = [f"{name}/{index}.jpg" for name in classes for index in range(each)]
    write_files(where, {name: image(i) for i, name in enumerate(names)})
    return str(where)


def test_labels_of_both_places_mean_the_same_class(tmp_path: Path) -> None:
    train, val = folder(tmp_path / "t", ["ant", "bee", "cow"]), folder(tmp_path / "v", ["cow", "bee"], each=2)
    first, second, _ = of_places(train, val, "", place(tmp_path / "cache"))
    assert first.classes == second.classes == ["ant", "bee", "cow"]
    assert [second.classes[label] for label in second.labels] == ["bee", "bee", "cow", "cow"]
    assert first.limited(3).labels.tolist() == [0, 1, 2]


def test_one_place_with_splits_is_enough(tmp_path: Path) -> None:
    folder(tmp_path / "d" / "train", ["ant", "bee"])
    folder(tmp_path / "d" / "val", ["bee"])
    first, second, _ = of_places(str(tmp_path / "d"), "", "", place(tmp_path / "cache"))
    assert (len(first.ids), len(second.ids)) == (6, 3)
    assert set(second.labels.tolist()) == {1}


def test_a_csv_labels_two_flat_folders(tmp_path: Path) -> None:
    flat, val = str(tmp_path / "flat"), str(tmp_path / "val")
    write_files(tmp_path / "flat", {f"{i}.jpg": image(i) for i in range(4)})
    write_files(tmp_path / "val", {f"v{i}.jpg": image(i) for i in range(2)})
    (tmp_path / "l.csv").write_text("0,a\n1,b\n2,a\nv0,b\nv1,a\n")
    first, second, notes = of_places(flat, val, str(tmp_path / "l.csv"), place(tmp_path / "cache"))
    assert (first.labels.tolist(), second.labels.tolist()) == ([0, 1, 0], [1, 0])
    assert any("names no label for 1 of 4 images" in note for note in notes)


def test_images_that_are_learned_from_judge_nothing(tmp_path: Path) -> None:
    train = folder(tmp_path / "t", ["ant", "bee"])
    with pytest.raises(EvaluationError, match=r"--val .*: holds images of --train; give others to judge by"):
        of_places(train, train, "", place(tmp_path / "cache"))
    first, second, _ = of_places(train, "", "", place(tmp_path / "cache"), labelled=False)
    assert first.ids.tolist() == second.ids.tolist()


def test_labels_that_do_not_matter_need_not_fit(tmp_path: Path) -> None:
    train, val = folder(tmp_path / "t", ["ant"]), folder(tmp_path / "v", ["bee", "cow"])
    _, second, _ = of_places(train, val, "", place(tmp_path / "cache"), labelled=False)
    assert (second.classes, second.labels.tolist()) == (["bee", "cow"], [0, 0, 0, 1, 1, 1])


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    train = folder(tmp_path / "t", ["ant", "bee"])
    write_files(tmp_path / "flat", {"a.jpg": image(0)})
    cache = place(tmp_path / "cache")
    with pytest.raises(EvaluationError, match=r"--train .*: has no test split; give --val PLACE"):
        of_places(train, "", "", cache)
    with pytest.raises(EvaluationError, match=r"--train .*flat: has no labels; give class folders, or --labels CSV"):
        of_places(str(tmp_path / "flat"), train, "", cache)
    with pytest.raises(EvaluationError, match=r"--val .*flat: has no labels"):
        of_places(train, str(tmp_path / "flat"), "", cache)
    other = folder(tmp_path / "v", ["bee", "yak", "zebra"])
    with pytest.raises(EvaluationError, match=r"--val .*: 2 of its classes have no image in --train .*: yak, zebra"):
        of_places(train, other, "", cache)


def test_a_run_gives_what_it_held_out(tmp_path: Path) -> None:
    made = manifests.build(folder(tmp_path / "t", ["ant", "bee"], each=10))
    run_dir = place(tmp_path / "run")
    manifests.save(made, run_dir / "manifest.parquet")
    config = replace(quickstart(), data={"uri": made.root, "holdout_fraction": 0.2})
    (run_dir / "config.yaml").write_bytes(settings.to_yaml(config).encode())
    first, second, _ = of_run(run_dir)
    assert (len(first.ids), len(second.ids)) == (16, 4)
    assert not set(first.ids.tolist()) & set(second.ids.tolist())
    (run_dir / "config.yaml").write_bytes(settings.to_yaml(quickstart()).encode())
    with pytest.raises(EvaluationError, match="held no labelled images out; give --train PLACE and --val PLACE"):
        of_run(run_dir)


def test_voc_is_learned_from_trainval_and_judged_by_test(tmp_path: Path) -> None:
    objects = {"a": ["dog"], "b": ["cat"], "c": ["cat", "dog?"], "d": ["dog", "cat"], "e": []}
    sets = {"train": ["a"], "val": ["b"], "trainval": ["a", "b"], "test": ["c", "d", "e"]}
    where = str(write_voc(tmp_path / "kit" / "VOC2007", objects, sets))
    write_files(tmp_path / "kit" / "VOC2007", {"SegmentationClass/a.png": image(1, "PNG")})  # is no image to judge by
    first, second, _ = of_places_with_sets(where, "", "", place(tmp_path / "cache"))
    assert first.classes == second.classes == ["cat", "dog"]
    assert first.targets.tolist() == [[0, 1], [1, 0]]
    assert second.targets.tolist() == [[1, -1], [1, 1], [0, 0]]
    assert first.labels.tolist() == [-1, -1]
    assert second.limited(1).targets.tolist() == [[1, -1]]
    for one_label in (where, str(tmp_path / "kit")):  # a year, and the folder of all of them
        with pytest.raises(EvaluationError, match=r"--train .*: has VOC's layout, whose images have any"):
            of_places(one_label, "", "", place(tmp_path / "cache"))
    with pytest.raises(EvaluationError, match=r"--train .*: has VOC's layout, .* give svm the folder of a year"):
        of_places_with_sets(str(tmp_path / "kit"), "", "", place(tmp_path / "cache"))
    for name in ("c", "d", "e"):  # as in VOC2012, whose test set has no annotations
        (tmp_path / "kit" / "VOC2007" / "Annotations" / f"{name}.xml").unlink()
    with pytest.raises(EvaluationError, match=r"1 of its classes have no image in --train .*: cat"):
        of_places_with_sets(where, "", "", place(tmp_path / "cache"))


def test_a_csv_of_several_labels_gives_both_places_the_classes_of_the_first(tmp_path: Path) -> None:
    for name, count in (("t", 3), ("v", 2)):
        write_files(tmp_path / name, {f"{name}{i}.jpg": image(i) for i in range(count)})
    (tmp_path / "l.csv").write_text("t0,dog|cat\nt1,ant\nt2,\nv0,dog\nv0,cat\nv1,\n")
    words = str(tmp_path / "t"), str(tmp_path / "v"), str(tmp_path / "l.csv"), place(tmp_path / "cache")
    first, second, _ = of_places_with_sets(*words)
    assert second.classes == ["ant", "cat", "dog"]
    assert first.targets.tolist() == [[0, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert second.targets.tolist() == [[0, 1, 1], [0, 0, 0]]
    before = second.about()
    (tmp_path / "l.csv").write_text("t0,dog|cat\nt1,ant\nt2,\nv0,dog\nv1,cat\n")
    assert of_places_with_sets(*words)[1].about()["labels"] != before["labels"]
    (tmp_path / "l.csv").write_text("t0,dog|cat\nv0,dog|yak\nv1,\n")
    with pytest.raises(EvaluationError, match=r"--val .*: 1 of its classes have no image in --train .*: yak"):
        of_places_with_sets(*words)
    (tmp_path / "l.csv").write_text("t0,dog|cat\nv0,\n")
    with pytest.raises(EvaluationError, match=r"--val .*: none of its images has a label"):
        of_places_with_sets(*words)


def test_label_sets_are_no_hindrance_if_labels_do_not_matter(tmp_path: Path) -> None:
    write_files(tmp_path / "flat", {f"{i}.jpg": image(i) for i in range(3)})
    (tmp_path / "l.csv").write_text("0,dog|cat\n1,ant\n")
    words = str(tmp_path / "flat"), "", str(tmp_path / "l.csv"), place(tmp_path / "cache")
    first, _, _ = of_places(*words, labelled=False)
    assert first.labels.tolist() == [-1, -1, -1]
    (tmp_path / "l.csv").write_text("0,dog\n1,ant\n")
    assert of_places(*words, labelled=False)[0].labels.tolist() == [1, 0, -1]
    voc = write_voc(tmp_path / "voc", {"a": ["cow"], "b": ["ant"]}, {"train": ["a"], "val": ["b"]})
    write_files(voc, {"SegmentationClass/a.png": image(1, "PNG")})
    first, _, _ = of_places(str(voc), "", "", place(tmp_path / "cache"), labelled=False)
    assert (len(first.ids), first.labels.tolist()) == (2, [-1, -1])


def test_places_of_one_label_each_will_do_for_label_sets(tmp_path: Path) -> None:
    train, val = folder(tmp_path / "t", ["ant", "bee", "cow"], each=1), folder(tmp_path / "v", ["cow", "bee"], each=1)
    first, second, _ = of_places_with_sets(train, val, "", place(tmp_path / "cache"))
    assert (first.targets, first.labels.tolist(), second.labels.tolist()) == (None, [0, 1, 2], [1, 2])
    assert not first.has_sets
    voc = str(write_voc(tmp_path / "voc", {"a": ["cow"], "b": ["ant", "bee"]}, {"train": ["a"], "val": ["a", "b"]}))
    first, second, _ = of_places_with_sets(train, voc, "", place(tmp_path / "cache"))
    assert first.targets.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert second.targets.tolist() == [[0, 0, 1], [1, 1, 0]]
    assert (first.has_sets, second.has_sets) == (False, True)
    with pytest.raises(EvaluationError, match=r"--train .*: has no test split; give --val PLACE"):
        of_places_with_sets(train, "", "", place(tmp_path / "cache"))
    with pytest.raises(EvaluationError, match=r"--val .*: holds images of --train"):
        of_places_with_sets(train, train, "", place(tmp_path / "cache"))
