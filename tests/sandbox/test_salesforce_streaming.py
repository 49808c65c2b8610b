"""The emulated org tells of changes as the Streaming API does, spoken plainly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sandbox.salesforce import CLIENT_ID, CLIENT_SECRET
from sandbox.server import start

CHANNEL = "/data/AccountChangeEvent"


class Client:
    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url)
        form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        token = self.http.post("/services/oauth2/token", data=form).json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"
        self.http.post("/_sandbox/change_data_capture", json=["Account"])

    def say(self, channel: str, **fields: Any) -> list[dict[str, Any]]:
        answer = self.http.post("/cometd/64.0", json=[{"channel": channel, "id": "1", **fields}])
        return list(answer.json())

    def shake(self) -> str:
        (hello,) = self.say("/meta/handshake", version="1.0", supportedConnectionTypes=["long-polling"])
        return str(hello["clientId"])

    def subscribe(self, replay: int, channel: str = CHANNEL) -> tuple[str, dict[str, Any]]:
        client = self.shake()
        told = self.say("/meta/subscribe", clientId=client, subscription=channel, ext={"replay": {channel: replay}})
        return client, told[0]

    def heard(self, client: str) -> list[dict[str, Any]]:
        """The data of two connects, of which the first is empty."""
        asked = {"clientId": client, "connectionType": "long-polling", "advice": {"timeout": 0}}
        messages = [one for _ in range(2) for one in self.say("/meta/connect", **asked)]
        return [one["data"] for one in messages if one["channel"] == CHANNEL]

    def make(self, name: str) -> str:
        return str(self.http.post("/services/data/v64.0/sobjects/Account", json={"Name": name}).json()["id"])


@pytest.fixture
def client() -> Iterator[Client]:
    with start(["salesforce"]) as running:
        made = Client(running.urls["salesforce"])
        yield made
        made.http.close()


def test_an_event_says_what_changed_of_which_record(client: Client) -> None:
    ident = client.make("Northwind")
    client.http.patch(f"/services/data/v64.0/sobjects/Account/{ident}", json={"Name": "Southwind"})
    client.http.delete(f"/services/data/v64.0/sobjects/Account/{ident}")
    created, updated, deleted = (one["payload"] for one in client.heard(client.subscribe(-2)[0]))
    headers = [one["ChangeEventHeader"] for one in (created, updated, deleted)]
    assert [(one["entityName"], one["changeType"], one["recordIds"]) for one in headers] == [
        ("Account", what, [ident]) for what in ("CREATE", "UPDATE", "DELETE")
    ]
    assert (created["Name"], updated["Name"]) == ("Northwind", "Southwind")
    assert "Name" in headers[1]["changedFields"]
    assert "Name" not in deleted


def test_a_subscription_starts_after_its_replay_id(client: Client) -> None:
    """-2: all that is kept; -1: what is still to come; an id: what came after it."""
    for name in ("one", "two"):
        client.make(name)
    kept = client.heard(client.subscribe(-2)[0])
    listener, _ = client.subscribe(-1)
    after, _ = client.subscribe(kept[0]["event"]["replayId"])
    assert [one["payload"]["Name"] for one in client.heard(after)] == ["two"]
    client.make("three")
    assert [one["payload"]["Name"] for one in client.heard(listener)] == ["three"]
    assert client.heard(listener) == []


def test_an_id_that_is_not_kept_and_an_object_that_is_not_selected_are_refused(client: Client) -> None:
    client.make("one")
    assert "400::The replayId {3} you provided was invalid." in client.subscribe(3)[1]["error"]
    assert client.subscribe(-1, "/data/ContactChangeEvent")[1]["successful"] is False


def test_a_session_that_is_not_there_is_told_to_shake_hands_again(client: Client) -> None:
    (told,) = client.say("/meta/connect", clientId="client99", connectionType="long-polling")
    assert (told["error"], told["advice"]["reconnect"]) == ("403::Unknown client", "handshake")
    (ended,) = client.say("/meta/disconnect", clientId=client.shake())
    assert ended["successful"]
    client.http.headers["Authorization"] = "Bearer nobody"
    assert client.http.post("/cometd/64.0", json=[{"channel": "/meta/handshake"}]).status_code == 401
