"""A folder of many keys is listed in several ranges at once: each key once, whatever the keys are."""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from swav_ray.storage.errors import PlaceError
from swav_ray.storage.s3 import list as s3_list
from swav_ray.storage.s3.list import BucketListing, list_objects

COUNT = 1500
NAMES = {
    "numbers": [f"{n:09d}.jpg" for n in range(COUNT)],
    "a long name before the number": [f"IMG_2026-11-28T10:00:{n:012d}Z.jpeg" for n in range(COUNT)],
    "hashes": [hashlib.sha256(str(n).encode()).hexdigest() for n in range(COUNT)],
    "nearly all in one place": [*"abcdefgh", *(f"x{n:05d}" for n in range(COUNT)), "zzz"],
    "letters that come late": [*(f"0{n:04d}" for n in range(COUNT)), *(f"é{n}" for n in range(COUNT)), "日本"],
    "folders among them": [*(f"a{n:04d}" for n in range(COUNT)), *(f"a1{n}/x" for n in range(30)), "b/c/d", "z/1"],
    "folders first": [*(f"0{n:03d}/x" for n in range(150)), *(f"1{n:04d}" for n in range(COUNT))],
}


class Bucket:
    """What ListObjectsV2 answers for some keys, `size` at a time; counts the requests."""

    def __init__(self, keys: list[str], size: int = 50, *, order: Any = None, starts_after: bool = True) -> None:
        self.keys, self.size, self.starts_after = sorted(keys, key=order), size, starts_after
        self.order = order or (lambda key: key)
        self.asked: list[str] = []
        self.starts: set[str] = set()

    def pages(self, _bucket: str, prefix: str, delimiter: str = "", after: str = "") -> Iterator[dict[str, Any]]:
        self.starts.add(after)
        entries: dict[str, bool] = {}  # keys and prefixes, in the order of the server
        ranks = [self.order(key) for key in self.keys]
        start = bisect.bisect_right(ranks, self.order(after)) if after and self.starts_after else 0
        for key in self.keys[start:]:
            if key.startswith(prefix):
                rest = key[len(prefix) :]
                cut = rest.find(delimiter) + 1 if delimiter else 0
                entries[prefix + rest[:cut] if cut else key] = cut > 0
        found = list(entries.items())
        for first in range(0, max(1, len(found)), self.size):
            self.asked.append(prefix)
            part = found[first : first + self.size]
            contents = [{"Key": key, "Size": len(key), "ETag": key} for key, is_prefix in part if not is_prefix]
            common = [{"Prefix": key} for key, is_prefix in part if is_prefix]
            more = first + self.size < len(found)
            yield {"Contents": contents, "CommonPrefixes": common, "IsTruncated": more, "NextContinuationToken": "x"}


def listed(bucket: Bucket, prefix: str = "", name: str = "b") -> list[str]:
    with mock.patch.object(s3_list, "pages", bucket.pages):
        return [found["Key"] for found in list_objects(name, prefix)]


@pytest.mark.parametrize("prefix", ["", "p/q/"])
@pytest.mark.parametrize("names", NAMES)
def test_each_key_is_listed_once(names: str, prefix: str) -> None:
    keys = [prefix + name for name in NAMES[names]]
    found = listed(Bucket(keys), prefix)
    assert len(found) == len(keys)
    assert set(found) == set(keys)


@pytest.mark.parametrize("depth", [0, 3])
@pytest.mark.parametrize("names", ["numbers", "a long name before the number", "hashes", "nearly all in one place"])
def test_a_flat_folder_is_cut_also_below_the_folders_that_are_opened(names: str, depth: int) -> None:
    bucket = Bucket([f"p/{name}" for name in NAMES[names]])
    with mock.patch.object(s3_list, "_DEEPEST_OPENING", depth):
        assert sorted(listed(bucket, "p/")) == bucket.keys
    assert len(bucket.starts - {""}) > 4


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("stops", [5, 20])
def test_a_listing_continues_after_what_it_gave(names: str, stops: int) -> None:
    bucket = Bucket(NAMES[names])
    found: list[str] = []
    state = None
    with mock.patch.object(s3_list, "pages", bucket.pages):
        for _ in range(1000):
            listing = BucketListing("b", "", state)
            pages = iter(listing)
            for _ in range(stops):
                page = next(pages, None)
                if page is None:
                    assert sorted(found) == sorted(bucket.keys)
                    return
                found += [one["Key"] for one in page]
            state = json.loads(json.dumps(listing.state()))
            del pages
    raise AssertionError("it never ended")


def test_a_server_that_sorts_folders_as_if_they_were_files_loses_no_key() -> None:
    """SeaweedFS: what is in folder a comes before a-b, though the key a/x comes after it."""
    keys = [f"a{n:03d}{rest}" for n in range(400) for rest in ("-b", "/x", "/y", ".c")]
    bucket = Bucket(keys, order=lambda key: key.split("/"))
    assert sorted(listed(bucket)) == sorted(keys)


def test_a_bucket_without_an_order_is_not_cut() -> None:
    keys = [f"{n:05d}" for n in range(COUNT)]
    bucket = Bucket(keys, order=lambda key: hashlib.sha256(key.encode()).digest())
    assert sorted(listed(bucket)) == keys
    assert len(bucket.asked) == COUNT / bucket.size
    express = Bucket(keys, order=lambda key: hashlib.sha256(key.encode()).digest())
    assert sorted(listed(express, name="b--use1-az4--x-s3")) == keys
    assert BucketListing("b--use1-az4--x-s3", "").state() is None


def test_a_server_that_starts_elsewhere_than_asked_is_one_line() -> None:
    with pytest.raises(
        PlaceError, match=r"s3://b/: the server lists its keys in no order, or not after the key"
    ) as told:
        listed(Bucket(NAMES["numbers"], starts_after=False))
    assert "\n" not in str(told.value)
