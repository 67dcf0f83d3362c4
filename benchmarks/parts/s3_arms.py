"""Other people's S3 clients, each reading many objects of a bucket with 32 requests under way.

An arm is made for a bucket from the AWS_* variables, and then gives the bytes of keys in their order. Making one raises
ImportError if its library is not installed (they are in the extra `bench`).
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

AT_A_TIME = 32
REQUESTED = 2 * AT_A_TIME  # whose bytes nobody has taken yet

Arm = Callable[[Sequence[str]], Iterator[bytes]]


def requested(begin: Callable[[str], Future[bytes]], keys: Sequence[str]) -> Iterator[bytes]:
    """The results in order, of which up to REQUESTED are begun."""
    begun: collections.deque[Future[bytes]] = collections.deque()
    for key in keys:
        begun.append(begin(key))
        if len(begun) == REQUESTED:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def in_threads(get: Callable[[str], bytes]) -> Arm:
    pool = ThreadPoolExecutor(AT_A_TIME)
    return lambda keys: requested(lambda key: pool.submit(get, key), keys)


def boto3_threads(bucket: str) -> Arm:
    """boto3, 32 threads."""
    import boto3
    from botocore.config import Config

    client = boto3.session.Session().client("s3", config=Config(max_pool_connections=AT_A_TIME))
    return in_threads(lambda key: client.get_object(Bucket=bucket, Key=key)["Body"].read())


def obstore_threads(bucket: str) -> Arm:
    """obstore (Rust's object_store), 32 threads: its asynchronous way takes more CPU time."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(bucket, endpoint=os.environ["AWS_ENDPOINT_URL"], client_options={"allow_http": True})
    return in_threads(lambda key: obstore.get(store, key).bytes().to_bytes())


def s3torchconnector(bucket: str) -> Arm:
    """The client under AWS's connector for PyTorch (Rust over AWS's C client), 32 threads."""
    from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client

    client = MountpointS3Client(
        os.environ["AWS_DEFAULT_REGION"], endpoint=os.environ["AWS_ENDPOINT_URL"], force_path_style=True
    )
    return in_threads(lambda key: b"".join(client.get_object(bucket, key)))


def awscrt(bucket: str) -> Arm:
    """AWS's C client, which has threads of its own."""
    from awscrt import auth, http, io, s3

    endpoint = os.environ["AWS_ENDPOINT_URL"]
    bootstrap = io.ClientBootstrap(io.EventLoopGroup(1), io.DefaultHostResolver(io.EventLoopGroup(1)))
    region = os.environ["AWS_DEFAULT_REGION"]
    client = s3.S3Client(
        bootstrap=bootstrap,
        region=region,
        tls_mode=s3.S3RequestTlsMode.DISABLED,
        signing_config=s3.create_default_s3_signing_config(
            region=region, credential_provider=auth.AwsCredentialsProvider.new_default_chain(bootstrap)
        ),
        max_active_connections_override=AT_A_TIME,
    )
    host = endpoint.partition("://")[2]

    def begin(key: str) -> Future[bytes]:
        done: Future[bytes] = Future()
        parts: list[bytes] = []

        def finished(*, error: Exception | None, **_: Any) -> None:
            done.set_exception(error) if error else done.set_result(b"".join(parts))

        request = http.HttpRequest("GET", f"/{bucket}/{key}", http.HttpHeaders([("host", host)]))
        client.make_request(
            type=s3.S3RequestType.DEFAULT,  # one request an object; GET_OBJECT splits it
            operation_name="GetObject",
            request=request,
            on_body=lambda chunk, **_: parts.append(bytes(chunk)),
            on_done=finished,
        )
        return done

    return lambda keys: requested(begin, keys)


ARMS = {
    "obstore": obstore_threads,
    "awscrt": awscrt,
    "s3torchconnectorclient": s3torchconnector,
    "boto3": boto3_threads,
}
