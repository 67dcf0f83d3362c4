"""What the names in a file of weights mean: a ResNet trunk in anybody's naming, and SwAV's head and prototypes.

Every name becomes the published SwAV checkpoints' name, which is torchvision's for the trunk. Nothing is guessed: what
is not recognised is named, and two trunks in one file are a choice for the user. The layouts, by their first names:

- published SwAV and swav_ray: `conv1.weight`, `projection_head.0.weight`, `prototypes.weight`, perhaps below
  `state_dict.` and `module.`
- VISSL: `...trunk._feature_blocks.conv1.weight`, `...heads.0.projection_head.0.weight`, `...heads.0.prototypes0.weight`
- solo-learn: `state_dict.backbone.conv1.weight`, `projector.0.weight`, `prototypes.weight_g` and `weight_v`
- lightly: `backbone.0.weight` (torchvision's children in a sequence), `projection_head.layers.0.weight`,
  `prototypes.heads.0.weight`
- torchvision and timm: `conv1.weight` and a classifier
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from swav_ray.weights.read import WeightsError

PUBLISHED, VISSL, LIGHTLY, SOLO_LEARN = "SwAV as published", "VISSL", "lightly", "solo-learn"

# A sequence's numbers for the children of a ResNet: torchvision's with its ReLU and max-pool, and one without.
_SEQUENCES = (
    {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"},
    {"0": "conv1", "1": "bn1", "2": "layer1", "3": "layer2", "4": "layer3", "5": "layer4"},
)
_TRUNK = re.compile(r"(?:conv1|bn1|layer[1-4]\.\d+)\.")
_CLASSIFIER = re.compile(r"(?:fc|classifier|head|linear)\.")


@dataclass(frozen=True)
class Recognised:
    """The parts of a file, by published names.

    Attributes:
        layout: what the file looks like, in words.
        trunk: parameters and running statistics of the ResNet.
        head: `projection_head.*` and `prototypes*`; empty if the file has none.
        renamed: the file's name of each of them.
        left_out: every other name in the file and why it has no part in a backbone.
    """

    layout: str
    trunk: dict[str, Tensor]
    head: dict[str, Tensor]
    renamed: dict[str, str]
    left_out: dict[str, str]


def recognise(tensors: Mapping[str, Tensor], name: str, prefix: str | None = None) -> Recognised:
    """The trunk and head among the tensors of a file.

    Args:
        tensors: by the file's own names.
        name: of the file, for messages.
        prefix: what the trunk's names begin with, needed only if the file holds several trunks.

    Raises:
        WeightsError: there is no ResNet, more than one and no `prefix`, or a value that is not finite.
    """
    root, rename = _trunk_root(tensors, name, prefix)
    outer = re.sub(r"(?:_feature_blocks|backbone|encoder|trunk)\.$", "", root)
    outer = re.sub(r"trunk\.$", "", outer)
    trunk, head, renamed, left_out = {}, {}, {}, {}
    for key, tensor in tensors.items():
        inner = rename(key.removeprefix(root)) if key.startswith(root) else ""
        if _TRUNK.match(inner):
            trunk[inner], renamed[inner] = tensor, key
        elif found := _head_name(key.removeprefix(outer)) if key.startswith(outer) else "":
            head[found], renamed[found] = tensor, key
        else:
            left_out[key] = _reason(inner or key.removeprefix(outer))
    _merge_weight_norm(head)
    _refuse_not_finite(trunk | head, name)
    if "prototypes.prototypes1.weight" not in head:  # an only head is not numbered
        for name in [name for name in head if name.startswith("prototypes.prototypes0.")]:
            alone = name.replace("prototypes0.", "")
            head[alone], renamed[alone] = head.pop(name), renamed.pop(name)
    return Recognised(_layout(root, rename is not _same, head, renamed), trunk, head, renamed, left_out)


def _same(name: str) -> str:
    return name


def _trunk_root(tensors: Mapping[str, Tensor], name: str, prefix: str | None) -> tuple[str, Callable[[str], str]]:
    """What the trunk's names begin with, and how the rest of them is renamed."""
    found: dict[str, Callable[[str], str]] = {}
    for key in tensors:
        if (
            key.endswith("conv1.weight")
            and f"{(root := key.removesuffix('conv1.weight'))}layer1.0.conv1.weight" in tensors
        ):
            found[root] = _same
        if key.endswith("0.weight") and not found.get(key.removesuffix("0.weight")):
            root = key.removesuffix("0.weight")
            for sequence in _SEQUENCES:
                first = next(number for number, child in sequence.items() if child == "layer1")
                if f"{root}{first}.0.conv1.weight" in tensors:
                    found[root] = _numbered(sequence)
                    break
    if prefix is not None:
        if prefix not in found:
            raise WeightsError(f"{name}: no ResNet below {prefix!r}; {_choices(found)}")
        return prefix, found[prefix]
    if not found:
        raise WeightsError(f"{name}: {_other_network(tensors)}")
    if len(found) > 1:
        raise WeightsError(f"{name}: holds {len(found)} networks; {_choices(found)}")
    return next(iter(found.items()))


