"""The NetSuite connector against its emulator, and its messages against the vendor's published WSDL."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from shutil import copytree
from typing import Any
from xml.etree.ElementTree import canonicalize

import httpx
import pytest
import respx
from lxml import etree

from connectors.netsuite import KINDS, RESOURCES, Contract, NetSuite, Settings, Transport, connect, signature
from connectors.netsuite_suiteql import literal
from connectors.wire import Wire
from core.errors import Misconfigured, OutcomeUnknown, Parked, RateLimited, Rejected, TieoutError, Unavailable
from core.mapping import load_book
from core.ports import ExternalKey, Guard, Receipt, World
from sandbox import netsuite as emulator
from sandbox import server
from tests.connectors.contract_netsuite import key, payload, settings

SPECS = Path(os.environ.get("TIEOUT_VENDOR_SPECS", Path(__file__).parents[2] / "../shared/vendor-specs"))
PUBLISHED = SPECS / "netsuite" / "soap-2023_2" / "netsuite.wsdl"
NOON = "2026-10-31T12:00:00-07:00"

INVOICE: dict[str, Any] = {
    "entity": {"externalId": "A-0001"},
    "tranDate": NOON,
    "currency": {"internalId": "1"},
    "itemList": {
        "item": [
            {
                "item": {"externalId": "VC-MIN"},
                "quantity": Decimal("333.333"),
                "price": {"internalId": "-1"},
                "amount": Decimal("100.10"),
                "description": "Minutes & more <b>]]></b>",
            }
        ]
    },
}
JOURNAL: dict[str, Any] = {
    "tranDate": NOON,
    "subsidiary": {"internalId": "1"},
    "memo": "Invoice",
    "lineList": {
        "line": [
            {"account": {"externalId": "1190"}, "debit": Decimal("100.10"), "memo": "a"},
            {"account": {"externalId": "4010"}, "credit": Decimal("100.10"), "memo": "b"},
        ]
    },
}


def payment(document: str, amount: str = "100.10") -> dict[str, Any]:
    return {
        "customer": {"externalId": "A-0001"},
        "payment": Decimal(amount),
        "tranDate": NOON,
        "undepFunds": False,
        "account": {"externalId": "1050"},
        "applyList": {"apply": [{"apply": True, "doc": document, "amount": Decimal(amount)}]},
    }


#: One record of each kind that is written, for the two WSDLs to be compared on.
RECORDS: dict[str, dict[str, Any]] = {
    "account": {
        **payload(1),
        "isPerson": False,
        "parent": {"internalId": "7"},
        "addressbookList": {
            "addressbook": [
                {
                    "defaultBilling": True,
                    "label": "Billing",
                    "addressbookAddress": {
                        "country": "_unitedStates",
                        "addr1": "1 Main St",
                        "city": "Austin",
                        "state": "TX",
                    },
                }
            ]
        },
    },
    "product": {"itemId": "VC-MIN", "incomeAccount": {"externalId": "1190"}, "isTaxable": False},
    "ledger_account": {"acctNumber": "4010", "acctName": "Revenue", "acctType": "_income"},
    "invoice": INVOICE,
    "payment": payment("5001"),
    "payment_application": {"applyList": {"apply": [{"apply": False, "doc": "5001"}]}},
    "credit_note": {**INVOICE, "applyList": {"apply": [{"apply": True, "doc": 5001, "amount": Decimal("1.00")}]}},
    "journal_entry": JOURNAL,
}


@pytest.fixture
def running() -> Iterator[server.Running]:
    with server.start(["netsuite"]) as running:
        yield running


class Waits(list[float]):
    """A sleep that only remembers."""

    def __call__(self, seconds: float, /) -> None:
        self.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def netsuite(running: server.Running, waits: Waits) -> Iterator[NetSuite]:
    connector = connect(settings(running.urls["netsuite"]), World(sleep=waits))
    yield connector
    connector.close()


def put(connector: NetSuite, resource: str, ident: str, fields: dict[str, Any]) -> Receipt:
    return connector.upsert(resource, fields, ExternalKey("externalId", ident))


def set_up(connector: NetSuite) -> None:
    """A small chart of accounts, a customer and an item."""
    kinds = {"1050": "_bank", "1100": "_accountsReceivable", "1190": "_otherCurrentAsset", "4010": "_income"}
    for code, kind in kinds.items():
        put(connector, "ledger_account", code, {"acctNumber": code, "acctName": code, "acctType": kind})
    put(connector, "account", "A-0001", dict(payload(1)))
    put(connector, "product", "VC-MIN", RECORDS["product"])


def paid(connector: NetSuite) -> str:
    """Internal id of the payment PAY-1 of the invoice INV-1."""
    document = put(connector, "invoice", "INV-1", INVOICE).vendor_id
    return put(connector, "payment", "PAY-1", payment(document)).vendor_id


def due(connector: NetSuite) -> tuple[Any, Any]:
    found = connector.find("invoice", ExternalKey("externalId", "INV-1"))
    assert found is not None
    return found.answer["amountRemaining"], found.answer["status"]


@pytest.fixture
def books(netsuite: NetSuite) -> NetSuite:
    """The connector, with what ``set_up`` makes."""
    set_up(netsuite)
    return netsuite


def objects(running: server.Running) -> dict[str, int]:
    return httpx.get(f"{running.urls['netsuite']}/_sandbox/objects").json()  # type: ignore[no-any-return]


def plant(running: server.Running, **fault: Any) -> None:
    httpx.post(f"{running.urls['netsuite']}/_sandbox/faults", json={"match": "^POST /services/", **fault})


def floats(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [found for item in value.values() for found in floats(item)]
    if isinstance(value, list):
        return [found for item in value for found in floats(item)]
    return [value] if isinstance(value, float) else []


# Writing


def test_a_second_upsert_of_a_key_leaves_one_record(books: NetSuite, running: server.Running) -> None:
    first = put(books, "invoice", "INV-1", INVOICE)
    second = put(books, "invoice", "INV-1", INVOICE)
    assert (first.created, second.created, first.vendor_id == second.vendor_id) == (True, False, True)
    assert objects(running)["invoice"] == 1


def test_the_answer_is_what_netsuite_holds_with_its_own_total(books: NetSuite) -> None:
    receipt = put(books, "invoice", "INV-1", INVOICE)
    found = books.find("invoice", ExternalKey("externalId", "INV-1"))
    assert receipt.answer["total"] == Decimal("100.10")
    assert found is not None
    assert (found.vendor_id, found.answer) == (receipt.vendor_id, receipt.answer)
    assert books.find("invoice", ExternalKey("externalId", "INV-2")) is None


def test_each_record_of_a_batch_is_settled_by_itself(books: NetSuite, running: server.Running) -> None:
    """One that the WSDL refuses, one that NetSuite refuses and one in a closed period do not stop the others."""
    bad = {
        "INV-2": {**INVOICE, "memoo": "x"},
        "INV-3": {**INVOICE, "entity": {"externalId": "A-0009"}},
        "INV-4": {**INVOICE, "tranDate": "2026-08-31T12:00:00-07:00"},
    }
    items = {"INV-1": INVOICE, **bad, "INV-5": INVOICE}
    outcomes = books.upsert_many("invoice", [(one, ExternalKey("externalId", name)) for name, one in items.items()])
    first, unknown_field, unknown_customer, closed, last = outcomes
    assert isinstance(first, Receipt)
    assert isinstance(unknown_field, Rejected)
    assert (unknown_field.record, unknown_field.field) == ("invoice", "memoo")
    assert isinstance(unknown_customer, Rejected)
    assert (unknown_customer.field, unknown_customer.value) == ("entity", "A-0009")
    assert unknown_customer.code == "INVALID_KEY_OR_REF"
    assert isinstance(closed, Parked)
    assert closed.waits_for == "period:2026-08"
    assert isinstance(last, Receipt)
    assert last.answer["externalId"] == "INV-5"
    assert objects(running)["invoice"] == 2


def test_a_record_that_makes_the_whole_call_fail_is_found_and_the_others_are_written(netsuite: NetSuite) -> None:
    """The schema has no such account type, so NetSuite refuses the envelope; the connector traces it by halving."""
    items = [
        ({"acctName": f"{n}", "acctNumber": f"{n}", "acctType": "_nonsense" if n == 3 else "_bank"}, f"{n}")
        for n in range(6)
    ]
    outcomes = netsuite.upsert_many("ledger_account", [(one, ExternalKey("externalId", name)) for one, name in items])
    assert [isinstance(one, Receipt) for one in outcomes] == [True, True, True, False, True, True]
    assert isinstance(outcomes[3], Rejected)


def test_more_records_than_a_call_may_carry_are_sent_in_several(netsuite: NetSuite, running: server.Running) -> None:
    outcomes = netsuite.upsert_many("account", [(payload(n), key(n)) for n in range(201)])
    assert [one.key for one in outcomes if isinstance(one, Receipt)] == [key(n) for n in range(201)]
    assert objects(running)["customer"] == 201


@pytest.fixture
def queueing(running: server.Running, waits: Waits) -> Iterator[NetSuite]:
    """A connector that makes asynchronous jobs of more than three records."""
    made = connect(settings(running.urls["netsuite"], async_above=3), World(sleep=waits.append))
    yield made
    made.close()


def test_a_large_write_goes_as_jobs_and_each_record_is_settled_by_itself(
    queueing: NetSuite, running: server.Running
) -> None:
    """Two jobs of 250 records: one record is refused with its code, the others are read back, nothing is doubled."""
    items = [(payload(n), key(n)) for n in range(250)]
    items[210] = ({**payload(210), "currency": {"internalId": "99"}}, key(210))
    outcomes = queueing.upsert_many("account", items)
    refused = outcomes.pop(210)
    assert isinstance(refused, Rejected)
    assert (refused.code, refused.field) == ("INVALID_KEY_OR_REF", "currency")
    assert [one.key for one in outcomes if isinstance(one, Receipt)] == [key(n) for n in range(250) if n != 210]
    assert len(running.emulators["netsuite"].service._jobs) == 2  # type: ignore[attr-defined]
    assert outcomes[0].answer == queueing.get("account", outcomes[0].vendor_id)  # type: ignore[union-attr]
    again = queueing.upsert_many("account", items[:5])
    assert [one.created for one in again if isinstance(one, Receipt)] == [False] * 5
    assert objects(running)["customer"] == 249


def test_a_job_whose_id_was_lost_is_unknown_and_found_by_key(queueing: NetSuite, running: server.Running) -> None:
    """Without its id a job cannot be looked at: its records are found by their keys, and writing them again is safe."""
    plant(running, kind="lose_reply", body="asyncUpsertList")
    items = [(payload(n), key(n)) for n in range(5)]
    assert all(isinstance(one, OutcomeUnknown) for one in queueing.upsert_many("account", items))
    assert not any(isinstance(one, TieoutError) for one in queueing.upsert_many("account", items))
    assert objects(running)["customer"] == 5


def test_no_write_overtakes_a_job_that_is_not_over(queueing: NetSuite, running: server.Running) -> None:
    """A job lost sight of ends before newer values of the same kind of record are sent."""
    plant(running, kind="error", body="checkAsyncStatus", status=503, times=4)
    items = [({**payload(n), "email": "old@customer.example"}, key(n)) for n in range(5)]
    assert all(isinstance(one, OutcomeUnknown) for one in queueing.upsert_many("account", items))
    assert "customer" not in objects(running)
    newer = queueing.upsert("account", {**payload(1), "email": "new@customer.example"}, key(1))
    assert (newer.created, newer.answer["email"]) == (False, "new@customer.example")
    assert objects(running)["customer"] == 5


def test_a_job_that_netsuite_has_forgotten_holds_nothing_up(queueing: NetSuite) -> None:
    """It keeps what came of a job for some weeks: then the job is over, and its records are known by their keys."""
    queueing.world.jobs.begun("netsuite", "account", "ASYNCWEBSERVICES_OLD")
    assert queueing.find("account", key(1)) is None
    assert queueing.world.jobs.running("netsuite", "account") == ()


@pytest.mark.parametrize("fault", ["lose_reply", "garbage"])
def test_a_lost_reply_is_an_unknown_outcome_and_the_look_up_finds_the_record(
    netsuite: NetSuite, running: server.Running, fault: str
) -> None:
    plant(running, kind=fault, body="upsertList")
    with pytest.raises(OutcomeUnknown):
        netsuite.upsert("account", payload(1), key(1))
    found = netsuite.find("account", key(1))
    assert found is not None
    assert netsuite.upsert("account", payload(1), key(1)).vendor_id == found.vendor_id
    assert objects(running)["customer"] == 1


TAKEN = {"tranDate": NOON}
PAY_1 = ExternalKey("externalId", "PAY-1")


@pytest.mark.parametrize("fault", [{"kind": "lose_reply"}, {"kind": "garbage"}, {"kind": "error_after", "status": 503}])
def test_a_payment_is_deleted_once_whatever_gets_lost_and_its_invoice_is_open_again(
    books: NetSuite, running: server.Running, fault: dict[str, Any]
) -> None:
    told = {**TAKEN, "internalId": paid(books)}
    assert (due(books), books.find("payment_void", PAY_1)) == ((0, "Paid In Full"), None)
    plant(running, body=":delete>", **fault)
    with pytest.raises(OutcomeUnknown):
        books.upsert("payment_void", told, PAY_1)
    assert due(books) == (Decimal("100.10"), "Open")
    assert books.find("payment_void", PAY_1) is None
    assert books.upsert("payment_void", told, PAY_1).vendor_id == told["internalId"]
    assert (objects(running)["deletedRecord"], books.find("payment", PAY_1)) == (1, None)
    put(books, "payment", "PAY-2", payment(put(books, "invoice", "INV-1", INVOICE).vendor_id))
    assert due(books) == (0, "Paid In Full")


def test_a_payment_of_a_closed_period_is_not_deleted(books: NetSuite, running: server.Running) -> None:
    told = {**TAKEN, "internalId": paid(books)}
    close(running)
    with pytest.raises(Parked) as waits:
        books.upsert("payment_void", told, PAY_1)
    assert waits.value.waits_for == "period:2026-10"
    assert due(books) == (0, "Paid In Full")


def test_only_the_payment_that_carries_the_key_is_deleted(books: NetSuite) -> None:
    told = {**TAKEN, "internalId": paid(books)}
    with pytest.raises(Rejected) as refused:
        books.upsert("payment_void", told, ExternalKey("externalId", "PAY-2"))
    assert (refused.value.field, refused.value.value) == ("internalId", told["internalId"])
    assert due(books) == (0, "Paid In Full")


def test_a_deletion_is_believed_when_the_payment_is_not_shown_any_more(books: NetSuite) -> None:
    told, shown = {**TAKEN, "internalId": paid(books)}, books.get("payment", paid(books))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(books, "_fetch", lambda *_asked: shown)
        with pytest.raises(OutcomeUnknown):
            books.upsert("payment_void", told, PAY_1)


def less(connector: NetSuite, payment_id: str, amount: str) -> dict[str, Any]:
    """PAY-1 pays only so much of INV-1."""
    found = connector.find("invoice", ExternalKey("externalId", "INV-1"))
    assert found is not None
    pays = {"apply": True, "amount": Decimal(amount)} if Decimal(amount) else {"apply": False}
    return {**TAKEN, "internalId": payment_id, "applyList": {"apply": [{"doc": found.vendor_id, **pays}]}}


def close(running: server.Running, **how: bool) -> None:
    httpx.post(f"{running.urls['netsuite']}/_sandbox/periods/2026-10", json={"closed": True, **how}).raise_for_status()


@pytest.mark.parametrize(("pays", "left"), [("0", "100.10"), ("60.00", "40.10")])
def test_a_payment_that_stands_pays_less_once_whatever_gets_lost_and_the_ledger_stays(
    books: NetSuite, running: server.Running, pays: str, left: str
) -> None:
    told = less(books, paid(books), pays) | {"tranDate": "2026-10-30T12:00:00-07:00"}
    before = [one.payload for one in books.changes("gl_balance", None)]
    close(running, allowNonGLChanges=True)
    plant(running, kind="lose_reply", body="upsertList")
    with pytest.raises(OutcomeUnknown):
        books.upsert("payment_application", told, PAY_1)
    assert books.find("payment_application", PAY_1) is None
    answer = books.upsert("payment_application", told, PAY_1).answer
    shown = answer["payment"], answer["unapplied"], answer["tranDate"][:10]
    assert shown == (Decimal("100.10"), Decimal(left), NOON[:10])
    assert due(books) == (Decimal(left), "Open")
    assert [one.payload for one in books.changes("gl_balance", None)] == before


def test_a_closed_period_takes_another_application_only_where_it_allows_what_is_not_of_the_ledger(
    books: NetSuite, running: server.Running
) -> None:
    told = less(books, paid(books), "0")
    close(running)
    with pytest.raises(Parked) as waits:
        books.upsert("payment_application", told, PAY_1)
    assert (waits.value.waits_for, due(books)) == ("period:2026-10", (0, "Paid In Full"))
    close(running, allowNonGLChanges=True)
    document = told["applyList"]["apply"][0]["doc"]
    for fields in (payment(document, "100.00"), {**payment(document), "tranDate": "2026-11-01T12:00:00-07:00"}):
        with pytest.raises(Parked):
            put(books, "payment", "PAY-1", fields)


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_on_a_write_is_an_unknown_outcome(
    netsuite: NetSuite, running: server.Running, status: int
) -> None:
    plant(running, kind="error_after", body="upsertList", status=status)
    with pytest.raises(OutcomeUnknown):
        netsuite.upsert("account", payload(1), key(1))
    assert objects(running)["customer"] == 1


def test_a_record_stands_written_although_it_cannot_be_read_back(netsuite: NetSuite, running: server.Running) -> None:
    plant(running, kind="error", body="getList", times=0)
    receipt = netsuite.upsert("account", payload(1), key(1))
    assert receipt.answer == {**payload(1), "externalId": "A-0001", "internalId": receipt.vendor_id}


def test_a_blocked_request_is_sent_again_after_a_wait(
    netsuite: NetSuite, running: server.Running, waits: Waits
) -> None:
    plant(running, kind="rate_limit", body="upsertList", times=2)
    netsuite.upsert("account", payload(1), key(1))
    assert waits == [2.0, 2.0]
    assert objects(running)["customer"] == 1


def test_reads_are_repeated_after_a_server_error(netsuite: NetSuite, running: server.Running, waits: Waits) -> None:
    netsuite.upsert("account", payload(1), key(1))
    plant(running, kind="error", status=503)
    assert netsuite.find("account", key(1)) is not None
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("UNEXPECTED_ERROR", "An unexpected error occurred.", OutcomeUnknown),
        ("CANT_APPLY_PMT", "It is too much.", Rejected),
        ("UNDEFINED_ACCTNG_PRD", "There is none.", Parked),
        ("USER_ERROR", "The posting period is closed.", Parked),
        ("USER_ERROR", "The record is locked by a workflow.", Rejected),
        ("DUP_ENTITY", "The name is taken.", Rejected),
    ],
)
def test_the_vendors_codes_say_what_to_do(
    books: NetSuite,
    running: server.Running,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    message: str,
    kind: type[TieoutError],
) -> None:
    company = running.emulators["netsuite"].service.company  # type: ignore[attr-defined]

    def refuse(*_given: Any, **_options: Any) -> Any:
        raise emulator.Refused(code, message)

    monkeypatch.setattr(company, "write", refuse)
    outcome = books.upsert_many("invoice", [(INVOICE, ExternalKey("externalId", "INV-1"))])[0]
    assert type(outcome) is kind
    if isinstance(outcome, Parked):
        assert outcome.waits_for == "period:2026-10"


def test_a_duplicate_is_adopted_when_it_carries_our_key(
    books: NetSuite, running: server.Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = running.emulators["netsuite"].service.company  # type: ignore[attr-defined]

    def refuse(*_given: Any, **_options: Any) -> Any:
        raise emulator.Refused("DUP_ENTITY", "The name is taken.")

    monkeypatch.setattr(company, "write", refuse)
    receipt = put(books, "account", "A-0001", dict(payload(1)))
    assert (receipt.created, receipt.answer["entityId"]) == (False, "A-0001")


# What does not fit is refused before it is sent


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tranDate": "2026-10-31"}, "tranDate"),
        ({"tranDate": "2026-10-31T12:00:00"}, "tranDate"),
        ({"exchangeRate": 1.5}, "exchangeRate"),
        ({"exchangeRate": "much"}, "exchangeRate"),
        ({"entity": "A-0001"}, "entity"),
        ({"itemList": {"item": {"amount": Decimal(1)}}}, "itemList.item"),
        ({"itemList": {"item": [{}, {"amount": 0.1}]}}, "itemList.item.1.amount"),
        ({"memo": "a\x00b"}, "memo"),
        ({"externalId": "INV-2"}, "externalId"),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_its_path(
    netsuite: NetSuite, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(Rejected) as refused:
        put(netsuite, "invoice", "INV-1", {**INVOICE, **changes})
    assert (refused.value.system, refused.value.record, refused.value.field) == ("netsuite", "invoice", field)


def test_text_crosses_the_wire_as_it_is(books: NetSuite) -> None:
    text = 'a <b/> ]]> &amp; "quoted" </soapenv:Body> ünï 会議'
    put(books, "invoice", "INV-1", {**INVOICE, "memo": text})
    assert books.find("invoice", ExternalKey("externalId", "INV-1")).answer["memo"] == text  # type: ignore[union-attr]


def test_what_is_only_read_is_not_written(netsuite: NetSuite) -> None:
    with pytest.raises(Misconfigured):
        put(netsuite, "period", "2026-10", {"periodName": "Oct 2026"})


# Reading


@pytest.mark.parametrize("amount", ["0.30", "1234567890.12", "100.10", "-0.07", "1000000"])
def test_amounts_come_back_as_the_exact_decimal(books: NetSuite, amount: str) -> None:
    lines = [{**INVOICE["itemList"]["item"][0], "amount": Decimal(amount)}]
    lines.append({**lines[0], "amount": Decimal("0.07")})
    answer = put(books, "invoice", "INV-1", {**INVOICE, "itemList": {"item": lines}}).answer
    assert answer["total"] == Decimal(amount) + Decimal("0.07")
    assert floats(answer) == []


def test_changes_are_read_page_by_page_to_the_end(running: server.Running) -> None:
    connector = connect(settings(running.urls["netsuite"], page_size=5), World())
    connector.upsert_many("account", [(payload(n), key(n)) for n in range(12)])
    changes = list(connector.changes("account", None))
    assert [one.payload["externalId"] for one in changes if one.payload] == [key(n).value for n in range(12)]


def set_clock(running: server.Running, now: datetime) -> None:
    httpx.post(f"{running.urls['netsuite']}/_sandbox/clock", json={"now": now.isoformat()}).raise_for_status()


def at(moment: datetime, waits: Waits) -> World:
    """A world that stands still at a moment."""
    return World(clock=lambda: moment, sleep=waits)


def test_changes_since_an_instant_leave_out_what_is_older_than_an_hour_before(
    running: server.Running, waits: Waits
) -> None:
    """How long ago a change was is asked of NetSuite's clock, whatever its zone; an hour covers a leap in spring."""
    noon = datetime(2026, 11, 2, 12, tzinfo=UTC)
    for n, ago in enumerate((timedelta(hours=3), timedelta(minutes=90), timedelta(minutes=30))):
        set_clock(running, noon - ago)
        connect(settings(running.urls["netsuite"]), at(noon - ago, waits)).upsert("account", payload(n), key(n))
    set_clock(running, noon)
    reader = connect(settings(running.urls["netsuite"]), at(noon, waits))
    listed = list(reader.changes("account", (noon - timedelta(minutes=35)).isoformat()))
    assert [one.payload["externalId"] for one in listed if one.payload] == ["A-0001", "A-0002"]
    assert [one.changed_at for one in listed] == [noon - timedelta(minutes=90), noon - timedelta(minutes=30)]


