"""Reading many small objects through libcurl, which signs for S3 itself: an eleventh of boto3's CPU time.

One thread drives all transfers of a batch. It attends to them when the next answer is asked for. In between the kernel
takes in what arrives, and no thread wakes another. boto3 answers whatever libcurl does not answer well.
"""

from __future__ import annotations

import collections
import io
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import botocore.exceptions
import pycurl
from botocore.credentials import ReadOnlyCredentials
from botocore.httpsession import get_cert_path

from swav_ray.storage.changed import as_listed, written_of
from swav_ray.storage.counters import counters
from swav_ray.storage.errors import StorageUnavailable
from swav_ray.storage.prefetch import CONCURRENT_READS, READ_AHEAD, ReadThreads, prefetched
from swav_ray.storage.s3 import address as s3_address
from swav_ray.storage.s3.address import Address, Addresses, addresses, count_request
from swav_ray.storage.s3.client import client, patiently

READ_AHEAD_BYTES = 64 << 20  # of answers that nobody has asked for yet, from which on no request is added
_BUFFER_BYTES = 256 << 10
_CERTIFICATES = get_cert_path(True)  # those that botocore trusts by itself
_LONGEST_PAUSE = 10.0  # seconds without attention, after which transfers are begun anew
_WAIT_SECONDS = 0.2  # at a time, between which Ctrl-C is heard

Request = tuple[str, tuple[int, int] | None]  # a key, and the offset and length of a range or None for all of it


def read(bucket: str, request: Request, newest: float = 0.0) -> bytes:
    """The bytes of one request; fewer if the object ends before its range does.

    `ChangedBytes` if the object was written after ``newest``, in Unix seconds. Raises what `patiently` raises.
    """
    data = _read_quickly(bucket, request, newest)
    return _read_through_boto3(bucket, request, newest) if data is None else data


def read_ahead(bucket: str, requests: Sequence[Request], newest: float = 0.0) -> Iterator[bytes | Exception]:
    """The bytes of each request as by `read`, or what went wrong with it; in order, while the next ones are under way.

    Each answer is given as soon as it is there. Raises StorageUnavailable only.
    """

    def through_boto3(request: Request) -> bytes | Exception:
        try:
            return _read_through_boto3(bucket, request, newest)
        except StorageUnavailable:
            raise
        except (OSError, ValueError) as error:
            return error

    known = addresses()
    if known is None or known.of(bucket) is None:
        yield from prefetched(through_boto3, requests)
        return
    with _Transfers(known, bucket, newest) as transfers, ReadThreads() as threads:
        reading = _Reading(requests, transfers, lambda request: threads.begin(through_boto3, request))
        yield from reading.answers()


def _read_quickly(bucket: str, request: Request, newest: float = 0.0) -> bytes | None:
    """The bytes of one request through libcurl, or None if boto3 should be asked."""
    known = addresses()
    if known is None:
        return None
    with _Transfers(known, bucket, newest) as transfers:
        if not transfers.begin(0, request):
            return None
        while not (ended := transfers.take_ended()):
            transfers.wait()
        return ended[0][1]


def _read_through_boto3(bucket: str, request: Request, newest: float) -> bytes:
    key, byte_range = request
    wanted = {} if byte_range is None else {"Range": f"bytes={byte_range[0]}-{sum(byte_range) - 1}"}

    def get() -> bytes:
        try:
            answer = client().get_object(Bucket=bucket, Key=key, **wanted)
            return as_listed(answer["Body"].read(), written_of(answer), newest)
        except botocore.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("InvalidRange", "416"):
                return b""  # the object ends before the range
            raise

    data = patiently(f"s3://{bucket}/{key}", get)
    counters().add("bytes_read", len(data))
    return data


ThroughBoto3 = Callable[[Request], Future[bytes | Exception]]


class _Reading:
    """One call of `read_ahead`: which requests wait, which are under way, and which answers wait for their turn."""

    def __init__(self, requests: Sequence[Request], transfers: _Transfers, through_boto3: ThroughBoto3) -> None:
        self._requests, self._transfers, self._through_boto3 = requests, transfers, through_boto3
        self._waiting = collections.deque(range(len(requests)))
        self._done: dict[int, bytes | Future[bytes | Exception]] = {}
        self._held = 0  # bytes in `_done`

    def answers(self) -> Iterator[bytes | Exception]:
        for index in range(len(self._requests)):
            if len(self._done) < CONCURRENT_READS // 2:
                self._advance()
            while index not in self._done:
                self._transfers.wait()
                self._advance()
            answer = self._done.pop(index)
            if isinstance(answer, Future):
                yield answer.result()
            else:
                self._held -= len(answer)
                yield answer

    def _advance(self) -> None:
        """Takes what has arrived and begins what there is room for, until nothing more has arrived."""
        if self._transfers.are_stale():
            self._waiting.extendleft(sorted(self._transfers.drop(), reverse=True))
        self._begin()
        while ended := self._transfers.take_ended():
            for index, data in ended:
                self._done[index] = self._through_boto3(self._requests[index]) if data is None else data
                self._held += len(data or b"")
            self._begin()

    def _begin(self) -> None:
        while self._waiting and self._has_room():
            index = self._waiting.popleft()
            request = self._requests[index]
            if request[1] is not None and not request[1][1]:
                self._done[index] = b""
            elif not self._transfers.begin(index, request):
                self._done[index] = self._through_boto3(request)

    def _has_room(self) -> bool:
        running = len(self._transfers)
        return (
            running < CONCURRENT_READS
            and running + len(self._done) < READ_AHEAD
            and (self._held < READ_AHEAD_BYTES or not running)
        )


