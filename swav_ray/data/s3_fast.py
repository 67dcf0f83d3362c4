"""Reading and listing objects through obstore: a tenth of boto3's CPU time, which takes 2 ms for an image where its
crops take as much, and a minute and a half for the names of a million.

Only the quiet case is handled here. Whatever else comes (an error, a redirect, a proxy, no credentials) is left to the
caller, who asks again through boto3, which knows what to do and retries. Address, region and credentials are boto3's:
the address is taken from a URL that it makes for the bucket.
"""

from __future__ import annotations

import collections
import functools
import os
import re
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions
import obstore
import obstore.exceptions
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from swav_ray.data.s3_client import aws_settings, client, counters

if TYPE_CHECKING:
    from obstore.store import ClientConfig

_STALL_SECONDS = 30  # without a byte, after which a read is asked for again
_LONGEST_SECONDS = 600  # of one read
_ASK_AGAIN = timedelta(minutes=5)  # for the credentials, which boto3 renews in time
_REFUSALS = 16  # in a row, after which it is the way to ask: another region, another way to sign
_REFUSED = re.compile(r"status code: (3\d\d|400|401|403)|redirect")
_PAGE = 1000  # keys
_THREADS = 2  # of obstore in a process; its default is one a core, in each of as many processes


def get(bucket: str, key: str, byte_range: tuple[int, int] | None) -> bytes | None:
    """The bytes of an object (``byte_range``: offset and length), or None where boto3 should be asked."""
    if _forked:
        return None
    return _buckets(aws_settings()).get(bucket, key, byte_range)


class Unanswered(Exception):
    """A listing cannot go on here: boto3 should be asked for what comes after the last key that was given."""


def pages(bucket: str, folder: str, after: str = "") -> Iterator[list[dict[str, Any]]]:
    """Every object below ``folder`` (with its slash), in the order of the keys: Key, Size and ETag as boto3 gives them.

    Begins behind the key ``after``. Raises Unanswered.
    """
    if _forked:
        raise Unanswered
    return _buckets(aws_settings()).pages(bucket, folder, after)


_forked = False  # obstore's threads do not come along


def _mark_as_forked() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_mark_as_forked)


@functools.lru_cache(maxsize=4)
def _buckets(_settings: tuple[str | None, ...]) -> _Buckets:
    return _Buckets()


class _Buckets:
    """Those of one process, with their connections."""

    def __init__(self) -> None:
        os.environ.setdefault("TOKIO_WORKER_THREADS", str(_THREADS))
        self._lock = threading.Lock()
        self._region = client().meta.region_name  # first, since it tells the user of settings that are wrong
        self._session = boto3.session.Session()
        self._stores: dict[str, S3Store | None] = {}
        self._refusals: collections.Counter[str] = collections.Counter()

    def get(self, bucket: str, key: str, byte_range: tuple[int, int] | None) -> bytes | None:
        store = self._store(bucket)
        if store is None or not all(key.split("/")):  # obstore would drop the slash, and read another object
            return None
        counters().add("calls")
        counters().add("sends")
        try:
            if byte_range is None:
                data = obstore.get(store, key).bytes()
            else:
                data = obstore.get_range(store, key, start=byte_range[0], length=byte_range[1])
        except (FileNotFoundError, ValueError):  # a part of the key is "." or ".."
            return None
        except obstore.exceptions.BaseError as error:
            if _REFUSED.search(str(error).partition("\n")[0]):
                self._refusals[bucket] += 1
                if self._refusals[bucket] >= _REFUSALS:
                    self._stores[bucket] = None
            else:
                counters().add("own_retries")  # by boto3, which is asked next
            return None
        self._refusals[bucket] = 0
        return data.to_bytes()

    def pages(self, bucket: str, folder: str, after: str) -> Iterator[list[dict[str, Any]]]:
        store = self._store(bucket)
        # obstore has no names for keys with empty parts, and would drop the slash that a key begins with.
        if store is None or not all(folder.split("/")[:-1]) or (not folder and after < "0"):
            raise Unanswered
        found = iter(obstore.list(store, prefix=folder, offset=after or None, chunk_size=_PAGE))
        while True:
            counters().add("calls")
            counters().add("sends")
            try:
                chunk = next(found, None)
            except (ValueError, obstore.exceptions.BaseError) as error:  # a key may be one that obstore cannot name
                raise Unanswered from error
            if chunk is None:
                return
            page = [{"Key": one["path"], "Size": one["size"], "ETag": one["e_tag"]} for one in chunk]
            # Marks of folders are empty objects whose slash obstore drops: another than this folder's may be a file.
            if any(not one["Size"] and f"{one['Key']}/" != folder for one in page):
                raise Unanswered
            yield [one for one in page if f"{one['Key']}/" != folder]

    def _store(self, bucket: str) -> S3Store | None:
        """The bucket as boto3 would address it; None where this module should keep out of the way."""
        if bucket not in self._stores:
            with self._lock:
                if bucket not in self._stores:
                    try:
                        self._stores[bucket] = self._open(bucket)
                    except (OSError, ValueError, botocore.exceptions.BotoCoreError, obstore.exceptions.BaseError):
                        self._stores[bucket] = None
        return self._stores[bucket]

    def _open(self, bucket: str) -> S3Store | None:
        if self._session.get_credentials() is None:
            return None
        url = client().generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
        parts = urllib.parse.urlsplit(url)
        proxies = urllib.request.getproxies()
        if parts.scheme in proxies and not urllib.request.proxy_bypass(parts.hostname or ""):
            return None
        by_path = parts.path == f"/{bucket}/k"
        if not by_path and parts.path != "/k":
            return None
        options: ClientConfig = {
            "allow_http": parts.scheme == "http",
            "connect_timeout": timedelta(seconds=_STALL_SECONDS),
            "read_timeout": timedelta(seconds=_STALL_SECONDS),
            "timeout": timedelta(seconds=_LONGEST_SECONDS),
        }
        if bundle := os.environ.get("AWS_CA_BUNDLE"):
            with open(bundle, "rb") as file:
                options["root_certificate"] = file.read()
        endpoint = f"{parts.scheme}://{parts.netloc}"
        return S3Store(
            bucket,
            endpoint=endpoint,
            aws_endpoint_url_s3=endpoint,  # else the variable of that name would come first
            region="us-east-1" if self._region == "aws-global" else self._region,
            virtual_hosted_style_request=not by_path,
            skip_signature=False,
            credential_provider=Boto3CredentialProvider(self._session, ttl=_ASK_AGAIN),
            client_options=options,
            retry_config={"max_retries": 0},
        )
