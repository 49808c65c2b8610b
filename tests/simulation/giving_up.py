"""Invoices that are given up in the simulated world: who proposes, who decides, and what must hold of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING

from core.errors import Rejected
from core.money import Money
from flows import write_off as acts
from flows.context import Hub
from flows.settings import WriteOffPolicy
from tests.simulation.fibers import Violation

if TYPE_CHECKING:
    from tests.simulation.run import Run

#: Who may propose and decide; nobody decides what they proposed.
CLERKS = ("ada", "grace")
#: When write-offs are written.
GIVEN_UP_ON = date(2026, 11, 25)


@dataclass
class Clerks:
    """The people who give up what nobody will pay."""

    run: Run
    rng: Random

    def __post_init__(self) -> None:
        self.limit = self.rng.choice((None, Decimal(0), Decimal(300)))
        self.policy = WriteOffPolicy(second_approval_above=self.limit, approvers=self.rng.choice(((), CLERKS)))

    def give_up(self, hub: Hub) -> None:
        """Somebody gives up a part of an invoice that nobody has paid, or all that is open of it."""
        open_ones = self.run.sql.execute(
            "SELECT id, total_minor FROM invoice WHERE status = 'final' AND total_minor > 0"
            " AND id NOT IN (SELECT invoice_id FROM payment WHERE status = 'succeeded')"
            " AND id NOT IN (SELECT invoice_id FROM write_off) ORDER BY id"
        ).fetchall()
        if not open_ones:
            return
        ident, total = self.rng.choice(open_ones)
        part = self.rng.choice((None, Money(max(total // 3, 1), "USD")))
        with suppress(Rejected):  # the gateway may be charging it
            acts.write_off(hub, ident, part, "nobody pays", GIVEN_UP_ON, self.rng.choice(CLERKS))
            self.run.sometimes["an invoice was given up"] += 1

    def decide(self, hub: Hub) -> None:
        """Somebody decides what waits; who proposed it may try, and must not."""
        for ident, by in self.run.sql.execute(
            "SELECT id, proposed_by FROM write_off WHERE state = 'proposed' ORDER BY id"
        ).fetchall():
            (other,) = (one for one in CLERKS if one != by)
            for who in (by, other):
                with suppress(Rejected):
                    if who != by and self.rng.random() < REFUSED:
                        acts.refuse(hub, ident, "they will pay", who)
                    else:
                        acts.approve(hub, ident, who)
                        self.run.sometimes["a second person gave up an invoice"] += 1


#: How often what was proposed is refused.
REFUSED = 0.3


def what_is_given_up_is_a_loss_everywhere(run: Run) -> None:
    """I4: a write-off was allowed, is a credit memo of its amount at the ERP, and no more than what was open."""
    from tests.simulation.invariants import cents, stuck_records

    if run.clerks is None:
        return
    memos = {one.get("externalId"): one for one in run.vendors.shelves["netsuite"].all("creditMemo")}
    stuck, lost = stuck_records(run), dict[str, int]()
    for ident, invoice, amount, state, by, second in run.sql.execute(
        "SELECT id, invoice_id, amount_minor, state, proposed_by, decided_by FROM write_off ORDER BY id"
    ).fetchall():
        if state == "proposed":
            raise Violation("I16 what waits for a second person is decided", ident)
        if (state == "booked") is not (ident in memos) and ident not in stuck:
            raise Violation("I4 what is given up is a credit memo", f"{ident} is {state}")
        if state != "booked":
            continue
        lost[invoice] = lost.get(invoice, 0) + amount
        if ident in memos and cents(memos[ident]["total"]) != amount:
            raise Violation("I4 what is given up is a credit memo", f"{ident}: {amount} is {memos[ident]['total']}")
        if by == second or (second is None and run.clerks.limit is not None and lost[invoice] > run.clerks.limit * 100):
            raise Violation("I17 a second person gives up what is above the limit", ident)
        run.sometimes["what was given up is a loss"] += 1
    for invoice, amount in lost.items():
        query = "SELECT coalesce(sum({}), 0) FROM {} WHERE invoice_id = '{}'{}"
        paid = run.count(query.format("amount_minor", "payment", invoice, " AND status = 'succeeded'"))
        if amount + paid > run.count(query.format("total_minor", "invoice", invoice, "").replace("invoice_id", "id")):
            raise Violation("I4 nothing is given up twice", invoice)
