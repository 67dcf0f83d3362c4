"""The index of a bucket of many images, beside boto3 that only lists it: page after page, and folders side by side.

    python -m benchmarks.index [--keys N] [--folders N] [--latency SECONDS]

Prints one JSON line: seconds, CPU seconds and grown memory of `load_or_build` (listing, labels, manifest written), of
the same with the manifest cached (listing, fingerprint), of the first if no folder is cut into ranges (`uncut`), of
boto3's paginator, and of a paginator a folder in 16 threads. Each runs in a process of its own. `--folders 1` is a flat
bucket. The server is a stand-in on this machine that answers ListObjectsV2 from the numbers of the keys, each page
after `--latency`: nothing can hold a million objects here, and the latency of a page is an assumption. All take the
paginator's time as the baseline: `ratio`.
"""

from __future__ import annotations

import argparse
import bisect
import http.server
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PAGE = 1000
THREADS = 16


class Bucket(http.server.BaseHTTPRequestHandler):
    """train/class_0000/000000.jpg, ... : folders of equal size, whose names sort as their numbers do."""

    protocol_version = "HTTP/1.1"
    each: int
    folders: int
    latency: float

    def do_GET(self) -> None:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        time.sleep(self.latency)
        body = self._page(query)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _page(self, query: dict[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        start = int(query.get("continuation-token", "0"))
        if delimiter and prefix in ("", "train/"):
            names = ["train/"] if not prefix else [f"train/class_{n:04d}/" for n in range(self.folders)]
            found = [f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in names[start:][:PAGE]]
            total = len(names)
        else:
            total = self.each * self.folders
            first = 0
            if "_" in prefix:
                first = int(prefix.split("_")[1].strip("/")) * self.each
                total = first + self.each
            if after := query.get("start-after", ""):
                first = bisect.bisect_right(range(total), after, lo=first, key=self._key)
            start = start or first
            found = [self._entry(number) for number in range(start, min(start + PAGE, total))]
        more = start + PAGE < total
        token = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
        head = f"<IsTruncated>{str(more).lower()}</IsTruncated><KeyCount>{len(found)}</KeyCount>{token}"
        return f'<?xml version="1.0"?><ListBucketResult>{head}{"".join(found)}</ListBucketResult>'.encode()

    def _key(self, number: int) -> str:
        folder, number = divmod(number, self.each)
        return f"train/class_{folder:04d}/{number:06d}.jpg"

    def _entry(self, number: int) -> str:
        about = "<LastModified>2026-01-01T00:00:00.000Z</LastModified><StorageClass>STANDARD</StorageClass>"
        tag = f"<ETag>&quot;{number:032x}&quot;</ETag>"
        return f"<Contents><Key>{self._key(number)}</Key>{about}{tag}<Size>{60_000 + number}</Size></Contents>"

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def serve(arguments: argparse.Namespace, port: Any) -> None:
    Bucket.each, Bucket.folders = arguments.keys // arguments.folders, arguments.folders
    Bucket.latency = arguments.latency
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    port.put(server.server_port)
    server.serve_forever()


def index(cache: str) -> int:
    from swav_ray.data.manifest import load_or_build
    from swav_ray.storage.place import place

    return len(load_or_build("s3://bucket", place(cache), progress=lambda _: None))


def index_uncut(cache: str) -> int:
    """As before folders were cut: each of them page after page."""
    from swav_ray.storage.s3.crew import Crew

    Crew.cut = lambda *_: {}  # type: ignore[method-assign]
    return index(f"{cache}/uncut")


def paginate(_: str) -> int:
    import boto3

    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket="bucket")
    return len([(found["Key"], found["Size"], found["ETag"]) for page in pages for found in page["Contents"]])


def paginate_folders(_: str) -> int:
    import boto3
    from botocore.config import Config

    client = boto3.client("s3", config=Config(max_pool_connections=THREADS))

    def pages(prefix: str, delimiter: str) -> list[dict[str, Any]]:
        paginator = client.get_paginator("list_objects_v2")
        return list(paginator.paginate(Bucket="bucket", Prefix=prefix, Delimiter=delimiter))

    def keys(folder: str) -> int:
        return len(
            [(found["Key"], found["Size"], found["ETag"]) for page in pages(folder, "") for found in page["Contents"]]
        )

    folders = [one["Prefix"] for page in pages("train/", "/") for one in page["CommonPrefixes"]]
    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(keys, folders))


def in_a_process(work: Callable[[str], int], cache: str) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    process = context.Process(target=_measure, args=(work, cache, answers))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{work.__name__} has failed")
    answer: dict[str, float] = answers.get()
    return answer


def _measure(work: Callable[[str], int], cache: str, answers: Any) -> None:
    import boto3  # noqa: F401

    import swav_ray.data.manifest  # noqa: F401

    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    keys = work(cache)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    grown = (after.ru_maxrss - before.ru_maxrss) * (1 if sys.platform == "darwin" else 1024)
    answers.put({"keys": keys, "s": round(seconds, 1), "cpu_s": round(used, 1), "mb": round(grown / 1e6)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=int, default=200_000, help="(default %(default)s)")
    parser.add_argument("--folders", type=int, default=200, help="(default %(default)s)")
    parser.add_argument("--latency", type=float, default=0.1, help="of a page, in seconds (default %(default)s)")
    arguments = parser.parse_args()
    port: Any = multiprocessing.get_context("spawn").SimpleQueue()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(arguments, port), daemon=True)
    server.start()
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port.get()}", **keys})
    with tempfile.TemporaryDirectory() as cache:
        works = {"index": index, "again": index, "uncut": index_uncut}
        result = {name: in_a_process(work, cache) for name, work in works.items()}
    result |= {"paginator": in_a_process(paginate, ""), "folders": in_a_process(paginate_folders, "")}
    server.kill()
    counts = {figures.pop("keys") for figures in result.values()}
    if counts != {arguments.keys // arguments.folders * arguments.folders}:
        raise SystemExit(f"different numbers of keys: {counts}")
    ratio = {
        name: round(result["paginator"]["s"] / result[name]["s"], 2) for name in ("index", "again", "uncut", "folders")
    }
    about = {
        "benchmark": "index",
        "keys": arguments.keys,
        "in_folders": arguments.folders,
        "latency_s": arguments.latency,
    }
    print(json.dumps({**about, **result, "ratio": ratio}))


if __name__ == "__main__":
    main()
