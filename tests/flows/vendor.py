"""A vendor in memory that misbehaves on command, to see what delivery itself guards against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.errors import TieoutError
from core.ports import Change, ExternalKey, Finding, Guard, Outcome, Payload, Receipt, Resource, WebhookRequest


@dataclass
class Vendor:
    """``blind``: it makes a new object on every write, as a vendor without any guard does.

    ``before`` and ``after`` hold errors to raise for a key: before anything is done, or when it is done.
    """

    system: str
    blind: bool = True
    batch: int = 1
    before: dict[str, list[TieoutError]] = field(default_factory=dict)
    after: dict[str, list[TieoutError]] = field(default_factory=dict)
    whole_call: list[TieoutError] = field(default_factory=list)
    lookup: list[TieoutError] = field(default_factory=list)
    on_write: Callable[[], None] = lambda: None
    objects: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0

    @property
    def resources(self) -> dict[str, Resource]:
        accounts = Resource("accounts", "id", "key", Guard.FIND_THEN_CREATE, self.batch)
        return {"account": accounts, "order": replace(accounts, path="orders", batch=1)}

    def keys(self) -> list[str]:
        """Our keys of what it holds, a duplicate twice."""
        return sorted(one["key"] for one in self.objects)

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        if self.lookup:
            raise self.lookup.pop(0)
        return next((self._receipt(one, created=False) for one in self.objects if one["key"] == key.value), None)

    def upsert(self, resource: str, payload: Payload, key: ExternalKey) -> Receipt:
        if self.before.get(key.value):
            raise self.before[key.value].pop(0)
        known = None if self.blind else next((one for one in self.objects if one["key"] == key.value), None)
        held = {"id": f"V-{len(self.objects)}"} if known is None else known
        held.update(payload, key=key.value)
        if known is None:
            self.objects.append(held)
        self.on_write()
        if self.after.get(key.value):
            raise self.after[key.value].pop(0)
        return self._receipt(held, created=known is None)

    def upsert_many(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        self.calls += 1
        if self.whole_call:
            raise self.whole_call.pop(0)
        outcomes: list[Outcome] = []
        for payload, key in items:
            try:
                outcomes.append(self.upsert(resource, payload, key))
            except TieoutError as error:
                outcomes.append(error)
        return outcomes

    def _receipt(self, held: dict[str, Any], *, created: bool) -> Receipt:
        key = ExternalKey("key", held["key"])
        return Receipt(self.system, "account", held["id"], key, created, {"id": held["id"], "name": held.get("name")})

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        raise NotImplementedError

    def get(self, resource: str, vendor_id: str) -> Payload:
        raise NotImplementedError

    def events(self, request: WebhookRequest) -> list[Any]:
        raise NotImplementedError

    def check(self) -> list[Finding]:
        return []

    def close(self) -> None:
        return
