"""Reads of many objects by one thread: in order, ahead of their use and not too far, boto3 for what is not quiet."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import botocore.credentials
import botocore.exceptions
import pytest

from benchmarks.parts.s3_server import S3Server
from swav_ray.storage import ranges
from swav_ray.storage.place import StorageUnavailable, place, stats
from swav_ray.storage.prefetch import CONCURRENT_READS, READ_AHEAD
from swav_ray.storage.s3 import read as s3_read
from swav_ray.storage.s3.read import Request, read, read_ahead
from tests.storage.servers import Answers


def whole(count: int) -> list[Request]:
    return [(str(index), None) for index in range(count)]


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that are left to boto3, which gives "boto3" for each."""
    keys: list[str] = []

    def read(_bucket: str, request: Request, _newest: float) -> bytes:
        keys.append(request[0])
        return b"boto3"

    monkeypatch.setattr(s3_read, "_read_through_boto3", read)
    return keys


def test_answers_come_in_order_and_what_is_not_quiet_is_left_to_boto3(answers: Answers, left: list[str]) -> None:
    answers.paths = {f"/b/{index}": [(200, b"%d" % index)] for index in range(100)}
    answers.paths["/b/7"] = [(503, b"busy")]
    answers.paths["/b/8"] = [(301, b"elsewhere")]
    del answers.paths["/b/9"]
    before = stats()
    found = list(read_ahead("b", whole(100)))
    assert found == [b"boto3" if index in (7, 8, 9) else b"%d" % index for index in range(100)]
    assert sorted(left) == ["7", "8", "9"]
    assert stats()["bytes_read"] - before["bytes_read"] == sum(map(len, found)) - 3 * len(b"boto3")
    assert stats()["retries"] - before["retries"] == 2  # 9 is not there, however often it is asked for


def test_what_boto3_cannot_read_either_is_the_answer_of_that_request(answers: Answers) -> None:
    answers.paths = {"/b/0": [(200, b"0")], "/b/1": [(403, b"")], "/b/3": [(200, b"3")]}
    found = list(read_ahead("b", whole(4)))
    assert (found[0], found[3]) == (b"0", b"3")
    assert isinstance(found[1], PermissionError)
    assert isinstance(found[2], FileNotFoundError)


def test_an_outage_costs_its_patience_once_and_ends_the_reading(answers: Answers, monkeypatch: Any) -> None:
    tried: list[str] = []
    together = threading.Barrier(CONCURRENT_READS)

    def read(_bucket: str, request: Request, _newest: float) -> bytes:
        tried.append(request[0])
        together.wait(120)
        raise StorageUnavailable("gone")

    answers.paths = {f"/b/{index}": [(503, b"")] for index in range(200)} | {"/b/0": [(200, b"0")]}
    monkeypatch.setattr(s3_read, "_read_through_boto3", read)
    found = read_ahead("b", whole(200))
    assert next(found) == b"0"
    with pytest.raises(StorageUnavailable, match="gone"):
        list(found)
    assert len(tried) == CONCURRENT_READS
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-s3")]


@pytest.mark.parametrize(("status", "found"), [(206, b"y"), (200, b"boto3"), (416, b"boto3")])
@pytest.mark.usefixtures("left")
def test_a_range_is_one_only_if_the_server_says_so(answers: Answers, status: int, found: bytes) -> None:
    answers.paths["/b/x"] = [(status, b"y")]
    assert list(read_ahead("b", [("x", (3, 1))])) == [found]
    assert read("b", ("x", (3, 1))) == found


def test_an_error_whose_page_is_longer_than_the_range_is_that_error(answers: Answers, left: list[str]) -> None:
    answers.paths = {f"/b/{status}": [(status, b"an XML page")] for status in (404, 503)}
    before = stats()["retries"]
    list(read_ahead("b", [("404", (0, 3)), ("503", (0, 3))]))
    assert sorted(left) == ["404", "503"]
    assert stats()["retries"] - before == 1


def test_no_more_is_read_ahead_than_a_bound(answers: Answers) -> None:
    answers.paths = {f"/b/{index}": [(200, b"y")] for index in range(500)}
    found = read_ahead("b", whole(500))
    for used in range(1, 100):
        assert next(found) == b"y"
        assert len(answers.asked) <= used + READ_AHEAD
    assert len(answers.asked) >= 99 + CONCURRENT_READS // 2
    assert list(found) == [b"y"] * 401


def test_no_more_bytes_are_read_ahead_than_a_bound(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_read, "READ_AHEAD_BYTES", 1000)
    answers.paths = {f"/b/{index}": [(200, bytes(1000))] for index in range(300)}
    for used, data in enumerate(read_ahead("b", whole(300)), 1):
        assert data == bytes(1000)
        assert len(answers.asked) <= used + CONCURRENT_READS  # those that were under way when the bound was reached


