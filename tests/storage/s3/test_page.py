"""A page of a listing holds what botocore reads in it; what is no page is left to botocore."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from swav_ray.storage.s3.page import parse_contents

PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult{namespace}><Name>b</Name><KeyCount>2</KeyCount><IsTruncated>true</IsTruncated>
<Contents><Key>a%20b.jpg</Key><Size>7</Size><ETag>&quot;x&quot;</ETag>
<LastModified>2026-11-28T23:00:01.000Z</LastModified><StorageClass>STANDARD</StorageClass></Contents>
<Contents><Key>c.jpg</Key><Size>0</Size><ETag>&quot;y&quot;</ETag></Contents>
<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes></ListBucketResult>"""


def parsed(status: int, body: bytes) -> tuple[dict[str, Any], bytes]:
    """What botocore is given beside the body, and the body that it still parses."""
    response: dict[str, Any] = {"status_code": status, "body": body}
    given: dict[str, Any] = {}
    parse_contents(response_dict=response, customized_response_dict=given, operation_model=None)
    return given, response["body"]


@pytest.mark.parametrize("namespace", ["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'])
def test_objects_are_taken_and_the_rest_is_left(namespace: str) -> None:
    given, left = parsed(200, PAGE.format(namespace=namespace).encode())
    assert given["Contents"] == [
        {"Key": "a%20b.jpg", "Size": 7, "ETag": '"x"', "LastModified": datetime(2026, 11, 28, 23, 0, 1, tzinfo=UTC)},
        {"Key": "c.jpg", "Size": 0, "ETag": '"y"', "LastModified": None},
    ]
    assert b"Contents" not in left
    assert all(part in left for part in (b"d/", b"true", b"KeyCount"))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, PAGE.format(namespace="").encode()),
        (200, b"<Error><Code>SlowDown</Code></Error>"),
        (200, b"cut off <"),
        (200, b"<ListBucketResult><Contents><Key>x</Key></Contents></ListBucketResult>"),
        (200, b""),
    ],
)
def test_what_is_no_page_of_objects_is_left_to_botocore(status: int, body: bytes) -> None:
    assert parsed(status, body) == ({}, body)
