"""libcurl asks where boto3 would ask, and leaves to boto3 what only boto3 can do."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from swav_ray.storage.errors import SettingsError
from swav_ray.storage.place import StorageUnavailable, place
from swav_ray.storage.s3 import address as s3_address
from swav_ray.storage.s3 import client as s3_client
from swav_ray.storage.s3 import read as s3_read
from tests.storage.servers import Answers


@pytest.mark.parametrize(
    ("region", "style", "endpoint"),
    [
        ("eu-west-1", "auto", "https://bucket.s3.eu-west-1.amazonaws.com"),
        ("eu-west-1", "path", "https://s3.eu-west-1.amazonaws.com"),
        ("us-east-1", "auto", "https://bucket.s3.amazonaws.com"),
    ],
)
def test_a_bucket_is_addressed_as_boto3_addresses_it(
    region: str, style: str, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(f"[default]\nregion={region}\ns3=\n  addressing_style={style}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    asked: list[str] = []

    def sent(request: Any, **_: Any) -> None:
        asked.append(request.url)
        raise InterruptedError

    boto3 = s3_client.client()
    boto3.meta.events.register("before-send.s3", sent)
    with pytest.raises(InterruptedError):
        boto3.get_object(Bucket="bucket", Key="k")
    known = s3_address.Addresses()
    address = known.of("bucket")
    assert address is not None
    assert [f"{address.url}k"] == asked == [f"{endpoint}/{'bucket/' if style == 'path' else ''}k"]


def test_a_server_with_a_certificate_of_ones_own_is_trusted_by_ca_bundle(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    answers.server.socket = context.wrap_socket(answers.server.socket, server_side=True)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{answers.server.server_port}")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    answers.paths = {"/b/x": [(200, b"y")]}
    assert place("s3://b/x").read_bytes() == b"y"
    assert answers.asked == ["fast"]
    monkeypatch.setattr(s3_client, "PATIENCE_SECONDS", 0.0)
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with pytest.raises(StorageUnavailable, match=r"(?i)certificate"):
        place("s3://b/x").read_bytes()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    with pytest.raises(SettingsError, match=r"AWS_CA_BUNDLE = .*gone\.pem: is no file"):
        place("s3://b/x").read_bytes()


def test_objects_that_may_not_be_read_leave_the_fast_way_open(answers: Answers) -> None:
    answers.paths = {f"/b/{i}": [(403, b"")] for i in range(9)} | {"/b/x": [(200, b"y")]}
    for i in range(9):
        with pytest.raises(PermissionError, match=f"s3://b/{i}: access denied"):
            place(f"s3://b/{i}").read_bytes()
    answers.asked.clear()
    assert place("s3://b/x").read_bytes() == b"y"
    assert answers.asked == ["fast"]


@pytest.mark.parametrize("status", [301, 400, 403, 503])
def test_a_bucket_that_takes_only_boto3s_requests_is_left_to_it_for_a_while(
    answers: Answers, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.paths["/b/x"] = [(status, b""), (200, b"y")] * 16 + [(200, b"y")]
    for _ in range(17):
        assert place("s3://b/x").read_bytes() == b"y"
    assert answers.asked == ["fast", "boto3"] * 16 + ["boto3"]
    now = time.monotonic()
    monkeypatch.setattr(s3_address.time, "monotonic", lambda: now + 301)
    assert place("s3://b/x").read_bytes() == b"y"
    assert answers.asked[-1] == "fast"


def test_a_bucket_behind_a_proxy_is_left_to_boto3(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    def quickly(*request: Any) -> bytes | None:
        s3_address._addresses_of.cache_clear()
        return s3_read._read_quickly("b", request)

    answers.paths["/b/x"] = [(200, b"y")]
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert quickly("x", None) is None
    monkeypatch.delenv("HTTP_PROXY")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert quickly("x", None) is None
    assert answers.asked == []
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert quickly("x", None) == b"y"
    assert quickly("nope", None) is None
    assert quickly("x", (7, 3)) is None
