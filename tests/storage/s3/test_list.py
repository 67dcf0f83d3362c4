"""A bucket is listed over many folders at once, and gives what boto3 lists."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from benchmarks.parts.s3_server import S3Server
from swav_ray.storage.place import place
from swav_ray.storage.s3 import client as s3_client
from swav_ray.storage.s3 import list as s3_list
from tests.storage.servers import Answers


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
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_listing_is_what_boto3_lists(
    s3_server: S3Server, s3: str, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"p/{name}": b"x" for name in ("a/1.jpg", "a/b c+d%.jpg", "a/é/日本.jpg", "a/b/c/d/e.jpg", "z", "0")}
    marks = {f"p/{name}": b"" for name in ("a/", "m/", "m/n/", "m/n/o/", "q/x.jpg")}
    many = {f"{folder}{i:04d}.jpg": b"x" for folder in ("q/", "q/r/") for i in range(1001)}
    client = s3_server.client()
    for mark in marks:  # one by one: SeaweedFS may lose a mark of a folder whose subfolder is marked meanwhile
        client.put_object(Bucket=s3[5:], Key=mark, Body=b"")
    with ThreadPoolExecutor(8) as pool:
        objects = (files | many).items()
        list(pool.map(lambda one: client.put_object(Bucket=s3[5:], Key=one[0], Body=one[1]), objects))
    monkeypatch.setattr(s3_list, "_DEEPEST_OPENING", depth)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=s3[5:])
    theirs = [(found["Key"], found["Size"], found["ETag"]) for page in pages for found in page["Contents"]]
    ours = [(found["Key"], found["Size"], found["ETag"]) for found in s3_list.list_objects(s3[5:], "")]
    assert sorted(ours) == sorted(theirs)
    assert sorted(key for key, _, _ in ours) == sorted(files | marks | many)
    assert {entry.name for entry in place(s3).list()} == {name for name in files | marks | many if name[-1] != "/"}


@pytest.mark.s3
def test_a_page_that_fails_is_asked_for_again(s3_server: S3Server, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{i:02d}.jpg" for i in range(20)]
    for name in names:
        s3_server.client().put_object(Bucket=s3[5:], Key=name, Body=b"x")
    asked: list[str] = []

    def ask(self: Any, **options: Any) -> Any:
        asked.append(options.get("ContinuationToken", ""))
        if len(asked) == 3:
            raise ConnectionError("cut off")
        return list_objects_v2(**{**options, "MaxKeys": 7})

    list_objects_v2 = s3_client.client().list_objects_v2
    monkeypatch.setattr(type(s3_client.client()), "list_objects_v2", ask)
    assert [found["Key"] for page in s3_list.pages(s3[5:], "") for found in page["Contents"]] == names
    assert len(asked) == 4
    assert asked[2] == asked[3]


def test_a_folder_that_cannot_be_listed_ends_the_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(bucket: str, prefix: str, delimiter: str = "", after: str = "") -> Iterator[dict[str, Any]]:
        if not prefix:
            yield {"CommonPrefixes": [{"Prefix": f"{i}/"} for i in range(100)]}
        elif prefix == "50/":
            raise PermissionError(f"s3://{bucket}/{prefix}: access denied")
        yield {"Contents": [{"Key": f"{prefix}x", "Size": 1, "ETag": ""}]}

    monkeypatch.setattr(s3_list, "pages", ask)
    with pytest.raises(PermissionError, match="s3://b/50/: access denied"):
        list(s3_list.list_objects("b", ""))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("list-s3")]


@pytest.mark.parametrize("prefix", ["", "p/"])
def test_keys_with_odd_parts_are_read_back_as_they_are_listed(
    answers: Answers, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["/a.jpg", "a.jpg", "b//c.jpg", "//d.jpg", "b/.../e.jpg", "b/./f.jpg", "b/../g.jpg"]
    keys = {f"{prefix}{name}": name.encode() for name in names}
    answers.paths = {f"/b/{key}": [(200, data)] for key, data in keys.items()}
    listed = [{"Key": key, "Size": 1, "ETag": key} for key in keys]
    monkeypatch.setattr(s3_list, "BucketListing", lambda *_: iter([listed]))
    root = place(f"s3://b/{prefix}")
    assert {entry.etag_or_mtime: (root / entry.name).read_bytes() for entry in root.list()} == keys
    assert answers.asked == ["fast"] * 5 + ["boto3"] * 2  # libcurl follows . and ..
