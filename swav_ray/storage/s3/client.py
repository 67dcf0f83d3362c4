"""One S3 client a process, and the patience with which it is used.

boto3 finds credentials, profile, region and endpoint as it always does (AWS_PROFILE, AWS_ENDPOINT_URL, ...). botocore
retries for seconds. `patiently` retries what botocore gives up on, so an outage costs a wait and not the run.
Callers get FileNotFoundError, PermissionError or `StorageUnavailable`, each in one line that names the object, or
`SettingsError` if no client can be made from the settings.
"""

from __future__ import annotations

import functools
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import boto3
import boto3.exceptions
import botocore.exceptions
from botocore.config import Config

from swav_ray.one_line import one_line
from swav_ray.storage.counters import counters
from swav_ray.storage.errors import CredentialsError, SettingsError, StorageUnavailable
from swav_ray.storage.s3.page import parse_contents

PATIENCE_SECONDS = 180.0
"""How long an operation is tried again while the server is down, slow or resetting connections."""

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0  # seconds between our own tries; doubled each time, with jitter

_NAMES = "ACCESS_KEY_ID SECRET_ACCESS_KEY SESSION_TOKEN PROFILE DEFAULT_PROFILE REGION DEFAULT_REGION ENDPOINT_URL"
_FILES = "ENDPOINT_URL_S3 CONFIG_FILE SHARED_CREDENTIALS_FILE CA_BUNDLE"
_SETTINGS = tuple(f"AWS_{name}" for name in f"{_NAMES} {_FILES}".split())
_TRANSIENT_CODES = {
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "Throttling",
    "RequestLimit",
    "ConditionalRequestConflict",  # of two writers at once; the next try says who was first
}
_IDENTITY_CODES = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "RequestTimeTooSkewed",
}
_TRANSIENT_ERRORS = (
    botocore.exceptions.ConnectionError,  # refused, closed, timed out
    botocore.exceptions.HTTPClientError,  # reset, stalled, cut off
    botocore.exceptions.IncompleteReadError,
    botocore.exceptions.ResponseStreamingError,
    boto3.exceptions.RetriesExceededError,
    ConnectionError,
    TimeoutError,
)

log = logging.getLogger("swav_ray.storage")
Result = TypeVar("Result")


_CLIENT_LOCK = threading.Lock()


def client() -> Any:
    """The boto3 client of this process (thread-safe), made anew after a fork or a change of the AWS_* variables.

    Raises SettingsError.
    """
    with _CLIENT_LOCK:
        return _client(os.getpid(), aws_settings())


def aws_settings() -> tuple[str | None, ...]:
    """The variables that decide what a client is. Called for every read, so only these are looked up."""
    return tuple(map(os.environ.get, _SETTINGS))


os.register_at_fork(after_in_child=lambda: _CLIENT_LOCK._at_fork_reinit())  # type: ignore[attr-defined]


@functools.lru_cache(maxsize=4)
def _client(_pid: int, _settings: tuple[str | None, ...]) -> Any:
    config = Config(
        connect_timeout=10,
        read_timeout=30,  # a stalled connection is dropped and tried again
        max_pool_connections=64,
        retries={"mode": "standard", "total_max_attempts": 4},
        # Many S3-compatible servers reject the optional trailing checksums that boto3 adds by default.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        made = boto3.session.Session().client("s3", config=config)
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise SettingsError(f"S3 cannot be used: {one_line(error)}; {_remedy(error)}") from None
    bundle = os.environ.get("AWS_CA_BUNDLE")
    if bundle and made.meta.endpoint_url.startswith("https") and not os.path.exists(bundle):
        raise SettingsError(f"S3 cannot be used: AWS_CA_BUNDLE = {bundle}: is no file; name one of certificates (PEM)")
    counts = counters()
    made.meta.events.register("before-call.s3", lambda **_: counts.add("calls"))
    made.meta.events.register("before-send.s3", lambda **_: counts.add("sends"))
    made.meta.events.register("before-parse.s3.ListObjectsV2", parse_contents)
    return made


def _remedy(error: Exception) -> str:
    if isinstance(error, botocore.exceptions.ProfileNotFound):
        return "AWS_PROFILE must name a profile of ~/.aws/config or ~/.aws/credentials"
    if isinstance(error, botocore.exceptions.BotoCoreError):
        return "check the AWS_* variables and ~/.aws/config"
    return "AWS_ENDPOINT_URL must be a URL with its scheme, as in http://localhost:8333"


def patiently(what: str, operation: Callable[[], Result], patience: float | None = None) -> Result:
    """Runs ``operation`` until it succeeds, fails for good, or ``patience`` seconds (PATIENCE_SECONDS) have passed.

    ``what`` is the s3:// name that error lines begin with. Raises FileNotFoundError, PermissionError, or
    `StorageUnavailable` when patience is spent or no credentials are valid.
    """
    limit = PATIENCE_SECONDS if patience is None else patience
    start, pause = time.monotonic(), _FIRST_WAIT
    while True:
        try:
            return operation()
        except Exception as error:
            verdict = _verdict(what, error)
            if verdict is not None:
                raise verdict from None
            waited = time.monotonic() - start
            if waited >= limit:
                raise StorageUnavailable(
                    f"{what}: no answer for {waited:.0f} s ({one_line(error)}); check the network and AWS_ENDPOINT_URL"
                ) from None
            if pause == _FIRST_WAIT:
                log.warning("%s: %s; trying again for up to %.0f s", what, one_line(error), limit)
            counters().add("own_retries")
            time.sleep(min(pause * random.uniform(0.5, 1.0), max(0.0, limit - waited)))
            pause = min(2 * pause, _LONGEST_WAIT)


def _verdict(what: str, error: Exception) -> Exception | None:
    """The error to raise, or None if another try may succeed."""
    if isinstance(error, boto3.exceptions.S3UploadFailedError) and isinstance(error.__context__, Exception):
        error = error.__context__
    if isinstance(error, botocore.exceptions.ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if status >= 500 or status == 429 or code in _TRANSIENT_CODES:
            return None
        if code == "NoSuchBucket":
            return FileNotFoundError(f"{what}: no such bucket")
        if status == 404:
            return FileNotFoundError(f"{what}: no such object")
        if code in _IDENTITY_CODES:
            return CredentialsError(f"{what}: the credentials are not accepted ({code}); renew them")
        if status in (401, 403):
            return PermissionError(f"{what}: access denied ({code}); check the credentials and the bucket's policy")
        return OSError(f"{what}: {one_line(error)}")
    if isinstance(error, botocore.exceptions.NoCredentialsError | botocore.exceptions.PartialCredentialsError):
        return CredentialsError(f"{what}: no AWS credentials found; set AWS_PROFILE or AWS_ACCESS_KEY_ID")
    if isinstance(error, _TRANSIENT_ERRORS):
        return None
    if isinstance(error, botocore.exceptions.BotoCoreError | boto3.exceptions.Boto3Error):
        return StorageUnavailable(f"{what}: {one_line(error)}")
    return error
