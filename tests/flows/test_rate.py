"""A month is metered as the price book says and as contracts cut it, and what was metered is what was rated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from app.demo.company import Deal
from core.accounts import Account, Address, Site, zone_change
from core.errors import Misconfigured
from core.invoicing import draft
from core.money import Money
from core.period import DateSpan
from core.rating import RatedLine, explain
from core.subscriptions import Subscription, SubscriptionCharge
from flows import ingest, rate
from flows.context import Hub
from flows.tie_out import TieOut
from tests.flows.hubs import hub_with
from tests.flows.world import DENVER, PERIOD, company, customer, sold

BOOK = """\
name: test
currency: USD
products: [{code: P, name: P, tax_code: T, revenue_account: "4000"}]
meters:
  - {name: minutes, of: call_seconds, increments: {first: 60, then: 60}, bands: {dimension: hours, otherwise: rest,
      bands: [{name: peak, weekdays: [1, 2, 3, 4, 5], starts: "08:00", ends: "18:00"}]}}
  - {name: hosts, of: call_seconds, aggregation: unique_count, key: host}
charges:
  - {code: TALK, product_code: P, name: Talk, kind: usage, meter: minutes, conversion: {operation: divide, factor: 60},
      model: {kind: matrix, cells: [{when: {hours: peak}, model: {kind: per_unit, unit_amount: 0.05}},
      {when: {}, model: {kind: per_unit, unit_amount: 0.02}}]}}
  - {code: HOST, product_code: P, name: Hosts, kind: usage, meter: hosts, model: {kind: per_unit, unit_amount: 10}}
"""

#: 61 s at noon and 1 s at 18:00 on a Thursday in Denver, two hosts; half an hour of it is another day in UTC.
CALLS = """\
id,account_id,site_id,meter,quantity,occurred_at,host
c1,A-1,A-1-S1,call_seconds,61,2026-10-01T12:00:00-06:00,ann
c2,A-1,A-1-S1,call_seconds,1,2026-10-01T18:00:00-06:00,ann
c3,A-1,A-1-S1,call_seconds,0.5,2026-10-31T23:30:00-06:00,bob
"""


@contextmanager
def served(folder: Path, book: str, *charges: SubscriptionCharge) -> Iterator[Hub]:
    """A hub with one account in Denver that has these charges, and no system at all."""
    hub = hub_with(f"sqlite:///{folder / 'tieout.db'}", folder, {})
    (folder / "book.yaml").write_text(book)
    hub.settings = hub.settings.model_copy(update={"price_book": folder / "book.yaml"})
    home = Address(line1="1801 California St", city="Denver", region="CO", postal_code="80202", country="US")
    account = Account(
        id="A-1",
        name="A-1",
        email="",
        currency="USD",
        timezone="America/Denver",
        billing_address=home,
        sites=(Site(id="A-1-S1", name="", address=home),),
    )
    standing = Subscription(
        id="SUB-1",
        account_id="A-1",
        order_id="O-1",
        currency="USD",
        timezone="America/Denver",
        starts_on=date(2026, 1, 1),
        charges=charges,
    )
    with hub.database.work() as work:
        work.put(account)
        work.add([standing])
    yield hub
    hub.close()


def bought(code: str, **more: object) -> SubscriptionCharge:
    given = {"id": code, "order_line_id": code, "charge_code": code, "product_code": "P", "site_id": "A-1-S1"}
    terms = {"quantity": Decimal(1), "starts_on": date(2026, 1, 1), "contract_value": Money.zero("USD")}
    return SubscriptionCharge.model_validate({**given, **terms, **more})


def bring(hub: Hub, name: str, text: str) -> None:
    folder = hub.settings.state_folder / ingest.FOLDER
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    assert ingest.ingest_files(hub).failures == []


def rated(hub: Hub, period: str = PERIOD) -> dict[str, str]:
    """Rates the month; what each line came to."""
    assert rate.rate_period(hub, period).failures == []
    with hub.database.reading() as work:
        return {line.id: str(line.amount.amount) for line in work.find(RatedLine, billing_period=period)}


def untied(hub: Hub, period: str = PERIOD) -> list[tuple[str, str]]:
    """The ties of usage that do not close."""
    tie_out = TieOut(hub, period)
    tie_out.usage()
    return [(one.tie, one.unit) for one in tie_out.found if one.difference or one.breaks]  # type: ignore[union-attr]


def test_the_meters_of_the_price_book_round_split_and_count_the_events(tmp_path: Path) -> None:
    """60/60: 61 s are two minutes at peak, 1 s and 0.5 s one minute each after it; two hosts at 10.00."""
    with served(tmp_path, BOOK, bought("TALK"), bought("HOST")) as hub:
        bring(hub, "bridge.csv", CALLS)
        assert rated(hub) == {"TALK@2026-10-01": "0.14", "HOST@2026-10-01": "20.00"}
        assert untied(hub) == []


def test_a_count_that_does_not_add_up_is_cut_only_where_its_own_charge_changes(tmp_path: Path) -> None:
    """Talk is renewed on the 15th, hosts are not: ann, who calls in both halves, is one host."""
    renewed = [
        bought("TALK", id="old", ends_on=date(2026, 10, 15)),
        bought("TALK", id="new", starts_on=date(2026, 10, 15)),
    ]
    more = "c4,A-1,A-1-S1,call_seconds,30,2026-10-20T12:00:00-06:00,ann\n"
    with served(tmp_path, BOOK, *renewed, bought("HOST")) as hub:
        bring(hub, "bridge.csv", CALLS + more)
        assert rated(hub) == {"old@2026-10-01": "0.12", "new@2026-10-15": "0.07", "HOST@2026-10-01": "20.00"}
        assert untied(hub) == []


@pytest.mark.server
@pytest.mark.xdist_group("company")
def test_a_contract_renewed_in_the_middle_of_a_month_is_rated_by_the_day(tmp_path: Path) -> None:
    """Two won deals of the same minutes at one site, the first for a month until the 15th, the second from then on.

    4,000 minutes at 0.045 in each half; in one bill together the last 3,000 would be at 0.038.
    """
    first, second = (sold("VC-MIN", 1, "250.00", "A-0009-S1", day) for day in ("2026-09-15", "2026-10-15"))
    buyer = customer("A-0009", DENVER, first, deals=(Deal("A-0009 renewal", "2026-10-01", None, (second,)),))
    usage = "id,account_id,site_id,meter,quantity,occurred_at\n" + "".join(
        f"u{day},A-0009,A-0009-S1,conference_minutes,4000,2026-10-{day}-06:00\n"
        for day in ("14T23:59:59", "15T00:00:00")
    )
    with company(tmp_path) as world:
        world.enter(buyer)
        terms = {"Term_Months__c": 1, "Service_Start__c": "2026-09-15"}
        world.set("salesforce", "Opportunity", "A-0009 conferencing", **terms)
        world.bring("bridge.csv", usage)
        reports = world.month(until="rate")
        assert reports["rate"].failures == []
        with world.hub.database.reading() as work:
            lines = work.find(RatedLine)
        assert sorted((str(one.service_period), str(one.amount.amount)) for one in lines) == [
            ("2026-10-01..2026-10-14", "180.00"),
            ("2026-10-15..2026-10-31", "180.00"),
        ]
        assert untied(world.hub) == []


def closes(hub: Hub, period: str) -> None:
    """The month's lines stand on a final invoice of the account."""
    with hub.database.work() as work:
        account = work.get(Account, "A-1")
        assert account is not None
        lines = work.find(RatedLine, billing_period=period)
        invoice = draft(account, lines, hub.price_book, DateSpan.month(period), DateSpan.month(period).last_day)
        if invoice is not None:
            work.add([invoice])