def test_reads_that_are_given_up_disturb_no_others(answers: Answers) -> None:
    answers.paths = {f"/b/{index}": [(200, b"%d" % index)] for index in range(200)}
    for given in (1, 30):
        found = read_ahead("b", whole(200))
        assert list(itertools.islice(found, given)) == [b"%d" % index for index in range(given)]
        found.close()  # type: ignore[attr-defined]
    both = zip(read_ahead("b", whole(200)), read_ahead("b", whole(200)[::-1]), strict=True)
    assert list(both) == [(b"%d" % index, b"%d" % (199 - index)) for index in range(200)]


def test_connections_are_used_from_batch_to_batch(answers: Answers) -> None:
    names = [str(index) for index in range(40)]
    answers.paths = {f"/b/{name}": [(200, b"y")] for name in names}
    s3_read._free.clear()
    for _ in range(8):
        spans = [(index, -1, -1) for index in range(40)]
        assert list(ranges.read_spans(place("s3://b"), names, spans)) == [b"y"] * 40
    assert answers.connections < 2 * CONCURRENT_READS  # and not one for each of 320 reads, or 32 a batch


def test_transfers_that_nobody_attended_to_are_begun_anew(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    answers.paths = {f"/b/{index}": [(200, b"%d" % index)] for index in range(200)}
    passed = 0.0
    clock = time.monotonic
    monkeypatch.setattr(s3_read.time, "monotonic", lambda: clock() + passed)
    before = stats()["retries"]
    found = []
    for answer in read_ahead("b", whole(200)):
        found.append(answer)
        passed += 3600.0 if len(found) in (5, 100) else 0.0
    assert found == [b"%d" % index for index in range(200)]
    assert len(answers.asked) > 200
    assert stats()["retries"] == before


def test_what_takes_no_request_is_not_asked_for(answers: Answers, left: list[str]) -> None:
    assert list(read_ahead("b", [("x", (5, 0)), ("", None), ("a/../x", None)])) == [b"", b"boto3", b"boto3"]
    assert sorted(left) == ["", "a/../x"]
    assert answers.asked == []


def test_credentials_that_cannot_be_renewed_are_boto3s_to_tell(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired(*_: object) -> None:
        raise botocore.exceptions.CredentialRetrievalError(provider="x", error_msg="no answer")

    answers.paths["/b/x"] = [(200, b"y")]
    assert list(read_ahead("b", [("x", None)])) == [b"y"]
    monkeypatch.setattr(botocore.credentials.Credentials, "get_frozen_credentials", expired)
    with pytest.raises(StorageUnavailable, match="no answer"):
        list(ranges.read_spans(place("s3://b"), ["x"], [(0, -1, -1)]))


def test_threads_have_transfers_of_their_own(answers: Answers) -> None:
    answers.paths = {f"/b/{index}": [(200, b"%d" % index)] for index in range(64)}
    found: dict[int, list[bytes | Exception]] = {}

    def read(number: int) -> None:
        found[number] = list(read_ahead("b", whole(64)[number::8]))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [b"%d" % index for index in range(number, 64, 8)] for number in range(8)}


@pytest.mark.usefixtures("cut_off")
def test_a_body_that_ends_too_soon_is_no_answer(left: list[str]) -> None:
    before = stats()["retries"]
    assert list(read_ahead("b", whole(3))) == [b"boto3"] * 3
    assert sorted(left) == ["0", "1", "2"]
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
    assert list(read_ahead("b", [("x", None)])) == [b"y"]
    assert sent[0]["x-amz-security-token"] == "for a while"
    assert "x-amz-security-token" in sent[0]["Authorization"]
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    assert list(read_ahead("b", [("x", None)])) == [b"y"]
    assert "x-amz-security-token" not in sent[1]


def test_a_busy_server_counts_as_a_retry(answers: Answers) -> None:
    answers.paths["/b/x"] = [(200, b"y"), (503, b""), (200, b"y")]
    place("s3://b/x").read_bytes()
    before = stats()["retries"]
    assert place("s3://b/x").read_bytes() == b"y"
    assert (answers.asked, stats()["retries"] - before) == (["fast", "fast", "boto3"], 1)


@pytest.mark.s3
def test_names_of_any_kind_are_read(s3: str) -> None:
    for name in ("a b+c", "é/ü.jpg", "100%", "a=b&c?d#e", "x~y'(z)!*", "日本"):
        (place(s3) / name).write_bytes(name.encode())
        assert (place(s3) / name).read_bytes() == name.encode()
        assert (place(s3) / name).read_range(1, 2) == name.encode()[1:3]


@pytest.mark.s3
def test_a_batch_is_read_through_boto3_if_libcurl_cannot(
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
