"""Reading many small objects through libcurl, which signs for S3 itself: a twelfth of boto3's CPU time.

One thread drives all transfers of a batch. It looks after them whenever the next answer is asked for; between two of
those the kernel takes in what arrives, and nobody wakes anybody.
"""

from __future__ import annotations

import collections
import io
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pycurl
from botocore.credentials import ReadOnlyCredentials
from botocore.httpsession import get_cert_path

from swav_ray.storage.counters import counters
from swav_ray.storage.prefetch import CONCURRENT_READS, READ_AHEAD, begun_ahead
from swav_ray.storage.s3 import address as s3_address
from swav_ray.storage.s3.address import Address, Addresses, addresses, count_request

READ_AHEAD_BYTES = 64 << 20  # of such answers, from which on no request is added
_BUFFER_BYTES = 256 << 10
_CERTIFICATES = get_cert_path(True)  # those that botocore trusts by itself
_LONGEST_PAUSE = 10.0  # seconds without a look, after which transfers are begun anew
_WAIT_SECONDS = 0.2  # at a time, between which Ctrl-C is heard

Request = tuple[str, tuple[int, int] | None]  # a key, and the offset and length of a range or None for all of it
Other = TypeVar("Other")


def fetch(bucket: str, requests: Sequence[Request], otherwise: Callable[[int], Other]) -> Iterator[bytes | Other]:
    """The bytes of each request, in order, each as soon as it is there; the next ones are on their way meanwhile.

    Where boto3 should be asked, ``otherwise(index)`` stands instead, called as soon as that is known.
    """
    known = addresses()
    if known is None or known.of(bucket) is None:
        yield from begun_ahead(otherwise, len(requests))
        return
    try:
        reader = _free.pop()
    except IndexError:
        reader = _Reader()
    try:
        yield from reader.answers(known, bucket, requests, otherwise)
    finally:
        _free.append(reader)


def get(bucket: str, key: str, byte_range: tuple[int, int] | None) -> bytes | None:
    """The bytes of one request, or None where boto3 should be asked."""
    (answer,) = fetch(bucket, [(key, byte_range)], lambda _: None)
    return answer


class _Reader:
    """Transfers over connections that are kept; for one thread at a time."""

    def __init__(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[int, io.BytesIO]] = {}

    def answers(
        self, known: Addresses, bucket: str, requests: Sequence[Request], otherwise: Callable[[int], Other]
    ) -> Iterator[bytes | Other]:
        """See `fetch`."""
        waiting = collections.deque(range(len(requests)))
        done: dict[int, bytes | Other] = {}
        held, turned = 0, time.monotonic()  # bytes in `done`; when transfers were last looked after

        def begin() -> None:
            index = waiting.popleft()
            key, byte_range = requests[index]
            address, credentials = known.of(bucket), known.credentials()
            if byte_range is not None and not byte_range[1]:
                done[index] = b""
            elif address is None or credentials is None or not _is_plain(key):
                done[index] = otherwise(index)
            else:
                self._begin(address, credentials, index, key, byte_range)

        def turn() -> None:
            """Lets every transfer go on as far as it can."""
            nonlocal held, turned
            if time.monotonic() - turned > _LONGEST_PAUSE:  # the server has given up, or libcurl would by its own clock
                waiting.extendleft(sorted((index for index, _ in self._running.values()), reverse=True))
                self._drop()
            while True:
                turned = time.monotonic()
                while (
                    waiting
                    and len(self._running) < CONCURRENT_READS
                    and len(self._running) + len(done) < READ_AHEAD
                    and (held < READ_AHEAD_BYTES or not self._running)
                ):
                    begin()
                self._multi.perform()
                ended = list(self._ended())
                for index, status, data in ended:
                    if status == (200 if requests[index][1] is None else 206):
                        known.has_answered(bucket)
                        counters().add("bytes_read", len(data))
                        done[index] = data
                        held += len(data)
                    else:
                        if status not in (404, 416):
                            known.has_failed(bucket, refused=status in (401, 403))
                        done[index] = otherwise(index)
                if not ended:
                    return

        try:
            for index in range(len(requests)):
                if len(done) < CONCURRENT_READS // 2:
                    turn()
                while index not in done:
                    self._wait()
                    turn()
                answer = done.pop(index)
                held -= len(answer) if isinstance(answer, bytes) else 0
                yield answer
        finally:
            self._drop()

    def _wait(self) -> None:
        """Until something arrives or libcurl wants to go on without (over TLS it may have the bytes already)."""
        wait = self._multi.timeout()  # milliseconds; -1: no wish
        seconds = _WAIT_SECONDS if wait < 0 else min(_WAIT_SECONDS, wait / 1000)
        if wait and self._multi.select(seconds) <= 0:  # nothing, or nothing that select has a name for
            time.sleep(0.001)

    def _drop(self) -> None:
        for curl in self._running:
            self._multi.remove_handle(curl)
        self._running.clear()

    def _begin(
        self,
        address: Address,
        credentials: ReadOnlyCredentials,
        index: int,
        key: str,
        byte_range: tuple[int, int] | None,
    ) -> None:
        curl, into = self._idle.pop() if self._idle else _curl(), io.BytesIO()
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
        curl.setopt(pycurl.WRITEDATA, into)
        count_request()
        self._multi.add_handle(curl)
        self._running[curl] = index, into

    def _ended(self) -> Iterator[tuple[int, int, bytes]]:
        """Index, HTTP status and bytes of those that have ended; the status of a good answer that was cut off is 0."""
        left = 1
        while left:
            left, whole, failed = self._multi.info_read()
            for curl, arrived in [(curl, True) for curl in whole] + [(curl, False) for curl, _, _ in failed]:
                self._multi.remove_handle(curl)
                index, into = self._running.pop(curl)
                self._idle.append(curl)
                data = into.getvalue()
                into.close()  # or the idle handle would keep it
                status = curl.getinfo(pycurl.RESPONSE_CODE)  # an error's page may be longer than the range asked for
                yield index, status if arrived or status >= 300 else 0, data


def _is_plain(key: str) -> bool:
    """Whether libcurl asks for this key; parts that are . or .. it takes for a path's, and follows them.

    Without a key it would be the bucket's listing.
    """
    return bool(key) and not {".", ".."}.intersection(key.split("/"))


def _curl() -> Any:
    curl = pycurl.Curl()
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.PROXY, "")  # a bucket behind one has no address here
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    curl.setopt(pycurl.BUFFERSIZE, _BUFFER_BYTES)
    curl.setopt(pycurl.CONNECTTIMEOUT, s3_address.CONNECT_SECONDS)
    curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
    curl.setopt(pycurl.TIMEOUT, s3_address.LONGEST_SECONDS)
    return curl


_free: list[_Reader] = []  # that nobody uses
