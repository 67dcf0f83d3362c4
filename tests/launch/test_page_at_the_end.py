"""The page that a run writes at its end: whatever goes wrong with it, the run is done."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from swav_ray.launch import train as launcher
from swav_ray.launch.signals import Interrupted
from swav_ray.launch.train import _write_page
from swav_ray.report.terminal import Terminal
from swav_ray.storage.place import Place, place
from tests.report.page.examples import write_run


def test_it_is_written_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = write_run(tmp_path / "r")
    _write_page(run_dir, Terminal(1.0))
    assert capsys.readouterr().out == f"the run's page: {run_dir}/report.html\n"
    assert "there is no checkpoint yet" in (tmp_path / "r" / "report.html").read_text()


def test_one_that_cannot_be_written_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = write_run(tmp_path / "r")
    (run_dir / "config.yaml").write_bytes(b"train: 7")
    _write_page(run_dir, Terminal(1.0))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: no page of the run: ")


def test_a_run_that_never_began_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write_page(place(tmp_path / "nowhere"), Terminal(1.0))
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "nowhere").exists()


def test_a_signal_while_it_is_written_costs_the_page_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Place) -> Place:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(launcher, "write_page", interrupted)
    run_dir = write_run(tmp_path / "r")
    _write_page(run_dir, Terminal(1.0))
    assert capsys.readouterr().out == f"no page of the run; python -m swav_ray.report {run_dir} writes it\n"