def test_what_was_deleted_is_told_among_the_changes_of_its_kind_alone(books: NetSuite, running: server.Running) -> None:
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    gone = put(books, "invoice", "INV-1", INVOICE).vendor_id
    stays = put(books, "invoice", "INV-2", INVOICE).vendor_id
    httpx.delete(f"{running.urls['netsuite']}/_sandbox/records/invoice/{gone}").raise_for_status()
    told = [(one.vendor_id, one.payload is None) for one in books.changes("invoice", since)]
    assert told == [(stays, False), (gone, True)]
    assert list(books.changes("journal_entry", since)) == []
    assert [one.vendor_id for one in books.changes("invoice", None)] == [stays]


def test_a_listed_record_says_what_the_record_itself_says(books: NetSuite) -> None:
    """What SuiteQL lists has the shape and the values of what SOAP reads, so that one mapping reads both."""
    document = put(books, "invoice", "INV-1", {**INVOICE, "memo": "It's October"}).vendor_id
    idents = {
        "account": put(books, "account", "A-0001", dict(payload(1))).vendor_id,
        "invoice": document,
        "payment": put(books, "payment", "PAY-1", payment(document, "60.00")).vendor_id,
        "credit_note": put(books, "credit_note", "CN-1", INVOICE).vendor_id,
        "journal_entry": put(books, "journal_entry", "JE-1", JOURNAL).vendor_id,
    }
    for resource, ident in idents.items():
        (change,) = books.changes(resource, None)
        assert change.payload is not None
        assert _differences(change.payload, books.get(resource, ident)) == [], resource


