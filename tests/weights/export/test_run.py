"""Every export computes what the backbone does, in the library that it is for, or it is not there at all."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swav_ray.storage.place import place
from swav_ray.weights.backbone import Backbone, load_backbone
from swav_ray.weights.export.formats import FORMATS
from swav_ray.weights.export.run import export
from swav_ray.weights.export.source import Source
from swav_ray.weights.read import WeightsError
from tests.weights.export.given import SIZE, backbone

# Loaders of libraries that are not installed here are run by whoever has them.
HERE = ["torchvision", "timm", "safetensors", "onnx", "torch.export"]
TAKE_A_SMALL_STEM = ["torchvision", "timm"]
PROGRAMS = ["onnx", "torch.export"]

RUN_LOADERS = """
import json, runpy, sys
for script in sys.argv[1:]:
    features = runpy.run_path(script)["features"]
    print(json.dumps(features.tolist()))
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A ResNet-18 with the usual stem."""
    return backbone(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def small_stem(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A ResNet-18 for small images."""
    return backbone(tmp_path_factory.mktemp("weights"), small=True)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory, small: Backbone, small_stem: Backbone) -> Path:
    """A folder with an export in every format that holds a ResNet-18, and two of one with a small stem."""
    folder = tmp_path_factory.mktemp("exports")
    for name, kind in FORMATS.items():
        if name != "published":
            export(small, kind, place(folder / name), lambda _: None)
    for name in TAKE_A_SMALL_STEM:
        export(small_stem, FORMATS[name], place(folder / f"{name}-small"), lambda _: None)
    return folder


def test_each_has_weights_a_card_a_loader_and_a_record(exports: Path) -> None:
    for name in FORMATS.keys() - {"published"}:
        files = {file.name for file in (exports / name).iterdir()}
        assert files == {f"resnet18{FORMATS[name].suffix}", "README.md", "load.py", "export.json"}


def test_the_loaders_run_as_they_stand_in_another_process(exports: Path, small: Backbone, small_stem: Backbone) -> None:
    networks = dict.fromkeys(HERE, small) | {f"{name}-small": small_stem for name in TAKE_A_SMALL_STEM}
    scripts = [str(exports / name / "load.py") for name in networks]
    done = subprocess.run([sys.executable, "-c", RUN_LOADERS, *scripts], capture_output=True, text=True, check=True)
    outputs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert done.stdout.count("1, 512") == len(outputs) == len(networks)
    for (name, network), features in zip(networks.items(), outputs, strict=True):
        with torch.no_grad():
            expected = network(torch.zeros(1, 3, SIZE, SIZE))
        assert torch.allclose(torch.tensor(features), expected, atol=1e-4), name


@pytest.mark.parametrize("name", ["detectron2", "mmdet"])
def test_the_loader_of_another_library_runs_with_it(exports: Path, small: Backbone, name: str) -> None:
    pytest.importorskip(name, exc_type=ImportError)
    command = [sys.executable, "-c", RUN_LOADERS, str(exports / name / "load.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    features = json.loads(done.stdout.splitlines()[-1])
    with torch.no_grad():
        assert torch.allclose(torch.tensor(features), small(torch.zeros(1, 3, SIZE, SIZE)), atol=1e-4)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_may_take_pixels_and_normalise_them_itself(tmp_path: Path, name: str) -> None:
    given = backbone(tmp_path, width=0.125)
    export(given, FORMATS[name], place(tmp_path / "out"), lambda _: None, pixels=True)
    pixels = torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    if name == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(tmp_path / "out" / "resnet18.onnx"))
        (outputs,) = session.run(None, {"images": pixels.numpy()})
    else:
        outputs = torch.export.load(tmp_path / "out" / "resnet18.pt2").module()(pixels).detach().numpy()
    prepared = torch.stack([given.preprocess(image.permute(1, 2, 0).contiguous().numpy()) for image in pixels])
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(outputs), given(prepared), atol=1e-4)
    assert "takes the pixels as they are" in (tmp_path / "out" / "README.md").read_text()


def test_the_authors_weights_keep_their_preprocessing(tmp_path: Path) -> None:
    given = backbone(tmp_path, width=0.125)
    assert given.preprocess.std[0] == 0.228
    export(given, FORMATS["safetensors"], place(tmp_path / "out"), lambda _: None)
    assert load_backbone(str(tmp_path / "out" / "resnet18.safetensors")).preprocess == given.preprocess


