"""An evaluation on Ray: features once for every protocol, resumed part by part, results that are never another's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from swav_ray import settings
from swav_ray.config import replace
from swav_ray.data import manifest as manifests
from swav_ray.evaluate.__main__ import main
from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.features.splits import of_run
from swav_ray.evaluate.knn import knn_predict
from swav_ray.launch.evaluate import Request, evaluate
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.learner import Learner
from swav_ray.weights.backbone import load_backbone
from tests.data.formats.voc_files import write_voc
from tests.data.images import image, write_files
from tests.launch.conftest import tiny

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


@pytest.fixture
def run_dir(shapes: Path, tmp_path: Path) -> Place:
    """A run that has a list of images and one checkpoint."""
    config = replace(tiny(shapes, tmp_path, "run"), data={"uri": str(shapes)})
    folder = place(tmp_path) / "run"
    manifests.save(manifests.build(str(shapes)), folder / "manifest.parquet")
    (folder / "config.yaml").write_bytes(settings.to_yaml(config).encode())
    checkpoint.write(folder, checkpoint.snapshot(Learner(config, 9), 9))
    return folder


def parts(run_dir: Place) -> dict[str, int]:
    """When each part of the features was written."""
    found = (run_dir / "evaluations").local_path.rglob("part-*.parquet")
    return {str(file): file.stat().st_mtime_ns for file in found}


def test_knn_of_a_run_is_brute_force_on_its_own_preprocessing(run_dir: Place) -> None:
    result = evaluate("knn", Request(checkpoint=run_dir.uri), lambda _: None)
    backbone, (train, val, _) = load_backbone(run_dir), of_run(run_dir)
    from swav_ray.data.sources import read_samples

    def features(split: object) -> torch.Tensor:
        rows = [backbone.preprocess(data) for data in read_samples(split.manifest, split.ids)]  # type: ignore[attr-defined]
        with torch.no_grad():
            return backbone(torch.stack(rows))

    predicted = knn_predict(features(train), torch.from_numpy(train.labels), features(val), k=20, temperature=0.07)
    expected = (predicted.numpy() == val.labels).mean()
    assert result.figures["top-1, k 20, T 0.07"].value == pytest.approx(100 * expected)
    assert result.notes == ["k 100, 200 left out: the train split has 72 images"]
    folder = run_dir / "evaluations" / backbone.origin.sha256[:12] / "knn"
    document = json.loads((folder / "results.json").read_bytes())
    assert (document["protocol"], document["version"], document["weights"]) == ("knn", 1, backbone.origin.sha256)
    assert sum(document["correct"].values()) == round(24 * expected)
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_protocol_reads_the_features_and_a_lost_part_alone_is_made_again(run_dir: Place) -> None:
    request = Request(checkpoint=run_dir.uri)
    evaluate("knn", request, lambda _: None)
    before = parts(run_dir)
    first = evaluate("linear-fast", request, lambda _: None)
    assert parts(run_dir) == before
    lost = next(iter(before))
    Path(lost).unlink()
    again = evaluate("linear-fast", request, lambda _: None)
    after = parts(run_dir)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {lost}
    assert again.figures == first.figures


def test_a_result_of_another_evaluation_is_not_overwritten(run_dir: Place, tmp_path: Path) -> None:
    evaluate("knn", Request(checkpoint=run_dir.uri), lambda _: None)
    names = [f"{split}/{label}/{i}.jpg" for split in ("train", "val") for label in ("a", "b") for i in range(3)]
    write_files(tmp_path / "other", {name: image(i) for i, name in enumerate(names)})
    other = Request(checkpoint=run_dir.uri, train=str(tmp_path / "other"), storage=str(tmp_path / "s"))
    for changed in (other, Request(checkpoint=run_dir.uri, limit=20), Request(checkpoint=run_dir.uri, image_size=8)):
        with pytest.raises(EvaluationError, match="holds the result of another evaluation; give another --out"):
            evaluate("knn", changed, lambda _: None)


def test_a_split_without_a_readable_image_is_told_in_one_line(
    run_dir: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"train/{label}/{i}.jpg" for label in ("a", "b") for i in range(3)]
    write_files(tmp_path / "d", {name: image(i) for i, name in enumerate(names)})
    write_files(tmp_path / "d", {"val/a/x.jpg": b"no image", "val/b/y.jpg": b""})
    words = ["knn", "--checkpoint", run_dir.uri, "--train", str(tmp_path / "d"), "--storage", str(tmp_path / "s")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"swav_ray: --val {tmp_path / 'd'}: none of its 2 labelled images can be read")
    assert told.count("\n") == 1


def test_all_protocols_and_a_comparison_with_the_untrained_network(
    run_dir: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    linear = "linear --epochs 1 --batch 8 --scaling.cpus_per_worker 0.5"
    assert main(["all", "--checkpoint", run_dir.uri, "--with", linear]) == 0
    assert {"linear", "knn", "linear-fast", "clusters"} <= {
        word for word in capsys.readouterr().out.split() if word.isascii()
    }
    before = parts(run_dir)
    assert main(["compare", run_dir.uri, f"untrained:{run_dir.uri}", f"pixels:{run_dir.uri}"]) == 0
    assert before.items() <= parts(run_dir).items()
    shown = capsys.readouterr().out
    assert "clusters is left out" in shown  # pixels have no prototypes
    assert "side by side" in shown


def test_images_with_several_labels_are_judged_by_svm_and_what_needs_no_labels(
    run_dir: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = {f"{i:02d}": [["dog"], ["cat"], ["dog", "cat"], ["cat?"]][i % 4] for i in range(32)}
    names = list(objects)
    voc = write_voc(tmp_path / "VOC2007", objects, {"trainval": names[:20], "test": names[20:]})
    words = ["--checkpoint", run_dir.uri, "--train", str(voc), "--storage", str(tmp_path / "s")]
    out = tmp_path / "out"
    assert main(["all", *words, "--out", str(out)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "knn is left out: --train" in told
    found = {file.parent.name: json.loads(file.read_bytes()) for file in out.rglob("results.json")}
    assert found.keys() == {"svm", "label-free", "clusters"}
    assert list(found["svm"]["figures"]) == ["mAP, 11 points", "mAP, interpolated area", "mAP, area"]
    assert (found["svm"]["train"]["images"], found["svm"]["val"]["images"]) == (20, 12)
    assert main(["svm", "--low-shot", *words, "--out", str(out)]) == 0
    assert (next(out.iterdir()) / "svm-low-shot" / "picture.png").exists()
    assert main(["all", "--checkpoint", run_dir.uri]) == 0
    assert "svm is left out: each image has one label" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["compare", "a"], "compare: needs two or more backbones"),
        (
            ["all", "--checkpoint", "x", "--with", "knn"],
            "--with knn: must be one of linear, semisup, finetune, transfer",
        ),
        (["all", "--checkpoint", "x", "--with", "linear --epoch 3"], "--epoch: no such option; did you mean --epochs?"),
        (["knn"], "--checkpoint: is missing"),
        (["knn", "--checkpoint", "x", "--val", "y"], "--val, --labels: need --train"),
        (["knn", "x", "--checkpoint", "y"], "x: is not expected here"),
        (["knn", "--checkpoint", "/nothing"], "/nothing: holds no weights"),
    ],
)
def test_words_that_do_not_go_together_are_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"swav_ray: {told}")
    assert shown.count("\n") == 1


def test_a_part_that_cannot_be_written_is_one_line(run_dir: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["knn", "--checkpoint", run_dir.uri]) == 0
    part = Path(next(iter(parts(run_dir))))
    part.unlink()
    part.mkdir()  # a task meets this as it would a full disk
    (part / "something").touch()
    capsys.readouterr()
    assert main(["knn", "--checkpoint", run_dir.uri]) in (1, 2)
    told = capsys.readouterr().err
    assert told.startswith("swav_ray: ")
    assert part.name in told
    assert "Traceback" not in told
    assert told.count("\n") == 1
