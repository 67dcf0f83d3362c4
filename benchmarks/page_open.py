"""How large a run's page is, and how long a browser takes to open it, beside an empty page.

`python -m benchmarks.page_open RUN [--steps N]`: the page of a run, as it is or as if it had N steps, opened in
headless Chromium. Milliseconds are those of the page's own clock, from the address to the end of loading.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.parts.browser import CHROMIUM, Browser
from swav_ray.report.page.run_record import RunRecord, read_run
from swav_ray.report.page.write import of_run
from swav_ray.storage.place import place

_TIMES = 7
_EMPTY = "<!doctype html><title>empty</title>"
_OPENED = "performance.timing.loadEventEnd - performance.timing.navigationStart"


def with_steps(run: RunRecord, steps: int) -> RunRecord:
    """The run as if it had so many steps, its own over and over."""
    lines, last = run.steps, run.steps[-1]["time"] - run.steps[0]["time"]
    longer = [
        line | {"step": number, "time": line["time"] + number // len(lines) * last}
        for number in range(steps)
        for line in [lines[number % len(lines)]]
    ]
    return dataclasses.replace(run, steps=longer)


def opened(browser: Browser, page: Path, width: int) -> float:
    """Milliseconds, the median of some."""
    found = []
    for _ in range(_TIMES):
        browser.open(page, width)
        found.append(float(browser.ask(_OPENED)))
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--steps", type=int, default=0)
    options = parser.parse_args()
    if not CHROMIUM:
        raise SystemExit("needs Chromium")
    run = read_run(place(options.run))
    if options.steps:
        run = with_steps(run, options.steps)
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder) / "profile") as browser:
        page, empty = Path(folder) / "report.html", Path(folder) / "empty.html"
        page.write_text(of_run(run))
        empty.write_text(_EMPTY)
        figures = {
            "steps": len(run.steps),
            "bytes": page.stat().st_size,
            "open_ms_1600": opened(browser, page, 1600),
            "open_ms_360": opened(browser, page, 360),
            "empty_page_ms": opened(browser, empty, 1600),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
