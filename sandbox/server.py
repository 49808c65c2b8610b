"""Runs emulators on loopback: each vendor on its own port, all in one process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import uvicorn

import sandbox
from sandbox.emulator import Emulator, Shelf


def emulators() -> Mapping[str, str]:
    """Vendor to the module of its emulator: each of this folder that can build one, by its name; a module that would
    have the name of a vendor's own package says ``_gateway`` after it.
    """
    files = sorted(file for folder in sandbox.__path__ for file in Path(folder).glob("*.py"))
    known = [file.stem for file in files if "\ndef emulator(shelf" in file.read_text(encoding="utf-8")]
    return {name.removesuffix("_gateway"): f"sandbox.{name}" for name in known}


def build(name: str, shelf: Shelf) -> Emulator:
    """The emulator of that vendor over ``shelf``."""
    emulator: Emulator = import_module(emulators()[name]).emulator(shelf)
    return emulator


@dataclass
class Running:
    """Emulators serving in a thread of this process. ``urls``: vendor to ``http://127.0.0.1:<port>``."""

    emulators: dict[str, Emulator] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    _servers: list[uvicorn.Server] = field(default_factory=list)
    _thread: threading.Thread | None = None

    def wait(self) -> None:
        """Returns when the emulators have stopped, or at an interrupt."""
        with suppress(KeyboardInterrupt):
            while self._thread and self._thread.is_alive():
                self._thread.join(0.5)

    def stop(self) -> None:
        for server in self._servers:
            server.should_exit = True
        if self._thread:
            self._thread.join(10)
        for emulator in self.emulators.values():
            emulator.shelf.close()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    names: list[str] | None = None, folder: Path | None = None, ports: Mapping[str, int] | None = None
) -> Running:
    """Starts emulators (all of them by default) on the given or free loopback ports, and returns when they answer."""
    running = Running()
    sockets: list[tuple[uvicorn.Server, socket.socket]] = []
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    for name in names or list(emulators()):
        emulator = build(name, Shelf(folder / f"{name}.db" if folder else None))
        # A stated protocol, because asyncio turns off delayed sending (40 ms an answer) only for sockets that state it.
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", (ports or {}).get(name, 0)))
        server = uvicorn.Server(
            uvicorn.Config(emulator, log_level="warning", lifespan="on", timeout_graceful_shutdown=1)
        )
        running.emulators[name] = emulator
        running.urls[name] = f"http://127.0.0.1:{sock.getsockname()[1]}"
        running._servers.append(server)
        sockets.append((server, sock))

    async def serve() -> None:
        await asyncio.gather(*(server.serve(sockets=[sock]) for server, sock in sockets))

    running._thread = threading.Thread(target=lambda: asyncio.run(serve()), name="sandbox", daemon=True)
    running._thread.start()
    for server, _ in sockets:
        while not server.started:
            if not running._thread.is_alive():
                raise RuntimeError("the sandbox did not start; see the lines above")
            running._thread.join(0.01)
    return running
