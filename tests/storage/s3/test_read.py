"""Reads of many objects by one thread: in order, ahead of their use and not too far, boto3 for what is not quiet."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator

import botocore.credentials
import botocore.exceptions
import pytest

from benchmarks.parts.s3_server import S3Server
from swav_ray.storage import ranges
from swav_ray.storage.place import StorageUnavailable, place, stats
from swav_ray.storage.prefetch import CONCURRENT_READS, READ_AHEAD, begun_ahead
from swav_ray.storage.s3 import read as s3_read
from swav_ray.storage.s3.read import fetch
from tests.storage.test_place import Answers, answers

__all__ = ["answers"]


def test_answers_come_in_order_and_what_is_not_quiet_is_left_to_boto3(answers: Answers) -> None:
    answers.paths = {f"/b/{index}": [(200, b"%d" % index)] for index in range(100)}
    answers.paths["/b/7"] = [(503, b"busy")]
    answers.paths["/b/8"] = [(301, b"elsewhere")]
    del answers.paths["/b/9"]
    left: list[int] = []

    def otherwise(index: int) -> int:
        left.append(index)
        return index

    before = stats()
    found = list(fetch("b", [(str(index), None) for index in range(100)], otherwise))
    assert found == [index if index in (7, 8, 9) else b"%d" % index for index in range(100)]
    assert sorted(left) == [7, 8, 9]
    assert stats()["bytes_read"] - before["bytes_read"] == sum(len(data) for data in found if isinstance(data, bytes))
    assert stats()["retries"] - before["retries"] == 2  # 9 is not there, however often it is asked for


@pytest.mark.parametrize(("status", "found"), [(206, b"y"), (200, "boto3"), (416, "boto3")])
def test_a_range_is_one_only_if_the_server_says_so(answers: Answers, status: int, found: object) -> None:
    answers.paths["/b/x"] = [(status, b"y")]
    assert list(fetch("b", [("x", (3, 1))], lambda _: "boto3")) == [found]


def test_an_error_whose_page_is_longer_than_the_range_is_that_error(answers: Answers) -> None:
    answers.paths = {f"/b/{status}": [(status, b"an XML page")] for status in (404, 503)}
    before = stats()["retries"]
    assert list(fetch("b", [("404", (0, 3)), ("503", (0, 3))], lambda index: index)) == [0, 1]
    assert stats()["retries"] - before == 1


def test_no_more_is_read_ahead_than_a_bound(answers: Answers) -> None:
    answers.paths = {f"/b/{index}": [(200, b"y")] for index in range(500)}
    found = fetch("b", [(str(index), None) for index in range(500)], lambda index: index)
    for used in range(1, 100):
        assert next(found) == b"y"
        assert len(answers.asked) <= used + READ_AHEAD
    assert len(answers.asked) >= 99 + CONCURRENT_READS // 2
    assert list(found) == [b"y"] * 401


def test_what_is_left_to_boto3_is_begun_ahead_as_well() -> None:
    begun: list[int] = []
    found = begun_ahead(lambda index: begun.append(index) or index, 500)  # type: ignore[func-returns-value]
    for used, index in enumerate(itertools.islice(found, 300)):
        assert index == used
        assert len(begun) <= used + READ_AHEAD
    assert list(found) == list(range(300, 500))
    assert list(begun_ahead(lambda index: index, 3)) == [0, 1, 2]
    assert list(begun_ahead(lambda index: index, 0)) == []


def test_reads_that_are_given_up_disturb_no_others(answers: Answers) -> None:
    answers.paths = {f"/b/{index}": [(200, b"%d" % index)] for index in range(200)}
    requests = [(str(index), None) for index in range(200)]
    for given in (1, 30):
        found = fetch("b", requests, lambda index: index)
        assert list(itertools.islice(found, given)) == [b"%d" % index for index in range(given)]
        found.close()  # type: ignore[attr-defined]
    both = zip(fetch("b", requests, lambda i: i), fetch("b", requests[::-1], lambda i: i), strict=True)
    assert list(both) == [(b"%d" % index, b"%d" % (199 - index)) for index in range(200)]


def test_connections_are_kept_from_batch_to_batch(answers: Answers) -> None:
    names = [str(index) for index in range(40)]
    answers.paths = {f"/b/{name}": [(200, b"y")] for name in names}
    s3_read._free.clear()
    for _ in range(8):
        spans = [(index, -1, -1) for index in range(40)]
        assert list(ranges.read_spans(place("s3://b"), names, spans)) == [b"y"] * 40
    assert answers.connections < 2 * CONCURRENT_READS  # and not one for each of 320 reads, or 32 a batch


def test_transfers_that_nobody_looked_after_are_begun_anew(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    answers.paths = {f"/b/{index}": [(200, b"%d" % index)] for index in range(200)}
    passed = 0.0
    clock = time.monotonic
    monkeypatch.setattr(s3_read.time, "monotonic", lambda: clock() + passed)
    before = stats()["retries"]
    found = []
    for answer in fetch("b", [(str(index), None) for index in range(200)], lambda index: index):
        found.append(answer)
        passed += 3600.0 if len(found) in (5, 100) else 0.0
    assert found == [b"%d" % index for index in range(200)]
    assert len(answers.asked) > 200
    assert stats()["retries"] == before


def test_what_takes_no_request_is_not_asked_for(answers: Answers) -> None:
    assert list(fetch("b", [("x", (5, 0)), ("", None), ("a/../x", None)], lambda index: index)) == [b"", 1, 2]
    assert answers.asked == []


def test_credentials_that_cannot_be_renewed_are_boto3s_to_tell(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired(*_: object) -> None:
        raise botocore.exceptions.CredentialRetrievalError(provider="x", error_msg="no answer")

    answers.paths["/b/x"] = [(200, b"y")]
    assert list(fetch("b", [("x", None)], lambda index: index)) == [b"y"]
    monkeypatch.setattr(botocore.credentials.Credentials, "get_frozen_credentials", expired)
    with pytest.raises(StorageUnavailable, match="no answer"):
        list(ranges.read_spans(place("s3://b"), ["x"], [(0, -1, -1)]))


def test_threads_have_transfers_of_their_own(answers: Answers) -> None:
    answers.paths = {f"/b/{index}": [(200, b"%d" % index)] for index in range(64)}
    found: dict[int, list[bytes | int]] = {}

    def read(number: int) -> None:
        found[number] = list(fetch("b", [(str(index), None) for index in range(number, 64, 8)], lambda i: i))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [b"%d" % index for index in range(number, 64, 8)] for number in range(8)}


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that promises ten bytes and gives three."""
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

    threading.Thread(target=serve, daemon=True).start()
    yield
    listener.close()