def late_book(policy: str) -> str:
    """Minutes in tiers, 100 of them included, at least 5.00 on each line."""
    return f"""\
name: test
currency: USD
late_usage: {policy}
products: [{{code: P, name: P, tax_code: T, revenue_account: "4000"}}]
charges:
  - {{code: TALK, product_code: P, name: Talk, kind: usage, meter: minutes, min_spend: 5.00,
      model: {{kind: graduated, tiers: [{{up_to: 200, unit_amount: 0.10}}, {{unit_amount: 0.05}}]}}}}
allowances: [{{id: pool, units: 100, charges: [TALK]}}]
"""


def minutes(*rows: tuple[str, str, str]) -> str:
    """(id, quantity, day) as a file."""
    lines = [f"{ident},A-1,A-1-S1,minutes,{quantity},{day}T12:00:00Z\n" for ident, quantity, day in rows]
    return "id,account_id,site_id,meter,quantity,occurred_at\n" + "".join(lines)


def pending(hub: Hub, period: str = PERIOD) -> str:
    """What the tie-out tells about where received usage stands."""
    tie_out = TieOut(hub, period)
    tie_out.usage()
    (told,) = [one.right_name for one in tie_out.found if one.tie.startswith("usage received")]  # type: ignore[union-attr]
    return told


