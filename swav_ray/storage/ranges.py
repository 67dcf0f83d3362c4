"""Reads many files or byte ranges: neighbours in one request, several requests at a time where it pays."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from swav_ray.storage.errors import StorageUnavailable
from swav_ray.storage.place import Place
from swav_ray.storage.prefetch import CONCURRENT_READS, begun_ahead

_LARGEST_GAP = 64 << 10  # bytes read in vain rather than ask twice
_LARGEST_READ = 8 << 20  # bytes of one merged request

Job = TypeVar("Job")
Answer = TypeVar("Answer")
Span = tuple[int, int, int]  # (position in the answer, offset, length); offset -1: the whole file
_Spans = tuple[str, tuple[Span, ...]]  # of the file of that name, that are read in one request


def read_spans(root: Place, names: Sequence[str], spans: Sequence[Span]) -> Iterator[bytes | Exception]:
    """The bytes of each span of the file of that name, or what went wrong with it; in order, as by `in_order`.

    ``spans[i]`` belongs to ``names[i]`` and its position must be i. Raises StorageUnavailable only.
    """
    jobs = {(name, tuple(group)): [position for position, _, _ in group] for name, group in _merged(names, spans)}

    def read(job: _Spans) -> list[bytes | Exception]:
        return _read_group(root, *job)

    def read_ahead(
        begun: Sequence[_Spans], otherwise: Callable[[int], Future[Sequence[bytes | Exception]]]
    ) -> Iterator[Sequence[bytes | Exception] | Future[Sequence[bytes | Exception]]]:
        requests = [(name, _range_of(group)) for name, group in begun]
        for (name, group), answer in zip(begun, root.read_ahead(requests, otherwise), strict=True):
            yield answer if isinstance(answer, Future) else _cut(root / name, group, answer)

    return in_order(jobs, read, is_local=root.is_local, ahead=read_ahead)


def in_order(
    jobs: Mapping[Job, Sequence[int]],
    run: Callable[[Job], Sequence[Answer]],
    *,
    is_local: bool,
    ahead: Callable[[Sequence[Job], Callable[[int], Future[Sequence[Answer]]]], Iterator[Any]] | None = None,
) -> Iterator[Answer]:
    """The answers of jobs by their positions 0, 1, ..., each given as soon as it is there.

    On S3 the next READ_AHEAD jobs are begun, CONCURRENT_READS at a time, so whoever works on an answer does not wait
    for the next one: each in a thread, or all by ``ahead(jobs, begin)``, which gives their answers in order, and for
    those that it leaves to a thread what it got from ``begin(index)``. Local reads come from one disk: each when it is
    asked for.
    """
    job_of = {position: job for job, positions in jobs.items() for position in positions}
    ordered = list(dict.fromkeys(job_of[position] for position in range(len(job_of))))
    failures: list[BaseException] = []
    pool = ThreadPoolExecutor(CONCURRENT_READS, "read-s3")  # without a thread until one is needed

    def run_unless_failed(job: Job) -> Sequence[Answer]:
        """An outage costs its patience once: a job that comes to its turn after a failure does not wait as well."""
        if failures:
            raise failures[0]
        try:
            return run(job)
        except BaseException as error:
            failures.append(error)
            raise

    def begin(index: int) -> Future[Sequence[Answer]]:
        return pool.submit(run_unless_failed, ordered[index])

    answers: Iterator[Any]
    if is_local or (len(ordered) < 2 and not ahead):
        answers = map(run, ordered)
    elif ahead:
        answers = ahead(ordered, begin)
    else:
        answers = begun_ahead(begin, len(ordered))
    try:
        held: dict[Job, dict[int, Answer]] = {}
        for position in range(len(job_of)):
            job = job_of[position]
            if job not in held:
                found = next(answers)
                found = found.result() if isinstance(found, Future) else found
                held[job] = dict(zip(jobs[job], found, strict=True))
            answer = held[job].pop(position)
            if not held[job]:
                del held[job]
            yield answer
    finally:
        pool.shutdown(cancel_futures=True)
        failures.clear()  # whose tracebacks hold this frame


def _merged(names: Sequence[str], spans: Sequence[Span]) -> Iterator[tuple[str, list[Span]]]:
    """Jobs of one request each: whole files, and runs of spans that lie close together in one file."""
    by_name: dict[str, list[Span]] = {}
    for name, span in zip(names, spans, strict=True):
        by_name.setdefault(name, []).append(span)
    for name, group in by_name.items():
        run: list[Span] = []
        end = 0
        for span in sorted(group, key=lambda s: s[1]):
            _, offset, length = span
            whole = offset < 0  # sorted before any range
            near = offset - end <= _LARGEST_GAP and offset + length - run[0][1] <= _LARGEST_READ if run else True
            if run and not whole and (run[0][1] < 0 or not near):
                yield name, run
                run = []
            run.append(span)
            end = max(end, offset + length)
        yield name, run


def _range_of(group: Sequence[Span]) -> tuple[int, int] | None:
    """Offset and length of the one request for spans that lie together; None: the whole file."""
    start = group[0][1]
    return None if start < 0 else (start, max(offset + length for _, offset, length in group) - start)


def _read_group(root: Place, name: str, group: Sequence[Span]) -> list[bytes | Exception]:
    path, byte_range = root / name, _range_of(group)
    try:
        data = path.read_range(*byte_range) if byte_range else path.read_bytes()
    except StorageUnavailable:
        raise
    except (OSError, ValueError) as error:
        return [error] * len(group)
    return _cut(path, group, data)


def _cut(path: Place, group: Sequence[Span], data: bytes) -> list[bytes | Exception]:
    """The spans' own bytes of what their request gave."""
    start = max(0, group[0][1])
    out: list[bytes | Exception] = []
    for _, offset, length in group:
        found = data if offset < 0 else data[offset - start : offset - start + length]
        if len(found) < length:
            out.append(EOFError(f"{path}: gave {len(found):,} bytes of the {length:,} it had when it was indexed"))
        else:
            out.append(found)
    return out


class RangeFile(io.RawIOBase):
    """A file on S3 (or local) as Python's and Arrow's readers want it: seekable, each read one range request."""

    def __init__(self, path: Place, size: int) -> None:
        super().__init__()
        self._path, self._size, self._position = path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._position)
        data = self._path.read_range(self._position, left if size < 0 else min(size, left))
        self._position += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
