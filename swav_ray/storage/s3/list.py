"""Listing in parallel: a bucket gives 1,000 keys a request, one after the other, but folders side by side."""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from swav_ray.storage.s3.client import client, patiently

_THREADS = 16
_PAGES_IN_FLIGHT = 64  # bounds what a listing holds: 64 pages of 1,000 keys
_ENOUGH_FOLDERS = 64  # are opened level by level until there is this much to list in parallel
_DEEPEST_OPENING = 3
_STOP_SECONDS = 0.1  # within which threads notice that nobody wants their pages

Page = dict[str, Any]  # as boto3 gives it: Contents (each Key, Size, ETag), CommonPrefixes


def list_objects(bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """Every object below ``prefix`` (Key, Size, ETag), in no order, listed in parallel over the folders found.

    Folders are opened level by level until there are enough to keep the threads busy. Each is then listed with all
    that is below it.
    """
    folders, level = [prefix], 0
    while folders and len(folders) < _ENOUGH_FOLDERS and level < _DEEPEST_OPENING:
        below: list[str] = []
        for page in _side_by_side(folders, lambda folder: pages(bucket, folder, "/")):
            yield from page.get("Contents", [])
            below.extend(common["Prefix"] for common in page.get("CommonPrefixes", []))
        folders, level = below, level + 1
    for page in _side_by_side(folders, lambda folder: pages(bucket, folder)):
        yield from page.get("Contents", [])


def pages(bucket: str, prefix: str, delimiter: str = "") -> Iterator[Page]:
    """Pages of ListObjectsV2. Each is retried by itself, which a boto3 paginator cannot do: it ends with its error."""
    token: dict[str, str] = {}
    while True:
        call = functools.partial(
            client().list_objects_v2, Bucket=bucket, Prefix=prefix, Delimiter=delimiter, MaxKeys=1000, **token
        )
        page = patiently(f"s3://{bucket}/{prefix}", call)
        yield page
        if not page.get("IsTruncated") or not page.get("NextContinuationToken"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


def _side_by_side(folders: Sequence[str], list_folder: Callable[[str], Iterator[Page]]) -> Iterator[Page]:
    """The pages of all folders, in no order, from several threads, through a queue that bounds what is held."""
    ready: queue.Queue[Page | BaseException | None] = queue.Queue(_PAGES_IN_FLIGHT)  # None: a folder has ended
    stopped = threading.Event()

    def put(item: Page | BaseException | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=_STOP_SECONDS)
                return

    def produce(folder: str) -> None:
        try:
            for page in list_folder(folder):
                put(page)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    pool = ThreadPoolExecutor(_THREADS, "list-s3")
    try:
        for folder in folders:
            pool.submit(produce, folder)
        left = len(folders)
        while left:
            item = ready.get()
            if item is None:
                left -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)
