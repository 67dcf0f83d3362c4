"""timm: a safetensors file that `timm.create_model("resnetNN", checkpoint_path=...)` loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from swav_ray.weights.export.format import Format, give_small_stem, plain, small_stem, zeros
from swav_ray.weights.export.source import Source


def _write(source: Source, file: Path) -> None:
    safetensors.torch.save_file(source.backbone.trunk.state_dict(), file, metadata={"format": "pt"})


def _preprocessing(source: Source) -> dict[str, Any]:
    """As `timm.data.resolve_model_data_config` gives it."""
    prepare = source.backbone.preprocess
    size = prepare.image_size
    return {"input_size": (3, size, size), "mean": prepare.mean, "std": prepare.std}


def _outputs(source: Source, file: Path) -> Tensor:
    import timm
    from timm.models import load_checkpoint

    model = timm.create_model(source.backbone.architecture.depth, num_classes=0)
    give_small_stem(model, source)
    load_checkpoint(model, str(file))
    return model.eval()(source.images)


def _loader(source: Source) -> str:
    depth, overlay = source.backbone.architecture.depth, _preprocessing(source)
    head = "import timm\nimport torch\n\n"
    tail = f"features = model.eval()({zeros(source)})\n"
    made = f'model = timm.create_model("{depth}", num_classes=0, pretrained_cfg_overlay={overlay!r}'
    if stem := small_stem(source):
        return f"{head}{made})\n{stem}timm.models.load_checkpoint(model, FILE)\n{tail}"
    return f"{head}{made}, checkpoint_path=FILE)\n{tail}"


def _usage(_: Source) -> str:
    return (
        "`pretrained_cfg_overlay` gives `timm.data.resolve_model_data_config(model)` this backbone's size, mean and "
        "standard deviation; timm's own for this network differ."
    )


FORMAT = Format(
    name="timm",
    suffix=".safetensors",
    reader="timm's own network",
    packages=("timm",),
    refusal=plain,
    write=_write,
    outputs=_outputs,
    loader=_loader,
    usage=_usage,
)
