"""GET of an object over plain HTTP connections: 0.6 ms of CPU where boto3 takes 2, beside the 3 of an image's crops.

Only the quiet case is handled here. Whatever else comes (an error, a redirect, a proxy, no credentials) is answered by
None, and the caller asks again through boto3, which knows what to do and retries. Address, region and credentials are
boto3's: the address is taken from a URL that it makes for the bucket, and requests are signed with its own signer.
"""

from __future__ import annotations

import collections
import functools
import http.client
import os
import ssl
import threading
import urllib.parse
import urllib.request

import boto3
import botocore.exceptions
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import get_cert_path

from swav_ray.data.s3_client import aws_settings, client, counters

_STALL_SECONDS = 30  # without a byte, after which a read is asked for again
_NOT_FOR_US = (301, 307, 400)  # another region, another way to sign: boto3's business from then on
_REFUSED = (401, 403)  # another way to sign, or just an object that may not be read
_REFUSALS = 16  # in a row, after which it is the way to sign


def get(bucket: str, key: str, byte_range: str | None) -> bytes | None:
    """The bytes of an object (``byte_range`` as in the Range header), or None where boto3 should be asked."""
    return _getter(os.getpid(), aws_settings()).get(bucket, key, byte_range)


@functools.lru_cache(maxsize=4)
def _getter(_pid: int, _settings: tuple[str | None, ...]) -> _Getter:
    return _Getter()


class _Getter:
    """Connections and addresses of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        region = client().meta.region_name  # first, since it tells the user of settings that are wrong
        self._credentials = boto3.session.Session().get_credentials()
        self._region = "us-east-1" if region == "aws-global" else region
        self._addresses: dict[str, urllib.parse.SplitResult | None] = {}
        self._refusals: collections.Counter[str] = collections.Counter()
        self._idle: dict[str, collections.deque[http.client.HTTPConnection]] = collections.defaultdict(
            collections.deque
        )

    def get(self, bucket: str, key: str, byte_range: str | None) -> bytes | None:
        try:
            address = self._address(bucket)
            if address is None:
                return None
            return self._exchange(address, bucket, key, byte_range)
        except (OSError, http.client.HTTPException, botocore.exceptions.BotoCoreError):
            counters().add("own_retries")  # by boto3, which is asked next
            return None

    def _address(self, bucket: str) -> urllib.parse.SplitResult | None:
        """Where the bucket is, as boto3 would address it; None where this module should keep out of the way."""
        if bucket not in self._addresses:
            with self._lock:
                self._addresses[bucket] = self._find(bucket)
        return self._addresses[bucket]

    def _find(self, bucket: str) -> urllib.parse.SplitResult | None:
        if self._credentials is None:
            return None
        url = client().generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
        parts = urllib.parse.urlsplit(url)
        proxies = urllib.request.getproxies()
        if parts.scheme in proxies and not urllib.request.proxy_bypass(parts.hostname or ""):
            return None
        return parts._replace(path=parts.path[: -len("/k")], query="")

    def _exchange(
        self, address: urllib.parse.SplitResult, bucket: str, key: str, byte_range: str | None
    ) -> bytes | None:
        path = f"{address.path}/{urllib.parse.quote(key, safe='/~')}"
        request = AWSRequest("GET", f"{address.scheme}://{address.netloc}{path}")
        if byte_range is not None:
            request.headers["Range"] = byte_range
        S3SigV4Auth(self._credentials.get_frozen_credentials(), "s3", self._region).add_auth(request)
        connection, answer = self._ask(address, path, dict(request.headers.items()))
        try:
            data = answer.read()  # an answer cut short raises IncompleteRead
        except BaseException:
            connection.close()
            raise
        if not answer.will_close:
            self._idle[address.netloc].append(connection)
        if answer.status == (200 if byte_range is None else 206):
            self._refusals[bucket] = 0
            return data
        self._refusals[bucket] += answer.status in _REFUSED
        if answer.status in _NOT_FOR_US or self._refusals[bucket] >= _REFUSALS:
            self._addresses[bucket] = None
        if answer.status >= 500 or answer.status == 429:
            counters().add("own_retries")  # by boto3, which is asked next
        return None

    def _ask(
        self, address: urllib.parse.SplitResult, path: str, headers: dict[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Sends the request on an idle connection, or on a new one where there is none or it has gone stale."""
        while True:
            try:
                connection, fresh = self._idle[address.netloc].pop(), False
            except IndexError:
                connection, fresh = self._connect(address), True
            counters().add("calls")
            counters().add("sends")
            try:
                connection.request("GET", path, headers=headers)
                return connection, connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if fresh or isinstance(error, TimeoutError):
                    raise

    def _connect(self, address: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        host, port = address.hostname or "", address.port
        if address.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=_STALL_SECONDS)
        return http.client.HTTPSConnection(host, port, timeout=_STALL_SECONDS, context=_tls())


@functools.cache
def _tls() -> ssl.SSLContext:
    """Trusts whom boto3 trusts."""
    return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or get_cert_path(True))
