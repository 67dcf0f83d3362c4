"""A TCP line to a server on this machine, on which each request takes a while."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def slow_line(endpoint: str, latency: float) -> Iterator[str]:
    """The endpoint of a line to `endpoint`, a process of its own, that delays what the client says by `latency` s."""
    context = multiprocessing.get_context("spawn")
    port: Any = context.SimpleQueue()
    target = int(endpoint.rpartition(":")[2])
    process = context.Process(target=_serve, args=(target, latency, port), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port.get()}"
    finally:
        process.kill()


def _serve(target: int, latency: float, port: Any) -> None:
    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay: float) -> None:
        try:
            while data := await source.read(1 << 18):
                await asyncio.sleep(delay)
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        sink.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(pump(reader, far_writer, latency), pump(far_reader, writer, 0))

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())
