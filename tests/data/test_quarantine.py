"""Each unreadable image counts once, and a run past its budget of them stops."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest

from swav_ray.data.bad_images import BadImage, TooManyBadImages
from swav_ray.data.quarantine import Quarantine
from swav_ray.run.messages import Quarantined
from swav_ray.storage.place import Place, place

FIRST, SECOND = (BadImage(i, f"/x/{i:03d}.jpg", "empty", "the file is empty", 9) for i in (1, 4))


def test_each_image_counts_once_and_one_past_the_budget_stops_the_run(tmp_path: Path) -> None:
    run_dir = place(tmp_path / "run")
    quarantine = Quarantine(run_dir, 12, 0.1, writes=True)
    quarantine.add([FIRST])
    quarantine.add([FIRST])
    assert list(quarantine.entries) == [1]
    assert not (run_dir / "quarantine.jsonl").exists()  # written with a checkpoint, or when the run ends
    quarantine.flush()
    assert Quarantine(run_dir, 12, 1.0, writes=False).entries == {1: FIRST}
    with pytest.raises(TooManyBadImages, match=r"2 of 12 images cannot be read.*allows 1: .*/x/004.jpg \(empty\)"):
        quarantine.add([FIRST, SECOND])
    assert sorted(Quarantine(run_dir, 12, 1.0, writes=False).entries) == [1, 4]


def test_what_is_new_is_told_once_with_the_budget(tmp_path: Path) -> None:
    quarantine = Quarantine(place(tmp_path), 60, 0.1, writes=True)
    assert quarantine.newest() is None
    quarantine.add([FIRST, SECOND])
    assert quarantine.newest() == Quarantined(2, 6, "/x/004.jpg", "empty")
    assert quarantine.newest() is None
    quarantine.flush()
    assert Quarantine(place(tmp_path), 60, 0.1, writes=True).newest() is None, "a resumed run told them before"


def test_the_fields_of_a_line_are_those_of_earlier_runs(tmp_path: Path) -> None:
    quarantine = Quarantine(place(tmp_path), 12, 1.0, writes=True)
    quarantine.add([SECOND, FIRST])
    quarantine.flush()
    lines = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == [["sample_id", "uri", "kind", "reason", "replaced_by"]] * 2
    assert [line["sample_id"] for line in lines] == [1, 4]


def test_one_worker_writes_and_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    reader, writer = (Quarantine(place(tmp_path), 12, 1.0, writes=writes) for writes in (False, True))
    reader.add([FIRST])
    reader.flush()
    assert not (tmp_path / "quarantine.jsonl").exists()
    writer.add([FIRST])
    with (
        mock.patch.object(Place, "write_bytes", side_effect=OSError("disk full")),
        pytest.raises(OSError, match="full"),
    ):
        writer.flush()
    writer.flush()
    assert (tmp_path / "quarantine.jsonl").exists()


def test_held_out_images_are_listed_as_such_and_cost_no_budget(tmp_path: Path) -> None:
    quarantine = Quarantine(place(tmp_path), 12, 0.1, writes=True)
    quarantine.add([FIRST])
    quarantine.add_held_out([SECOND, SECOND])
    quarantine.flush()
    again = Quarantine(place(tmp_path), 12, 0.1, writes=False)
    assert (again.entries, again.held_out) == ({1: FIRST}, {4: SECOND})
    lines = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert [line.get("held_out") for line in lines] == [None, True]
