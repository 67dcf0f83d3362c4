"""One sweep for the tests of its record, its pictures and its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.report.sweep.record import SweepRecord
from tests.report.sweep.examples import eleven_trials


@pytest.fixture
def found(tmp_path: Path) -> SweepRecord:
    return eleven_trials(tmp_path)
