"""Objects on S3: reading, listing in parallel, and how large files are copied."""

from __future__ import annotations

import functools
import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import botocore.exceptions
from boto3.s3.transfer import TransferConfig

from swav_ray.storage.counters import counters
from swav_ray.storage.s3 import list as s3_list
from swav_ray.storage.s3 import read as s3_read
from swav_ray.storage.s3.client import client, is_directory_bucket, patiently

_DELETE_BATCH = 1000  # keys; the most that DeleteObjects takes
_LIST_THREADS = 16
_PAGES_IN_FLIGHT = 64  # bounds what a listing holds: 64 pages of 1000 keys
_ENOUGH_PREFIXES = 64  # folders are opened level by level until there is this much to list in parallel
_DEEPEST_OPENING = 3
_ONLY_FILES = 8  # pages in a row without a folder, after which no more are expected


def read(bucket: str, key: str, offset: int = 0, length: int | None = None) -> bytes:
    """The object's bytes, all or ``length`` from ``offset``; fewer where the object ends before."""
    wanted = {} if length is None else {"Range": f"bytes={offset}-{offset + length - 1}"}

    def get() -> bytes:
        try:
            return client().get_object(Bucket=bucket, Key=key, **wanted)["Body"].read()
        except botocore.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("InvalidRange", "416"):
                return b""  # the object ends before offset
            raise

    data = s3_read.get(bucket, key, None if length is None else (offset, length))
    if data is None:
        data = patiently(f"s3://{bucket}/{key}", get)
        counters().add("bytes_read", len(data))
    return data


def head(bucket: str, key: str, patience: float | None = None) -> dict[str, Any] | None:
    """Size and ETag of an object, None where there is none."""
    try:
        return patiently(f"s3://{bucket}/{key}", lambda: client().head_object(Bucket=bucket, Key=key), patience)
    except FileNotFoundError:
        return None


def any_below(bucket: str, prefix: str, patience: float | None = None) -> bool:
    """Whether any key begins with ``prefix``; False also if there is no such bucket."""

    def first() -> bool:
        return client().list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)["KeyCount"] > 0

    try:
        return patiently(f"s3://{bucket}/{prefix}", first, patience)
    except FileNotFoundError:
        return False


def write(bucket: str, key: str, data: bytes) -> None:
    """Writes an object."""
    patiently(f"s3://{bucket}/{key}", lambda: client().put_object(Bucket=bucket, Key=key, Body=data))


def upload(path: str | os.PathLike[str], bucket: str, key: str) -> None:
    """Copies a local file to an object, in parts if it is large."""
    call = functools.partial(client().upload_file, os.fspath(path), bucket, key, Config=_transfer_config())
    patiently(f"s3://{bucket}/{key}", call)


def download(bucket: str, key: str, path: str | os.PathLike[str]) -> None:
    """Copies an object to a local file, in parts if it is large."""
    call = functools.partial(client().download_file, bucket, key, os.fspath(path), Config=_transfer_config())
    patiently(f"s3://{bucket}/{key}", call)


def _transfer_config() -> TransferConfig:
    """Multipart above 16 MiB, a few parts at a time: a checkpoint of GBs goes at line rate in bounded memory."""
    return TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20, max_concurrency=8)


def delete(bucket: str, key: str) -> None:
    """Removes an object; no error if there is none."""
    patiently(f"s3://{bucket}/{key}", lambda: client().delete_object(Bucket=bucket, Key=key))


def delete_below(bucket: str, prefix: str) -> None:
    """Removes every object whose key begins with ``prefix``."""
    keys = (found["Key"] for found in list_objects(bucket, prefix))
    while batch := list(itertools.islice(keys, _DELETE_BATCH)):
        wanted = {"Objects": [{"Key": key} for key in batch], "Quiet": True}
        call = functools.partial(client().delete_objects, Bucket=bucket, Delete=wanted)
        for failed in patiently(f"s3://{bucket}/{prefix}", call).get("Errors", []):
            raise OSError(f"s3://{bucket}/{failed['Key']}: not deleted ({failed.get('Message')})")


