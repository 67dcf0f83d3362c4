"""torch.export: the network as a program that torch runs without its source code, any number of images at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from swav_ray.weights.export.format import Format, at_two_batch_sizes, zeros
from swav_ray.weights.export.source import Source
from swav_ray.weights.read import WeightsError

# Run in a process of its own, which has never seen the network's classes.
_RUN = """
import sys, torch
program, images, outputs = sys.argv[1:]
model = torch.export.load(program).module()
with torch.inference_mode():
    torch.save([model(batch) for batch in torch.load(images, weights_only=True)], outputs)
"""


def _write(source: Source, file: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    torch.export.save(torch.export.export(source.network, (source.images,), dynamic_shapes=({0: batch},)), file)


def _outputs(source: Source, file: Path) -> Tensor:
    given, taken = file.with_suffix(".images"), file.with_suffix(".outputs")
    torch.save([source.images, source.images[:1]], given)
    command = [sys.executable, "-c", _RUN, str(file), str(given), str(taken)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = " ".join(done.stderr.strip().splitlines()[-1:])
        raise WeightsError(f"torch.export: a fresh process cannot run the program ({last})")
    return torch.cat(torch.load(taken, weights_only=True))


def _loader(source: Source) -> str:
    return f"import torch\n\nmodel = torch.export.load(FILE).module()\nfeatures = model({zeros(source)})\n"


def _usage(source: Source) -> str:
    size = source.backbone.preprocess.image_size
    kind = "uint8, 0..255, RGB; the program normalises them" if source.pixels else "float32, normalised as below"
    return (
        f"Input: (batch, 3, {size}, {size}), {kind}. Output: (batch, {source.backbone.feature_dim}) float32. Any "
        "batch; the size is fixed: `--image-size` chooses another. `torch.compile(model)` and AOTInductor take it."
    )


FORMAT = Format(
    name="torch.export",
    suffix=".pt2",
    reader="torch in a fresh process, batches of 1 and 5",
    holds_program=True,
    refusal=lambda _: "",
    write=_write,
    outputs=_outputs,
    expected=at_two_batch_sizes,
    loader=_loader,
    usage=_usage,
)
