"""Charts in pixels: nothing is lost that a person should see, and nothing that is no number is drawn."""

from __future__ import annotations

import numpy as np

from swav_ray.report.page.axis import MOST_POINTS, means, number, spread, ticks
from swav_ray.report.page.charts import HEIGHT, WIDTH, Chart, Level, Mark, Series, draw


def test_a_long_curve_is_few_points_and_keeps_its_spike() -> None:
    y = np.zeros(10_000)
    y[7_777] = 9.0
    shown_x, shown_y = spread(np.arange(10_000), y)
    assert len(shown_x) <= MOST_POINTS
    assert shown_x[shown_y == 9.0].tolist() == [7_777]
    assert np.all(np.diff(shown_x) > 0)


def test_the_mean_of_stretches_keeps_the_whole_mean() -> None:
    x, y = means(np.arange(9_000.0), np.arange(9_000.0))
    assert len(x) <= MOST_POINTS
    assert y.mean() == np.arange(9_000.0).mean()


def test_ticks_are_round_and_within_the_axis() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(71.3, 80.1) == [72, 74, 76, 78, 80]
    assert ticks(5, 5)
    assert [number(value) for value in (0, 12_345, 0.0006, float("nan"))] == ["0", "12,345", "0.0006", "not finite"]


def test_what_is_not_finite_is_left_out_and_nothing_else_is_no_chart() -> None:
    x, nan = np.arange(3.0), np.full(3, np.nan)
    assert draw(Chart("t", "x", "y", [Series("a", x, nan)])) is None
    drawn = draw(Chart("t", "x", "y", [Series("a", x, np.array([1.0, np.nan, np.inf])), Series("b", x, nan)]))
    assert drawn is not None
    assert [path["name"] for path in drawn.paths] == ["a"]
    assert "nan" not in drawn.paths[0]["line"]


def test_levels_and_marks_lie_within_the_picture_and_the_sentence_says_them() -> None:
    series = Series("loss", np.arange(100.0), np.linspace(6, 4, 100))
    drawn = draw(Chart("Loss", "step", "nats", [series], [Level(6.4, "ln K")], [Mark(50, "restart", "restart")]))
    assert drawn is not None
    assert 0 < drawn.levels[0][0] < HEIGHT
    assert 0 < drawn.marks[0]["x"] < WIDTH
    assert drawn.said == "Loss: loss from 6 to 4; ln K: 6.4"


def test_names_of_close_levels_do_not_lie_on_each_other() -> None:
    levels = [Level(5.0, "untrained"), Level(5.01, "raw pixels"), Level(9.0, "far")]
    drawn = draw(Chart("t", "x", "y", [Series("a", np.arange(10.0), np.arange(10.0))], levels))
    assert drawn is not None
    far, first, second = drawn.levels
    assert far[1] == first[1] == WIDTH - 14
    assert second[1] < first[1] - 60