def _differences(listed: Any, read: Any, at: str = "") -> list[str]:
    """Places at which a listed record says something else than the record as it is read."""
    match listed:
        case dict():
            return [
                found for name, one in listed.items() for found in _differences(one, read.get(name), f"{at}.{name}")
            ]
        case list():
            return [found for n, one in enumerate(listed) for found in _differences(one, read[n], f"{at}.{n}")]
        case str() if at in (".tranDate",):
            return [] if listed[:10] == read[:10] else [at]
        case _:
            return [] if listed == (read or False if isinstance(listed, bool) else read) else [f"{at}: {listed} {read}"]


def test_a_value_in_a_query_is_one_value_whatever_it_says(books: NetSuite) -> None:
    for text in ("2026-10", "'", "''", "' OR '1' = '1", "x' --", 'a"b', "%"):
        assert literal(text)[0] == literal(text)[-1] == "'"
        assert literal(text)[1:-1].replace("''", "").count("'") == 0
        assert list(books.changes("gl_balance", text)) == [] or text == "2026-10"
    for text in ("a\nb", "a\x00", "a\\"):
        with pytest.raises(Rejected):
            literal(text)


def test_lists_are_read_in_pages_by_the_id_of_the_last_row(running: server.Running) -> None:
    """An offset would skip a row when one before it goes meanwhile, and ends at 100,000 rows; ids do neither."""
    asked: list[str] = []
    connector = connect(settings(running.urls["netsuite"], page_size=5), World())
    connector.upsert_many("account", [(payload(n), key(n)) for n in range(12)])
    ask = connector._lists.ask

    def watched(query: str, skip: int) -> Any:
        asked.append(f"{query.partition(' AND ')[0].rpartition('WHERE ')[2].partition(' ORDER')[0]} +{skip}")
        return ask(query, skip)

    connector._lists = replace(connector._lists, ask=watched)
    assert len(list(connector.changes("account", None))) == 12
    assert asked == ["c.id > 0 +0", "c.id > 5 +0", "c.id > 10 +0"]


