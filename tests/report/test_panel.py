"""The live panel: whole in small terminals, and drawn anew when the window changes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from swav_ray.report.panel import LivePanel, sparkline
from swav_ray.report.progress import Progress
from swav_ray.report.screen import Screen


def under_way() -> Progress:
    run = Progress(name="quickstart", epochs=24, steps=552, ln_k=4.605, step=328, epoch=15, images_per_second=743.2)
    run.losses.extend([4.5, 4.0, 3.5, 3.125])
    run.knn = [(8.0, 48.2, 4.0), (16.0, 53.8, 3.9)]
    run.with_workers(1, 0)
    run.with_workers(2, 150)
    run.with_checkpoint(300, 1000.0)
    run.health, run.why, run.eta, run.now = "stuck", "the loss stays at ln K", 125.0, "waiting for crops: 20 s"
    return run


def drawn(run: Progress, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=24, force_terminal=True, color_system=None)
    console.print(LivePanel(run, lambda: 1012.0))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_everything_is_shown_in_a_terminal_of_80_by_24() -> None:
    lines = drawn(under_way(), 80)
    assert len(lines) < 24
    assert {len(line) for line in lines} == {80}
    text = "\n".join(lines)
    for part in (
        "quickstart  stuck",
        "step 328 of 552  ETA 2 min 05 s",
        "15 of 24",
        "3.125   nothing is learned at ln K = 4.61",
        "53.8% ± 3.9 after epoch 16",
        "743 images/s, 0% waiting for data",
        "2 workers (1 until step 150)",
        "12 s ago, before step 300",
        "the loss stays at ln K",
        "waiting for crops: 20 s",
    ):
        assert part in text


@pytest.mark.parametrize("width", [40, 60, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert {len(line) for line in drawn(under_way(), width)} == {min(width, 110)}


def test_a_run_without_a_step_has_a_panel() -> None:
    assert any("no step yet" in line for line in drawn(Progress(name="r", epochs=2, now="starting Ray: 3 s"), 80))


def test_a_sparkline_rises_with_its_curve() -> None:
    assert sparkline(range(8)) == "▁▂▃▄▅▆▇█"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([]) == ""
    assert len(sparkline(range(1000), 24)) == 24


def test_a_resized_window_is_wiped_before_it_is_drawn_anew() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    screen = Screen(console)
    screen.show("panel")
    assert screen.current() == "panel"
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
    console.size = (60, 20)  # type: ignore[assignment]
    assert screen.current() == "panel"
    assert console.file.getvalue() == "\x1b[2J\x1b[H"  # type: ignore[attr-defined]
    assert screen.current() == "panel"
    assert console.file.getvalue() == "\x1b[2J\x1b[H"  # type: ignore[attr-defined]
