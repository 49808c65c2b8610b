"""The usage endpoint: sources post batches in the CloudEvents shape; a batch is a file before it is acknowledged.

``POST /usage/{source}`` with ``Authorization: Bearer <usage_token>`` takes

- ``application/cloudevents-batch+json``: a list of events; ``application/cloudevents+json``: one event
- ``application/x-ndjson``: lines as a usage file has them (docs/usage.md)

and answers 202 with the number of events and the batch's digest (200 when the very batch is there already), 401 for a
wrong token, 400 for a body that is no batch, 404 while no token is configured, 413 beyond ``LIMIT``, 415 for another
media type. Single events are not judged here: each becomes a line, and a line that cannot be used is rejected with its
cause when the file is taken in, so that nothing a source has sent disappears.

Of a CloudEvent (specification 1.0.2, JSON format): ``id``, ``time`` (when it occurred), and in ``data`` ``account_id``,
``site_id``, ``meter`` (default: the event's ``type``), ``quantity`` (default 1) and ``dimensions``.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flows.context import Hub
from flows.ingest import FOLDER

#: Largest body (bytes), and seconds it may take to arrive.
LIMIT, BODY_WITHIN = 16 << 20, 60.0
SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class NotABatch(Exception):
    """The body is not of its media type; the message says why, without the body."""


def usage_routes(hub: Hub) -> list[Route]:
    """The endpoint, for the application that also receives webhooks."""

    async def take(request: Request) -> Response:
        token, source = hub.settings.usage_token, request.path_params["source"]
        if token is None or not SOURCE.fullmatch(source):
            return JSONResponse({"error": "no such source"}, 404)
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.get_secret_value().encode()):
            return JSONResponse({"error": "the token is not right"}, 401)
        body = await _body(request)
        if body is None:
            return JSONResponse({"error": "the body is too large, or did not come"}, 413, {"Connection": "close"})
        try:
            lines = _lines(request.headers.get("content-type", "").partition(";")[0].strip().lower(), body)
        except NotABatch as error:
            return JSONResponse({"error": str(error)}, 400)
        if lines is None:
            return JSONResponse({"error": "send CloudEvents (JSON, batched or single) or x-ndjson"}, 415)
        digest = hashlib.sha256(body).hexdigest()[:32]
        path = hub.settings.state_folder / FOLDER / f"{source}.{digest}.ndjson"
        fresh = await run_in_threadpool(keep, path, lines)
        return JSONResponse({"events": len(lines), "batch": digest}, 202 if fresh else 200)

    return [Route("/usage/{source}", take, methods=["POST"])]


async def _body(request: Request) -> bytes | None:
    """The raw body, read no further than ``LIMIT``; None beyond it, or when it does not come."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LIMIT:
                    return None
    except (TimeoutError, ClientDisconnect):
        return None
    return bytes(body)


def _lines(media_type: str, body: bytes) -> list[str] | None:
    """The lines of the file that the batch becomes; None for a media type that is not taken."""
    match media_type:
        case "application/cloudevents-batch+json":
            events = _json(body)
            if not isinstance(events, list):
                raise NotABatch("a batch is a list of events")
            return [_line(event) for event in events]
        case "application/cloudevents+json":
            return [_line(_json(body))]
        case "application/x-ndjson":
            return [line for line in body.decode("utf-8", "replace").splitlines() if line.strip()]
    return None


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise NotABatch("the body is not JSON") from None


def _line(event: Any) -> str:
    """One CloudEvent as a line of a usage file; what it lacks is absent, for ingestion to reject."""
    if not isinstance(event, dict):
        return json.dumps(event, default=str)
    data = event.get("data") if isinstance(event.get("data"), dict) else {}
    assert isinstance(data, dict)
    told = {
        "id": event.get("id"),
        "account_id": data.get("account_id"),
        "site_id": data.get("site_id"),
        "meter": data.get("meter", event.get("type")),
        "quantity": str(data.get("quantity", 1)),
        "occurred_at": event.get("time"),
        "dimensions": data.get("dimensions", {}),
    }
    return json.dumps({name: value for name, value in told.items() if value is not None}, default=str)


def keep(path: Path, lines: Iterable[str]) -> bool:
    """Writes a usage file whole or not at all, safe on disk when it returns. False when it is there already."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return True