def test_changes_of_a_document_are_of_its_own_kind(books: NetSuite) -> None:
    document = put(books, "invoice", "INV-1", INVOICE).vendor_id
    paid = put(books, "payment", "PAY-1", payment(document))
    journal = put(books, "journal_entry", "JE-1", JOURNAL)
    found = {
        name: [one.vendor_id for one in books.changes(name, None)] for name in ("invoice", "payment", "journal_entry")
    }
    assert found == {"invoice": [document], "payment": [paid.vendor_id], "journal_entry": [journal.vendor_id]}
    assert books.get("invoice", document)["status"] == "Paid In Full"
    assert len(next(books.changes("journal_entry", None)).payload["lineList"]["line"]) == 2  # type: ignore[index]


def test_a_record_that_is_not_there_is_refused_by_get(netsuite: NetSuite) -> None:
    with pytest.raises(Rejected) as refused:
        netsuite.get("invoice", "404")
    assert (refused.value.field, refused.value.value) == ("internalId", "404")


def test_balances_are_read_by_account_and_month_debits_less_credits(books: NetSuite) -> None:
    document = put(books, "invoice", "INV-1", INVOICE).vendor_id
    put(books, "payment", "PAY-1", {**payment(document), "tranDate": "2026-11-02T12:00:00-08:00"})
    put(books, "journal_entry", "JE-1", JOURNAL)
    rows = [one.payload for one in books.changes("gl_balance", None)]
    amounts = {(one["account"]["externalId"], one["month"]): one["amount"] for one in rows if one}
    assert amounts == {
        ("1100", "2026-10"): Decimal("100.1"),
        ("1100", "2026-11"): Decimal("-100.1"),
        ("1050", "2026-11"): Decimal("100.1"),
        ("1190", "2026-10"): Decimal("0"),
        ("4010", "2026-10"): Decimal("-100.1"),
    }
    november = [one.payload for one in books.changes("gl_balance", "2026-11")]
    assert {one["month"] for one in november if one} == {"2026-11"}


