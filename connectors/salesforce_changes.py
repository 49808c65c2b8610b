"""Change Data Capture of Salesforce: which records of an object changed after a place in its stream of events.

Vendor facts: Change Data Capture and Streaming API Developer Guides (published docs, read 2026-11).

- The Streaming API is CometD (Bayeux) by long polling at ``/cometd/<version>``: handshake, subscribe, connect until
  nothing comes, disconnect. Cookies keep a session on one server; it ends by itself without a connect for 40 seconds.
- Each event has a replay id, which grows, and not by one. A subscription that names one gets what came after it; -2
  asks for all that is kept, -1 for what is still to come. Events are kept 72 hours; an id that is not kept is refused.
- An event names one record or several, since equal changes of one transaction are merged. ``GAP_CREATE`` and the like
  say that a record changed and not how. ``GAP_OVERFLOW`` (a transaction of more than 100,000 changes) names no record,
  and a record id like ``001*`` stands for all of an object: only a query finds what they are about.

The vendor advises new clients to use its Pub/Sub API. That is gRPC, which none of our libraries speaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.wire import Response, Wire, exact_json
from core.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retryable, TieoutError, Unavailable

Json = dict[str, Any]

#: Replay ids that are none: all events that are kept, and those still to come.
ALL, NEW = -2, -1
#: Seconds that an answer may take: the vendor holds one back for 110 when nothing comes, unless it is asked not to.
HELD_BACK = 120.0
#: Answers without an event after which all that is there was told: the first of a session may come empty.
QUIET = 2
#: Seconds to wait when the org has used up what it may stream in a day, or has too many listeners.
LIMIT_WAIT = 1800.0

_NOT_KEPT = re.compile(r"^400::The replayId \{?-?\d+\}? you provided was invalid")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """One change event: its place in the stream, what happened, to which records, and when that was committed."""

    replay: int
    what: str
    records: tuple[str, ...]
    at: datetime

    @property
    def deletes(self) -> bool:
        return self.what.removeprefix("GAP_") == "DELETE"

    @property
    def names_all(self) -> bool:
        """Whether every record that it is about is named."""
        whole = bool(self.records) and not any(record.endswith("*") for record in self.records)
        return whole and self.what != "GAP_OVERFLOW"


@dataclass(frozen=True, slots=True)
class Stream:
    """The events of one org; ``version`` is that of its API, like ``64.0``."""

    wire: Wire
    version: str

    def after(self, sobject: str, replay: int) -> list[Event] | None:
        """The events of an object after a replay id, the oldest first; None when that id is not kept any more.

        An answer that is lost is not asked for again, since its events would not come twice: OutcomeUnknown, and the
        caller starts over from the place that it has kept.
        """
        channel = f"/data/{channel_of(sobject)}"
        hello = {"version": "1.0", "supportedConnectionTypes": ["long-polling"], "ext": {"replay": True}}
        (told,) = self._said(self.wire.read, "/meta/handshake", hello)
        session = {"clientId": _accepted(told)["clientId"]}
        try:
            wanted = {"subscription": channel, "ext": {"replay": {channel: replay}}}
            (told,) = self._said(self.wire.read, "/meta/subscribe", {**session, **wanted})
            if _NOT_KEPT.match(str(told.get("error"))):
                return None
            _accepted(told)
            return list(self._events(channel, session))
        finally:
            with suppress(Retryable):  # a session that is not ended ends by itself
                self._said(self.wire.read, "/meta/disconnect", session)

    def _events(self, channel: str, session: Json) -> Iterator[Event]:
        asked = {**session, "connectionType": "long-polling", "advice": {"timeout": 0}}
        quiet = 0
        while quiet < QUIET:
            told = self._said(self.wire.write, "/meta/connect", asked)
            for message in told:
                if message["channel"] == "/meta/connect":
                    _accepted(message)
            found = [_event(message["data"]) for message in told if message["channel"] == channel]
            quiet = 0 if found else quiet + 1
            yield from found

    def _said(self, send: Callable[..., Response], channel: str, message: Json) -> Sequence[Json]:
        path = f"/cometd/{self.version}"
        answer = exact_json(send("POST", path, json=[{"channel": channel, **message}], timeout=HELD_BACK))
        if not isinstance(answer, list) or not all(isinstance(one, dict) and "channel" in one for one in answer):
            raise OutcomeUnknown(f"{self.wire.system}: {path} answered something else than messages")
        return answer


def channel_of(sobject: str) -> str:
    """The channel of an object's events: ``OpportunityChangeEvent``, ``Site__ChangeEvent`` of a custom one."""
    return f"{sobject.removesuffix('__c')}__ChangeEvent" if sobject.endswith("__c") else f"{sobject}ChangeEvent"


def _event(data: Json) -> Event:
    header = data["payload"]["ChangeEventHeader"]
    at = _EPOCH + timedelta(milliseconds=int(header["commitTimestamp"]))
    return Event(int(data["event"]["replayId"]), str(header["changeType"]), tuple(header["recordIds"]), at)


def _accepted(message: Json) -> Json:
    """A message that says it was successful. Otherwise what its error means: ``<code>:<arguments>:<text>``."""
    if message.get("successful"):
        return message
    raise refusal(str(message.get("error") or "no reason given"))


def refusal(error: str) -> TieoutError:
    """What an error of the vendor's stream means (Streaming API Error Codes)."""
    said = f"salesforce: {error}"
    match error.partition(":")[0]:
        case "401":
            return Misconfigured(said, system="salesforce")
        case "403" if "limit" in error.lower():
            return RateLimited(said, wait_seconds=LIMIT_WAIT)
        case "402" | "403" if "client" in error.lower():
            return Unavailable(f"{said}; the session was ended there, and is begun anew")
        case "500" | "503":
            return Unavailable(said)
        case "400" | "403" | "404":
            why = f"{said}; select the object in Setup > Change Data Capture, or unset change_data_capture"
            return Misconfigured(why, system="salesforce")
    return Rejected(said, system="salesforce", code=error.partition(":")[0])
