"""The tie-out names what somebody changed behind our back, and closes the Break when it is mended."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from core.money import Money
from core.ties import Break, TieLine
from flows import breaks, tie_out
from flows.figures import Reading, see
from tests.flows.world import PERIOD, Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

INVOICE, PAYMENT, EVENT = "INV-2026-10-A-0003", "PAY-INV-2026-10-A-0003", "A-0001 event"


def edited_erp_invoice(world: Company) -> AbstractContextManager[None]:
    return world.changed("netsuite", "invoice", INVOICE, total="72.01")


def deleted_erp_invoice(world: Company) -> AbstractContextManager[None]:
    return world.deleted("netsuite", "invoice", INVOICE)


def deleted_erp_payment(world: Company) -> AbstractContextManager[None]:
    return world.deleted("netsuite", "customerPayment", PAYMENT)


def second_charge(world: Company) -> AbstractContextManager[None]:
    return world.doubled("stripe", "payment_intent", PAYMENT, id="pi_copy")


def charge_of_nobody(world: Company) -> AbstractContextManager[None]:
    return world.doubled("stripe", "payment_intent", PAYMENT, id="pi_stray", metadata={})


def uncommitted_tax(world: Company) -> AbstractContextManager[None]:
    return world.changed("avalara", "transaction", "INV-2026-10-A-0002", status="Saved")


def edited_deal(world: Company) -> AbstractContextManager[None]:
    return world.changed("salesforce", "Opportunity", EVENT, Amount="700.00")


def edited_progress(world: Company) -> AbstractContextManager[None]:
    return world.changed("salesforce", "Opportunity", EVENT, Tieout_Invoiced__c="0.00")


def edited_journal(world: Company) -> AbstractContextManager[None]:
    journal = world.held("netsuite", "journalEntry", f"JE-{INVOICE}")
    (first, amount), *others = journal["_impact"]
    moved = [[first, str(Decimal(amount) + 5)], *others]
    return world.changed("netsuite", "journalEntry", f"JE-{INVOICE}", _impact=moved)


#: What somebody does; the ties on which it shows; kind, and our side and theirs of the first of them.
DAMAGES: list[tuple[Any, set[str], str, str, str]] = [
    (edited_erp_invoice, {"invoices = ERP invoices"}, "invoice_amount", "72.00", "72.01"),
    (deleted_erp_invoice, {"invoices = ERP invoices"}, "invoice_deleted", "72.00", "0.00"),
    (deleted_erp_payment, {"payments = ERP payments"}, "payment_deleted", "72.00", "0.00"),
    (second_charge, {"invoices = payments"}, "charge_twice", "72.00", "144.00"),
    (charge_of_nobody, {"invoices = payments"}, "charge_unknown", "0.00", "72.00"),
    (uncommitted_tax, {"invoice tax = tax committed"}, "tax_uncommitted", "318.76", "0.00"),
    (edited_deal, {"orders = CRM"}, "order_amount", "750.00", "700.00"),
    (edited_progress, {"CRM shows what is invoiced"}, "crm_figure_stale", "750.00", "0.00"),
]


@pytest.mark.parametrize(
    ("damage", "ties", "kind", "ours", "theirs"), DAMAGES, ids=lambda one: getattr(one, "__name__", "")
)
def test_what_was_changed_by_hand_is_named_with_both_sides_until_it_is_mended(
    closed: Company, damage: Any, ties: set[str], kind: str, ours: str, theirs: str
) -> None:
    with damage(closed):
        lines, breaks = closed.tie_out()
        found = [one for one in breaks if one.tie in ties]
        assert {line.tie for line in lines if not line.closes} == {one.tie for one in breaks}
        assert [(one.kind, one.left, one.right) for one in found] == [(kind, _usd(ours), _usd(theirs))]
        first_seen = found[0].first_seen_at
        again = [one for one in closed.tie_out()[1] if one.id == found[0].id]
        assert [one.first_seen_at for one in again] == [first_seen]
    assert closed.tie_out()[1] == []
    with closed.hub.database.reading() as work:
        remembered = work.get(Break, found[0].id)
    assert remembered is not None
    assert remembered.closed_at is not None
    assert remembered.first_seen_at == first_seen < remembered.closed_at


def _usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def test_a_break_that_comes_back_is_as_old_as_its_return(closed: Company) -> None:
    with edited_erp_invoice(closed):
        (before,) = closed.tie_out()[1]
    closed.tie_out()
    with edited_erp_invoice(closed):
        (after,) = closed.tie_out()[1]
    closed.tie_out()
    assert after.first_seen_at > before.last_seen_at


def test_a_booking_changed_in_the_general_ledger_shows_on_its_accounts(closed: Company) -> None:
    with edited_journal(closed):
        assert [(one.tie.split()[0], one.kind) for one in closed.tie_out()[1]] == [("GL", "gl_moved")]
    assert closed.tie_out()[1] == []


def test_a_tie_out_of_one_system_leaves_the_breaks_of_others_alone(closed: Company) -> None:
    with edited_erp_invoice(closed), edited_progress(closed):
        assert len(closed.tie_out()[1]) == 2
        lines, breaks = tie_out.tie_out_period(closed.hub, PERIOD, "netsuite")
        assert [one.kind for one in breaks] == ["invoice_amount"]
        assert {"netsuite"} == {line.right_name for line in lines}
        inside, none = tie_out.tie_out_period(closed.hub, PERIOD, "hub")
        assert none == []
        assert {"rated = invoiced", "billing clearing = 0"} <= {line.tie for line in inside}
        with closed.hub.database.reading() as work:
            assert len(work.find(Break, closed_at=None)) == 2
    assert closed.tie_out()[1] == []


def test_only_what_changed_is_read_where_the_system_tells_of_it(closed: Company) -> None:
    """The gateway tells of a changed payment by an event."""

    def kinds() -> list[str]:
        return [one.kind for one in tie_out.tie_out_period(closed.hub, PERIOD, "stripe", reading=Reading.CHANGED)[1]]

    closed.tie_out()
    with closed.changed("stripe", "payment_intent", PAYMENT, description="By hand"):
        intent = closed.held("stripe", "payment_intent", PAYMENT)
        told = {"type": "payment_intent.succeeded", "created": intent["created"], "data": {"object": intent}}
        event = {"id": "evt_by_hand", "object": "event", "livemode": False, **told}
        closed.running.emulators["stripe"].shelf.keep("event", "evt_by_hand", event)
        assert kinds() == ["charge_text"]
    closed.running.emulators["stripe"].shelf.drop("event", "evt_by_hand")
    assert [one.kind for one in closed.tie_out()[1]] == []


def test_what_did_not_change_is_compared_again_only_when_everything_is(
    closed: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change in our own database that nothing tells of is found by the next tie-out that compares all, as a close
    does, or as where very much changed; what changed at another system, and what differed before, is found at once."""
    monkeypatch.setattr("flows.comparing.OVERLAP", timedelta(0))

    def found(reading: Reading) -> list[tuple[str, str]]:
        lines, breaks = tie_out.tie_out_period(closed.hub, PERIOD, "netsuite", reading=reading)
        assert {line.tie for line in lines if not line.closes} == {one.tie for one in breaks if one.system}
        return [(one.kind, one.subject) for one in breaks]

    with closed.undone():
        assert found(Reading.CHANGED) == []
        with sqlite3.connect(closed.hub.settings.database_url.removeprefix("sqlite:///")) as ours:
            more = "subtotal_minor = subtotal_minor + 1, total_minor = total_minor + 1"
            ours.execute(f"UPDATE invoice SET {more} WHERE id = ?", [INVOICE])  # noqa: S608
        with deleted_erp_payment(closed):
            whole = [("invoice_amount", INVOICE), ("payment_deleted", PAYMENT)]
            assert [found(one) for one in (Reading.WHOLE, Reading.CHANGED)] == [whole, whole[1:]]
        assert found(Reading.WHOLE) == whole[:1]
        assert found(Reading.CHANGED) == []
        monkeypatch.setattr("flows.comparing.MOST_CHANGED", -1)
        assert found(Reading.CHANGED) == whole[:1]