def test_the_lock_of_a_period_is_read_from_the_period(netsuite: NetSuite) -> None:
    periods = {
        one.payload["periodName"]: one.payload["closed"] for one in netsuite.changes("period", None) if one.payload
    }
    assert (periods["Aug 2026"], periods["Oct 2026"], len(periods)) == (True, False, 36)


# Who we are


def test_the_signature_is_the_base64_of_an_hmac_sha256() -> None:
    """Reckoned independently: openssl dgst -sha256 -hmac 'cs&ts' -binary | base64."""
    given = Settings.model_validate(
        {"account": "1234567-sb1", "consumer_key": "ck", "consumer_secret": "cs", "token": "tk", "token_secret": "ts"}
    )
    assert signature(given, "nonce1", 1790000000) == "RR3IXDIUIoqjLjT5xSKLWvgSiugjrcnHyH1ClLNDCgk="


def test_account_and_host_are_spelled_as_the_vendor_demands() -> None:
    given = settings("", account="1234567-sb1")
    assert given.account == "1234567_SB1"
    assert given.base_url == "https://1234567-sb1.suitetalk.api.netsuite.com"
    assert given.wsdl_url == "https://1234567-sb1.suitetalk.api.netsuite.com/wsdl/v2023_2_0/netsuite.wsdl"