def _other_network(tensors: Mapping[str, Tensor]) -> str:
    """What a file holds that has no ResNet of this package."""
    if any(re.search(r"attn|attention|cls_token|class_token", key) for key in tensors):
        return "holds a transformer; this package knows ResNets alone"
    if any(key.endswith("conv1.0.weight") for key in tensors) and any("layer1.0." in key for key in tensors):
        return "holds a ResNet with several convolutions in its stem (ResNet-C or -D), which SwAV's have not"
    some = ", ".join(list(tensors)[:3])
    return f"holds no ResNet that is known (no conv1 and layer1); its names begin with {some}"


def _choices(found: Mapping[str, object]) -> str:
    return f"give prefix= one of {', '.join(map(repr, found))}" if found else "it holds none"


def _numbered(sequence: Mapping[str, str]) -> Callable[[str], str]:
    def rename(name: str) -> str:
        number, dot, rest = name.partition(".")
        # A library's own blocks call the projection of a block's shortcut so.
        return f"{sequence[number]}{dot}{rest}".replace(".shortcut.", ".downsample.") if number in sequence else name

    return rename


def _head_name(name: str) -> str:
    """The published name of a part of the head; empty if it is none."""
    name = re.sub(r"^(?:module\.)?heads\.0\.", "", name)
    name = re.sub(r"^projector\.", "projection_head.", name)
    name = re.sub(r"^projection_head\.layers\.", "projection_head.", name)
    name = re.sub(r"^prototypes\.heads\.(\d+)\.", r"prototypes.prototypes\1.", name)
    name = re.sub(r"^prototypes\.layers\.", "prototypes.", name)
    name = re.sub(r"^prototypes(\d+)\.", r"prototypes.prototypes\1.", name)
    if re.match(r"(?:projection_head\.(?:\d+\.)?\w+|prototypes\.(?:prototypes\d+\.)?(?:weight(?:_g|_v)?|bias))$", name):
        return name
    return ""


def _merge_weight_norm(head: dict[str, Tensor]) -> None:
    """weight_g and weight_v of torch's weight norm become the one weight that they stand for."""
    for name in [name for name in head if name.endswith("weight_v")]:
        direction, gain = head.pop(name), head.pop(name.replace("weight_v", "weight_g"), None)
        unit = direction / direction.norm(dim=1, keepdim=True)
        head[name.replace("weight_v", "weight")] = unit if gain is None else unit * gain


def _refuse_not_finite(tensors: Mapping[str, Tensor], name: str) -> None:
    known = {key: tensor for key, tensor in tensors.items() if not tensor.is_meta}  # shapes alone have no values
    wrong = [key for key, tensor in in_float32(known).items() if not bool(tensor.isfinite().all())]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise WeightsError(f"{name}: {wrong[0]}{more} holds values that are not finite; give an earlier checkpoint")


def _reason(name: str) -> str:
    if _CLASSIFIER.match(name):
        return "a classifier, which is no part of a backbone"
    if "optimizer" in name:
        return "the state of an optimizer"
    if "queue" in name:
        return "a queue of embeddings"
    return "not a part of a backbone or a SwAV head"


def _layout(root: str, is_sequence: bool, head: Mapping[str, Tensor], renamed: Mapping[str, str]) -> str:
    sources = " ".join(renamed.values())
    if "_feature_blocks." in root:
        return VISSL
    if is_sequence:
        return LIGHTLY if head else "a sequence of a ResNet's children"
    if "projector." in sources or "weight_v" in sources:
        return SOLO_LEARN
    if head:
        return PUBLISHED
    return "a ResNet as torchvision and timm name it"


def in_float32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same with every floating-point tensor in float32."""
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
