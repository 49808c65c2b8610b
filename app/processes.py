"""Child processes that end with their parent, and what they say when they are ready."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from core.errors import Misconfigured


def free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def child(arguments: list[str], log: Path, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs ``python <arguments>`` in a process group of its own until the block ends; its output goes to ``log``.

    Its standard input is a pipe that closes when this process dies, however it dies.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environ},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Asks a child's whole group to end, and ends it when it does not."""
    for sign, patience in ((signal.SIGINT, 12), (signal.SIGTERM, 4), (signal.SIGKILL, 2)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        try:
            process.wait(patience)
            break
        except subprocess.TimeoutExpired:
            continue
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def end_with_parent() -> None:
    """Interrupts this process when the pipe on its standard input closes, because its parent is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def until(ready: Callable[[], Any], process: subprocess.Popen[bytes], log: Path, what: str, patience: int = 120) -> Any:
    """The first true answer of ``ready``. Misconfigured when the child dies, or after ``patience`` seconds."""
    for _ in range(patience * 10):
        if answer := ready():
            return answer
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise last_words(f"{what} did not start", log)


def last_words(what: str, log: Path) -> Misconfigured:
    """The error that a child is gone: what became of it, and how its log ends."""
    lines = log.read_text(errors="replace").strip().splitlines()[-5:] if log.exists() else []
    return Misconfigured(f"{what}; its last lines ({log}):\n" + "\n".join(lines))


def told(path: Path) -> dict[str, Any] | None:
    """What a child wrote into its ready file, or None."""
    try:
        answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return answer


def tell(path: Path | None, answer: Mapping[str, Any]) -> None:
    """Writes a ready file whole or not at all."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(answer), encoding="utf-8")
        part.replace(path)


def answers(url: str) -> bool:
    """Whether a GET of the address gives a 2xx."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(200 <= response.status < 300)
    except (urllib.error.URLError, OSError):
        return False


#: What ``prefect server start`` runs, in one process that ends with its parent.
PREFECT_SERVER = """
import sys
from app.processes import end_with_parent
end_with_parent()
import uvicorn
uvicorn.run("prefect.server.api.server:create_app", factory=True, port=int(sys.argv[1]), log_level="warning")
"""


@contextlib.contextmanager
def prefect_server(folder: Path, port: int) -> Iterator[str]:
    """A Prefect server with its UI on loopback, its data in ``folder``; gives the address of its API."""
    url = f"http://127.0.0.1:{port}/api"
    environ = {
        **prefect_environment(folder),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
    log = folder / "logs" / "prefect-server.log"
    with child(["-c", PREFECT_SERVER, str(port)], log, environ) as process:
        until(lambda: answers(f"{url}/health"), process, log, "the Prefect server")
        yield url


def prefect_environment(folder: Path) -> dict[str, str]:
    """Settings of the server and of everything that runs flows: quiet, quick to pick up work, nothing sent out."""
    return {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_CLI_COLORS": "false",
    }
