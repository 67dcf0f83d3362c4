"""A detector has the scales of its own network, the backbone's normalisation, and answers in an image's own pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from swav_ray.evaluate.detect import examples, masks
from swav_ray.evaluate.detect.annotations import Annotated
from swav_ray.evaluate.detect.detector import build
from swav_ray.evaluate.detect.examples import Augment, training_example
from swav_ray.evaluate.detect.levels import stride_of
from swav_ray.evaluate.detect.settings import COCO_1X, PUBLISHED, VOC
from swav_ray.model.resnet import ResNet
from tests.evaluate.protocols.given import backbone

VARIANTS = (VOC, COCO_1X)
SMALL = {variant: replace(PUBLISHED[variant].changed(image_size=64), rois=16, anchors=16) for variant in VARIANTS}


@pytest.mark.parametrize("small_image_stem", [False, True])
def test_strides_are_those_of_the_maps(small_image_stem: bool) -> None:
    trunk = ResNet("resnet18", width=0.125, small_image_stem=small_image_stem).eval()
    x = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(torch.zeros(1, 3, 64, 64)))))
    for stage in range(1, 5):
        x = getattr(trunk, f"layer{stage}")(x)
        assert 64 / x.shape[-1] == stride_of(trunk, stage)


def test_the_levels_are_not_those_of_the_first_batch(train: Annotated) -> None:
    for variant in VARIANTS:
        detector = build(SMALL[variant], backbone(), 2, masks=variant == COCO_1X).eval()
        pool = detector.network.roi_heads.box_roi_pool
        before = list(pool.scales)
        odd = replace(examples.test_example(train, 0, 33, 60), image=np.zeros((33, 33, 3), np.uint8))
        detector.find([odd], [(33, 33)])
        assert pool.scales == before
        assert before == [1 / 16] if variant == VOC else before == [1 / 4, 1 / 8, 1 / 16, 1 / 32]


def test_boxes_and_masks_are_in_the_pixels_of_the_whole_image(train: Annotated) -> None:
    detector = build(SMALL[COCO_1X], backbone(), 2, masks=True).eval()
    detector.network.roi_heads.score_thresh = 0.0
    height, width = train.sizes[0].tolist()
    (found,) = detector.find([examples.test_example(train, 0, 32, 60)], [(height, width)])
    assert len(found.boxes) > 0
    assert found.boxes[:, 2].max() > 32
    assert (found.boxes <= np.array([width, height, width, height]) + 1e-3).all()
    assert found.masks is not None
    assert masks.decode(found.masks[0]).shape == (height, width)
    assert set(found.labels.tolist()) <= {0, 1}


def test_images_are_normalised_as_the_backbone_was_trained(train: Annotated) -> None:
    network = backbone()
    example = examples.test_example(train, 0, 64, 90)
    given = build(SMALL[VOC], network, 2, masks=False).network.transform(
        [torch.from_numpy(example.image).permute(2, 0, 1) / 255]
    )[0]
    height, width = example.image.shape[:2]
    preprocess = network.preprocess
    expected = (example.image / 255.0 - preprocess.mean) / preprocess.std
    assert np.allclose(given.tensors[0, :, :height, :width].permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_what_is_drawn_for_an_image_does_not_depend_on_the_others(train: Annotated) -> None:
    detector = build(SMALL[VOC], backbone(), 2, masks=False)
    augment = Augment((64,), 107, 0.5, False)
    batch = [training_example(train, index, augment, 0, 0) for index in range(3)]
    (sampler, _) = detector._samplers
    labels = [torch.randint(-1, 2, (200,), generator=torch.Generator().manual_seed(n)) for n in range(3)]
    sampler.keys = [example.key for example in batch]
    together = sampler(labels)
    sampler.keys = [batch[2].key]
    alone = sampler(labels[2:])
    assert torch.equal(together[0][2], alone[0][0])
    assert torch.equal(together[1][2], alone[1][0])
    assert int(alone[0][0].sum() + alone[1][0].sum()) == SMALL[VOC].anchors


def test_new_layers_follow_from_the_seed() -> None:
    weights = [build(SMALL[VOC].changed(seed=seed), backbone(), 2, masks=False).state_dict() for seed in (0, 0, 1)]
    name = "network.rpn.head.cls_logits.weight"
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])