def test_late_usage_is_pending_until_the_next_bill_corrects_its_month(tmp_path: Path) -> None:
    """October: 250 - 100 included = 150 at 0.10 = 15.00. With 100 more: 200 x 0.10 + 50 x 0.05 = 22.50, so 7.50 more.

    A correction of -120 in December leaves 130 of 230 at 0.10: 13.00, so 9.50 less.
    """
    with served(tmp_path, late_book("adjustment"), bought("TALK")) as hub:
        bring(hub, "1.csv", minutes(("u1", "250", "2026-10-05")))
        assert rated(hub) == {"TALK@2026-10-01": "15.00"}
        closes(hub, "2026-10")
        bring(hub, "2.csv", minutes(("u2", "100", "2026-10-20"), ("u3", "160", "2026-11-02")))
        assert pending(hub) == "1 rated + 2 pending + 0 repeated + 0 rejected"
        assert rated(hub) == {"TALK@2026-10-01": "15.00"}
        november = {"TALK@2026-10-01+2026-11": "7.50", "TALK@2026-11-01": "6.00"}
        assert rated(hub, "2026-11") == november
        assert rated(hub, "2026-11") == november
        assert pending(hub, "2026-11") == "3 rated + 0 pending + 0 repeated + 0 rejected"
        closes(hub, "2026-11")
        bring(hub, "3.csv", minutes(("u4", "-120", "2026-10-21")))
        december = {"TALK@2026-10-01+2026-12": "-9.50", "TALK@2026-12-01": "5.00"}
        assert rated(hub, "2026-12") == december
        assert [untied(hub, month) for month in ("2026-10", "2026-11", "2026-12")] == [[], [], []]
        with hub.database.reading() as work:
            (line,) = work.find(RatedLine, corrects="2026-10", billing_period="2026-12")
        assert (str(line.service_period), line.quantity) == ("2026-10-01..2026-10-31", Decimal(-120))
        assert "less billed before as TALK@2026-10-01: -22.50 USD" in explain(line)


def test_late_usage_of_a_month_without_usage_takes_back_the_minimum_of_the_empty_line(tmp_path: Path) -> None:
    """The account's charge had no usage: 5.00 on a line without site. Now a site has 160: 60 x 0.10 on its own line."""
    with served(tmp_path, late_book("adjustment"), bought("TALK", site_id=None)) as hub:
        assert rated(hub) == {"TALK@2026-10-01": "5.00"}
        closes(hub, "2026-10")
        bring(hub, "1.csv", minutes(("u1", "160", "2026-10-20")))
        assert rated(hub, "2026-11") == {
            "TALK@2026-10-01+2026-11": "-5.00",
            "TALK@2026-10-01/A-1-S1+2026-11": "6.00",
            "TALK@2026-11-01": "5.00",
        }
        assert untied(hub, "2026-11") == []


def test_late_usage_is_priced_in_the_open_month_where_the_book_says_so(tmp_path: Path) -> None:
    """November: 160 of its own and 100 of October, 100 included: 160 x 0.10."""
    with served(tmp_path, late_book("open_period"), bought("TALK")) as hub:
        bring(hub, "1.csv", minutes(("u1", "250", "2026-10-05")))
        assert rated(hub) == {"TALK@2026-10-01": "15.00"}
        closes(hub, "2026-10")
        bring(hub, "2.csv", minutes(("u2", "100", "2026-10-20"), ("u3", "160", "2026-11-02")))
        assert rated(hub, "2026-11") == {"TALK@2026-11-01": "16.00"}
        closes(hub, "2026-11")
        assert rated(hub, "2026-12") == {"TALK@2026-12-01": "5.00"}
        assert [untied(hub, month) for month in ("2026-10", "2026-11", "2026-12")] == [[], [], []]


def test_a_month_is_corrected_by_the_book_that_billed_it(tmp_path: Path) -> None:
    """The price of 0.10 has become 1.00 since; October is corrected at 0.10."""
    with served(tmp_path, late_book("adjustment"), bought("TALK")) as hub:
        bring(hub, "1.csv", minutes(("u1", "250", "2026-10-05")))
        assert rated(hub) == {"TALK@2026-10-01": "15.00"}
        closes(hub, "2026-10")
        (tmp_path / "book.yaml").write_text(late_book("adjustment").replace("0.10", "1.00"))
        del hub.__dict__["price_book"]
        bring(hub, "2.csv", minutes(("u2", "100", "2026-10-20"), ("u3", "160", "2026-11-02")))
        assert rated(hub, "2026-11") == {"TALK@2026-10-01+2026-11": "7.50", "TALK@2026-11-01": "60.00"}
        assert untied(hub, "2026-11") == []


