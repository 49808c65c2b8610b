"""Messages of Salesforce's Streaming API against the protocol they are of, stated here in our own words.

The vendor publishes no schema of it. Its Streaming API Developer Guide points to CometD, whose protocol is Bayeux 1.0
(docs.cometd.org, read 2026-11): a message names its channel, a client its session, and an error is
``<code>:<arguments>:<text>``. What an event carries is in the Change Data Capture Developer Guide.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

from tests.conformance.capture import Call
from tests.conformance.openapi import Json

TEXT: Json = {"type": "string", "minLength": 1}
LONG_POLLING: Json = {"type": "array", "items": TEXT, "contains": {"const": "long-polling"}}
REPLAY: Json = {"type": "object", "additionalProperties": {"type": "integer", "minimum": -2}}
COMMON: Json = {"channel": TEXT, "id": TEXT, "clientId": TEXT, "ext": {"type": "object"}, "advice": {"type": "object"}}


def _message(required: str, **members: Json) -> Json:
    names = required.split()
    return {
        "type": "object",
        "properties": {**COMMON, **members},
        "required": ["channel", *names],
        "additionalProperties": False,
    }


def _reply(required: str = "", **members: Json) -> Json:
    """One that says it was successful must carry what is required; one that was not, its error."""
    told = _message("successful", successful={"type": "boolean"}, error={"pattern": r"^\d{3}:[^:]*:.+"}, **members)
    good = {"properties": {"successful": {"const": True}}}
    return {**told, "if": good, "then": {"required": required.split()}, "else": {"required": ["error"]}}


SENT: Json = {
    "/meta/handshake": _message(
        "version supportedConnectionTypes", version={"const": "1.0"}, supportedConnectionTypes=LONG_POLLING
    ),
    "/meta/subscribe": _message(
        "clientId subscription", subscription=TEXT, ext={"type": "object", "properties": {"replay": REPLAY}}
    ),
    "/meta/connect": _message("clientId connectionType", connectionType={"const": "long-polling"}),
    "/meta/disconnect": _message("clientId"),
}
HEADER: Json = {
    "type": "object",
    "properties": {
        "entityName": TEXT,
        "recordIds": {"type": "array", "items": TEXT},
        "changeType": {"pattern": "^(GAP_)?(CREATE|UPDATE|DELETE|UNDELETE)$|^GAP_OVERFLOW$"},
        "commitTimestamp": {"type": "integer"},
        "commitNumber": {"type": "integer"},
        "transactionKey": TEXT,
        "sequenceNumber": {"type": "integer", "minimum": 1},
    },
    "required": ["entityName", "recordIds", "changeType", "commitTimestamp", "transactionKey", "sequenceNumber"],
}
EVENT: Json = {
    "type": "object",
    "properties": {
        "schema": TEXT,
        "payload": {"properties": {"ChangeEventHeader": HEADER}, "required": ["ChangeEventHeader"]},
        "event": {"properties": {"replayId": {"type": "integer", "minimum": 1}}, "required": ["replayId"]},
    },
    "required": ["schema", "payload", "event"],
}
TOLD: Json = {
    "/meta/handshake": _reply(
        "version supportedConnectionTypes clientId",
        version=TEXT, minimumVersion=TEXT, supportedConnectionTypes=LONG_POLLING,
    ),
    "/meta/subscribe": _reply("subscription", subscription=TEXT),
    "/meta/connect": _reply(),
    "/meta/disconnect": _reply(),
}  # fmt: skip


def faults(call: Call) -> Iterator[str]:
    """What is wrong with the messages of a call and of its answer; each message sent is replied to."""
    sent = json.loads(call.request.content)
    yield from _wrong("request", sent, SENT, None)
    if call.answered and call.response is not None:
        told = json.loads(call.response.content)
        yield from _wrong("answer", told, TOLD, _message("data", data=EVENT))
        silent = {one["channel"] for one in sent} - {one["channel"] for one in told}
        if silent and call.response.is_success:
            yield f"answer: nothing is said to {', '.join(sorted(silent))}"


def _wrong(where: str, messages: Any, known: Json, other: Json | None) -> Iterator[str]:
    for message in messages:
        schema = known.get(message.get("channel"), other)
        if schema is None:
            yield f"{where}: there is no channel {message.get('channel')}"
            continue
        for error in Draft202012Validator(schema).iter_errors(message):
            yield f"{where} {message['channel']}{error.json_path[1:]}: {error.message[:200]}"
