"""Listing through obstore: the names of a million objects take boto3 more than a minute of CPU time."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import BaseError, InvalidPathError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from swav_ray.storage.s3.address import (
    CONNECT_SECONDS,
    LONGEST_SECONDS,
    STALL_SECONDS,
    Address,
    Addresses,
    addresses,
    count_request,
)

if TYPE_CHECKING:
    from obstore.store import ClientConfig

_CREDENTIALS_FOR = timedelta(minutes=10)  # after which they are asked for again; boto3 renews them in time
_PAGE = 1000  # keys
_THREADS = 2  # of obstore in a process; its default is one a core, in each of as many processes


class Unanswered(Exception):
    """A listing cannot go on here: boto3 should be asked for what comes after the last key that was given."""


def pages(bucket: str, folder: str, after: str = "") -> Iterator[list[dict[str, Any]]]:
    """Every object below ``folder`` (with its slash), in the order of the keys: Key, Size and ETag as boto3 gives them.

    Begins behind the key ``after``. Raises Unanswered.
    """
    known = addresses()
    address = known.of(bucket) if known else None
    # obstore has no names for keys with empty parts, and would drop the slash that a key begins with.
    if known is None or address is None or not all(folder.split("/")[:-1]) or (not folder and after < "0"):
        raise Unanswered
    found: Iterator[Any] | None = None
    while True:
        try:
            count_request()
            store = store_of(known, address)
            found = found or iter(obstore.list(store, prefix=folder, offset=after or None, chunk_size=_PAGE))
            chunk = next(found, None)
        except (FileNotFoundError, ValueError, InvalidPathError) as error:  # a key that obstore cannot name
            raise Unanswered from error
        except BaseError as error:
            known.has_failed(bucket, refused=isinstance(error, PermissionDeniedError | UnauthenticatedError))
            raise Unanswered from error
        known.has_answered(bucket)
        if chunk is None:
            return
        page = [{"Key": one["path"], "Size": one["size"], "ETag": one["e_tag"]} for one in chunk]
        for one in page:
            if f"{one['Key']}/" == folder:  # the folder's own mark, whose slash obstore drops
                one["Key"] = folder
            elif not one["Size"]:  # a mark or a file
                raise Unanswered
        yield page


@functools.lru_cache(maxsize=16)
def store_of(known: Addresses, address: Address) -> S3Store:
    """obstore's way to a bucket, with its connections."""
    os.environ.setdefault("TOKIO_WORKER_THREADS", str(_THREADS))
    options: ClientConfig = {
        "allow_http": address.endpoint.startswith("http:"),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "read_timeout": timedelta(seconds=STALL_SECONDS),
        "timeout": timedelta(seconds=LONGEST_SECONDS),
    }
    if address.certificates:
        options["root_certificate"] = Path(address.certificates).read_bytes()
    return S3Store(
        address.bucket,
        endpoint=address.endpoint,
        aws_endpoint_url_s3=address.endpoint,  # else the variable of that name would come first
        region=address.region,
        virtual_hosted_style_request=not address.by_path,
        skip_signature=False,
        credential_provider=Boto3CredentialProvider(known.session, ttl=_CREDENTIALS_FOR),
        client_options=options,
        retry_config={"max_retries": 0},
    )