def test_a_month_rated_again_outdates_the_later_ones_that_no_invoice_has(tmp_path: Path) -> None:
    """November corrected October; when October takes the usage itself, November waits to be rated again."""
    with served(tmp_path, late_book("adjustment"), bought("TALK")) as hub:
        bring(hub, "1.csv", minutes(("u1", "250", "2026-10-05")))
        rated(hub)
        bring(hub, "2.csv", minutes(("u2", "100", "2026-10-20")))
        assert "TALK@2026-10-01+2026-11" in rated(hub, "2026-11")
        assert rated(hub) == {"TALK@2026-10-01": "22.50"}
        with hub.database.reading() as work:
            assert work.find(RatedLine, billing_period="2026-11") == []
        assert rated(hub, "2026-11") == {"TALK@2026-11-01": "5.00"}


def test_a_month_that_a_later_invoice_has_taken_in_is_left_alone(tmp_path: Path) -> None:
    """October had nothing to invoice and November's invoice has its late usage, so October is not rated again."""
    book = late_book("adjustment").replace("min_spend: 5.00,", "")
    with served(tmp_path, book, bought("TALK")) as hub:
        assert rated(hub) == {"TALK@2026-10-01": "0.00"}
        bring(hub, "1.csv", minutes(("u1", "250", "2026-10-05"), ("u2", "160", "2026-11-02")))
        assert rated(hub, "2026-11") == {"TALK@2026-10-01+2026-11": "15.00", "TALK@2026-11-01": "6.00"}
        closes(hub, "2026-11")
        assert rated(hub) == {"TALK@2026-10-01": "0.00"}


MIDMONTH = """\
name: test
currency: USD
late_usage: adjustment
products: [{code: P, name: P, tax_code: T, revenue_account: "4000"}]
charges:
  - {code: TALK, product_code: P, name: Talk, kind: usage, meter: minutes, billing_day: 15,
      model: {kind: per_unit, unit_amount: 1}}
"""


def test_a_charge_billed_from_the_15th_is_metered_from_the_15th_and_so_is_what_comes_late(tmp_path: Path) -> None:
    """20 September and 14 October are on the bill of October, 15 October on that of November; what comes late for
    20 September after the bill of October is settled in November, though the calendar's September had a bill before."""
    head = "id,account_id,site_id,meter,quantity,occurred_at\n"
    usage = [("a", 3, "2026-09-20"), ("b", 5, "2026-10-14"), ("c", 7, "2026-10-15")]
    with served(tmp_path, MIDMONTH, bought("TALK")) as hub:
        lines = [f"{i},A-1,A-1-S1,minutes,{n},{day}T12:00:00-06:00\n" for i, n, day in usage]
        bring(hub, "switch.1.csv", head + "".join(lines))
        assert rated(hub, "2026-09") == {"TALK@2026-08-15": "0.00"}
        assert rated(hub) == {"TALK@2026-09-15": "8.00"}
        assert untied(hub) == []
        closes(hub, PERIOD)
        bring(hub, "switch.2.csv", f"{head}d,A-1,A-1-S1,minutes,11,2026-09-20T12:00:00-06:00\n")
        amounts = rated(hub, "2026-11")
        assert sorted(amounts.values()) == ["11.00", "7.00"]
        assert untied(hub, "2026-11") == []


def test_usage_around_a_change_of_zone_is_billed_once(tmp_path: Path) -> None:
    """05:00 UTC on 1 November is still October in Denver, and is November already in New York, where it moved to."""
    book = MIDMONTH.replace("billing_day: 15", "billing_day: 1")
    with served(tmp_path, book, bought("TALK")) as hub:
        with hub.database.work() as work:
            account = work.get(Account, "A-1")
            assert account is not None
            work.put(zone_change(account, "America/New_York", datetime(2026, 10, 20, tzinfo=UTC)))
            work.put(account.model_copy(update={"timezone": "America/New_York"}))
        head = "id,account_id,site_id,meter,quantity,occurred_at\n"
        bring(hub, "switch.1.csv", f"{head}a,A-1,A-1-S1,minutes,3,2026-11-01T05:00:00Z\n")
        assert (rated(hub), rated(hub, "2026-11")) == ({"TALK@2026-10-01": "3.00"}, {"TALK@2026-11-01": "0.00"})
        assert untied(hub) == untied(hub, "2026-11") == []


def test_a_charge_that_was_billed_keeps_its_service_periods(tmp_path: Path) -> None:
    """A price book that moves the billing day of a charge under its code would bill days twice: it rates nothing."""
    with served(tmp_path, MIDMONTH, bought("TALK")) as hub:
        assert rated(hub) == {"TALK@2026-09-15": "0.00"}
        (tmp_path / "book.yaml").write_text(MIDMONTH.replace("billing_day: 15", "billing_day: 1"))
        moved = Hub(hub.settings)
        with pytest.raises(Misconfigured, match=r"book\.yaml: charge TALK: billing_day was 15 .* declare a charge of"):
            rate.rate_period(moved, "2026-11")
        moved.close()
