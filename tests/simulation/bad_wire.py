"""The vendors as servers of their own, and between them and the hub a server that misbehaves as a seed says."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from random import Random
from typing import Any

from sandbox import server

#: What befalls an answer on its way; before all but the first, the vendor has done its part.
FAULTS = ("reset before", "reply lost", "reset", "half header", "half body", "drip")
#: A dripping answer comes in so many pieces, with a pause between them.
PIECES, PAUSE_SECONDS = 20, 0.01
#: Where the server is told ``{"seed": ..., "chance": ...}``, and tells what it has done so far.
CONTROL = b"POST /_wire "


class BadWire:
    """A server in front of one vendor. Each request gets a fault by ``chance``, drawn from the seed."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.removeprefix("http://").partition(":")
        self._port = int(port)
        self._rng, self._chance = Random(0), 0.0
        self._counts: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            if head.startswith(CONTROL):
                await self._answer(writer, self._told(json.loads(body)), "")
                return
            fault = self._rng.choice(FAULTS) if self._rng.random() < self._chance else ""
            self._counts[fault] += 1
            answer = b"" if fault == "reset before" else await self._carried_out(head, body)
            await self._answer(writer, answer, fault)
        writer.close()

    def _told(self, orders: Mapping[str, float]) -> bytes:
        done = json.dumps({name: count for name, count in self._counts.items() if name}).encode()
        self._rng, self._chance = Random(orders["seed"]), orders["chance"]
        self._counts.clear()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(done), done)

    async def _carried_out(self, head: bytes, body: bytes) -> bytes:
        """The vendor's whole answer, after which it closes."""
        lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"connection:")]
        reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(b"\r\n".join([*lines, b"Connection: close", b"", body]))
        answer = await reader.read()
        writer.close()
        return answer

    async def _answer(self, writer: asyncio.StreamWriter, answer: bytes, fault: str) -> None:
        end_of_head = answer.find(b"\r\n\r\n")
        match fault:
            case "reset before" | "reset":
                own = writer.get_extra_info("socket")
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return
            case "reply lost":
                return
            case "half header":
                answer = answer[: end_of_head // 2]
            case "half body":
                answer = answer[: (end_of_head + 4 + len(answer)) // 2]
            case "drip":
                size = len(answer) // PIECES + 1
                for start in range(0, len(answer) - size, size):
                    writer.write(answer[start : start + size])
                    await writer.drain()
                    await asyncio.sleep(PAUSE_SECONDS)
                answer = answer[(len(answer) - 1) // size * size :]
        writer.write(answer)
        await writer.drain()


def _serve(names: list[str], told: Connection, ahead: Any) -> None:
    """Runs the vendors and the servers before them until the other side of ``told`` ends."""
    running = server.start(names)
    for emulator in running.emulators.values():
        emulator.shelf.now = lambda: datetime.now(UTC) + timedelta(seconds=ahead.value)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    between = {}
    for name, url in running.urls.items():
        starting = asyncio.start_server(BadWire(url).serve, "127.0.0.1", 0, limit=1 << 24)
        listening = asyncio.run_coroutine_threadsafe(starting, loop).result()
        between[name] = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    told.send((running.urls, between))
    with suppress(EOFError):
        told.recv()


@contextmanager
def vendors(names: list[str], ahead: Any) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Addresses of the vendors, and of the servers that misbehave before them, in a process of their own.

    ``ahead``: a shared number of seconds by which their clocks are ahead of the system's.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(names, theirs, ahead), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        ours.close()
        process.join(10)
