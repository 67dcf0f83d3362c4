"""The page in a real browser: no error, figures to be seen, tabs that work, on a phone and on a projector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.parts.browser import CHROMIUM, Browser
from swav_ray.report.page.gallery import Gallery
from swav_ray.report.page.run_record import RunRecord, read_run
from swav_ray.report.page.write import of_run, of_several
from swav_ray.run.history import note_failure
from tests.report.page.examples import gallery, step_line, write_lines, write_run, write_summary
from tests.report.page.test_write import MARKUP, pictures

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
TABS = ["overview", "training", "clusters", "neighbours", "map", "data", "evaluations", "settings"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    file = folder / "report.html"
    file.write_text(of_run(read_run(write_run(folder / "r")), pictures))
    return file


def shown(browser: Browser) -> list[str]:
    """The parts of the page that can be seen."""
    found: list[str] = browser.ask(
        "[...document.querySelectorAll('[role=tabpanel]')].filter(p => p.offsetHeight).map(p => p.id)"
    )
    return found


@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize("dark", [False, True])
def test_tabs_work_and_nothing_is_wider_than_the_window(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width, dark=dark)
    assert shown(browser) == ["overview"]
    for tab in TABS:
        browser.ask(f"document.getElementById('tab-{tab}').click()")
        assert shown(browser) == [tab]
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth"), tab
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)"
    )
    assert browser.errors() == []
    assert browser.requests() == []


def test_tabs_are_reached_by_the_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page, 1600)
    browser.ask("document.getElementById('tab-overview').focus()")
    for key, tab in (
        ("ArrowRight", "training"),
        ("End", "settings"),
        ("ArrowRight", "overview"),
        ("ArrowLeft", "settings"),
    ):
        browser.press(key)
        assert shown(browser) == [tab]
        assert browser.ask("document.activeElement.id") == f"tab-{tab}"


def test_curves_are_drawn_and_their_figures_read_by_pointer_and_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page, 1600)
    browser.ask("document.getElementById('tab-training').click(); 0")
    box = browser.ask(
        "(b => [b.x, b.y, b.width, b.height])(document.querySelector('#training path').getBoundingClientRect())"
    )
    assert box[2] > 100
    assert box[3] > 20
    browser.point(box[0] + box[2] / 2, box[1] + box[3] / 2)
    readout = "document.querySelector('#training .readout').textContent"
    assert browser.ask(readout).startswith("step ")
    assert "loss, mean of a stretch of steps 3." in browser.ask(readout)
    browser.ask("document.querySelectorAll('#training svg[data-chart]')[1].focus()")
    browser.press("ArrowLeft")
    assert "kNN top-1 50" in browser.ask("document.querySelectorAll('#training .readout')[1].textContent")


def test_pictures_are_seen_and_the_map_shows_the_image_under_the_pointer(browser: Browser, page: Path) -> None:
    browser.open(page, 1600)
    browser.ask("document.getElementById('tab-data').click(); 0")
    assert browser.ask("[...document.images].every(i => i.complete && i.naturalWidth && i.alt)")
    browser.ask("document.getElementById('tab-clusters').click(); 0")
    assert browser.ask("[...document.querySelectorAll('#clusters .thumb')].every(t => t.getAttribute('aria-label'))")
    assert browser.ask("document.querySelector('#clusters .thumb use').getBoundingClientRect().width") > 40
    browser.ask("document.getElementById('tab-map').click(); 0")
    x, y = browser.ask("(b => [b.x + 2, b.y + 2])(document.querySelector('.scatter circle').getBoundingClientRect())")
    browser.point(x, y)
    assert browser.ask("document.querySelector('.shown.on span').textContent") == "0.jpg, cat, prototype 0"
    browser.ask("document.querySelector('.scatter').focus()")
    browser.press("ArrowRight")
    assert browser.ask("document.querySelector('.shown span').textContent") == "1.jpg, dog, prototype 1"
    fill = "getComputedStyle(document.querySelectorAll('.scatter circle')[1]).fill"
    assert browser.ask(fill) == "rgb(194, 87, 12)"
    browser.ask("document.querySelector('input[value=prototype]').click(); 0")
    assert browser.ask("document.querySelector('.colours.by-label').offsetHeight") == 0


def test_light_and_dark_can_be_switched(browser: Browser, page: Path) -> None:
    browser.open(page, 1600)
    browser.ask("document.querySelector('button.theme').click()")
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"


# Names of files and classes as bad as file systems have them: markup, direction marks, no place to break a line.
HOSTILE = [
    MARKUP,
    "x" * 250,
    "\u202egpj.exe",
    "a\nb\tc",
    "{{ 7 * 7 }}{% raw %}",
    "&amp;\x01'\"\\",
    "\U0001f4f7" * 60,
    "../../etc",
]
CLASSES = 100_000


def edge(kind: str, folder: Path) -> tuple[RunRecord, Gallery]:
    """A run at an edge, and its pictures."""
    run_dir = write_run(folder / "r")
    names, labels = [f"{i}.jpg" for i in range(40)], [["cat", "dog"][i % 2] for i in range(40)]
    match kind:
        case "many classes":
            names = [f"{i}.jpg" for i in range(1000)]
            labels = [f"class {i * (CLASSES // 1000)}" for i in range(1000)]
        case "one image":
            names, labels = ["one.jpg"], ["cat"]
        case "no labels":
            labels = [""] * 40
            write_summary(run_dir, 40, knn_top1=None, why_no_knn="there are no labels")
            write_lines(run_dir / "measurements.jsonl", [])
        case "not a number from step 1":
            write_lines(run_dir / "metrics.jsonl", [step_line(step, 40, None if step else 4.6) for step in range(20)])
            nan = {"loss": None, "spread": float("nan"), "effective_rank": float("nan"), "usage": None}
            words = {"epoch": 0, "word": "diverging", "why": "steps were refused", "sound": False}
            write_lines(run_dir / "health.jsonl", [{"step": step} | words | nan for step in range(20)])
            (run_dir / "summary.json").delete()
        case "hostile names":
            names = labels = HOSTILE
            write_lines(
                run_dir / "quarantine.jsonl", [{"sample_id": 1, "uri": n, "kind": n, "reason": n} for n in HOSTILE]
            )
            note_failure(run_dir, MARKUP, print)
            (run_dir / "summary.json").delete()
    return read_run(run_dir), gallery(names, labels)


@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize(
    "kind", ["many classes", "one image", "no labels", "not a number from step 1", "hostile names"]
)
def test_a_run_at_an_edge_is_a_page_like_others(browser: Browser, tmp_path: Path, kind: str, width: int) -> None:
    run, shows = edge(kind, tmp_path)
    file = tmp_path / "edge.html"
    file.write_text(of_run(run, lambda _: shows))
    browser.open(file, width)
    for tab in TABS:
        browser.ask(f"document.getElementById('tab-{tab}').click()")
        assert shown(browser) == [tab]
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth"), tab
        assert len(browser.ask(f"document.getElementById('{tab}').innerText.trim()")) > 20, tab
    assert browser.ask("document.querySelectorAll('img[src=x]').length") == 0
    assert all(
        browser.ask("[...document.querySelectorAll('.figure .value')].map(v => !/nan|inf|none/i.test(v.textContent))")
    )
    assert browser.ask("[...document.querySelectorAll('svg [d], svg [cx]')].every(e => !/nan/i.test(e.outerHTML))")
    assert browser.errors() == []
    assert browser.requests() == []


def test_a_hostile_run_runs_nothing(browser: Browser, tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "r")
    write_lines(run_dir / "quarantine.jsonl", [{"sample_id": 1, "uri": MARKUP, "kind": MARKUP, "reason": MARKUP}])
    write_lines(run_dir / "metrics.jsonl", [step_line(step, 40, None) for step in range(5)])
    hostile = tmp_path / "hostile.html"
    hostile.write_text(of_run(read_run(run_dir), lambda _: gallery([MARKUP] * 3, [MARKUP] * 3)))
    browser.open(hostile, 360)
    assert browser.ask("document.querySelectorAll('img[src=x]').length") == 0
    assert MARKUP in browser.ask("document.getElementById('data').textContent")
    assert browser.errors() == []
    assert browser.requests() == []


def test_ten_thousand_steps_open_at_once(browser: Browser, tmp_path: Path) -> None:
    """What is counted is what the browser has to draw, not its seconds."""
    file = tmp_path / "long.html"
    many = [f"class {i}" for i in range(1000)]
    file.write_text(of_run(read_run(write_run(tmp_path / "r", steps=10_000)), lambda _: gallery(many, many)))
    browser.open(file, 1600)
    assert browser.ask("document.querySelectorAll('*').length") < 10_000
    assert browser.errors() == []


def test_several_runs_side_by_side(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "several.html"
    file.write_text(of_several([read_run(write_run(tmp_path / name)) for name in ("a", "b", "c")], pictures))
    browser.open(file, 360)
    for tab in ("training", "clusters", "settings"):
        browser.ask(f"document.getElementById('tab-{tab}').click()")
        assert shown(browser) == [tab]
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth"), tab
    assert browser.errors() == []
