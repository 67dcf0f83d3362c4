"""A file of weights is read without running anything in it; what is no whole file says so in a line."""

from __future__ import annotations

import argparse
import gzip
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from swav_ray.weights.read import WeightsError, stored
from tests.weights.foreign import saved


class RunsCode:
    """What a hostile file holds: an object that writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_names_of_nested_dictionaries_are_joined() -> None:
    found = stored(saved({"state": {"a": torch.ones(2), "step": 3}, "list": [torch.ones(1)]}), "x")
    assert list(found.tensors) == ["state.a"]
    assert len(found.sha256) == 64


def test_safetensors_come_with_their_header() -> None:
    data = safetensors.torch.save({"a": torch.ones(2)}, metadata={"recipe": "quickstart"})
    found = stored(data, "x")
    assert found.metadata == {"recipe": "quickstart"}
    assert torch.equal(found.tensors["a"], torch.ones(2))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_wants_to_run_code_is_refused_and_runs_none(tmp_path: Path, legacy: bool) -> None:
    hostile = {"w": RunsCode(tmp_path / "ran")}
    data = pickle.dumps(hostile, protocol=2) if legacy else saved(hostile)
    with pytest.raises(WeightsError, match=r"x\.pth: its pickle wants to run code, which is refused"):
        stored(data, "x.pth")
    assert not (tmp_path / "ran").exists()


def test_every_truncation_is_told_in_a_line() -> None:
    tensors = {"w": torch.arange(100.0)}
    for whole in (saved(tensors), safetensors.torch.save(tensors)):
        for length in (0, 1, 7, 9, 40, len(whole) // 2, len(whole) - 1):
            with pytest.raises(WeightsError, match=r"^x: [^\n]+$"):
                stored(whole[:length], "x")


@pytest.mark.parametrize("data", [b"<html>not found</html>", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_file_of_another_kind_is_told(data: bytes) -> None:
    with pytest.raises(WeightsError, match=r"x: is neither safetensors nor a file of torch\.save"):
        stored(data, "x")


def test_a_file_without_tensors_is_told() -> None:
    with pytest.raises(WeightsError, match="x: holds no tensors"):
        stored(saved({"epoch": 3}), "x")


def test_plain_values_of_argparse_and_numpy_beside_the_tensors_are_no_code() -> None:
    arguments = argparse.Namespace(lr=0.1, sizes=[224, 96])
    content = {"w": torch.ones(2), "args": arguments, "best": np.float32(3.0), "loss": np.float64(1.0)}
    counts = {"epoch": np.int64(7), "done": np.bool_(True)}
    assert list(stored(saved(content | counts), "x").tensors) == ["w"]


def test_a_changed_byte_that_torch_would_read_is_told() -> None:
    data = bytearray(saved({"w": torch.arange(1000.0)}))
    data[data.index(torch.arange(1000.0).numpy().tobytes()) + 2000] ^= 1
    with pytest.raises(
        WeightsError, match=r"^x: is damaged: archive/data/0 in it does not match its checksum; copy it"
    ):
        stored(bytes(data), "x")


def test_a_file_that_torch_wrote_without_checksums_is_read() -> None:
    torch.serialization.set_crc32_options(False)
    try:
        data = saved({"w": torch.ones(3)})
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(stored(data, "x").tensors["w"], torch.ones(3))


@pytest.mark.parametrize(
    ("tensor", "told"),
    [(torch.ones(2, device="meta"), "has no values"), (torch.eye(2).to_sparse(), "is sparse")],
)
def test_tensors_that_are_not_plain_are_told(tensor: torch.Tensor, told: str) -> None:
    with pytest.raises(WeightsError, match=f"^x: w {told}; save the weights as plain tensors$"):
        stored(saved({"w": tensor}), "x")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (gzip.compress(b"weights", mtime=0), "it is compressed: unpack it"),
        (b"<!DOCTYPE html><html>not found</html>", "a web page: download the file itself"),
    ],
)
def test_what_a_download_went_wrong_as_is_told(data: bytes, told: str) -> None:
    with pytest.raises(WeightsError, match=rf"^x: is neither safetensors nor a file of torch\.save \(.*{told}"):
        stored(data, "x")


def test_a_torchscript_archive_is_refused_and_what_to_save_instead_is_told() -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("net/constants.pkl", b"")
    with pytest.raises(
        WeightsError, match=r"^x: is a TorchScript archive, .* save the network's state_dict\(\) instead$"
    ):
        stored(data.getvalue(), "x")


@pytest.mark.filterwarnings("error")
def test_an_odd_pickle_is_refused_without_a_library_s_warning() -> None:
    with pytest.raises(WeightsError, match="wants to run code"):
        stored(pickle.dumps(RunsCode(Path("x")), protocol=4), "x")
