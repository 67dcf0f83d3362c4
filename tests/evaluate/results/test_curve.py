"""The learning curve of an evaluation that trains."""

from __future__ import annotations

import pytest

from swav_ray.evaluate.results.curve import learning_curve


@pytest.mark.parametrize("epochs", [1, 3, 100])
def test_a_curve_is_drawn_of_any_number_of_epochs(epochs: int) -> None:
    rows = [{"epoch": epoch, "loss": 1 / epoch, "top-1": 10.0 + epoch} for epoch in range(1, epochs + 1)]
    assert learning_curve(rows, "top-1", "linear", "runs/a" * 40).startswith(b"\x89PNG")


def test_an_epoch_without_a_loss_has_no_point() -> None:
    """As after a start that began with the last step of an epoch."""
    rows = [{"epoch": 1, "loss": None, "top-1": 10.0}, {"epoch": 2, "loss": 1.0, "top-1": 20.0}]
    assert learning_curve(rows, "top-1", "linear", "runs/a").startswith(b"\x89PNG")
