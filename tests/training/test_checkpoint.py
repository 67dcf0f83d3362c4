"""A checkpoint is whole or absent, and resumes bit for bit, at any number of workers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.parts.small import crops, small_config
from swav_ray.config import Config
from swav_ray.run import measurements
from swav_ray.storage.place import Place, place
from swav_ray.training import checkpoint
from swav_ray.training.distributed import World
from swav_ray.training.learner import Learner


def advance(learner: Learner, start: int, stop: int) -> list[float]:
    rows = learner.world.own_slice(learner.config.train.global_batch_size)
    dtype = learner.model.conv1.weight.dtype
    batches = [[group.to(dtype) for group in crops(learner.config, step, rows)] for step in range(start, stop)]
    return [learner.step(batch, step).loss for step, batch in enumerate(batches, start)]


def save(run_dir: Place, learner: Learner, step: int, *, keep_last: int) -> None:
    checkpoint.write(run_dir, checkpoint.snapshot(learner, step))
    checkpoint.prune(run_dir, step, checkpoint.Retention(last=keep_last))


def test_resuming_from_a_checkpoint_is_bit_for_bit_the_same(tmp_path: Path) -> None:
    config, run_dir = small_config(), place(tmp_path)
    straight = Learner(config, 3)
    losses = advance(straight, 0, 9)
    first = Learner(config, 3)
    advance(first, 0, 5)
    save(run_dir, first, 5, keep_last=1)
    second = Learner(config, 3)
    found, problems = checkpoint.load_newest(run_dir)
    assert found is not None
    assert not problems
    checkpoint.restore(second, found)
    assert advance(second, found.step, 9) == losses[5:]
    for name, value in straight.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name


def test_layout_in_memory_is_no_matter_of_the_file_and_comes_back(tmp_path: Path) -> None:
    first, second = Learner(small_config(), 3), Learner(small_config(), 3)
    advance(first, 0, 3)
    state = checkpoint.snapshot(first, 3)
    weight, momentum = state.model["layer1.0.conv1.weight"], state.training["momentum.layer1.0.conv1.weight"]
    assert weight.is_contiguous()
    assert momentum.is_contiguous()
    torch.testing.assert_close(weight, first.model.layer1[0].conv1.weight.detach(), rtol=0, atol=0)
    checkpoint.restore(second, checkpoint.Checkpoint(3, state.model, state.training, state.meta))
    for learner in (first, second):
        own = learner.model.layer1[0].conv1.weight
        assert own.is_contiguous(memory_format=torch.channels_last)
        assert learner.optimizer.state[own]["momentum_buffer"].stride() == own.stride()


def _straight_and_resumed(world: World, config: Config) -> tuple[list[float], list[float], list[str]]:
    """Losses of three steps without and with a restart before them, and which weights differ at their end."""
    straight, first, second = (Learner(config, 3, world=world) for _ in range(3))
    losses = advance(straight, 0, 6)
    advance(first, 0, 3)
    state = checkpoint.snapshot(first, 3)
    checkpoint.restore(second, checkpoint.Checkpoint(3, state.model, state.training, state.meta))
    resumed = advance(second, 3, 6)
    after = second.model.state_dict()
    differ = [name for name, value in straight.model.state_dict().items() if not torch.equal(after[name], value)]
    return losses[3:], resumed, differ


@pytest.mark.parametrize(("workers", "most"), [(3, 0), (3, 1)])
def test_going_on_is_bit_for_bit_the_same_for_several_workers_too(gloo_pool, workers: int, most: int) -> None:
    config = small_config(model={"width": 0.5}, train={"max_rows_per_pass": most})
    for losses, resumed, differ in gloo_pool.run(workers, _straight_and_resumed, config):
        assert resumed == losses
        assert differ == []


def _resume(world: World, config: Config, uri: str) -> tuple[list[float], Tensor]:
    learner = Learner(config, 3, dtype=torch.float64, world=world)
    found, _ = checkpoint.load_newest(Place(uri))
    assert found is not None
    checkpoint.restore(learner, found)
    return advance(learner, found.step, 9), learner.model.conv1.weight.detach()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_checkpoint_continues_at_another_world_size(gloo_pool, tmp_path: Path, workers: int) -> None:
    config = small_config()
    straight = Learner(config, 3, dtype=torch.float64)
    losses = advance(straight, 0, 6)
    save(place(tmp_path), straight, 6, keep_last=1)
    losses = advance(straight, 6, 9)
    for theirs, weight in gloo_pool.run(workers, _resume, config, str(tmp_path)):
        assert theirs == pytest.approx(losses, rel=1e-9)
        torch.testing.assert_close(weight, straight.model.conv1.weight.detach(), rtol=1e-7, atol=1e-10)


@pytest.fixture
def two(tmp_path: Path) -> Place:
    run_dir, learner = place(tmp_path), Learner(small_config(), 3)
    for step in (1, 2):
        save(run_dir, learner, step, keep_last=2)
    return run_dir


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "manifest", "manifest_bit", "manifest_key"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(two: Place, damage: str) -> None:
    folder = (two / "checkpoints" / "step-000000002").local_path
    file = folder / ("manifest.json" if damage.startswith("manifest") else "model.safetensors")
    data = file.read_bytes()
    if damage == "remove":
        file.unlink()
    elif damage == "flip":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "manifest_bit":
        file.write_bytes(data[:20] + bytes([data[20] ^ 0x80]) + data[21:])
    elif damage == "manifest_key":
        file.write_bytes(data.replace(b'"size"', b'"sizf"'))
    else:
        file.write_bytes(data[: len(data) // 2])
    found, problems = checkpoint.load_newest(two)
    assert found is not None
    assert found.step == 1
    assert len(problems) == 1
    assert "step-000000002" in problems[0]


def test_without_its_manifest_there_is_no_checkpoint(two: Place) -> None:
    (two / "checkpoints" / "step-000000002" / "manifest.json").delete()
    assert checkpoint.steps(two) == [1]


def test_no_sound_checkpoint_left_is_an_error_not_a_new_start(two: Place) -> None:
    for step in (1, 2):
        (two / "checkpoints" / f"step-{step:09d}" / "meta.json").write_bytes(b"{}")
    with pytest.raises(checkpoint.BadCheckpoint, match="no sound checkpoint"):
        checkpoint.load_newest(two)


def test_old_ones_go(two: Place) -> None:
    save(two, Learner(small_config(), 3), 3, keep_last=2)
    assert checkpoint.steps(two) == [2, 3]
    assert not (two / "checkpoints" / "step-000000001").exists()


def test_a_newer_format_is_refused_by_name(two: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SCHEMA", 0)
    for read in (lambda: checkpoint.load(two, 2), lambda: checkpoint.load_newest(two)):
        with pytest.raises(checkpoint.NewerCheckpoint, match="newer swav_ray"):
            read()


def test_an_older_one_is_not_taken_where_a_newer_format_has_gone_further(two: Place) -> None:
    folder = two / "checkpoints" / "step-000000002"
    meta = json.loads((folder / "meta.json").read_bytes()) | {"schema": checkpoint.SCHEMA + 1}
    sums = json.loads((folder / "manifest.json").read_bytes())
    data = json.dumps(meta).encode()
    sums["meta.json"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "meta.json").write_bytes(data)
    (folder / "manifest.json").write_bytes(json.dumps(sums).encode())
    with pytest.raises(checkpoint.NewerCheckpoint, match="step-000000002"):
        checkpoint.load_newest(two)


def test_a_checkpoint_past_the_logged_steps_is_not_gone_on_from(two: Place) -> None:
    found, problems = checkpoint.load_newest(two, logged=1)
    assert found is not None
    assert found.step == 1
    assert "step-000000002: metrics.jsonl has the lines of 1 steps only" in problems[0]
    assert checkpoint.load_newest(two, logged=2)[1] == []


def test_progress_is_readable(two: Place) -> None:
    meta = json.loads((two / "checkpoints" / "step-000000002" / "meta.json").read_bytes())
    assert meta["samples_seen"] == 16


def test_every_so_many_steps_and_the_best_stay_as_well(tmp_path: Path) -> None:
    run_dir, learner = place(tmp_path), Learner(small_config(), 3)
    accuracy = {1: 20.0, 2: 50.0, 3: 30.0, 5: 40.0}
    for step in range(1, 9):
        checkpoint.write(run_dir, checkpoint.snapshot(learner, step, accuracy.get(step)))
        checkpoint.prune(run_dir, step, checkpoint.Retention(last=2, every_steps=4, best=2))
    assert checkpoint.steps(run_dir) == [2, 4, 5, 7, 8]


def test_what_awaits_its_measurement_stays(tmp_path: Path) -> None:
    run_dir, learner, keep = place(tmp_path), Learner(small_config(), 3), checkpoint.Retention(last=1)
    for step in (1, 2, 3):
        checkpoint.write(run_dir, checkpoint.snapshot(learner, step))
        checkpoint.prune(run_dir, step, keep, awaited={1})
    assert checkpoint.steps(run_dir) == [1, 3]
    measurements.append(run_dir, {"step": 1})
    checkpoint.prune(run_dir, 3, keep, awaited={1})
    assert checkpoint.steps(run_dir) == [3]


def test_what_could_not_be_used_stays_until_the_next_one_is_written(tmp_path: Path) -> None:
    run_dir, learner, keep = place(tmp_path), Learner(small_config(), 3), checkpoint.Retention(last=1)
    for step in (1, 2, 3):
        checkpoint.write(run_dir, checkpoint.snapshot(learner, step))
    checkpoint.prune(run_dir, 2, keep, newer=True)
    assert checkpoint.steps(run_dir) == [2, 3]
    checkpoint.prune(run_dir, 2, keep)
    assert checkpoint.steps(run_dir) == [2]


def test_what_must_be_durable_first_comes_before_the_commit(tmp_path: Path) -> None:
    run_dir, learner = place(tmp_path), Learner(small_config(), 3)

    def refuse() -> None:
        if (tmp_path / "checkpoints" / "step-000000001" / "model.safetensors").exists():
            raise PermissionError("not yours")

    with pytest.raises(PermissionError):
        checkpoint.write(run_dir, checkpoint.snapshot(learner, 1), refuse)
    assert checkpoint.steps(run_dir) == []


def test_a_process_that_another_has_replaced_touches_no_checkpoint(tmp_path: Path) -> None:
    run_dir, learner = place(tmp_path), Learner(small_config(), 3)
    checkpoint.write(run_dir, checkpoint.snapshot(learner, 1))
    files = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    def replaced() -> None:
        raise PermissionError("not yours")

    for step in (1, 2):
        with pytest.raises(PermissionError):
            checkpoint.write(run_dir, checkpoint.snapshot(learner, step), replaced)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == files


def test_a_snapshot_is_a_copy() -> None:
    learner = Learner(small_config(), 3)
    state = checkpoint.snapshot(learner, 0)
    before = {name: value.clone() for name, value in state.model.items()}
    advance(learner, 0, 2)
    assert all(torch.equal(state.model[name], value) for name, value in before.items())
    assert not torch.equal(state.model["conv1.weight"], learner.model.conv1.weight)


def test_a_damaged_newer_one_does_not_crowd_out_the_sound_ones(two: Place) -> None:
    (two / "checkpoints" / "step-000000002" / "model.safetensors").write_bytes(b"")
    found, _ = checkpoint.load_newest(two)
    assert found is not None
    learner = Learner(small_config(), 3)
    checkpoint.restore(learner, found)
    save(two, learner, 1, keep_last=1)
    assert checkpoint.steps(two) == [1]
    assert checkpoint.load(two, 1).step == 1


def test_what_a_killed_write_or_a_killed_prune_left_goes_with_the_next_prune(two: Place) -> None:
    (two / "checkpoints" / "step-000000001" / "manifest.json").delete()
    (two / "checkpoints" / "step-000000007" / "model.safetensors").write_bytes(b"half of it")
    checkpoint.prune(two, 2, checkpoint.Retention(last=2))
    assert {entry.name.partition("/")[0] for entry in (two / "checkpoints").list()} == {"step-000000002"}
