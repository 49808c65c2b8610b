"""News of Salesforce by its change events: each changed record once and as it is, and nothing lost where events end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from connectors import salesforce_changes
from connectors.salesforce import connect
from core.errors import Misconfigured, OutcomeUnknown, RateLimited, Unavailable
from core.ports import Change, Reading
from sandbox.server import start
from tests.connectors.contract_salesforce import settings
from tests.connectors.test_salesforce import Org


class Listening(Org):
    """An org whose opportunities are selected for change events, and a connector that listens to them."""

    def __init__(self, running: Any) -> None:
        super().__init__(running)
        self.http.post("/_sandbox/change_data_capture", json=["Opportunity"]).raise_for_status()
        told = settings(self.url).model_copy(update={"change_data_capture": True})
        self.connector = connect(told, self.world)
        self.sell()
        self.news(self.stamp())
        self.cursor = self.place()

    def stamp(self) -> str:
        """The watermark of a first reading, which is the newest stamp."""
        return max(change.changed_at.isoformat() for change in self.connector.changes("order", None))

    def news(self, since: str) -> list[Change]:
        self.reading = self.connector.changes("order", since)
        return list(self.reading)

    def place(self) -> str:
        """How far the last reading went."""
        assert isinstance(self.reading, Reading)
        assert self.reading.cursor
        return self.reading.cursor

    def publish(self, what: str, *records: str) -> None:
        event = {"entityName": "Opportunity", "changeType": what, "recordIds": list(records)}
        self.http.post("/_sandbox/change_events", json=event).raise_for_status()

    def rename(self, ident: str, name: str) -> None:
        self.call("PATCH", f"sobjects/Opportunity/{ident}", json={"Name": name})

    def call(self, method: str, path: str, **options: Any) -> None:
        headers = {"Authorization": f"Bearer {self.connector._session.token(ended=None)}"}
        self.http.request(method, f"/services/data/v64.0/{path}", headers=headers, **options).raise_for_status()


@pytest.fixture
def org() -> Iterator[Listening]:
    with start(["salesforce"]) as running:
        built = Listening(running)
        yield built
        built.connector.close()
        built.http.close()


def test_a_place_in_the_stream_is_found_by_the_first_reading_after_one_by_stamp(org: Listening) -> None:
    assert re.fullmatch(r"\d+@\d{4}-.*", org.cursor)


def test_each_changed_record_is_handed_on_once_and_as_it_is_now(org: Listening) -> None:
    """Seven events of two opportunities, of which one is not won: one order, whole, and the place of the last event."""
    won, open_ = org.sell({"Quantity": 2, "UnitPrice": 25}), org.sell(stage="Prospecting")
    for name in ("one", "two", "three"):
        org.rename(won, name)
        org.rename(open_, name)
    (change,) = org.news(org.cursor)
    assert change.payload is not None
    assert (change.vendor_id, change.payload["Opportunity"]["Name"]) == (won, "three")
    assert len(change.payload["LineItems"]) == 1
    assert org.news(org.place()) == []


def test_the_place_moves_when_no_order_is_among_the_news(org: Listening) -> None:
    """So that an org whose deals are all open keeps a place that the stream still knows."""
    org.sell(stage="Prospecting")
    assert org.news(org.cursor) == []
    assert int(org.place().partition("@")[0]) > int(org.cursor.partition("@")[0])
    org.publish("GAP_OVERFLOW")
    org.news(org.place())
    ident = org.sell()
    assert [change.vendor_id for change in org.news(org.place())] == [ident]


def test_more_events_than_one_answer_holds_are_all_told(org: Listening) -> None:
    """Ten orders, told three at a time."""
    sold = [org.sell() for _ in range(10)]
    assert [change.vendor_id for change in org.news(org.cursor)] == sold


def test_equal_changes_of_one_request_are_one_event_of_several_records(org: Listening) -> None:
    sold = [org.sell() for _ in range(2)]
    org.news(org.cursor)
    cursor = org.place()
    records = [{"attributes": {"type": "Opportunity"}, "Id": ident, "Purchase_Order__c": "PO-9"} for ident in sold]
    org.call("PATCH", "composite/sobjects", json={"allOrNone": True, "records": records})
    assert {change.vendor_id for change in org.news(cursor)} == set(sold)


def test_a_deleted_record_is_a_change_without_payload_and_lives_again_when_it_is_restored(org: Listening) -> None:
    ident = org.sell()
    org.call("DELETE", f"sobjects/Opportunity/{ident}")
    (change,) = org.news(org.cursor)
    assert (change.vendor_id, change.payload) == (ident, None)
    shelf = org.emulator.shelf
    shelf.keep("Opportunity", ident, {**(shelf.get("Opportunity", ident) or {}), "IsDeleted": False})
    org.publish("UNDELETE", ident)
    (change,) = org.news(org.place())
    assert (change.vendor_id, bool(change.payload)) == (ident, True)


def test_a_gap_event_has_its_record_read(org: Listening) -> None:
    ident = org.sell()
    org.news(org.cursor)
    cursor = org.place()
    org.publish("GAP_UPDATE", ident)
    (change,) = org.news(cursor)
    assert (change.vendor_id, bool(change.payload)) == (ident, True)
    org.publish("GAP_DELETE", ident)
    assert [one.payload for one in org.news(org.place())] == [None]


@pytest.mark.parametrize(("what", "records"), [("GAP_OVERFLOW", []), ("GAP_UPDATE", ["006*"])])
def test_events_that_name_no_record_have_the_query_say_what_changed(
    org: Listening, what: str, records: list[str]
) -> None:
    """The order before them is found by its stamp, with the place of the event for the next time."""
    ident = org.sell()
    org.http.post("/_sandbox/change_data_capture", json=["Account"])
    unheard = org.sell()
    org.http.post("/_sandbox/change_data_capture", json=["Opportunity"])
    org.publish(what, *records)
    found = org.news(org.cursor)
    assert {ident, unheard} <= {change.vendor_id for change in found}
    assert org.news(org.place()) == []


def test_a_place_that_is_not_kept_any_more_has_the_query_say_what_changed(org: Listening) -> None:
    """After 72 hours: nothing of what happened meanwhile is lost, and the stream is taken up again."""
    ident = org.sell()
    shelf = org.emulator.shelf
    for event in shelf.all("_change_event"):
        at = event["at"]
        shelf.keep("_change_event", str(event["replay"]), {**event, "at": str(at).replace("20", "19", 1)})
    assert ident in {change.vendor_id for change in org.news(org.cursor)}
    later = org.sell()
    found = org.news(org.cursor)
    assert {ident, later} <= {change.vendor_id for change in found}
    assert org.news(org.place()) == []


def test_what_a_lost_answer_told_is_told_again(org: Listening) -> None:
    """An event of an answer that never came does not come twice in one session: no place moves."""
    ident = org.sell()
    org.plant(kind="lose_reply", match=r"POST /cometd/64\.0", body="meta/connect", skip=1)
    with pytest.raises(OutcomeUnknown):
        org.news(org.cursor)
    assert [change.vendor_id for change in org.news(org.cursor)] == [ident]


def test_an_ended_session_is_renewed_before_the_stream_is_asked(org: Listening) -> None:
    ident = org.sell()
    org.emulator.shelf.drop("_session", org.connector._session.token(ended=None))
    assert [change.vendor_id for change in org.news(org.cursor)] == [ident]


def test_an_object_that_is_not_selected_names_where_to_select_it(org: Listening) -> None:
    org.http.post("/_sandbox/change_data_capture", json=[])
    with pytest.raises(Misconfigured, match="Setup > Change Data Capture"):
        org.news(org.cursor)
    finding = next(one for one in org.connector.check() if one.check == "change data capture")
    assert not finding.ok
    org.http.post("/_sandbox/change_data_capture", json=["Opportunity"])
    assert next(one for one in org.connector.check() if one.check == "change data capture").ok


def test_without_the_setting_a_place_in_the_stream_is_read_as_its_instant(org: Listening) -> None:
    """So the setting may be taken back: what came since is found by its stamp."""
    ident = org.sell()
    plain = connect(settings(org.url), org.world)
    reading = plain.changes("order", org.cursor)
    assert ident in {change.vendor_id for change in reading}
    assert isinstance(reading, Reading)
    assert "@" not in str(reading.cursor)
    plain.close()


@pytest.mark.parametrize(
    ("error", "means"),
    [
        ("403::Organization total events daily limit exceeded", RateLimited),
        ("403::Unknown client", Unavailable),
        ("503::Server is too busy. Please try your request again later.", Unavailable),
        ("401::Authentication invalid", Misconfigured),
        ("404:/data/XChangeEvent:Unknown channel", Misconfigured),
    ],
)
def test_what_the_stream_refuses_says_what_to_do(error: str, means: type[Exception]) -> None:
    assert type(salesforce_changes.refusal(error)) is means
