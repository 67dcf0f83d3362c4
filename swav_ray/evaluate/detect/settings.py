"""The published recipes of detection as data: what the paper states, and what is our choice.

The paper (section 4.2 and its appendix) states for VOC07+12: Faster R-CNN with a C4 backbone, fine-tuned whole with
synchronised BatchNorm, 24,000 iterations of 16 images, rate .1 divided by 10 at 18,000 and 22,000, warm-up over 1,000
from a third; for COCO: Mask R-CNN with FPN, schedules 1x and 2x. It trained in Detectron2 with MoCo's configuration.
All else here is our choice; it follows that configuration if torchvision has its like. Every result carries CHOICES.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

FASTER_RCNN_C4, MASK_RCNN_FPN = "faster-rcnn-c4", "mask-rcnn-fpn"
VOC, COCO_1X, COCO_2X = "voc", "coco-1x", "coco-2x"
_TEST_SIDE = 800  # pixels that the boxes' usual sizes are for
_LEAST_SAMPLES = 32  # of an image's losses, however small it is

CHOICES = (
    "not in the paper, our choice: weight decay and momentum; BatchNorm's parameters do not decay; COCO's rate and "
    "warm-up; image sizes; BatchNorm after layer4 in the C4 head and in the FPN, as MoCo configures it; proposals, "
    "samples and losses are torchvision's; running statistics as training leaves them, not recomputed; heads are no "
    "wider than a narrow trunk"
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a detector is made, trained and judged.

    Attributes:
        detector: FASTER_RCNN_C4 or MASK_RCNN_FPN.
        iterations, warmup, drops: of the schedule, in steps. batch_size: images a step.
        lr: at `batch_size`. warmup_from: part of it at the first step. drop: factor of each drop.
        momentum, weight_decay: of SGD; BatchNorm's parameters do not decay.
        short_sides: in training, in pixels. test_side: in testing. long_side: at most. flip: probability.
        rois, anchors: most that an image's losses take.
        detections: most of an image. recalls: steps of recall that precision is averaged over.
    """

    detector: str
    iterations: int
    warmup: int
    drops: Sequence[int]
    batch_size: int = 16
    lr: float
    warmup_from: float
    drop: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    short_sides: Sequence[int]
    test_side: int = _TEST_SIDE
    long_side: int = 1333
    flip: float = 0.5
    rois: int = 512
    anchors: int = 256
    detections: int = 100
    recalls: int
    seed: int = 0

    @property
    def has_masks(self) -> bool:
        """Whether the detector finds masks, too, if the data has them."""
        return self.detector == MASK_RCNN_FPN

    @property
    def scale(self) -> float:
        """Of boxes here against the usual ones: anchors of 32 pixels belong to images of 800."""
        return self.test_side / _TEST_SIDE

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        rate = self.lr * self.drop ** sum(step >= drop for drop in self.drops)
        if step < self.warmup:
            rate *= self.warmup_from + (1 - self.warmup_from) * step / self.warmup
        return rate

    def changed(
        self, *, iterations: int = 0, batch_size: int = 0, lr: float = 0.0, image_size: int = 0, seed: int = 0
    ) -> Settings:
        """With what the user chose; 0: as published.

        Warm-up and drops keep their place in the schedule, the rate follows the batch size unless it is given (Goyal et
        al., 2017), and training sizes and boxes an image follow `image_size`, the short side in testing.
        """
        found = replace(self, seed=seed)
        if iterations:
            part = iterations / self.iterations
            drops = tuple(round(drop * part) for drop in self.drops)
            found = replace(found, iterations=iterations, warmup=round(self.warmup * part), drops=drops)
        if batch_size:
            found = replace(found, batch_size=batch_size, lr=self.lr * batch_size / self.batch_size)
        if lr:
            found = replace(found, lr=lr)
        if image_size:
            sides = tuple(dict.fromkeys(round(side * image_size / self.test_side) for side in self.short_sides))
            longest = round(self.long_side * image_size / self.test_side)
            found = replace(found, test_side=image_size, short_sides=sides, long_side=longest)
            rois, anchors = (max(_LEAST_SAMPLES, round(count * found.scale)) for count in (self.rois, self.anchors))
            found = replace(found, rois=rois, anchors=anchors)
        return found


def _coco(times: int) -> Settings:
    return Settings(
        detector=MASK_RCNN_FPN,
        iterations=90_000 * times,
        warmup=1000,
        drops=(60_000, 80_000) if times == 1 else (120_000, 160_000),
        lr=0.02,
        warmup_from=0.001,
        short_sides=tuple(range(640, 801, 32)),
        recalls=101,
    )


PUBLISHED: Mapping[str, Settings] = {
    VOC: Settings(
        detector=FASTER_RCNN_C4,
        iterations=24_000,
        warmup=1000,
        drops=(18_000, 22_000),
        lr=0.1,
        warmup_from=0.333,
        short_sides=tuple(range(480, 801, 32)),
        recalls=11,
    ),
    COCO_1X: _coco(1),
    COCO_2X: _coco(2),
}
# Of the paper's 800-epoch weights, by variant and figure.
FIGURES: Mapping[str, Mapping[str, float]] = {
    VOC: {"AP50": 82.6},
    COCO_1X: {"box AP": 41.6, "mask AP": 37.8},
    COCO_2X: {},
}
