"""Wrong settings are said in one line; an outage costs a wait and not the run."""

from __future__ import annotations

import multiprocessing
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.parts.s3_server import S3Server
from swav_ray.data.__main__ import main
from swav_ray.storage.place import CredentialsError, Place, PlaceError, StorageUnavailable, place, stats
from swav_ray.storage.s3 import address as s3_address
from swav_ray.storage.s3 import client as s3_client


@pytest.mark.s3
def test_a_missing_bucket_is_named(s3: str) -> None:
    assert s3
    with pytest.raises(FileNotFoundError, match="s3://no-such-bucket/x: no such"):
        place("s3://no-such-bucket/x").read_bytes()


@pytest.mark.s3
def test_wrong_keys_are_the_credentials_fault(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(CredentialsError, match="credentials are not accepted"):
        (place(s3) / "x").read_bytes()


@pytest.mark.s3
def test_a_profile_is_used_as_boto3_does(
    s3_server: S3Server, s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = s3_server.environment
    (tmp_path / "credentials").write_text(
        f"[mine]\naws_access_key_id={keys['AWS_ACCESS_KEY_ID']}\naws_secret_access_key={keys['AWS_SECRET_ACCESS_KEY']}\n"
    )
    (tmp_path / "config").write_text(f"[profile mine]\nregion=us-east-1\nendpoint_url={s3_server.endpoint}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    (place(s3) / "x").write_bytes(b"y")
    assert (place(s3) / "x").read_bytes() == b"y"


@pytest.mark.s3
def test_a_forked_process_makes_its_own_client(s3: str) -> None:
    (place(s3) / "x").write_bytes(b"y")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_read, (place(s3) / "x",)).get(timeout=30) == (b"y", 1)


def _read(path: Place) -> tuple[bytes, int]:
    return path.read_bytes(), stats()["bytes_read"]


def _read_through_outage(server: S3Server, seconds: float) -> None:
    """Reads objects over and over while the server is killed for a while; every read must give its bytes."""
    root = place("s3://outage/x")
    for i in range(16):
        (root / str(i)).write_bytes(bytes([i]) * 10_000)
    before, start = stats()["retries"], time.monotonic()
    restarter = threading.Timer(0.5, lambda: (server.kill(), time.sleep(seconds), server.start()))
    restarter.start()
    with ThreadPoolExecutor(8) as pool:
        rounds = 0
        while restarter.is_alive() or rounds == 0:
            data = list(pool.map(lambda i: (root / str(i)).read_bytes(), range(16)))
            assert data == [bytes([i]) * 10_000 for i in range(16)]
            rounds += 1
    restarter.join()
    assert time.monotonic() - start > seconds
    assert stats()["retries"] > before


@pytest.mark.s3
def test_a_server_gone_for_seconds_costs_retries(own_server: S3Server) -> None:
    _read_through_outage(own_server, 2.0)


@pytest.mark.s3
@pytest.mark.slow
def test_a_server_gone_for_twenty_seconds_costs_retries(own_server: S3Server) -> None:
    _read_through_outage(own_server, 20.0)


@pytest.mark.s3
def test_a_stalled_server_costs_a_retry(own_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    root = place("s3://outage/y")
    (root / "x").write_bytes(b"y")
    monkeypatch.setattr(s3_address, "STALL_SECONDS", 1)
    before = stats()["retries"]
    own_server.stall()
    waker = threading.Timer(2.0, own_server.wake)
    waker.start()
    assert (root / "x").read_bytes() == b"y"
    waker.join()
    assert stats()["retries"] > before


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AWS_ENDPOINT_URL", "localhost:8333", "localhost:8333; AWS_ENDPOINT_URL must be a URL with its scheme"),
        ("AWS_PROFILE", "nobody", r"\(nobody\) could not be found; AWS_PROFILE must name"),
        ("AWS_DEFAULT_REGION", "us east", "'us east' doesn't match .*; check the AWS_"),
    ],
)
def test_wrong_settings_are_named_in_one_line(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for other in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv(name, value)
    path = place("s3://b/x")
    for use in (Place.exists, Place.read_bytes, Place.delete, lambda p: list(p.list()), lambda p: p.write_bytes(b"")):
        with pytest.raises(PlaceError, match=words) as caught:
            use(path)
        assert isinstance(caught.value, StorageUnavailable)  # or every read would count as a bad image
        assert "\n" not in str(caught.value)
    (tmp_path / "0.jpg").write_bytes(b"x")
    for arguments in (["s3://b/x", "--storage", str(tmp_path / "runs")], [str(tmp_path), "--storage", "s3://b/runs"]):
        assert main(["index", *arguments]) == 2
        assert re.search(f"^swav_ray: S3 cannot be used: .*{words}.*\n$", capsys.readouterr().err)


def test_patience_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENDPOINT_URL": "http://127.0.0.1:9", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(s3_client, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(StorageUnavailable, match=r"^s3://b/x: no answer for \d+ s .*AWS_ENDPOINT_URL$"):
        place("s3://b/x").read_bytes()
