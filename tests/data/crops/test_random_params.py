"""What is drawn depends on its key alone, and follows the published distributions."""

from __future__ import annotations

import numpy as np
import torch
from torchvision import transforms

from swav_ray.config import AugmentConfig, CropsConfig
from swav_ray.data.crops.color_vector import GREY, HUE_SHIFT, NO_OP, ORDER, SIGMA
from swav_ray.data.crops.multi_crop import MultiCrop
from tests.data.crops.photos import SMALL


def test_every_part_of_the_key_matters() -> None:
    def boxes(seed: int, epoch: int, sample: int) -> bytes:
        return MultiCrop(SMALL, AugmentConfig(), seed).draw(300, 400, epoch, sample)[0].tobytes()

    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 1, 0), (2**63 - 1, 0, 0), (0, 0, 2**62)]
    assert len({boxes(*key) for key in keys}) == len(keys)


def test_boxes_follow_torchvisions_random_resized_crop() -> None:
    torch.manual_seed(0)
    for height, width, low, high in ((375, 500, 0.14, 1.0), (300, 100, 0.5, 1.0)):
        image = torch.zeros(3, height, width)
        theirs = [transforms.RandomResizedCrop.get_params(image, [low, high], [3 / 4, 4 / 3]) for _ in range(4000)]
        crops = CropsConfig(sizes=(32,), counts=(2,), min_scales=(low,), max_scales=(high,))
        multi_crop = MultiCrop(crops, AugmentConfig(), seed=0)
        ours = np.concatenate([multi_crop.draw(height, width, 0, sample)[0] for sample in range(2000)])
        for column, expected in enumerate(np.array(theirs).T):
            got = ours[:, column]
            for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
                assert abs(np.quantile(got, quantile) - np.quantile(expected, quantile)) < 0.04 * max(height, width)
        assert abs(ours[:, 4].mean() - 0.5) < 0.03


def test_color_parameters_have_the_published_distribution() -> None:
    multi_crop = MultiCrop(CropsConfig(), AugmentConfig(), seed=0)
    colors = np.concatenate([multi_crop.draw(375, 500, 0, sample)[1] for sample in range(2500)])
    jittered = colors[colors[:, ORDER] != NO_OP]
    assert abs(len(jittered) / len(colors) - 0.8) < 0.02
    orders = {tuple(order) for order in jittered[:, ORDER : ORDER + 4]}
    assert len(orders) == 24
    for factor in jittered[:, ORDER + 4 : ORDER + 7].T:
        assert 0.2 <= factor.min() < 0.22
        assert 1.78 < factor.max() <= 1.8
        assert abs(factor.mean() - 1.0) < 0.02
    turns = (jittered[:, HUE_SHIFT] + 128) % 256 - 128
    assert (turns.min(), turns.max()) == (-50, 50)
    assert abs(colors[:, GREY].mean() - 0.2) < 0.02
    blurred = colors[colors[:, SIGMA] > 0, SIGMA]
    assert abs(len(blurred) / len(colors) - 0.5) < 0.02
    assert abs(blurred.mean() - 1.05) < 0.02
    off = MultiCrop(CropsConfig(), AugmentConfig(jitter_probability=0, greyscale_probability=0, blur_probability=0), 0)
    assert set(off.draw(9, 9, 0, 0)[1][:, ORDER]) == {NO_OP}
