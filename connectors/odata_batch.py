"""The multipart body of an OData ``$batch``: several operations in one call, some of them whole or not at all.

OData 4.0 Protocol, 11.7 Batch Requests, and the Dataverse page on batches (published docs, read 2026-11): an item of
several operations is a change set, whose parts carry a Content-ID; lines end in CR LF; answers come in the order asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser

from connectors.wire import Request, Response, dump_json
from core.errors import OutcomeUnknown
from core.ports import Payload


@dataclass(frozen=True, slots=True)
class Operation:
    """One call inside a batch. ``path`` is from the root of the host."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Payload | None = None

    def as_part(self, content_id: int | None = None) -> bytes:
        """A part of a multipart body; ``content_id`` where it stands in a change set."""
        lines = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
        lines += [] if content_id is None else [f"Content-ID: {content_id}"]
        content = b"" if self.body is None else dump_json(self.body)
        own = dict(self.headers)
        if self.body is not None:
            own |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        lines += ["", f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in own.items())]
        return "\r\n".join([*lines, "", ""]).encode() + content + b"\r\n"


def _multipart(parts: Sequence[bytes], boundary: str) -> bytes:
    return b"".join(f"--{boundary}\r\n".encode() + part for part in parts) + f"--{boundary}--\r\n".encode()


def batch_body(items: Sequence[Sequence[Operation]], name: str) -> tuple[str, bytes]:
    """Content type and body of a ``$batch``: an item of several operations is a change set. ``name`` is unique."""
    parts = []
    for number, item in enumerate(items, 1):
        if len(item) == 1:
            parts.append(item[0].as_part())
            continue
        boundary = f"changeset_{name}_{number}"
        inner = _multipart([one.as_part(place) for place, one in enumerate(item, 1)], boundary)
        parts.append(f"Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n".encode() + inner)
    return f"multipart/mixed; boundary=batch_{name}", _multipart(parts, f"batch_{name}")


def batch_answers(
    system: str, items: Sequence[Sequence[Operation]], content_type: str, body: bytes
) -> list[list[Response]]:
    """The answers of each item; a change set that failed has one. OutcomeUnknown when they cannot be told apart."""
    whole = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    found = whole.get_payload()
    if not whole.is_multipart() or not isinstance(found, list) or len(found) != len(items):
        raise OutcomeUnknown(f"{system} answered a batch of {len(items)} in a form that cannot be read")
    answers = []
    for item, part in zip(items, found, strict=True):
        inner = part.get_payload()
        parts = inner if isinstance(inner, list) else [part]
        if len(parts) not in (1, len(item)):
            raise OutcomeUnknown(f"{system} answered a change set of {len(item)} with {len(parts)} answers")
        answers.append([_answer(system, operation, one) for operation, one in zip(item, parts, strict=False)])
    return answers


def _answer(system: str, operation: Operation, part: Message) -> Response:
    content = part.get_payload(decode=True)
    head, _, body = (content if isinstance(content, bytes) else b"").partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"HTTP/1\.\d (\d{3})(?: .*)?", status)
    if not match:
        raise OutcomeUnknown(f"{system} answered a part of a batch in a form that cannot be read")
    headers = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    request = Request(operation.method, f"https://batch{operation.path}")
    return Response(int(match[1]), headers=headers, content=body, request=request)