def test_a_wrong_secret_stops_the_system_and_is_not_named(running: server.Running) -> None:
    connector = connect(settings(running.urls["netsuite"], token_secret="a-wrong-secret"), World())
    with pytest.raises(Misconfigured) as refused:
        connector.find("account", key(1))
    assert "secret" not in str(refused.value)


def test_a_refusal_after_a_long_wait_is_the_queue_and_not_the_credentials(
    running: server.Running, waits: Waits
) -> None:
    """Above the limit NetSuite queues a call about a minute and then calls its signature wrong."""
    ticks = iter(datetime.now(UTC) + timedelta(seconds=60 * n) for n in range(100))
    given = settings(running.urls["netsuite"], token_secret="a-wrong-secret")
    with pytest.raises(RateLimited):
        connect(given, World(clock=lambda: next(ticks), sleep=waits)).find("account", key(1))
    assert waits


def test_the_doctor_finds_a_sound_system_sound(books: NetSuite) -> None:
    put(books, "invoice", "INV-1", INVOICE)
    assert [one for one in books.check() if not one.ok] == []


def test_the_doctor_says_what_to_do_without_naming_a_secret(running: server.Running) -> None:
    findings = connect(settings(running.urls["netsuite"], token_secret="hush-hush"), World()).check()
    failed = [one for one in findings if not one.ok]
    assert [one.check for one in failed] == [
        "netsuite: credentials and clock",
        "netsuite: accounting periods",
        "netsuite: general ledger",
    ]
    assert all(one.cure and "hush" not in one.detail for one in failed)


