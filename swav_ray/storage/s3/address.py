"""The address to which libcurl sends a bucket's requests, and which buckets are left to boto3.

libcurl handles only the quiet case. boto3 is asked again for whatever else comes (an error, a redirect, a proxy, no
credentials), since it knows what to do and retries. Endpoint, region, credentials and certificates are boto3's.
"""

from __future__ import annotations

import collections
import functools
import os
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

import botocore.exceptions
import botocore.session
from botocore.credentials import ReadOnlyCredentials

from swav_ray.storage.counters import counters
from swav_ray.storage.s3.client import aws_settings, client

CONNECT_SECONDS = 10
STALL_SECONDS = 30  # without a byte, after which a read is asked for again
LONGEST_SECONDS = 120  # of one read
_FAILURES = 16  # in a row, after which a bucket is left to boto3 for a while: another region, another way to sign
_LEFT_SECONDS = 300


@dataclass(frozen=True)
class Address:
    """A bucket as boto3 would address it.

    Attributes:
        url: of the bucket, to which keys are added.
        certificates: a PEM file, for https only; None: those that botocore trusts by itself.
    """

    url: str
    region: str
    certificates: str | None


_forked = False  # connections and threads are the parent's


def _mark_as_forked() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_mark_as_forked)

_LOCK = threading.Lock()


def addresses() -> Addresses | None:
    """The addresses of this process under the present AWS_* variables; None in a forked child."""
    if _forked:
        return None
    with _LOCK:
        return _addresses_of(aws_settings())


@functools.lru_cache(maxsize=4)
def _addresses_of(_settings: tuple[str | None, ...]) -> Addresses:
    return Addresses()


class Addresses:
    """The buckets of one process, and which of them are left to boto3 for now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        client()  # first, since it says what is wrong with the settings
        self._session = botocore.session.get_session()
        self._found: dict[str, Address | None] = {}
        self._failures: collections.Counter[str] = collections.Counter()
        self._left_until: dict[str, float] = {}

    def of(self, bucket: str) -> Address | None:
        """None if the bucket is left to boto3."""
        with self._lock:
            if time.monotonic() < self._left_until.get(bucket, 0.0):
                return None
            if bucket not in self._found:
                try:
                    self._found[bucket] = self._find(bucket)
                except (OSError, ValueError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                    self._left_until[bucket] = time.monotonic() + _LEFT_SECONDS
                    return None
            return self._found[bucket]

    def credentials(self) -> ReadOnlyCredentials | None:
        """As they are now, renewed if need be; None if there are none, or boto3 has to say what is wrong."""
        try:
            found = self._session.get_credentials()
            return found.get_frozen_credentials() if found else None
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, RuntimeError):
            return None

    def has_answered(self, bucket: str) -> None:
        """Call after a good answer: only failures in a row count."""
        self._failures[bucket] = 0

    def has_failed(self, bucket: str, *, refused: bool) -> None:
        """Call after a request that boto3 makes next; ``refused``: by status 401 or 403, which is no retry."""
        if not refused:
            counters().add("own_retries")
        self._failures[bucket] += 1
        if self._failures[bucket] >= _FAILURES:
            self._failures[bucket] = 0
            self._left_until[bucket] = time.monotonic() + _LEFT_SECONDS

    def _find(self, bucket: str) -> Address | None:
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
        bundle: Any = self._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        if bundle and not os.path.exists(bundle):
            return None
        region = client().meta.region_name
        return Address(
            f"{parts.scheme}://{parts.netloc}/{bucket}/" if by_path else f"{parts.scheme}://{bucket}.{parts.netloc}/",
            region="us-east-1" if region == "aws-global" else region,
            certificates=bundle if bundle and parts.scheme == "https" else None,
        )


def count_request() -> None:
    """Call for each request that does not go through boto3, which counts its own."""
    counters().add("calls")
    counters().add("sends")


def is_directory_bucket(bucket: str) -> bool:
    """Whether it is one of S3 Express, whose requests need a session."""
    return bucket.endswith("--x-s3")
