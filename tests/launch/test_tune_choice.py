"""What a sweep is to be: objectives, and how many trials the head node lets run at once."""

from __future__ import annotations

import pytest

from swav_ray.config import ConfigError
from swav_ray.launch.tune_choice import MOST_AT_ONCE, head_share, objectives_of


@pytest.mark.parametrize("at_once", range(1, MOST_AT_ONCE + 1))
def test_as_many_trials_fit_on_the_head_as_told_with_room_for_their_cleaners(at_once: int) -> None:
    share, cleaner = head_share(at_once), 0.001
    assert at_once * (share + cleaner) <= 1 < (at_once + 1) * share


def test_the_loss_is_no_objective_and_knn_needs_labels() -> None:
    with pytest.raises(ConfigError, match=r"objective = 'loss': must be auto, knn.*ln K"):
        objectives_of("loss", labels=True)
    with pytest.raises(ConfigError, match=r"objective = 'knn': needs labels"):
        objectives_of("knn", labels=False)
    with pytest.raises(ConfigError, match="objective = 'images'"):
        objectives_of(["images", "knn"], labels=True)
    assert objectives_of("auto", labels=True) == ["knn"]
    assert objectives_of(["auto", "images"], labels=True) == ["knn", "images"]