@pytest.mark.usefixtures("cut_off")
def test_a_body_that_ends_too_soon_is_no_answer() -> None:
    before = stats()["retries"]
    assert list(fetch("b", [("x", None)] * 3, lambda index: index)) == [0, 1, 2]
    assert stats()["retries"] - before == 3


def test_a_session_token_is_signed_and_sent(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, str]] = []
    handler = answers.server.RequestHandlerClass
    get = handler.do_GET  # type: ignore[attr-defined]

    def noting(self: object) -> None:
        sent.append(dict(self.headers))  # type: ignore[attr-defined]
        get(self)

    monkeypatch.setattr(handler, "do_GET", noting)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "for a while")
    answers.paths["/b/x"] = [(200, b"y")]
    assert list(fetch("b", [("x", None)], lambda index: index)) == [b"y"]
    assert sent[0]["x-amz-security-token"] == "for a while"
    assert "x-amz-security-token" in sent[0]["Authorization"]
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    assert list(fetch("b", [("x", None)], lambda index: index)) == [b"y"]
    assert "x-amz-security-token" not in sent[1]


@pytest.mark.s3
def test_a_batch_is_read_through_boto3_where_libcurl_cannot(
    s3_server: S3Server, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = place(s3)
    names = [f"{index}.jpg" for index in range(20)]
    for name in names:
        s3_server.client().put_object(Bucket=s3[5:], Key=name, Body=name.encode() * 100)
    whole = [(index, -1, len(name) * 100) for index, name in enumerate(names)]
    parts = [(index, 3, 50) for index in range(len(names))]
    expected = [name.encode() * 100 for name in names]
    for refused in (False, True):
        monkeypatch.setattr(s3_read, "addresses", lambda: None) if refused else None
        assert list(ranges.read_spans(root, names, whole)) == expected
        assert list(ranges.read_spans(root, names, parts)) == [data[3:53] for data in expected]
        missing = list(ranges.read_spans(root, ["0.jpg", "gone.jpg"], [(0, -1, -1), (1, -1, -1)]))
        assert missing[0] == expected[0]
        assert isinstance(missing[1], FileNotFoundError)