class _Transfers:
    """Requests to one bucket under way through libcurl, over connections that the process keeps; for one thread."""

    def __init__(self, known: Addresses, bucket: str, newest: float) -> None:
        self._known, self._bucket, self._newest = known, bucket, newest
        self._running: dict[Any, tuple[int, io.BytesIO, Request]] = {}
        self._attended = time.monotonic()
        try:
            self._multi, self._idle = _free.pop()
        except IndexError:
            self._multi, self._idle = pycurl.CurlMulti(), []

    def __enter__(self) -> _Transfers:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()
        _free.append((self._multi, self._idle))

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, index: int, request: Request) -> bool:
        """Begins the request of that number; False if boto3 should be asked."""
        address, credentials = self._known.of(self._bucket), self._known.credentials()
        if address is None or credentials is None or not _is_plain(request[0]):
            return False
        curl, into = self._idle.pop() if self._idle else _handle(), io.BytesIO()
        _set_request(curl, address, credentials, request)
        curl.setopt(pycurl.WRITEDATA, into)
        count_request()
        self._multi.add_handle(curl)
        self._running[curl] = index, into, request
        return True

    def take_ended(self) -> list[tuple[int, bytes | None]]:
        """Lets all transfers proceed. Numbers and bytes of those that have ended; None if boto3 should be asked."""
        self._attended = time.monotonic()
        self._multi.perform()
        ended = []
        left = 1
        while left:
            left, whole, failed = self._multi.info_read()
            ended += [self._end(curl, True) for curl in whole] + [self._end(curl, False) for curl, _, _ in failed]
        return ended

    def _end(self, curl: Any, whole: bool) -> tuple[int, bytes | None]:
        self._multi.remove_handle(curl)
        index, into, request = self._running.pop(curl)
        self._idle.append(curl)
        data = into.getvalue()
        into.close()  # or the idle handle would keep it
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        if whole and status == (200 if request[1] is None else 206):
            self._known.has_answered(self._bucket)
            counters().add("bytes_read", len(data))
            return index, as_listed(data, curl.getinfo(pycurl.INFO_FILETIME), self._newest)
        # An error's page may be longer than the range, which libcurl then cuts off: that is no failure to count.
        if status not in (404, 416):
            self._known.has_failed(self._bucket, refused=status in (401, 403))
        return index, None

    def wait(self) -> None:
        """Until something arrives, or libcurl's own time comes (over TLS it may have the bytes already)."""
        wait = self._multi.timeout()  # milliseconds; -1: none
        seconds = _WAIT_SECONDS if wait < 0 else min(_WAIT_SECONDS, wait / 1000)
        if wait and self._multi.select(seconds) <= 0:  # nothing, or nothing that select has a name for
            time.sleep(0.001)

    def are_stale(self) -> bool:
        """Whether they had no attention for so long that the server has given up, or libcurl would by its clock."""
        return time.monotonic() - self._attended > _LONGEST_PAUSE

    def drop(self) -> list[int]:
        """Ends all transfers; their numbers."""
        for curl in self._running:
            self._multi.remove_handle(curl)
        dropped = [index for index, _, _ in self._running.values()]
        self._running.clear()
        return dropped


def _is_plain(key: str) -> bool:
    """Whether libcurl asks for this key; parts that are . or .. it takes for a path's, and follows them.

    Without a key it would be the bucket's listing.
    """
    return bool(key) and not {".", ".."}.intersection(key.split("/"))


def _handle() -> Any:
    curl = pycurl.Curl()
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.OPT_FILETIME, 1)  # Last-Modified of the answer, -1 without it
    curl.setopt(pycurl.PROXY, "")  # a bucket behind one has no address here
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    curl.setopt(pycurl.BUFFERSIZE, _BUFFER_BYTES)
    curl.setopt(pycurl.CONNECTTIMEOUT, s3_address.CONNECT_SECONDS)
    curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
    curl.setopt(pycurl.TIMEOUT, s3_address.LONGEST_SECONDS)
    return curl


def _set_request(curl: Any, address: Address, credentials: ReadOnlyCredentials, request: Request) -> None:
    key, byte_range = request
    curl.setopt(pycurl.URL, address.url + urllib.parse.quote(key, safe="/~"))
    curl.setopt(pycurl.AWS_SIGV4, f"aws:amz:{address.region}:s3")
    curl.setopt(pycurl.USERNAME, credentials.access_key)
    curl.setopt(pycurl.PASSWORD, credentials.secret_key)
    if credentials.token:
        curl.setopt(pycurl.HTTPHEADER, [f"x-amz-security-token: {credentials.token}"])
    else:
        curl.unsetopt(pycurl.HTTPHEADER)
    curl.setopt(pycurl.CAINFO, address.certificates or _CERTIFICATES)
    curl.setopt(pycurl.LOW_SPEED_TIME, s3_address.STALL_SECONDS)
    if byte_range is None:
        curl.unsetopt(pycurl.RANGE)
        curl.setopt(pycurl.MAXFILESIZE_LARGE, 0)
    else:
        curl.setopt(pycurl.RANGE, f"{byte_range[0]}-{sum(byte_range) - 1}")
        curl.setopt(pycurl.MAXFILESIZE_LARGE, byte_range[1])  # a server that knows no ranges would send it all


_free: list[tuple[Any, list[Any]]] = []  # libcurl's multi handles that no call uses, each with its idle transfers