def _page(bucket: str, prefix: str, token: str | None, delimiter: str = "", after: str = "") -> dict[str, Any]:
    options = {"ContinuationToken": token} if token else {"StartAfter": after} if after else {}
    call = functools.partial(
        client().list_objects_v2, Bucket=bucket, Prefix=prefix, Delimiter=delimiter, MaxKeys=1000, **options
    )
    return patiently(f"s3://{bucket}/{prefix}", call)


def pages(bucket: str, prefix: str, delimiter: str = "", after: str = "") -> Iterator[dict[str, Any]]:
    """Pages of ListObjectsV2. Each is retried by itself, which a boto3 paginator cannot do: it ends with its error."""
    token = None
    while True:
        page = _page(bucket, prefix, token, delimiter, after)
        yield page
        token = page.get("NextContinuationToken")
        if not page.get("IsTruncated") or not token:
            return


def list_objects(bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """Every object below ``prefix`` (Key, Size, ETag), in no order, listed in parallel over the folders found.

    Folders are opened level by level until there are enough to keep the threads busy; each is then listed flat. So is
    one that goes on and on with nothing but files.
    """
    folders, level = [prefix], 0
    while len(folders) < _ENOUGH_PREFIXES and level < _DEEPEST_OPENING and folders:
        below: list[str] = []
        for found in _each(folders, lambda folder: _opened(bucket, folder)):
            yield from found.get("Contents", [])
            below.extend(common["Prefix"] for common in found.get("CommonPrefixes", []))
        folders, level = below, level + 1
    for found in _each(folders, lambda folder: _flat(bucket, folder)):
        yield from found.get("Contents", [])


def _opened(bucket: str, folder: str) -> Iterator[dict[str, Any]]:
    """Pages of its files and its folders, or from some page on of everything below it."""
    files = 0  # pages of nothing else, one after the other
    for page in pages(bucket, folder, "/"):
        yield page
        files = 0 if page.get("CommonPrefixes") or not page.get("Contents") else files + 1
        if files == _ONLY_FILES and page.get("IsTruncated") and not is_directory_bucket(bucket):
            yield from _flat(bucket, folder, page["Contents"][-1]["Key"])
            return


def _flat(bucket: str, folder: str, after: str = "") -> Iterator[dict[str, Any]]:
    """Pages of everything below a folder, behind the key ``after``."""
    try:
        for found in s3_list.pages(bucket, folder, after):
            yield {"Contents": found}
            after = found[-1]["Key"] if found else after
    except s3_list.Unanswered:
        yield from pages(bucket, folder, after=after)


def _each(folders: list[str], list_folder: Callable[[str], Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The pages of all folders, from several threads, through a queue that bounds what is held."""
    if len(folders) <= 1:
        for folder in folders:
            yield from list_folder(folder)
        return
    ready: queue.Queue[dict[str, Any]] = queue.Queue(_PAGES_IN_FLIGHT)
    stopped = threading.Event()

    def produce(folder: str) -> None:
        for page in list_folder(folder):
            while not stopped.is_set():
                try:
                    ready.put(page, timeout=0.5)
                    break
                except queue.Full:
                    continue
            if stopped.is_set():
                return

    waiting = iter(folders)
    with ThreadPoolExecutor(_LIST_THREADS, "list-s3") as pool:
        running: set[Future[None]] = {
            pool.submit(produce, f) for _, f in zip(range(_LIST_THREADS), waiting, strict=False)
        }
        try:
            while running or not ready.empty():
                done, running = wait(running, timeout=0 if not ready.empty() else 0.02, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    running |= {pool.submit(produce, f) for _, f in zip(range(1), waiting, strict=False)}
                while not ready.empty():
                    yield ready.get()
        finally:
            stopped.set()
