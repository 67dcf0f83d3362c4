"""A node's cache gives back what was put in, whole or not at all, stays within its size and never fails a read."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from swav_ray.storage import node_cache
from swav_ray.storage.node_cache import NodeCache

MOST = 64 << 20
FOLDER = MOST // 64  # bytes of one of the cache's folders


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[NodeCache]:
    yield NodeCache(str(tmp_path / "cache"), MOST)
    node_cache._state_of.cache_clear()


def data_of(key: str, size: int = 100_000) -> bytes:
    return (key.encode() * (size // len(key) + 1))[:size]


def files(cache: NodeCache) -> list[Path]:
    return [file for file in Path(cache.folder).rglob("*") if file.is_file() and file.name != "usage"]


def bytes_on_disk(cache: NodeCache) -> int:
    return sum(file.stat().st_blocks * 512 for file in files(cache))


def file_of(cache: NodeCache, key: str) -> Path:
    return Path(cache._path(key))


def in_one_folder(cache: NodeCache, count: int) -> list[str]:
    keys = (f"key {n}" for n in range(1_000_000))
    return [
        key for key, _ in zip((k for k in keys if file_of(cache, k).parent.name == "00"), range(count), strict=False)
    ]


def test_what_was_put_is_found_by_its_key_alone(cache: NodeCache) -> None:
    cache.put("a", b"bytes of a")
    cache.put("empty", b"")
    assert cache.get("a") == b"bytes of a"
    assert cache.get("empty") == b""
    assert cache.get("b") is None
    assert cache.has("a")
    assert not cache.has("b")


def test_another_process_finds_it(cache: NodeCache) -> None:
    cache.put("a", b"bytes of a")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(cache.get, ("a",)) == b"bytes of a"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
        lambda data: bytes(len(data)),  # a power cut between the size and the bytes
        lambda _: b"",
    ],
    ids=["short", "long", "bit", "zeros", "empty"],
)
def test_a_damaged_entry_is_absent_and_can_be_replaced(
    cache: NodeCache, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    cache.put("a", data_of("a"))
    file = file_of(cache, "a")
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get("a") is None
    assert not cache.has("a")
    cache.put("a", data_of("a"))
    assert cache.get("a") == data_of("a")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_an_entry_under_the_name_of_another_is_absent(cache: NodeCache) -> None:
    cache.put("a", data_of("a"))
    other = file_of(cache, "b")
    other.parent.mkdir(exist_ok=True)
    file_of(cache, "a").rename(other)
    assert cache.get("b") is None


def test_the_least_recently_used_entries_are_evicted(cache: NodeCache) -> None:
    *keys, last = in_one_folder(cache, 11)
    for age, key in enumerate(keys):
        cache.put(key, data_of(key))
        used = time.time() - 1000 + age
        os.utime(file_of(cache, key), (used, used))
    assert cache.get(keys[0]) is not None  # now it is the youngest
    cache.put(last, data_of(last))
    assert [cache.has(key) for key in keys] == [True] + 3 * [False] + 6 * [True]
    assert cache.get(last) == data_of(last)


def test_it_stays_within_its_size(cache: NodeCache) -> None:
    for n in range(900):
        cache.put(f"key {n}", data_of(f"key {n}"))
        if n % 100 == 99:
            assert bytes_on_disk(cache) <= MOST
    assert bytes_on_disk(cache) > MOST / 2


def test_an_entry_that_is_larger_than_a_folder_is_left_out(cache: NodeCache) -> None:
    cache.put("large", bytes(FOLDER))
    assert not files(cache)


@pytest.mark.parametrize("count", [b"", b"\0" * 12, b"x" * 12], ids=["lost", "zeros", "damaged"])
def test_a_damaged_count_is_counted_again(cache: NodeCache, count: bytes) -> None:
    keys = in_one_folder(cache, 30)
    for key in keys[:10]:
        cache.put(key, data_of(key))
    (file_of(cache, keys[0]).parent / "usage").write_bytes(count)
    for key in keys[10:]:
        cache.put(key, data_of(key))
        assert bytes_on_disk(cache) <= FOLDER


def _write_forever(cache: NodeCache, name: str, written: Any) -> None:
    while True:
        n = written.value + 1
        cache.put(f"{name} {n}", data_of(f"{name} {n}", 400_000))
        written.value = n


def test_a_process_killed_while_it_writes_leaves_nothing_half(cache: NodeCache) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        written = context.RawValue("i", 0)
        writer = context.Process(target=_write_forever, args=(cache, str(attempt), written), daemon=True)
        writer.start()
        while written.value < 20 + attempt:
            assert writer.is_alive()
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        newest = range(max(1, written.value - 500), written.value + 2)  # the last one was being written
        found = [cache.get(f"{attempt} {n}") for n in newest]
        expected = [data_of(f"{attempt} {n}", 400_000) for n in newest]
        assert all(one in (None, other) for one, other in zip(found, expected, strict=True))
        assert any(found)
    cache.put("after", b"the lock is free")
    assert cache.get("after") == b"the lock is free"


def test_what_a_killed_writer_left_is_removed_in_time(cache: NodeCache) -> None:
    keys = in_one_folder(cache, 40)
    cache.put(keys[0], data_of(keys[0]))
    leftover = file_of(cache, keys[0]).parent / ".leftover"
    leftover.write_bytes(bytes(300_000))
    os.utime(leftover, (1, 1))
    for key in keys:
        cache.put(key, data_of(key))
    assert not leftover.exists()


def _put_and_get(cache: NodeCache, seed: int) -> int:
    """Reads and writes the same keys as others do, in another order; how many answers were wrong."""
    wrong = 0
    for n in range(300):
        key = f"key {(n * 7 + seed * 31) % 120}"
        found = cache.get(key)
        wrong += found is not None and found != data_of(key)
        cache.put(key, data_of(key))
    return wrong


def test_processes_and_threads_may_evict_what_others_read(tmp_path: Path) -> None:
    small = NodeCache(str(tmp_path), 16 << 20)  # an eighth of what they write
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool, ThreadPoolExecutor(3) as threads:
        answers = pool.starmap_async(_put_and_get, [(small, seed) for seed in range(3)])
        wrong = list(threads.map(lambda seed: _put_and_get(small, seed), range(3, 6)))
        wrong += answers.get(60)
    assert wrong == [0] * 6
    assert bytes_on_disk(small) <= small.most_bytes


def test_a_full_disk_is_one_warning_and_what_is_cached_stays(
    cache: NodeCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put("before", b"there")
    write = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) < 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", full)
    for n in range(3):
        cache.put(f"key {n}", data_of(f"key {n}"))
    assert [cache.get(f"key {n}") for n in range(3)] == [None] * 3
    assert cache.get("before") == b"there"
    assert len(files(cache)) == 1
    (warning,) = caplog.messages
    assert "scaling.cache_dir" in warning
    assert "No space left on device" in warning


def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = NodeCache(str(tmp_path / "file" / "cache"), MOST)
    cache.put("a", b"x")
    assert cache.get("a") is None
    (warning,) = caplog.messages
    assert "Not a directory" in warning


def test_a_read_only_folder_is_one_warning_and_is_read(
    cache: NodeCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put("before", b"there")

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("open", "utime", "unlink", "replace"):
        monkeypatch.setattr(os, name, refuse)
    os_time = time.time
    monkeypatch.setattr(time, "time", lambda: os_time() + 1000)
    cache.put("a", b"x")
    cache.put("b", b"x")
    assert cache.get("before") == b"there"
    assert cache.get("a") is None
    assert len(caplog.messages) == 1


def test_a_folder_of_another_user_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    cache = NodeCache(str(tmp_path), MOST)
    cache.put("a", b"x")
    assert cache.get("a") is None
    assert not cache.has("a")
    (warning,) = caplog.messages
    assert "another user" in warning
