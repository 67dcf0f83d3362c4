"""onnx: the network as a graph for ONNX Runtime and others, any number of images at a time."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from swav_ray.weights.export.format import Format, at_two_batch_sizes
from swav_ray.weights.export.source import Source


def _write(source: Source, file: Path) -> None:
    with _quiet():
        program = torch.onnx.export(
            source.network,
            (source.images,),
            dynamo=True,
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None  # it is with dynamo
    program.save(str(file))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch reports its progress and what it deprecates in itself, which says nothing to a user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _outputs(source: Source, file: Path) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    batches = (source.images, source.images[:1])
    return torch.cat([torch.from_numpy(session.run(None, {"images": batch.numpy()})[0]) for batch in batches])


def _loader(source: Source) -> str:
    size = source.backbone.preprocess.image_size
    kind = "uint8" if source.pixels else "float32"
    return (
        "import numpy as np\nimport onnxruntime\n\n"
        'model = onnxruntime.InferenceSession(FILE, providers=["CPUExecutionProvider"])\n'
        f"images = np.zeros((1, 3, {size}, {size}), np.{kind})\n"
        '(features,) = model.run(None, {"images": images})\n'
    )


def _usage(source: Source) -> str:
    size = source.backbone.preprocess.image_size
    kind = "uint8, 0..255, RGB; the graph normalises them" if source.pixels else "float32, normalised as below"
    return (
        f"Input `images`: (batch, 3, {size}, {size}), {kind}. Output `features`: (batch, "
        f"{source.backbone.feature_dim}) float32. Any batch; the size is fixed: `--image-size` chooses another."
    )


FORMAT = Format(
    name="onnx",
    suffix=".onnx",
    reader="ONNX Runtime, batches of 1 and 5",
    packages=("onnx", "onnxscript", "onnxruntime"),
    holds_program=True,
    refusal=lambda _: "",
    write=_write,
    outputs=_outputs,
    expected=at_two_batch_sizes,
    loader=_loader,
    usage=_usage,
)