# What comes in is not trusted

BOMB = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>'


@pytest.mark.parametrize("answer", [BOMB, "<!DOCTYPE x><x/>", "<x/>", "not xml"])
def test_an_answer_that_is_no_soap_is_not_believed(netsuite: NetSuite, answer: str) -> None:
    assert netsuite.contract
    with respx.mock() as vendor:
        vendor.post(url__regex=".*/services/.*").respond(200, text=answer)
        with pytest.raises(OutcomeUnknown):
            netsuite.upsert("account", payload(1), key(1))
        with pytest.raises(Unavailable):
            netsuite.find("account", key(1))


def test_a_wsdl_with_a_document_type_is_refused(tmp_path: Path, running: server.Running) -> None:
    file = tmp_path / "netsuite.wsdl"
    file.write_text(BOMB)
    connector = connect(settings(running.urls["netsuite"], wsdl_url=str(file)), World())
    with pytest.raises(Misconfigured):
        connector.find("account", key(1))


def test_a_wsdl_of_another_host_is_not_fetched(running: server.Running) -> None:
    given = settings(running.urls["netsuite"], wsdl_url="http://elsewhere.example/netsuite.wsdl")
    with pytest.raises(Misconfigured, match="another host"):
        connect(given, World()).find("account", key(1))


# The vendor's own WSDL


def contract(wsdl: str, url: str) -> Contract:
    given = settings(url, wsdl_url=wsdl)
    return Contract.load(given, Transport(Wire("netsuite", given.base_url, World()), 30))


def body(given: Contract, resource: str) -> str:
    """The canonical envelope of one record, or of one that is deleted."""
    path = RESOURCES[resource].path
    if resource == "payment_void":
        about = {"baseRef": given.type("RecordRef")(type=KINDS[path].reference, internalId="5003")}
        envelope = given.service._client.create_message(given.service, "delete", **about)
    else:
        record = given.build(resource, path, {**RECORDS[resource], "externalId": "X"}, {})
        envelope = given.service._client.create_message(given.service, "upsertList", record=[record])
    xsi = "{http://www.w3.org/2001/XMLSchema-instance}type"
    text = etree.tostring(envelope, encoding="unicode")
    return canonicalize(text, rewrite_prefixes=True, qname_aware_attrs=[xsi], strip_text=True)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="skipped: no vendor specs at hand")
def test_both_wsdls_make_the_same_envelopes(running: server.Running) -> None:
    url = running.urls["netsuite"]
    ours, theirs = contract(settings(url).wsdl_url, url), contract(str(PUBLISHED), url)
    written = [name for name, row in RESOURCES.items() if row.guard is not Guard.READ_ONLY]
    assert sorted([*RECORDS, "payment_void"]) == sorted(written)
    for resource in written:
        assert body(ours, resource) == body(theirs, resource), resource


@pytest.mark.skipif(not PUBLISHED.exists(), reason="skipped: no vendor specs at hand")
def test_the_published_wsdl_has_every_type_that_is_named_here(running: server.Running) -> None:
    types = contract(str(PUBLISHED), running.urls["netsuite"]).types
    assert {*KINDS, "RecordRef"} <= types.keys()


@pytest.mark.skipif(not PUBLISHED.exists(), reason="skipped: no vendor specs at hand")
def test_the_published_wsdl_carries_a_whole_conversation_with_exact_decimals(running: server.Running) -> None:
    connector = connect(settings(running.urls["netsuite"], wsdl_url=str(PUBLISHED)), World())
    set_up(connector)
    connector.upsert("payment_void", {**TAKEN, "internalId": paid(connector)}, PAY_1)
    assert due(connector) == (Decimal("100.10"), "Open")
    put(connector, "journal_entry", "JE-1", JOURNAL)
    [change] = connector.changes("invoice", "2026-01-01T00:00:00Z")
    assert change.payload is not None
    assert (change.payload["total"], floats(change.payload)) == (Decimal("100.1"), [])
    assert len(list(connector.changes("gl_balance", "2026-10"))) == 3
    assert [one for one in connector.check() if not one.ok] == []


# The mappings


ROOT = Path(__file__).parents[2]
PAGE = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/connectors/netsuite.md").read_text(), re.DOTALL | re.MULTILINE)


