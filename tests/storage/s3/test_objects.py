"""Objects are removed by the thousand, and written only if nobody else has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.exceptions
import pytest

from swav_ray.storage.errors import NoConditionalWrites
from swav_ray.storage.place import place
from swav_ray.storage.s3 import objects
from swav_ray.storage.s3.client import client
from tests.storage.servers import Unconditional, use_server


@pytest.mark.s3
def test_a_tree_larger_than_one_request_is_removed_whole(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_DELETE_BATCH", 3)
    for name in ("t", *(f"t/{i}" for i in range(7)), "other"):
        (place(s3) / name).write_bytes(b"x")
    (place(s3) / "t").delete_tree()
    assert [entry.name for entry in place(s3).list()] == ["other"]


@pytest.mark.s3
def test_a_version_is_written_over_once(s3: str) -> None:
    path = place(s3) / "x"
    first = path.write_if_version(b"1", None)
    assert first is not None
    assert path.read_version() == (b"1", first)
    assert path.write_if_version(b"2", None) is None
    second = path.write_if_version(b"2", first)
    assert second is not None
    assert path.write_if_version(b"3", first) is None
    assert path.read_version() == (b"2", second)
    path.delete()
    assert path.write_if_version(b"4", second) is None
    assert not path.exists()


@pytest.mark.s3
@pytest.mark.parametrize("is_there", [False, True])
def test_of_many_writers_at_once_one_succeeds(s3: str, is_there: bool) -> None:
    for number in range(10):
        path = place(s3) / str(number)
        version = path.write_if_version(b"old", None) if is_there else None
        with ThreadPoolExecutor(8) as pool:
            written = list(pool.map(lambda i: path.write_if_version(b"%d" % i, version), range(8)))  # noqa: B023
        (winner,) = [i for i, etag in enumerate(written) if etag]
        assert path.read_version() == (b"%d" % winner, written[winner])


def test_a_server_without_conditional_writes_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    use_server(Unconditional(says_so=True).server.server_port, monkeypatch)
    with pytest.raises(NoConditionalWrites, match="s3://b: the server has no conditional writes"):
        place("s3://b/x").write_if_version(b"y", None)


@pytest.mark.s3
def test_a_write_that_meets_another_is_tried_again(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    conflicts = [botocore.exceptions.ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject")]
    put_object = client().put_object

    def put(self: Any, **options: Any) -> Any:
        if conflicts:
            raise conflicts.pop()
        return put_object(**options)

    monkeypatch.setattr(type(client()), "put_object", put)
    assert (place(s3) / "x").write_if_version(b"y", None)
    assert not conflicts
