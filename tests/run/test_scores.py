"""A checkpoint's accuracy is found whether it was measured before it was saved, or after."""

from __future__ import annotations

import json
from pathlib import Path

from swav_ray.run import layout, measurements
from swav_ray.run.scores import knn_scores
from swav_ray.storage.place import place


def test_scores_come_with_the_checkpoint_or_after_it(tmp_path: Path) -> None:
    run_dir = place(tmp_path)
    for step, score in ((3, 0.0), (6, None), (9, None), (12, None)):
        meta = json.dumps({"step": step, "knn_top1": score}).encode()
        (layout.checkpoint_folder(run_dir, step) / layout.META).write_bytes(meta)
    for step, figures in ((3, {"knn_top1": 99.0}), (6, {"knn_top1": 41.5}), (9, {"rankme": 3.0})):
        measurements.append(run_dir, {"step": step} | figures)
    assert knn_scores(run_dir, [3, 6, 9, 12, 15]) == {3: 0.0, 6: 41.5}


def test_a_damaged_meta_json_has_no_score(tmp_path: Path) -> None:
    (layout.checkpoint_folder(place(tmp_path), 3) / layout.META).write_bytes(b"{")
    assert knn_scores(place(tmp_path), [3]) == {}
