"""Contracts that chance makes and changes: whatever comes, and in which order, every sum holds at every month."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.allocation import allocated
from core.errors import Rejected
from core.invoicing import CreditNote, Invoice
from core.ledger import JournalEntry
from core.money import Money, total
from core.obligations import ContractMovement, MovementKind, Obligation
from core.orders import Order
from core.period import DateSpan
from core.rational import Fraction
from core.revenue import RecognitionPart
from core.subscriptions import Subscription
from flows.promise import documents
from tests.scenarios.revenue.seller import Seller, deal, months
from tests.scenarios.told import usd

FIRST, LAST = "2026-01", "2027-08"

#: Charge to what it costs per unit, and whether several are sold.
PRICES = {"SEAT": 30, "YEAR": 1200, "QUARTER": 240, "PHONE": 0, "FEE": 120, "MOVE": 900, "BONUS": 300}


def book(chance: random.Random) -> dict[str, Any]:
    def charge(code: str, kind: str, policy: dict[str, Any], model: str = "flat", **more: Any) -> dict[str, Any]:
        price = {"amount": str(PRICES[code])} if model == "flat" else {"unit_amount": str(PRICES[code])}
        policy = {"amendment": chance.choice(["prospective", "catch_up", "separate"]), **policy}
        about = {"code": code, "product_code": chance.choice(["ALL", "TWO"]), "name": code, "kind": kind}
        return {**about, "model": {"kind": model, **price}, "revenue": policy, **more}

    def alone(price: int) -> dict[str, str]:
        return {"standalone_price": str(price)} if chance.random() < 0.6 else {}

    by = {"convention": chance.choice(["day", "month", "prorata"])}
    return {
        "products": [
            {"code": "ALL", "name": "All", "tax_code": "T", "revenue_account": "4100"},
            {"code": "TWO", "name": "Two", "tax_code": "T", "revenue_account": "4020"},
        ],
        "charges": [
            charge("SEAT", "recurring", {**by, **alone(35)}, "per_unit"),
            charge("YEAR", "recurring", {**by, **alone(1500)}, every_months=12),
            charge("QUARTER", "recurring", {}, every_months=3, timing="arrears"),
            charge("PHONE", "one_time", alone(240)),
            charge("FEE", "one_time", {"pattern": "straight_line", **by, **alone(0)}),
            charge("MOVE", "one_time", {"pattern": "milestone", **alone(1000)}),
            charge("BONUS", "one_time", {"pattern": "milestone", "consideration": "constrained", **alone(0)}),
        ],
    }


@dataclass
class Facts:
    """What happens, each with the month in which we hear of it."""

    orders: list[tuple[str, Order]] = field(default_factory=list)
    credits: list[tuple[str, str, int, int]] = field(default_factory=list)  # heard in, month billed, line, tenths
    milestones: list[tuple[str, str, date]] = field(default_factory=list)


def sold(chance: random.Random, code: str) -> dict[str, Any]:
    quantity = chance.randint(1, 9) if code == "SEAT" else 1
    price = PRICES[code] * chance.choice([5, 8, 10, 12]) / 10
    return {"charge": code, "quantity": str(quantity), "unit_price": f"{price:.2f}"}


def invented(chance: random.Random, seller: Seller) -> Facts:
    """Three contracts of a year, each changed up to three times. ``seller`` is asked what a contract takes."""
    found, number = Facts(), 0
    for _ in range(3):
        number += 1
        start = date(2026, chance.randint(1, 3), chance.choice([1, 1, 17]))
        codes = chance.sample(list(PRICES), chance.randint(2, 5))
        first = deal(number, {"start_on": start, "term_months": 12, "lines": [sold(chance, one) for one in codes]})
        seller.take(first)
        found.orders.append((f"{start:%Y-%m}", first))
        on = start
        for _ in range(chance.randint(0, 3)):
            on += timedelta(days=chance.randint(1, 100))
            changed = changes(chance, seller, f"SUB-{first.id}", on)
            order = deal(number + 1, {"start_on": on, "amends": first.id[1:], "lines": changed})
            try:
                seller.take(order)
            except Rejected:
                continue
            number += 1
            found.orders.append((f"{on:%Y-%m}", order))
    for _, order in found.orders:
        for line in order.lines:
            if line.charge_code in ("MOVE", "BONUS"):
                day = min(order.start_on + timedelta(days=chance.randint(0, 300)), date(2027, 1, 31))
                found.milestones.append((line.id, f"{day:%Y-%m}", day))
    for _ in range(chance.randint(0, 6)):
        billed = chance.choice(list(months("2026-01", "2026-12")))
        heard = chance.choice(list(months(billed, "2027-01")))
        found.credits.append((heard, billed, chance.randint(0, 5), chance.randint(1, 10)))
    return found


def changes(chance: random.Random, seller: Seller, contract_id: str, on: date) -> list[dict[str, Any]]:
    with seller.hub.database.reading() as work:
        contract = work.get(Subscription, contract_id)
    assert contract is not None
    standing = [one for one in contract.charges if one.starts_on <= on and (one.ends_on is None or on < one.ends_on)]
    lines = []
    for one in chance.sample(standing, min(len(standing), chance.randint(0, 2))):
        what = chance.choice(["replace", "stop", "pause"])
        if one.charge_code not in ("SEAT", "YEAR", "QUARTER"):
            continue
        line: dict[str, Any] = {"charge": one.charge_code, "change": what, "amends": one.order_line_id}
        if what == "replace":
            line |= {**sold(chance, one.charge_code)}
        elif what == "pause":
            line["until"] = on + timedelta(days=chance.randint(5, 90))
        lines.append(line)
    if not lines or chance.random() < 0.5:
        lines.append(sold(chance, chance.choice([*PRICES])))
    return lines


def happen(seller: Seller, found: Facts) -> Iterator[str]:
    """Lets everything happen, month by month, and gives each month at its end."""
    invoices = {}
    amended = {f"SC-{line.amends}" for _, order in found.orders for line in order.lines}
    for month in months(FIRST, LAST):
        for heard, order in found.orders:
            if heard == month:
                seller.take(order)
        if (invoice := seller.bill(month)) is not None:
            invoices[month] = invoice
        for heard, billed, at, tenths in found.credits:
            if heard == month and billed in invoices:
                give_back(seller, invoices[billed], at, tenths, month, amended)
        for line, heard, on in found.milestones:
            if heard == month:
                seller.reach(line, on)
        seller.earn(month)
        yield month


def give_back(seller: Seller, invoice: Invoice, at: int, tenths: int, month: str, amended: set[str]) -> None:
    """A part of one line, unless nothing is left of it; what a change takes back is not given back besides."""
    lines = [one for one in invoice.lines if one.amount.minor > 0 and one.subscription_charge_id not in amended]
    if not lines:
        return
    line = lines[at % len(lines)]
    amount = Money(max(1, line.amount.minor * tenths // 10), "USD")
    try:
        seller.give_back(invoice, {line.position: amount}, DateSpan.month(month).last_day, f"{at} {tenths} {month}")
    except Rejected:
        return


def revenue(seller: Seller) -> dict[str, Money]:
    with seller.hub.database.reading() as work:
        balances = work.sums.ledger_balances()
    return {account: -money for (account, _), money in balances.items() if account.startswith("4")}


def missed(seller: Seller) -> dict[str, Money]:
    """By order line, what is allocated to it and its bills and milestones have not brought."""
    found = {}
    with seller.hub.database.reading() as work:
        for one in work.find(Obligation):
            contract, moved = work.get(Subscription, one.contract_id), work.find(ContractMovement, obligation_id=one.id)
            assert contract is not None
            told = [document.brings for document in documents(seller.hub, work, contract, one, moved)]
            told += [each.allocated for each in moved if each.kind is MovementKind.SATISFIED]
            told += [each.allocated for each in moved if each.act_id and each.source_id is None]
            found[one.id] = allocated(seller.phases(work, one)) - total(told, one.currency)
    return found


def check(seller: Seller, month: str) -> None:
    """Every identity of a month; the same month again books nothing.

    No month of an obligation is left below zero, but for the cent by which each of its bills may be rounded.
    """
    seller.tied(month)
    with seller.hub.database.reading() as work:
        journals = len(work.find(JournalEntry))
        booked = work.sums.booked_parts()
        parts = [part for part in work.find(RecognitionPart) if part.id not in booked]
        line_of = {
            line: charge.order_line_id
            for contract in work.find(Subscription)
            for charge in contract.charges
            for line in work.child_ids(Invoice, "lines", subscription_charge_id=charge.id)
        }
        left: dict[tuple[str, str], list[int]] = defaultdict(list)
        for part in parts:
            left[line_of[part.invoice_line_id], part.month].append(part.amount.minor)
        assert all(sum(one) > -len(one) for one in left.values()), (month, left)
        assert all(when > month for _, when in left)
        promised = work.find(Obligation)
        phases = {one.id: seller.phases(work, one) for one in promised}
    for pool in {one.priced_with for one in promised}:
        own = [phases[one.id] for one in promised if one.priced_with == pool]
        stated = sum((phase.stated for one in own for phase in one), Fraction(0))
        assert total([phase.allocated for one in own for phase in one], "USD") == Money.of(stated, "USD")
    seller.earn(month)
    with seller.hub.database.reading() as work:
        assert len(work.find(JournalEntry)) == journals


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_to_contracts_every_sum_holds(seed: int, tmp_path: Path) -> None:
    """Orders, changes, pauses, stops, milestones and credits, some heard late: each month closes, and all is earned."""
    chance = random.Random(seed)
    sold_here = book(chance)
    draft, seller = (Seller(_made(tmp_path / name), sold_here) for name in ("draft", "seller"))
    found = delayed(chance, invented(chance, draft))
    for month in happen(seller, found):
        check(seller, month)
    assert seller.tied(LAST) == (usd("0"), usd("0"))
    with seller.hub.database.reading() as work:
        billed = total([one.subtotal for one in work.find(Invoice)], "USD")
        given = total([one.subtotal for one in work.find(CreditNote)], "USD")
    assert total(revenue(seller).values(), "USD") == billed - given
    draft.close()
    seller.close()


@pytest.mark.parametrize("seed", range(100, 104))
def test_what_is_heard_late_earns_the_same_in_the_end(seed: int, tmp_path: Path) -> None:
    """Two sellers hear of the same facts, one at once and one up to two months late: each account earned the same."""
    chance = random.Random(seed)
    sold_here = book(chance)
    draft, prompt, late = (Seller(_made(tmp_path / name), sold_here) for name in ("draft", "prompt", "late"))
    found = replace(invented(chance, draft), credits=[])
    for seller, facts in ((prompt, found), (late, delayed(chance, found))):
        for _ in happen(seller, facts):
            pass
        assert seller.tied(LAST) == (usd("0"), usd("0"))
        assert max(abs(one.minor) for one in missed(seller).values()) <= 2
    assert revenue(late) == revenue(prompt)
    for seller in (draft, prompt, late):
        seller.close()


def delayed(chance: random.Random, found: Facts) -> Facts:
    """The same facts, changes and milestones heard of up to two months later; changes in the order of their days."""
    orders, latest = [], ""
    for month, order in found.orders:
        latest = max(latest, later(month, chance.randint(0, 2))) if order.amends else month
        orders.append((latest, order))
    known = {line.id: month for month, order in orders for line in order.lines}
    told = [(line, max(later(month, chance.randint(0, 2)), known[line]), on) for line, month, on in found.milestones]
    return replace(found, orders=orders, milestones=told)


def later(month: str, by: int) -> str:
    return list(months(month, "2030-12"))[by]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
