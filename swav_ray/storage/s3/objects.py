"""Single objects on S3 through boto3: written, copied, removed, and written only if nobody else has."""

from __future__ import annotations

import functools
import itertools
import os
from typing import Any

import botocore.exceptions
from boto3.s3.transfer import TransferConfig

from swav_ray.storage.errors import NoConditionalWrites
from swav_ray.storage.s3.client import client, patiently
from swav_ray.storage.s3.list import list_objects

_DELETE_BATCH = 1000  # keys; the most that DeleteObjects takes


def head(bucket: str, key: str, patience: float | None = None) -> dict[str, Any] | None:
    """Size and ETag of an object; None if there is none."""
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


def read_version(bucket: str, key: str) -> tuple[bytes, str]:
    """An object's bytes and the ETag that they have."""

    def get() -> tuple[bytes, str]:
        answer = client().get_object(Bucket=bucket, Key=key)
        return answer["Body"].read(), answer["ETag"]

    return patiently(f"s3://{bucket}/{key}", get)


def write_if_version(bucket: str, key: str, data: bytes, version: str | None) -> str | None:
    """Writes an object if its ETag is still ``version``, or for None if there is no object; atomically.

    Returns the new ETag, or None if it is not so. The answer may be lost and the write repeated: None can also mean
    that the object is what was to be written. Raises NoConditionalWrites if the server says that it has none; one that
    ignores the condition writes in any case.
    """
    condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}

    def put() -> str | None:
        try:
            etag: str = client().put_object(Bucket=bucket, Key=key, Body=data, **condition)["ETag"]
            return etag
        except botocore.exceptions.ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status == 501:
                raise NoConditionalWrites(f"s3://{bucket}: the server has no conditional writes") from None
            if status == 412 or (status == 404 and error.response.get("Error", {}).get("Code") == "NoSuchKey"):
                return None
            raise

    return patiently(f"s3://{bucket}/{key}", put)


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
