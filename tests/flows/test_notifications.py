"""Alerts leave by SMTP mail and by Slack, each once, and no secret leaves with them."""

from __future__ import annotations

import asyncio
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.blocks.abstract import NotificationError
from prefect.blocks.notifications import SlackWebhook
from prefect.events.schemas.automations import AutomationCore, EventTrigger

from core.rating.alerts import Alert
from core.rational import Fraction
from flows.alerts import sender, tell_alerts
from flows.context import Hub
from flows.mail import SmtpMail
from tests.flows.hubs import ROOT, START, hub_with

SECRET = "mail-secret"


class Sink(socketserver.ThreadingTCPServer):
    """A mail server that keeps what it takes; while ``closed`` it refuses every mail."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.closed = False
        super().__init__(("127.0.0.1", 0), Dialogue)


class Dialogue(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        sink: Any = self.server
        self.say("220 sink")
        for line in iter(self.rfile.readline, b""):
            match line.split()[0].upper():
                case b"EHLO":
                    self.say("250-sink\r\n250 AUTH PLAIN")
                case b"AUTH":
                    self.say("235 welcome")
                case b"MAIL" if sink.closed:
                    self.say(f"451 try later, {SECRET}")
                case b"DATA":
                    self.say("354 go on")
                    sink.mails.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
                    self.say("250 taken")
                case b"QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("250 ok")

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with one alert that nobody was told yet."""
    hub = hub_with(f"sqlite:///{tmp_path / 'tieout.db'}", tmp_path, {})
    one = Fraction(1)
    alert = Alert(id="a:x", account_id="A-0001", subject="x", threshold=one, used=one, limit=one, raised_at=START)
    with hub.database.work() as work:
        work.add([alert])
    hub.settings = hub.settings.model_copy(update={"alerts_block": "any/ops"})
    yield hub
    hub.close()


def mail(sink: Sink) -> SmtpMail:
    port = sink.server_address[1]
    return SmtpMail(
        host="127.0.0.1", port=port, encryption="none", username="ops", password=SECRET,
        sender="tieout@northwind.example", recipients=["ops@northwind.example", "cfo@northwind.example"],
    )  # fmt: skip


def test_an_alert_is_mailed_once_and_again_only_when_it_could_not_be_sent(
    hub: Hub, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server refuses it first: it stays untold, is mailed by the next run, and by none after."""
    monkeypatch.setattr("flows.alerts.Block.load", lambda _name: mail(sink))
    sink.closed = True
    assert tell_alerts(hub, sender(hub)).counts == {"told": 0, "not_sent": 1}
    sink.closed = False
    assert tell_alerts(hub, sender(hub)).counts == {"told": 1, "not_sent": 0}
    assert tell_alerts(hub, sender(hub)).counts == {"told": 0, "not_sent": 0}
    (taken,) = sink.mails
    assert "Subject: Tieout: Account A-0001" in taken
    assert "To: ops@northwind.example, cfo@northwind.example" in taken
    assert "x: 1 of 1 used, 100 % passed" in taken


def test_a_refusal_never_repeats_what_the_mail_server_said(sink: Sink) -> None:
    sink.closed = True
    with pytest.raises(NotificationError, match="did not take the mail") as refused:
        asyncio.run(mail(sink).notify("x"))
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(mail(sink))


def test_an_alert_reaches_the_incoming_webhook_of_slack(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's own block posts it to the address of the webhook."""
    posted: list[tuple[str, str]] = []

    class Answer:
        status_code, content, text, headers = 200, b"ok", "ok", {}

    def post(_method: str, url: str, data: Any = None, **_options: Any) -> Answer:
        posted.append((url, json.dumps(json.loads(data))))
        return Answer()

    monkeypatch.setattr("apprise.plugins.slack.requests.request", post)
    block = SlackWebhook(url="https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")  # type: ignore[arg-type]
    monkeypatch.setattr("flows.alerts.Block.load", lambda _name: block)
    assert tell_alerts(hub, sender(hub)).counts == {"told": 1, "not_sent": 0}
    ((url, body),) = posted
    assert url.startswith("https://hooks.slack.com/services/T1JJ3T3L2/")
    assert "x: 1 of 1 used, 100 % passed" in body


def test_the_automations_of_the_documentation_are_such_as_prefect_takes() -> None:
    """They listen to Breaks, failed runs and closes that wait, and each sends a notification."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    written = yaml.safe_load(text.split("```yaml\nautomations:")[1].split("```")[0])
    made = [AutomationCore.model_validate(one) for one in written]
    heard = {event for one in made if isinstance(one.trigger, EventTrigger) for event in one.trigger.expect}
    assert heard == {
        "tieout.break.new", "tieout.break.old", "prefect.flow-run.Failed", "prefect.flow-run.Crashed",
        "prefect.flow-run.Suspended",
    }  # fmt: skip
    assert [action.type for one in made for action in one.actions] == ["send-notification"] * 3
