"""Toybooks, a ledger that does not exist: one REST collection of customers, upserted by our key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, SecretStr

from connectors.wire import BaseConnector, BasicAuth, Response, Wire, exact_json, parsed
from core.errors import OutcomeUnknown, Rejected, TieoutError, Unavailable
from core.ports import Change, ExternalKey, Finding, Guard, Payload, Receipt, Resource, World

SYSTEM = "toybooks"
RESOURCES: Mapping[str, Resource] = {"account": Resource("customers", "id", "code", Guard.EXTERNAL_ID)}


class Settings(BaseModel):
    base_url: str = "https://api.toybooks.example"
    user: str
    password: SecretStr


def connect(settings: Settings, world: World) -> Toybooks:
    return Toybooks(settings, world)


class Toybooks(BaseConnector):
    system = SYSTEM
    resources = RESOURCES

    def __init__(self, settings: Settings, world: World) -> None:
        auth = BasicAuth(settings.user, settings.password.get_secret_value())
        self._wire = Wire(SYSTEM, settings.base_url, world, auth=auth, read_error=_read_error)

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        page = 1
        while found := self._read(f"{self.resource(resource).path}?page={page}&since={since or ''}"):
            for one in found:
                yield Change(one["id"], datetime.fromisoformat(one["changed"]), one)
            page += 1

    def get(self, resource: str, vendor_id: str) -> Payload:
        held: Payload = self._read(f"{self.resource(resource).path}/{vendor_id}")
        return held

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        found = self._read(f"{self.resource(resource).path}?code={key.value}")
        return Receipt(SYSTEM, resource, found[0]["id"], key, False, found[0]) if found else None

    def upsert(self, resource: str, payload: Payload, key: ExternalKey) -> Receipt:
        path = f"{self.resource(resource).path}/{key.value}"
        try:
            response = self._wire.write("PUT", path, json=payload)
        except Rejected as refusal:
            refusal.record = resource
            raise
        held = exact_json(response)
        return Receipt(SYSTEM, resource, held["id"], key, response.status_code == 201, held)

    def check(self) -> list[Finding]:
        try:
            self._read("customers?page=1")
        except TieoutError as error:
            return [Finding(f"{SYSTEM}: sign-in", False, str(error), error.cure)]
        return [Finding(f"{SYSTEM}: sign-in", True, "the password is known")]

    def close(self) -> None:
        self._wire.close()

    def _read(self, path: str) -> Any:
        try:
            return exact_json(self._wire.read("GET", path))
        except OutcomeUnknown as garbled:
            raise Unavailable(str(garbled)) from None


def _read_error(response: Response) -> TieoutError | None:
    if response.status_code != 422:
        return None
    told = parsed(response.content)
    return Rejected(f"{SYSTEM}: {told['message']}", system=SYSTEM, field=told["field"], code=told["code"])