def test_weights_alone_take_no_pixels(tmp_path: Path, small: Backbone) -> None:
    with pytest.raises(WeightsError, match=r"--pixels: timm holds weights and no network; onnx and torch\.export can"):
        export(small, FORMATS["timm"], place(tmp_path / "out"), lambda _: None, pixels=True)


def test_the_published_layout_has_the_head_and_loads_as_published(tmp_path: Path) -> None:
    given = backbone(tmp_path, "resnet50")
    said: list[str] = []
    export(given, FORMATS["published"], place(tmp_path / "out"), said.append)
    file = tmp_path / "out" / "resnet50.pth.tar"
    names = set(torch.load(file, weights_only=True))
    assert {"module.conv1.weight", "module.projection_head.3.bias", "module.prototypes.weight"} <= names
    assert all(name.startswith("module.") for name in names)
    again = load_backbone(str(file))
    assert again.origin.layout == "SwAV as published"
    assert again.origin.parts.head.keys() == given.origin.parts.head.keys()
    assert "largest difference 0" in said[0]


def test_a_trunk_alone_is_no_published_checkpoint(tmp_path: Path) -> None:
    given = backbone(tmp_path, "resnet50")
    alone = replace(given.origin, parts=replace(given.origin.parts, head={}))
    given.origin = alone
    with pytest.raises(WeightsError, match="holds no projection head with prototypes, which the format published"):
        export(given, FORMATS["published"], place(tmp_path / "out"), lambda _: None)
    assert not (tmp_path / "out").exists()


def test_other_outputs_are_refused_and_nothing_is_left(tmp_path: Path, small: Backbone) -> None:
    kind = FORMATS["mmdet"]
    wrong = replace(kind, outputs=lambda source, file: kind.outputs(source, file) * 1.01)
    with pytest.raises(WeightsError, match=r"mmdet: largest difference .* is above 0\.0001 of that"):
        export(small, wrong, place(tmp_path / "out"), lambda _: None)
    assert not (tmp_path / "out").exists()


def test_weights_in_two_files_arrive_together(tmp_path: Path) -> None:
    given = backbone(tmp_path, width=0.125)
    kind = FORMATS["mmdet"]

    def write(source: Source, file: Path) -> None:
        kind.write(source, file)
        file.with_name(f"{file.name}.data").write_bytes(b"more")

    export(given, replace(kind, write=write), place(tmp_path / "out"), lambda _: None)
    assert (tmp_path / "out" / "resnet18.pth.data").read_bytes() == b"more"


def test_features_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    given = backbone(tmp_path, width=0.125)
    given.trunk.conv1.weight.data[0] = torch.nan
    with pytest.raises(WeightsError, match="its features of real photos are not finite"):
        export(given, FORMATS["safetensors"], place(tmp_path / "out"), lambda _: None)


def test_a_missing_library_is_named_with_the_extra_that_installs_it(tmp_path: Path, small: Backbone) -> None:
    kind = replace(FORMATS["onnx"], packages=("onnx", "no_such_library"))
    with pytest.raises(WeightsError, match=r"needs no_such_library; pip install 'swav_ray\[export\]'"):
        export(small, kind, place(tmp_path / "out"), lambda _: None)


@pytest.mark.s3
def test_an_export_goes_to_s3(s3: str, tmp_path: Path) -> None:
    given = backbone(tmp_path, width=0.125)
    export(given, FORMATS["safetensors"], place(s3) / "out", lambda _: None)
    names = {entry.name for entry in (place(s3) / "out").list()}
    assert names == {"resnet18.safetensors", "README.md", "load.py", "export.json"}
    assert load_backbone((place(s3) / "out" / "resnet18.safetensors").uri).feature_dim == given.feature_dim


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_a_resnet50_at_full_size_goes_into_every_format(tmp_path: Path, name: str) -> None:
    given = backbone(tmp_path, "resnet50")
    given.preprocess = replace(given.preprocess, image_size=224)
    export(given, FORMATS[name], place(tmp_path / "out"), lambda _: None)
    assert (tmp_path / "out" / f"resnet50{FORMATS[name].suffix}").is_file()