def test_a_ledger_tells_what_was_changed_and_what_was_deleted_in_it(closed: Company) -> None:
    """NetSuite lists both since the last reading; nothing else is read again."""

    def kinds() -> list[str]:
        return [one.kind for one in tie_out.tie_out_period(closed.hub, PERIOD, "netsuite", reading=Reading.CHANGED)[1]]

    closed.tie_out()
    held = closed.held("netsuite", "customerPayment", PAYMENT)
    now = datetime.now(UTC).isoformat()
    with closed.changed("netsuite", "invoice", INVOICE, memo="By hand", lastModifiedDate=now):
        assert kinds() == ["invoice_text"]
    shelf = closed.running.emulators["netsuite"].shelf
    with closed.deleted("netsuite", "customerPayment", PAYMENT):
        gone = {"type": "customerPayment", "recordId": held["internalId"], "deletedDate": now}
        shelf.keep("deletedRecord", "by hand", gone)
        assert "payment_deleted" in kinds()
    shelf.drop("deletedRecord", "by hand")
    assert [one.kind for one in closed.tie_out()[1]] == []


def test_what_no_system_tells_is_found_when_everything_is_read_again_once_a_day(world: Company) -> None:
    world.month()
    see(world.hub, "stripe", "payment")
    assert see(world.hub, "stripe", "payment", Reading.CHANGED).reading is Reading.CHANGED
    see(world.hub, "netsuite", "gl_balance")
    assert see(world.hub, "netsuite", "gl_balance", Reading.CHANGED).reading is Reading.WHOLE
    world.time.sleep(24 * 3600)
    assert see(world.hub, "stripe", "payment", Reading.CHANGED).reading is Reading.WHOLE


