"""A place is the same word for local paths and S3: what is written is read, what is missing is said in one line."""

from __future__ import annotations

import http.server
import multiprocessing
import os
import pickle
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
import obstore.exceptions
import pytest
import trustme

from benchmarks.parts.s3_server import S3Server
from swav_ray.data.__main__ import main
from swav_ray.storage.errors import SettingsError
from swav_ray.storage.place import CredentialsError, Place, PlaceError, StorageUnavailable, place, stats
from swav_ray.storage.s3 import address as s3_address
from swav_ray.storage.s3 import client as s3_client
from swav_ray.storage.s3 import list as s3_list
from swav_ray.storage.s3 import objects as s3_module
from swav_ray.storage.s3 import read as s3_read

BOTH = pytest.mark.parametrize("kind", ["local", pytest.param("s3", marks=pytest.mark.s3)])


@pytest.fixture
def root(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place(tmp_path / "root") if kind == "local" else place(request.getfixturevalue("s3")) / "root"


@BOTH
def test_what_is_written_is_read_whole_and_in_ranges(root: Place) -> None:
    path = root / "a" / "b.bin"
    assert not path.exists()
    path.write_bytes(b"0123456789")
    path.write_bytes(b"abcdefghij")
    assert path.read_bytes() == b"abcdefghij"
    assert path.read_range(2, 3) == b"cde"
    assert path.read_range(8, 10) == b"ij"
    assert path.read_range(20, 5) == b""
    assert path.exists()
    assert (root / "a").exists()
    assert path.is_file()
    assert not (root / "a").is_file()
    assert path.stat().size == 10


@BOTH
def test_listing_is_recursive_with_relative_names_and_sizes(root: Place) -> None:
    for name in ("x", "a/y", "a/b/z"):
        (root / name).write_bytes(name.encode())
    assert {(entry.name, entry.size) for entry in root.list()} == {("x", 1), ("a/y", 3), ("a/b/z", 5)}
    assert {entry.name for entry in (root / "a").list()} == {"y", "b/z"}
    assert list((root / "nothing").list()) == []


@BOTH
def test_a_changed_file_lists_with_another_version(root: Place) -> None:
    (root / "x").write_bytes(b"1")
    (before,) = root.list()
    time.sleep(0.01)
    (root / "x").write_bytes(b"2")
    (after,) = root.list()
    assert before.etag_or_mtime != after.etag_or_mtime


@BOTH
def test_a_prefix_is_not_the_start_of_a_name(root: Place) -> None:
    (root / "set10" / "x").write_bytes(b"1")
    assert not (root / "set1").exists()
    assert list((root / "set1").list()) == []


@BOTH
def test_deleting_is_quiet_about_what_is_not_there(root: Place) -> None:
    for i in range(3):
        (root / f"t/{i}").write_bytes(b"x")
    (root / "t/0").delete()
    (root / "t/0").delete()
    assert {entry.name for entry in root.list()} == {"t/1", "t/2"}
    (root / "t").delete_tree()
    (root / "t").delete_tree()
    assert not (root / "t").exists()


@BOTH
def test_files_of_many_parts_arrive_as_they_were(root: Place, tmp_path: Path) -> None:
    data = os.urandom(40 << 20)
    (tmp_path / "here").write_bytes(data)
    (root / "there").upload_file(tmp_path / "here")
    (root / "there").download_file(tmp_path / "deep" / "back")
    assert (tmp_path / "deep" / "back").read_bytes() == data


@BOTH
def test_a_missing_file_is_named_in_one_line(root: Place, tmp_path: Path) -> None:
    for read in (Place.read_bytes, Place.stat, lambda p: p.download_file(tmp_path / "x")):
        with pytest.raises(FileNotFoundError, match=r"/nope: no such (file|object)$"):
            read(root / "nope")
    assert not (tmp_path / "x").exists()


@BOTH
def test_bytes_read_are_counted(root: Place) -> None:
    (root / "x").write_bytes(bytes(1000))
    before = stats()["bytes_read"]
    (root / "x").read_range(0, 300)
    assert stats()["bytes_read"] == before + 300


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place(tmp_path) / "x"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        path.write_bytes(b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in place(tmp_path).list() if entry.name != "x"] == []


@pytest.mark.parametrize(
    ("word", "uri"),
    [
        ("/a/b/", "/a/b"),
        ("/a/./b//c", "/a/b/c"),
        ("file:///a/b", "/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/a//b/", "s3://bucket/a/b"),
    ],
)
def test_one_place_has_one_name(word: str, uri: str) -> None:
    assert place(word).uri == uri
    assert place(place(word).uri) == place(word)
    assert pickle.loads(pickle.dumps(place(word))) == place(word)


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place("data").local_path == tmp_path / "data"
    assert place("~/x").local_path == Path.home() / "x"


@pytest.mark.parametrize("word", ["gs://bucket/x", "http://host/x", "s3://", "s3:///x", ""])
def test_other_schemes_and_missing_buckets_are_refused(word: str) -> None:
    with pytest.raises(PlaceError, match=r"s3://bucket/prefix$") as caught:
        place(word)
    assert "\n" not in str(caught.value)


def test_parents_and_names() -> None:
    assert (place("s3://b/x/y").parent, place("s3://b/x/y").name) == (place("s3://b/x"), "y")
    assert (place("s3://b").parent, place("s3://b").name) == (place("s3://b"), "")
    assert (place("/x").parent, place("/x").name) == (place("/"), "x")


class Answers:
    """A server that answers by the path of a request, with a status and bytes, the last of them for ever."""

    def __init__(self) -> None:
        self.paths: dict[str, list[tuple[int, bytes]]] = {}
        self.asked: list[str] = []  # by whom: boto3 or the fast way
        self.connections = 0
        answers = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                left = answers.paths.get(self.path, [(404, b"")])
                status, data = left.pop(0) if len(left) > 1 else left[0]
                answers.asked.append("boto3" if "Boto3" in self.headers.get("User-Agent", "") else "fast")
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128

            def get_request(self) -> tuple[socket.socket, Any]:
                answers.connections += 1
                return super().get_request()

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """What the bucket b answers."""
    made = Answers()
    endpoint = f"http://127.0.0.1:{made.server.server_port}"
    for name, value in {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize("prefix", ["", "p/"])
def test_keys_with_odd_parts_are_read_back_as_they_are_listed(
    answers: Answers, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["/a.jpg", "a.jpg", "b//c.jpg", "//d.jpg", "b/.../e.jpg", "b/./f.jpg", "b/../g.jpg"]
    keys = {f"{prefix}{name}": name.encode() for name in names}
    answers.paths = {f"/b/{key}": [(200, data)] for key, data in keys.items()}
    listed = [{"Key": key, "Size": 1, "ETag": key} for key in keys]
    monkeypatch.setattr(s3_module, "list_objects", lambda *_: iter(listed))
    root = place(f"s3://b/{prefix}")
    assert {entry.etag_or_mtime: (root / entry.name).read_bytes() for entry in root.list()} == keys
    assert answers.asked == ["fast"] * 5 + ["boto3"] * 2  # libcurl follows . and ..


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
def test_reads_that_the_fast_way_cannot_do_go_through_boto3(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (place(s3) / "x").write_bytes(b"y")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.com")
    s3_address._addresses_of.cache_clear()
    assert s3_read.get(s3[5:], "x", None) is None
    monkeypatch.delenv("HTTP_PROXY")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    s3_address._addresses_of.cache_clear()
    assert s3_read.get(s3[5:], "x", None) is None
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    s3_address._addresses_of.cache_clear()
    assert s3_read.get(s3[5:], "x", None) == b"y"
    assert s3_read.get(s3[5:], "nope", None) is None
    assert s3_read.get(s3[5:], "x", (7, 3)) is None


@pytest.mark.s3
def test_listing_follows_pages_and_folders(s3_server: S3Server, s3: str) -> None:
    names = {f"flat/{i:04d}" for i in range(1100)} | {f"deep/{i % 7}/{i}" for i in range(50)} | {"top"}
    client = s3_server.client()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: client.put_object(Bucket=s3[5:], Key=f"p/{name}", Body=b"x"), names))
    found = [entry.name for entry in (place(s3) / "p").list()]
    assert len(found) == len(names)
    assert set(found) == names
    listing = (place(s3) / "p").list()
    next(listing)
    listing.close()  # a listing left half way leaves no thread behind
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("list-s3")]


@pytest.mark.s3
@pytest.mark.parametrize("depth", [1, 3])  # folders opened by boto3
def test_a_listing_is_what_boto3_lists(
    s3_server: S3Server, s3: str, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"p/{name}": b"x" for name in ("a/1.jpg", "a/b c+d%.jpg", "a/é/日本.jpg", "a/b/c/d/e.jpg", "z", "0")}
    marks = {f"p/{name}": b"" for name in ("a/", "m/", "m/n/", "m/n/o/", "q/x.jpg")}
    many = {f"{folder}{i:04d}.jpg": b"x" for folder in ("q/", "q/r/") for i in range(1001)}
    client = s3_server.client()
    with ThreadPoolExecutor(8) as pool:
        objects = (files | marks | many).items()
        list(pool.map(lambda one: client.put_object(Bucket=s3[5:], Key=one[0], Body=one[1]), objects))
    monkeypatch.setattr(s3_module, "_DEEPEST_OPENING", depth)
    monkeypatch.setattr(s3_module, "_ONLY_FILES", 1)

    def listed() -> list[tuple[str, int, str]]:
        return sorted((found["Key"], found["Size"], found["ETag"]) for found in s3_module.list_objects(s3[5:], ""))

    ours = listed()
    monkeypatch.setattr(s3_address, "_forked", True)
    assert listed() == ours
    assert [key for key, _, _ in ours] == sorted(files | marks | many)
    assert {entry.name for entry in place(s3).list()} == {name for name in files | marks | many if name[-1] != "/"}


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
    assert s3_list.store_of(known, address).config["endpoint"] == endpoint
    assert [f"{address.url}k"] == asked == [f"{endpoint}/{'bucket/' if style == 'path' else ''}k"]


@pytest.mark.s3
def test_a_listing_that_breaks_off_goes_on_behind_its_last_key(
    s3_server: S3Server, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"d/{i:02d}.jpg" for i in range(40)] + ["e/1.jpg"]
    for name in names:
        s3_server.client().put_object(Bucket=s3[5:], Key=name, Body=b"x")
    given: list[str] = []

    def broken(*arguments: Any, **options: Any) -> Iterator[Any]:
        for chunk in obstore_list(*arguments, **{**options, "chunk_size": 7}):
            if len(given) == 14:
                raise obstore.exceptions.GenericError("cut off")
            given.extend(one["path"] for one in chunk if one["path"] != "e/1.jpg")
            yield chunk

    obstore_list = obstore.list
    monkeypatch.setattr(obstore, "list", broken)
    monkeypatch.setattr(s3_module, "_DEEPEST_OPENING", 1)
    assert sorted(entry.name for entry in place(s3).list()) == names
    assert given == names[:14]


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


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server that a test may take away."""
    server = S3Server(tmp_path_factory.mktemp("weed-outage"))
    server.start()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.make_bucket("outage")
    yield server
    server.kill()


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
def test_settings_of_no_use_are_told_in_one_line(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for other in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv(name, value)
    where = place("s3://b/x")
    for use in (Place.exists, Place.read_bytes, Place.delete, lambda p: list(p.list()), lambda p: p.write_bytes(b"")):
        with pytest.raises(PlaceError, match=words) as caught:
            use(where)
        assert isinstance(caught.value, StorageUnavailable)  # or every read would count as a bad image
        assert "\n" not in str(caught.value)
    (tmp_path / "0.jpg").write_bytes(b"x")
    for arguments in (["s3://b/x", "--storage", str(tmp_path / "runs")], [str(tmp_path), "--storage", "s3://b/runs"]):
        assert main(["index", *arguments]) == 2
        assert re.search(f"^swav_ray: S3 cannot be asked: .*{words}.*\n$", capsys.readouterr().err)


def test_patience_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENDPOINT_URL": "http://127.0.0.1:9", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(s3_client, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(StorageUnavailable, match=r"^s3://b/x: no answer for \d+ s .*AWS_ENDPOINT_URL$"):
        place("s3://b/x").read_bytes()
