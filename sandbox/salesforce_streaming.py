"""Change Data Capture of the emulated org: change events, and the Streaming API (CometD, long polling) that tells them.

Written from the Change Data Capture and Streaming API Developer Guides (published docs, read 2026-11). No object is
selected for change events until ``POST /_sandbox/change_data_capture`` names it: ``["Opportunity"]``, as an
administrator does in Setup. ``POST /_sandbox/change_events`` puts events on the bus that no write of the sandbox makes:
``{"entityName": ..., "changeType": "GAP_OVERFLOW", "recordIds": []}``.

Where the texts leave a choice the harder one is taken: equal changes of one request are merged into one event, replay
ids leave gaps, the first connect of a session answers without events, an answer holds few of them, and what was told
once in a session is not told again. The text of the error for a channel that is not there is from memory.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.emulator import ExactJSONResponse, Json, Shelf, read_json
from sandbox.salesforce_records import USER_ID, Record, Work
from sandbox.salesforce_schema import OBJECTS

KEPT = timedelta(hours=72)
HELD_BACK = 110.0
#: Most events of one answer, and how far apart two replay ids are.
AT_ONCE, APART = 3, 7

Message = dict[str, Any]


def channel_of(kind: str) -> str:
    return f"/data/{kind.removesuffix('__c')}__ChangeEvent" if kind.endswith("__c") else f"/data/{kind}ChangeEvent"


@dataclass
class Listener:
    """One session of a client: the channels it listens to, and the last event that each was told."""

    told: dict[str, int] = field(default_factory=dict)
    connected: bool = False


@dataclass
class Bus:
    """The event bus of one org."""

    shelf: Shelf
    listeners: dict[str, Listener] = field(default_factory=dict)

    # ---- events

    def selected(self) -> set[str]:
        kept = self.shelf.get("_captured", "objects")
        return set(kept["names"]) if kept else set()

    def capture(self, work: Work) -> None:
        """Puts on the bus what a request is about to keep."""
        names = self.selected()
        merged: dict[str, tuple[Json, Json]] = {}
        for (kind, ident), record in work.changed.items() if names else ():
            if kind not in names:
                continue
            what, fields = _what_changed(kind, self.shelf.get(kind, ident), record)
            if not what:
                continue
            header, body = merged.setdefault(f"{kind}/{what}/{fields}", (self._header(kind, what), fields))
            header["recordIds"].append(ident)
            if what == "UPDATE":
                header["changedFields"] = sorted(body)
        for number, (header, body) in enumerate(merged.values(), 1):
            self.publish({**header, "sequenceNumber": number}, body)

    def _header(self, kind: str, what: str) -> Json:
        return {
            "entityName": kind,
            "recordIds": [],
            "changeType": what,
            "changeOrigin": "com/salesforce/api/rest/64.0",
            "transactionKey": f"0000-{self.shelf.next('transaction')}",
            "commitTimestamp": int(self.shelf.now().timestamp() * 1000),
            "commitUser": USER_ID,
            "commitNumber": self.shelf.next("commit"),
        }

    def publish(self, header: Json, body: Json) -> None:
        replay = self.shelf.next("replay") * APART
        event = {
            "channel": channel_of(header["entityName"]),
            "data": {
                "schema": "sandbox",
                "payload": {**body, "ChangeEventHeader": header},
                "event": {"replayId": replay},
            },
        }
        at = self.shelf.now().isoformat()
        self.shelf.keep("_change_event", str(replay), {"replay": replay, "at": at, "event": event})

    def kept(self, channel: str) -> list[Json]:
        """The events of a channel that are not too old, the oldest first."""
        since = (self.shelf.now() - KEPT).isoformat()
        events = self.shelf.all("_change_event")
        return [one for one in events if one["at"] >= since and one["event"]["channel"] == channel]

    # ---- sessions

    async def answer(self, message: Message) -> list[Message]:
        channel = str(message.get("channel", ""))
        reply = {"channel": channel, **({"id": message["id"]} if "id" in message else {})}
        if channel == "/meta/handshake":
            return [{**reply, **self._shake(message)}]
        listener = self.listeners.get(str(message.get("clientId")))
        if listener is None:
            advice = {"reconnect": "handshake", "interval": 0}
            return [{**reply, "successful": False, "error": "403::Unknown client", "advice": advice}]
        reply["clientId"] = message["clientId"]
        if channel == "/meta/subscribe":
            return [{**reply, **self._subscribe(listener, message)}]
        if channel == "/meta/connect":
            return [*await self._connect(listener, message), {**reply, "successful": True}]
        if channel == "/meta/disconnect":
            del self.listeners[message["clientId"]]
            return [{**reply, "successful": True}]
        return [{**reply, "successful": False, "error": f"400:{channel}:Unsupported channel"}]

    def _shake(self, message: Message) -> Message:
        if message.get("version") != "1.0" or "long-polling" not in message.get("supportedConnectionTypes", []):
            return {"successful": False, "error": "400::Unsupported version or connection type"}
        client = f"client{self.shelf.next('client')}"
        self.listeners[client] = Listener()
        said = {"version": "1.0", "minimumVersion": "1.0", "supportedConnectionTypes": ["long-polling"]}
        return {**said, "clientId": client, "successful": True, "ext": {"replay": True, "payload.format": True}}

    def _subscribe(self, listener: Listener, message: Message) -> Message:
        channel = str(message.get("subscription", ""))
        if channel not in map(channel_of, self.selected()):
            return {"subscription": channel, "successful": False, "error": f"404:{channel}:Unknown channel"}
        kept = [one["replay"] for one in self.kept(channel)]
        replay = message.get("ext", {}).get("replay", {}).get(channel, -1)
        if replay not in (-1, -2, *kept):
            error = (
                f"400::The replayId {{{replay}}} you provided was invalid.  Please provide a valid ID, -2 to replay all"
            )
            return {
                "subscription": channel,
                "successful": False,
                "error": f"{error} events, or -1 to replay only new events.",
            }
        listener.told[channel] = {-1: max(kept, default=0), -2: 0}.get(replay, replay)
        return {"subscription": channel, "successful": True}

    async def _connect(self, listener: Listener, message: Message) -> list[Message]:
        if not listener.connected:
            listener.connected = True
            return []
        waited, limit = 0.0, min(float(message.get("advice", {}).get("timeout", 110_000)) / 1000, HELD_BACK)
        while not (found := list(self._news(listener))) and waited < limit:
            await asyncio.sleep(0.1)
            waited += 0.1
        return found

    def _news(self, listener: Listener) -> Iterator[Message]:
        left = AT_ONCE
        for channel, told in listener.told.items():
            for one in self.kept(channel):
                if one["replay"] > told and left:
                    left -= 1
                    listener.told[channel] = one["replay"]
                    yield one["event"]

    # ---- the socket

    def routes(self) -> list[Route]:
        return [
            Route("/cometd/{version}", self._cometd, methods=["POST"]),
            Route("/_sandbox/change_data_capture", self._select, methods=["POST"]),
            Route("/_sandbox/change_events", self._put, methods=["POST"]),
        ]

    async def _cometd(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not token or self.shelf.get("_session", token) is None:
            refused = {"channel": "/meta/handshake", "successful": False, "error": "401::Authentication invalid"}
            return JSONResponse([refused], 401)
        if not re.fullmatch(r"\d+\.0", request.path_params["version"]):
            return Response(status_code=404)
        body = read_json(await request.body())
        messages = body if isinstance(body, list) else [body]
        answers = [answer for message in messages for answer in await self.answer(message)]
        response = ExactJSONResponse(answers)
        response.set_cookie("BAYEUX_BROWSER", "sandbox")
        return response

    async def _select(self, request: Request) -> Response:
        names = read_json(await request.body())
        unknown = [name for name in names if name not in OBJECTS]
        if unknown:
            return JSONResponse({"unknown objects": unknown}, 400)
        self.shelf.keep("_captured", "objects", {"names": names})
        return JSONResponse(names)

    async def _put(self, request: Request) -> Response:
        event = read_json(await request.body())
        self.publish({**self._header(event["entityName"], event["changeType"]), **event, "sequenceNumber": 1}, {})
        return JSONResponse({"published": True})


def _what_changed(kind: str, before: Record | None, record: Record) -> tuple[str, Mapping[str, Any]]:
    """The change type, and the fields that an event tells; empty when nothing did."""
    if record["IsDeleted"]:
        return ("DELETE" if before and not before["IsDeleted"] else ""), {}
    shown = {name: value for name, value in record.items() if name in OBJECTS[kind].fields and name != "Id"}
    if before is None:
        return "CREATE", {name: value for name, value in shown.items() if value is not None}
    if before["IsDeleted"]:
        return "UNDELETE", {name: value for name, value in shown.items() if value is not None}
    changed = {name: value for name, value in shown.items() if before.get(name) != value and name != "SystemModstamp"}
    return ("UPDATE", changed) if changed else ("", {})
