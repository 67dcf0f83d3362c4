"""Extracts features on a Ray of its own and ends itself, as SIGKILL does, when some parts are written.

python -m tests.launch.features_child WEIGHTS IMAGES FOLDER PART_ROWS PARTS
"""

from __future__ import annotations

import os
import signal
import sys

from swav_ray.evaluate.features import store
from swav_ray.launch.connect import connect
from tests.launch.test_features import features


def main(weights: str, images: str, folder: str, part_rows: int, parts: int) -> None:
    store.PART_ROWS = part_rows

    def die(done: int, _total: int) -> None:
        if done >= parts * part_rows:
            os.kill(os.getpid(), signal.SIGKILL)

    connect(False)
    features(weights, images, folder, die)


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))
