"""What a connector hands to the contract suite: enough to write, break and count one kind of record at its emulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.ports import ExternalKey, Payload, WebhookRequest


@dataclass(frozen=True)
class ContractCase:
    """One kind of record of one system.

    ``count`` tells how many objects of the resource the emulator keeps, from ``GET /_sandbox/objects`` (kind: count).
    ``write_line`` is a pattern of ``"METHOD /path"`` (as sandbox faults match it) of the call that creates the record.
    ``page`` makes enough records for two pages when it is not None: it gives the number to create.
    ``prepare`` seeds what the record depends on, through the emulator's own API.
    ``webhook`` signs a body as the vendor does for the settings; None when the vendor has no webhooks here.
    ``webhook_only`` names the secrets of the settings that prove webhooks, and no call.
    ``readable`` is False when the vendor has no call that reads back what was written; its own tests say what holds.
    ``own_wait``: seconds to wait at a rate limit when the vendor does not say how long; None when it says.
    """

    system: str
    settings: Callable[[str], Any]
    resource: str
    payload: Callable[[int], Payload]
    key: Callable[[int], ExternalKey]
    bad_payload: Callable[[], tuple[Payload, str]]
    write_line: str
    count: Callable[[Mapping[str, int]], int]
    prepare: Callable[[str], None] = lambda _url: None
    page: int | None = None
    webhook: Callable[[], WebhookRequest] | None = None
    webhook_only: frozenset[str] = frozenset()
    own_wait: float | None = None
    readable: bool = True
