"""Reading and listing objects through obstore: a fourth of boto3's CPU time, which takes for an image as long as
its crops do, and for the names of a million more than a minute.

Only the quiet case is handled here. Whatever else comes (an error, a redirect, a proxy, no credentials) is left to the
caller, who asks again through boto3, which knows what to do and retries. Endpoint, region, credentials and certificates
are boto3's.
"""

from __future__ import annotations

import collections
import functools
import os
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import botocore.session
import obstore
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import BaseError, InvalidPathError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from swav_ray.data.s3_client import aws_settings, client, counters, is_directory_bucket

if TYPE_CHECKING:
    from obstore.store import ClientConfig

_CONNECT_SECONDS = 10
_STALL_SECONDS = 30  # without a byte, after which a read is asked for again
_LONGEST_SECONDS = 120  # of one read
_CREDENTIALS_FOR = timedelta(minutes=10)  # after which they are asked for again; boto3 renews them in time
_FAILURES = 16  # in a row, after which a bucket is left to boto3 for a while: another region, another way to sign
_LEFT_SECONDS = 300
_PAGE = 1000  # keys
_THREADS = 2  # of obstore in a process; its default is one a core, in each of as many processes


def get(bucket: str, key: str, byte_range: tuple[int, int] | None) -> bytes | None:
    """The bytes of an object (``byte_range``: offset and length), or None where boto3 should be asked."""
    return None if _forked else _buckets().get(bucket, key, byte_range)


class Unanswered(Exception):
    """A listing cannot go on here: boto3 should be asked for what comes after the last key that was given."""


def pages(bucket: str, folder: str, after: str = "") -> Iterator[list[dict[str, Any]]]:
    """Every object below ``folder`` (with its slash), in the order of the keys: Key, Size and ETag as boto3 gives them.

    Begins behind the key ``after``. Raises Unanswered.
    """
    if _forked:
        raise Unanswered
    return _buckets().pages(bucket, folder, after)


_forked = False  # obstore's threads do not come along


def _mark_as_forked() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_mark_as_forked)

_LOCK = threading.Lock()


def _buckets() -> _Buckets:
    with _LOCK:
        return _buckets_of(aws_settings())


@functools.lru_cache(maxsize=4)
def _buckets_of(_settings: tuple[str | None, ...]) -> _Buckets:
    return _Buckets()


class _Buckets:
    """Those of one process, with their connections."""

    def __init__(self) -> None:
        os.environ.setdefault("TOKIO_WORKER_THREADS", str(_THREADS))
        self._lock = threading.Lock()
        client()  # first, since it tells the user of settings that are wrong
        self._session = botocore.session.get_session()
        self._stores: dict[str, S3Store | None] = {}
        self._failures: collections.Counter[str] = collections.Counter()
        self._left_until: dict[str, float] = {}

    def get(self, bucket: str, key: str, byte_range: tuple[int, int] | None) -> bytes | None:
        store = self._store(bucket)
        if store is None or not all(key.split("/")):  # obstore would drop the slash, and read another object
            return None
        try:
            _count_request()
            if byte_range is None:
                data = obstore.get(store, key).bytes()
            else:
                data = obstore.get_range(store, key, start=byte_range[0], length=byte_range[1])
        except (FileNotFoundError, ValueError):  # a part of the key is "." or ".."
            return None
        except BaseError as error:
            self._has_failed(bucket, error)
            return None
        self._failures[bucket] = 0
        return data.to_bytes()

    def pages(self, bucket: str, folder: str, after: str) -> Iterator[list[dict[str, Any]]]:
        store = self._store(bucket)
        # obstore has no names for keys with empty parts, and would drop the slash that a key begins with.
        if store is None or not all(folder.split("/")[:-1]) or (not folder and after < "0"):
            raise Unanswered
        found: Iterator[Any] | None = None
        while True:
            try:
                _count_request()
                found = found or iter(obstore.list(store, prefix=folder, offset=after or None, chunk_size=_PAGE))
                chunk = next(found, None)
            except (FileNotFoundError, ValueError, InvalidPathError) as error:  # a key that obstore cannot name
                raise Unanswered from error
            except BaseError as error:
                self._has_failed(bucket, error)
                raise Unanswered from error
            self._failures[bucket] = 0
            if chunk is None:
                return
            page = [{"Key": one["path"], "Size": one["size"], "ETag": one["e_tag"]} for one in chunk]
            for one in page:
                if f"{one['Key']}/" == folder:  # the folder's own mark, whose slash obstore drops
                    one["Key"] = folder
                elif not one["Size"]:  # a mark or a file
                    raise Unanswered
            yield page

    def _has_failed(self, bucket: str, error: BaseError) -> None:
        if not isinstance(error, PermissionDeniedError | UnauthenticatedError):
            counters().add("own_retries")  # by boto3, which is asked next
        self._failures[bucket] += 1
        if self._failures[bucket] >= _FAILURES:
            self._failures[bucket] = 0
            self._left_until[bucket] = time.monotonic() + _LEFT_SECONDS

    def _store(self, bucket: str) -> S3Store | None:
        """The bucket as boto3 would address it; None where this module should keep out of the way."""
        with self._lock:
            if time.monotonic() < self._left_until.get(bucket, 0.0):
                return None
            if bucket not in self._stores:
                try:
                    self._stores[bucket] = self._open(bucket)
                except (
                    OSError,
                    ValueError,
                    BaseError,
                    botocore.exceptions.BotoCoreError,
                    botocore.exceptions.ClientError,
                ):
                    self._left_until[bucket] = time.monotonic() + _LEFT_SECONDS
                    return None
            return self._stores[bucket]

    def _open(self, bucket: str) -> S3Store | None:
        if is_directory_bucket(bucket) or self._session.get_credentials() is None:
            return None
        # A presigned URL has the way to address the bucket, but its host is not always that of boto3's requests.
        url = client().generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
        path, parts = urllib.parse.urlsplit(url).path, urllib.parse.urlsplit(client().meta.endpoint_url)
        by_path = path == f"/{bucket}/k"
        if not by_path and path != "/k":
            return None
        proxies = urllib.request.getproxies()
        if not {parts.scheme, "all"}.isdisjoint(proxies) and not urllib.request.proxy_bypass(parts.hostname or ""):
            return None
        options: ClientConfig = {
            "allow_http": parts.scheme == "http",
            "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
            "read_timeout": timedelta(seconds=_STALL_SECONDS),
            "timeout": timedelta(seconds=_LONGEST_SECONDS),
        }
        bundle = self._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        if bundle and parts.scheme == "https":
            options["root_certificate"] = Path(bundle).read_bytes()
        endpoint = f"{parts.scheme}://{parts.netloc}" if by_path else f"{parts.scheme}://{bucket}.{parts.netloc}"
        region = client().meta.region_name
        return S3Store(
            bucket,
            endpoint=endpoint,
            aws_endpoint_url_s3=endpoint,  # else the variable of that name would come first
            region="us-east-1" if region == "aws-global" else region,
            virtual_hosted_style_request=not by_path,
            skip_signature=False,
            credential_provider=Boto3CredentialProvider(self._session, ttl=_CREDENTIALS_FOR),
            client_options=options,
            retry_config={"max_retries": 0},
        )


def _count_request() -> None:
    counters().add("calls")
    counters().add("sends")