def mapped(folder: Path, *added: tuple[str, str]) -> dict[str, Any]:
    """The example of an invoice as the mapping makes it, with lines of the page after one of its own."""
    for name in ("netsuite", "tables"):
        copytree(ROOT / "mappings" / name, folder / name)
    file = folder / "netsuite" / "invoice.yaml"
    text = file.read_text(encoding="utf-8")
    for before, lines in added:
        text = text.replace(before, before + lines, 1)
    file.write_text(text, encoding="utf-8")
    mapping = load_book(folder).find("netsuite", "invoice", "out")
    given = json.loads(json.dumps(mapping.examples[0].given, default=str))
    given["lines"][0] |= {"defer": True}
    sent = mapping.out(mapping.noun.model_validate_json(json.dumps(given)), lambda *_asked: "1")
    items = [{**one, "item": {"externalId": "VC-MIN"}} for one in sent["itemList"]["item"]]
    return {**sent, "entity": {"externalId": "A-0001"}, "itemList": {"item": items}}


OF_LINES = "              isTaxable: {const: false}\n"


def test_netsuite_can_be_told_over_which_days_a_line_is_earned(books: NetSuite, tmp_path: Path) -> None:
    """By the lines that the page on NetSuite gives for the mapping of invoices, and a rule on the item."""
    kept = put(books, "invoice", "INV-1", mapped(tmp_path, (OF_LINES, PAGE[0]))).answer["itemList"]["item"]
    assert [one["revRecStartDate"][:10] for one in kept if "revRecStartDate" in one] == ["2026-10-01"]
    assert [one["revRecEndDate"][:10] for one in kept if "revRecEndDate" in one] == ["2026-10-31"]
    rule = {
        **RECORDS["product"],
        "revenueRecognitionRule": {"internalId": "3"},
        "createRevenuePlansOn": {"internalId": "-2"},
    }
    answer = put(books, "product", "VC-MIN", rule).answer
    assert answer["revenueRecognitionRule"]["internalId"] == "3"


def test_custom_fields_go_by_the_lines_of_the_page(books: NetSuite, running: server.Running, tmp_path: Path) -> None:
    """One of the record, with a list, and one of each line: each read back beside the standard fields."""
    made = [
        {"object": "Invoice", "field": "custbody_segment", "words": ["Wholesale", "Retail"]},
        {"object": "InvoiceItem", "field": "custcol_charge"},
    ]
    httpx.post(f"{running.urls['netsuite']}/_sandbox/schema", json=made).raise_for_status()
    sent = mapped(tmp_path, ("fields:\n", PAGE[1]), (OF_LINES, PAGE[2]))
    answer = put(books, "invoice", "INV-1", sent).answer
    assert answer["custbody_segment"] == {"internalId": "2", "name": "Retail"}
    charges = [one.get("custcol_charge") for one in answer["itemList"]["item"]]
    assert charges == [one.get("custcol_charge") for one in sent["itemList"]["item"]]
    assert charges[0]


def test_what_the_mappings_make_is_taken_and_read_back_as_the_same_figures(netsuite: NetSuite, tmp_path: Path) -> None:
    """The worked examples of the mapping files go to NetSuite in the order of business, and come back as figures."""
    root = Path(__file__).parents[2] / "mappings"
    for folder in ("netsuite", "tables"):
        copytree(root / folder, tmp_path / folder)
    book = load_book(tmp_path)
    known: dict[str, str] = {}

    def deliver(record: str, changes: dict[str, Any] | None = None, example: int = 0) -> None:
        mapping = book.find("netsuite", record, "out")
        given = {**mapping.examples[example].given, **(changes or {})}
        noun = mapping.noun.model_validate_json(json.dumps(given, default=str))
        sent = mapping.out(noun, lambda system, resource, ident: known.get(f"{system}:{resource}:{ident}"))
        receipt = netsuite.upsert(mapping.resource, sent, mapping.key(noun))
        known[f"netsuite:{mapping.resource}:{receipt.key.value}"] = receipt.vendor_id

    for code, kind in {
        "1050": "asset",
        "1100": "asset",
        "1190": "asset",
        "2200": "liability",
        "4010": "income",
    }.items():
        deliver("ledger_account", {"code": code, "name": code, "kind": kind})
    deliver("product")
    deliver("product", {"code": "TAX", "name": "Sales tax"})
    deliver("account")
    deliver("account", example=1)
    for record in ("invoice", "payment", "journal_entry"):
        deliver(record)

    def figures(resource: str) -> dict[str, str]:
        mapping = book.find("netsuite", "figure", "in", resource)
        read = [mapping.into(one.payload) for one in netsuite.changes(resource, None) if one.payload]
        return {figure.key: str(figure.amount) for figure in read}  # type: ignore[attr-defined]

    assert figures("invoice") == {"INV-2026-10-A-0001": "129.90 USD"}
    assert figures("payment") == {"PAY-INV-2026-10-A-0001": "129.90 USD"}
    assert figures("journal_entry") == {"JE-INV-2026-10-A-0001": "129.90 USD"}
    balances = [
        (one.payload["account"]["externalId"], one.payload["amount"])
        for one in netsuite.changes("gl_balance", None)
        if one.payload
    ]
    whole = {code: sum(amount for each, amount in balances if each == code) for code, _ in balances}
    assert whole == {"1050": Decimal("129.9"), "1100": 0, "1190": 0, "2200": Decimal("-9.9"), "4010": Decimal("-120")}
    assert set(figures("gl_balance")) == set(whole)