def test_what_was_found_is_told_as_of_any_instant_without_asking_anybody(closed: Company) -> None:
    """Every tie, and what people said of its Breaks by then; what was looked at again of one system alone too."""
    lines, _ = closed.tie_out()
    clean = closed.hub.now()
    with edited_erp_invoice(closed), edited_progress(closed):
        standing = closed.tie_out()
        during = closed.hub.now()
        invoice = next(one for one in standing[1] if one.kind == "invoice_amount")
        breaks.explain(closed.hub, invoice, "ann", "Agreed with Carol")
        explained = closed.hub.now()
    tie_out.tie_out_period(closed.hub, PERIOD, "netsuite")
    mended = closed.hub.now()
    closed.tie_out()

    def told(at: datetime, system: str | None = None) -> tuple[list[TieLine], list[Break]]:
        found = tie_out.tie_out_as_of(closed.hub, at, PERIOD, system)
        assert all(one.last_seen_at == found.at for one in found.breaks)
        return found.lines, [one.model_copy(update={"last_seen_at": one.first_seen_at}) for one in found.breaks]

    closed.plant("netsuite", "error", ".*", status=503, times=0)
    assert told(clean) == (lines, [])
    assert told(during) == standing
    assert {line.tie for line in told(explained)[0] if not line.closes} == {"CRM shows what is invoiced"}
    assert [(one.kind, one.explained) for one in told(explained)[1]] == [
        ("invoice_amount", "Agreed with Carol"),
        ("crm_figure_stale", None),
    ]
    assert [one.kind for one in told(mended)[1]] == ["crm_figure_stale"]
    assert told(mended, "netsuite")[1] == []
    assert {line.system for line in told(mended, "netsuite")[0]} == {"netsuite"}
    assert told(closed.hub.now()) == (lines, [])
    closed.running.emulators["netsuite"].faults.clear()


def test_before_a_month_was_tied_out_nothing_was_known_of_it(closed: Company) -> None:
    closed.tie_out()
    with pytest.raises(
        ValueError, match="2026-10 had not been tied out by 2026-10-01 00:00:00 UTC; the first one ended"
    ):
        tie_out.tie_out_as_of(closed.hub, datetime(2026, 10, 1, tzinfo=UTC), PERIOD)
    with pytest.raises(ValueError, match="run `tieout tie-out` first"):
        tie_out.tie_out_as_of(closed.hub, closed.hub.now(), "2025-01")


def test_a_run_tells_of_breaks_that_are_new_and_again_when_they_are_old(
    closed: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its table holds every Break under the name of its tie; what is explained is in the table, and told to nobody."""
    told: list[tuple[str, str]] = []
    tables: dict[str, list[dict[str, str]]] = {}
    monkeypatch.setattr(tie_out, "flow_run", SimpleNamespace(id="run"))
    monkeypatch.setattr(tie_out, "emit_event", lambda event, resource, payload: told.append((event, payload["kind"])))
    monkeypatch.setattr(tie_out, "create_table_artifact", lambda table, key, description: tables.update({key: table}))
    with edited_erp_invoice(closed), edited_progress(closed):
        lines, found = closed.tie_out()
        tie_out.alert(closed.hub, found)
        assert sorted(told) == [("tieout.break.new", "crm_figure_stale"), ("tieout.break.new", "invoice_amount")]
        assert {row["tie"] for row in tables["breaks"]} == {line.tie for line in lines if not line.closes}
        stale, edited = sorted(found, key=lambda one: one.kind)
        breaks.explain(closed.hub, edited, "ann", "Agreed with Carol")
        told.clear()
        closed.time.by += timedelta(days=3)
        tie_out.alert(closed.hub, [stale, edited.model_copy(update={"explained": "Agreed with Carol"})])
        closed.time.by -= timedelta(days=3)
        assert told == [("tieout.break.old", "crm_figure_stale")]
    closed.tie_out()


def test_a_tie_out_without_a_period_is_that_of_the_month_billed_last(
    closed: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tie_out, "hub", lambda: closed.hub)
    state = tie_out.tie_out.fn()
    assert state.is_completed()
    assert "every one differs by 0.00" in str(state.message)


def test_a_tie_at_a_glance_has_both_sides_with_what_they_count(closed: Company) -> None:
    line = next(line for line in closed.tie_out()[0] if line.tie == "invoices = ERP invoices")
    told = tie_out.glance(line)
    assert (told["ours"], told["theirs"]) == (f"{line.left:,} USD, hub", f"{line.right:,} USD, netsuite")
    assert (told["difference"], told["breaks"], told["explained"]) == ("0.00", "", "")
