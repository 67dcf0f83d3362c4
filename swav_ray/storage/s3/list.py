"""Listing in parallel: a bucket gives 1,000 keys a request, one after the other, but parts of it side by side.

Folders are such parts. A folder with many keys of its own is cut into ranges of keys while it is listed.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from typing import Any

from swav_ray.storage.errors import PlaceError
from swav_ray.storage.s3.address import is_directory_bucket
from swav_ray.storage.s3.client import client, patiently
from swav_ray.storage.s3.crew import Crew, Found, Part
from swav_ray.storage.s3.cuts import cut_points

_ENOUGH_FOLDERS = 64  # are opened level by level until there is this much to list in parallel
_DEEPEST_OPENING = 3

Page = dict[str, Any]  # as boto3 gives it: Contents (each Key, Size, ETag, LastModified), CommonPrefixes


def list_objects(bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """Every object below ``prefix`` (Key, Size, ETag, LastModified), in no order, in bounded memory."""
    for objects in BucketListing(bucket, prefix):
        yield from objects


class BucketListing:
    """Every object below ``prefix`` as by `list_objects`, some at a time. Iterate once.

    Folders are opened level by level until there are enough to keep the threads busy. Each is then listed with all
    that is below it. While a thread has no work, the rest of a folder's own keys is cut into pieces.

    Args:
        state: of an earlier listing, which this one continues.
    """

    def __init__(self, bucket: str, prefix: str, state: Any = None) -> None:
        self._bucket = bucket
        # S3 Express lists in no order and takes no StartAfter.
        self._is_ordered = not is_directory_bucket(bucket)
        self._letters: set[str] = set()
        self._level = 0 if state is None else state["level"]
        self._parts = {} if state is None else {number: Part(*part) for number, part in enumerate(state["parts"])}
        self._below: dict[str, None] = {prefix: None} if state is None else dict.fromkeys(state["below"])

    def state(self) -> Any:
        """What comes after the objects given so far, as JSON has it; None if nothing but all of it can be asked for."""
        if not self._is_ordered:
            return None
        parts = [list(astuple(part)) for part in self._parts.values()]
        return {"level": self._level, "parts": parts, "below": list(self._below)}

    def __len__(self) -> int:
        """Parts that are known and not finished."""
        return len(self._parts) + len(self._below)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        while self._parts or self._below:
            if not self._parts:
                is_deep = not (len(self._below) < _ENOUGH_FOLDERS and self._level < _DEEPEST_OPENING)
                self._parts = {number: Part(name, is_deep=is_deep) for number, name in enumerate(self._below)}
                self._below, self._level = {}, self._level + 1
            crew = Crew(self._list, first_number=max(self._parts) + 1)
            for found in crew.pages(dict(self._parts)):
                self._take(found)
                if found.objects:
                    yield found.objects

    def _take(self, found: Found) -> None:
        self._below.update(dict.fromkeys(found.folders))
        self._parts.update(found.cut_off)
        if found.left is None:
            del self._parts[found.number]
        else:
            self._parts[found.number] = found.left

    def _list(self, number: int, part: Part, crew: Crew) -> Iterator[Found]:
        asked = part
        while True:
            for page in pages(self._bucket, asked.prefix, "" if asked.is_deep else "/", asked.after):
                found = self._found(number, asked, part, page, crew)
                yield found
                if found.left is None:
                    return
                part = found.left
                if part.is_deep != asked.is_deep:
                    break
            asked = part

    def _found(self, number: int, asked: Part, part: Part, page: Page, crew: Crew) -> Found:
        """What a page has of a part: all of it, or what is before its end; and what is then left of the part."""
        objects = page.get("Contents", [])
        folders = [common["Prefix"] for common in page.get("CommonPrefixes", [])]
        is_last = not page.get("IsTruncated") or not page.get("NextContinuationToken")
        if not part.is_deep:
            self._require_order(asked, part, objects)
            if part.until and objects and objects[-1]["Key"] > part.until:
                # Only a key is a sign of the end: servers differ in where among the keys they put folders.
                objects, is_last = [found for found in objects if found["Key"] <= part.until], True
        if is_last:
            return Found(number, objects, folders, None)
        if not self._is_ordered or not objects:
            return Found(number, objects, folders, part)
        part = replace(part, after=objects[-1]["Key"])
        start = len(part.prefix)
        names = [found["Key"][start:] for found in objects]
        if part.is_deep and crew.has_idle() and not any("/" in name for name in names):
            part = replace(part, is_deep=False)  # a folder without folders, as it seems, which can be cut
        if part.is_deep or folders:
            return Found(number, objects, folders, part)
        self._letters.update(*names)
        pieces = crew.cut(functools.partial(self._pieces, part))
        if pieces:
            part = replace(part, until=next(iter(pieces.values())).after)
        return Found(number, objects, folders, part, pieces)

    def _pieces(self, part: Part, most: int) -> list[Part]:
        """The end of a part, in at most so many pieces."""
        start = len(part.prefix)
        letters = "".join(sorted(set(self._letters)))
        cuts = cut_points(part.after[start:], part.until[start:], letters, most)
        bounds = [*(part.prefix + cut for cut in cuts), part.until]
        return [replace(part, after=low, until=high) for low, high in itertools.pairwise(bounds)]

    def _require_order(self, asked: Part, part: Part, objects: Sequence[dict[str, Any]]) -> None:
        """A range is no range if keys come in another order: then nothing is cut, unless it is too late for that."""
        keys = [part.after, *(found["Key"] for found in objects)]
        if not self._is_ordered or all(one < other for one, other in itertools.pairwise(keys)):
            return
        if asked.after or part.until:
            raise PlaceError(
                f"s3://{self._bucket}/{part.prefix}: the server lists its keys in no order, or not after the key that "
                "was asked for (StartAfter); list it with --inventory, or copy it to another server"
            )
        self._is_ordered = False


def pages(bucket: str, prefix: str, delimiter: str = "", after: str = "") -> Iterator[Page]:
    """Pages of ListObjectsV2. Each is retried by itself, which a boto3 paginator cannot do: it ends with its error."""
    start: dict[str, str] = {"StartAfter": after} if after else {}
    while True:
        call = functools.partial(
            client().list_objects_v2, Bucket=bucket, Prefix=prefix, Delimiter=delimiter, MaxKeys=1000, **start
        )
        page = patiently(f"s3://{bucket}/{prefix}", call)
        yield page
        if not page.get("IsTruncated") or not page.get("NextContinuationToken"):
            return
        start = {"ContinuationToken": page["NextContinuationToken"]}
