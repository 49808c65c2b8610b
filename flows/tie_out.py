"""Tie out: read every system back and compare, record by record. A difference is a named, aged Break.

Each tie compares two sides in the database, loads what differs and nothing else, names its kind by the table of
``core.breaks``, and says what explains it: the timing that a rule expects, a person's reason, or an earlier Break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Failed

from core.breaks import (
    explained_line,
    follows,
)
from core.ports import urgent
from core.store import sides
from core.store.tie_outs import TieOutRecord
from core.ties import Break, TieLine
from flows import breaks
from flows.comparing import Tie
from flows.context import Hub, hub
from flows.figures import Reading
from flows.report import SHOWN, Report, conclude, counted, name_run
from flows.tie_cash import CashTies
from flows.tie_ledger import LedgerTies
from flows.tie_usage import UsageTies


class TieOut(UsageTies, CashTies, LedgerTies):
    """One tie-out of a billing month, in the order money travels."""

    def orders(self) -> None:
        crm = self.hub.system("crm")
        tie = Tie("orders = CRM", "hub", crm, "order", crm, "order", monthly=False)
        self._tie_to(tie, sides.orders())
        if self._wanted("hub"):
            inside = Tie("orders = subscriptions", "orders", "subscriptions", "subscription", monthly=False)
            self._compare(inside, sides.orders(), sides.subscriptions(), None)

    def taxed(self) -> None:
        """Per engine: what it was asked about, and what it holds as committed, of the lines it takes."""
        for engine, codes in self._codes().items():
            tie = Tie(
                "invoice tax = tax committed",
                "hub",
                engine,
                "tax_document",
                engine,
                "tax_document",
                "committed",
                second="invoices = tax base",
            )
            self._tie_to(tie, sides.taxes(self.billing, codes))

    def _codes(self) -> dict[str, list[str]]:
        """Each tax engine and the tax codes of invoice lines that it takes."""
        with self.hub.database.reading() as work:
            codes = work.sides.tax_codes()
        found: dict[str, list[str]] = {engine: [] for engine in self.hub.playing("tax")}
        for code in codes:
            found[self.hub.tax_engine(code)].append(code)
        return found

    def credited(self) -> None:
        """Credit notes of the month's invoices: the tax they give back per engine, and the ERP's credit memos."""
        for engine, codes in self._codes().items():
            tie = Tie(
                "credited tax = tax returned",
                "hub",
                engine,
                "tax_credit",
                engine,
                "tax_credit",
                "committed",
                second="credits = tax base returned",
            )
            self._tie_to(tie, sides.returned_taxes(self.billing, codes))
        erp = self.hub.system("erp")
        tie = Tie("credit notes = ERP credit memos", "hub", erp, "credit_note", erp, "credit_note")
        self._tie_to(tie, sides.credit_notes(self.billing))

    def posted(self) -> None:
        """Our documents and journals against those of the ERP."""
        erp = self.hub.system("erp")

        def tie(name: str, record: str, resource: str, **more: Any) -> Tie:
            return Tie(name, "hub", erp, record, erp, resource, **more)

        customers = tie("customers = ERP customers", "account", "account", monthly=False, rare=True)
        self._tie_to(customers, sides.accounts())
        self._tie_to(tie("invoices = ERP invoices", "invoice", "invoice"), sides.invoices(self.billing))
        paid = sides.erp_payments(self.billing)
        self._tie_to(tie("payments = ERP payments", "payment", "payment"), paid)
        refunds = tie("refunds = ERP refunds", "erp_refund", "refund", rare=True)
        self._tie_to(refunds, sides.refunds_one_by_one(self.billing))
        journals = tie("journals = ERP journals", "journal_entry", "journal_entry", monthly=False)
        self._tie_to(journals, sides.journals())

    def told(self) -> None:
        crm = self.hub.system("crm")
        name = "CRM shows what is invoiced"
        tie = Tie(name, "hub", crm, "order_progress", crm, "order_progress", monthly=False)
        self._tie_to(tie, sides.told())

    def run(self) -> list[TieLine | Break]:
        """All equalities, in the order money travels; Breaks are stored with the moment they were first seen."""
        for step in STEPS:
            step(self)
        self._drop_echoes()
        self._store()
        self.lines = _explained(self.lines, self.breaks)
        return self.found

    def _drop_echoes(self) -> None:
        """A Break that follows from an earlier one is no Break of its own: its line says what it follows from."""
        roots: list[Break] = []
        for one in self.breaks:
            root = next((earlier for earlier in roots if follows(one, earlier)), None)
            if root is None:
                roots.append(one)
                continue
            self._explain(one.tie, one.system, -one.difference, f"follows from {root.id}")
        self.breaks = roots

    def _store(self) -> None:
        """Keeps the lines and the Breaks found, and closes those Breaks of this month and these systems that are not
        there any more."""
        now = self.hub.now()
        with self.hub.database.work() as work:
            standing = {
                one.id: one
                for one in work.find(Break, closed_at=None)
                if one.period in (None, self.period) and self._wanted(one.system)
            }
            self.breaks = [_aged(one, standing.pop(one.id, None)) for one in self.breaks]
            work.tie_outs.keep(self.period, self.only, self.lines, now)
            gone = [one.model_copy(update={"closed_at": now}) for one in standing.values()]
            breaks.keep(work, [*self.breaks, *gone], now)


def _explained(lines: Iterable[TieLine], found: Sequence[Break]) -> list[TieLine]:
    """The lines with what their Breaks explain of them; usage is counted, and its Breaks have no amount."""
    return [line if line.unit in ("events", "units") else explained_line(line, found) for line in lines]


def _aged(now: Break, before: Break | None) -> Break:
    """A Break with what is known of it from earlier tie-outs: its beginning, and what people said of it.

    A reason holds for the figures it was given for.
    """
    if before is None:
        return now
    same = (before.kind, before.left, before.right, before.detail) == (now.kind, now.left, now.right, now.detail)
    kept: dict[str, Any] = {"first_seen_at": before.first_seen_at, "note": before.note}
    if before.kind == now.kind:
        kept["owner"] = before.owner
    if now.explained is None and same and before.explained_by:
        kept |= {"explained": before.explained, "explained_by": before.explained_by}
    return now.model_copy(update=kept)


#: The chain of equalities.
STEPS: tuple[Callable[[TieOut], None], ...] = (
    TieOut.orders,
    TieOut.usage,
    TieOut.billed,
    TieOut.credits,
    TieOut.taxed,
    TieOut.credited,
    TieOut.collected,
    TieOut.paid_out,
    TieOut.banked,
    TieOut.posted,
    TieOut.ledger,
    TieOut.told,
)


def row(line: TieLine) -> dict[str, str]:
    """A tie as the table and ``--json`` show it; every figure with at least two decimals."""
    return {
        "tie": line.tie,
        "left_name": line.left_name,
        "left": _shown(line.left),
        "right_name": line.right_name,
        "right": _shown(line.right),
        "difference": _shown(line.difference),
        "explained": _shown(line.explained),
        "unit": line.unit,
        "records": str(line.count),
        "breaks": str(line.breaks),
        "why": line.why,
    }


def glance(line: TieLine) -> dict[str, str]:
    """A tie as the table of a run shows it: what differs first, then both sides in a cell each."""
    told = row(line)
    left, right = (
        f"{side:,.0f}" if line.unit == "events" else f"{Decimal(_shown(side)):,}" for side in (line.left, line.right)
    )
    return {
        "tie": line.tie,
        "difference": told["difference"],
        "breaks": f"{line.breaks:,}" if line.breaks else "",
        "explained": told["explained"] if line.explained else "",
        "ours": f"{left} {line.unit}, {line.left_name}",
        "theirs": f"{right} {line.unit}, {line.right_name}",
        "records": f"{line.count:,}",
        "why": line.why,
    }


def _shown(number: Decimal) -> str:
    exponent = number.normalize().as_tuple().exponent
    places = max(2, -exponent) if isinstance(exponent, int) else 2
    return f"{number:.{places}f}"


def alert(hub: Hub, found: Iterable[Break]) -> None:
    """Tells of Breaks that nothing explains when they are new, and again when they are old: an event each for whoever
    listens in the orchestrator. The run has a table of all of them, those first that nothing explains."""
    now = hub.now()
    old = timedelta(days=hub.settings.tie_out.old_after_days)
    standing = breaks.by_weight(found)
    if not flow_run.id or not standing:
        return
    for one in standing:
        if one.explained is not None:
            break
        age = one.age(now)
        state = "old" if age >= old else "new" if one.first_seen_at == one.last_seen_at else ""
        if state:
            emit_event(
                event=f"tieout.break.{state}",
                resource={"prefect.resource.id": f"tieout.break.{one.id}", "prefect.resource.name": one.subject},
                payload={
                    "kind": one.kind,
                    "severity": one.severity,
                    "system": one.system,
                    "subject": one.subject,
                    "left": str(one.left),
                    "right": str(one.right),
                    "owner": one.owner,
                    "days": age.days,
                },
            )
    rows = [breaks.row(one, now) for one in standing[:SHOWN]]
    create_table_artifact(table=rows, key="breaks", description="Each is told by `tieout breaks show`, by its id")


@urgent()
def tie_out_period(
    hub: Hub,
    period: str,
    system: str | None = None,
    reading: Reading = Reading.WHOLE,
) -> tuple[list[TieLine], list[Break]]:
    """The ties of a billing month, and every record on which two systems differ, the explained ones too.

    ``system``: only ties with this one, or with ``hub`` those inside ours.
    """
    tie_out = TieOut(hub, period, system, reading)
    tie_out.run()
    return tie_out.lines, tie_out.breaks


def tie_out_as_of(hub: Hub, at: datetime, period: str, system: str | None = None) -> TieOutRecord:
    """What the tie-outs of a billing month had found by an instant, with what was known of its Breaks then.

    No system is asked, and nothing is computed again: it is what was told. ``system``: as in ``tie_out_period``.
    ValueError when the month was not tied out before.
    """
    with hub.database.reading() as work:
        found = work.tie_outs.as_of(at, period, system)
        first = work.tie_outs.first(period)
    if found is None:
        then = f"the first one ended at {first:%F %T} UTC" if first else "run `tieout tie-out` first"
        raise ValueError(f"{period} had not been tied out by {at:%F %T} UTC; {then}")
    return replace(found, lines=_explained(found.lines, found.breaks))


@flow(
    name="Tie out",
    flow_run_name="tie out {period}",
    description="Reads every system back and compares it with ours, record by record. "
    "Green only when every tie differs by 0.00, or by what is explained. Without a period: the month billed last.",
)
def tie_out(period: str = "", system: str | None = None, reading: Reading = Reading.CHANGED) -> State[Any]:
    here = hub()
    if not period:
        with here.database.reading() as work:
            period = work.sides.newest_month()
    if not period:
        return conclude("tie out", Report("no month is billed yet"))
    lines, found = tie_out_period(here, period, system, reading=reading)
    alert(here, found)
    closes = all(line.closes for line in lines)
    standing = [one for one in found if not one.explained]
    said = "every one differs by 0.00" if closes and not found else counted(len(standing), "break")
    explained = len(found) - len(standing)
    headline = f"{counted(len(lines), 'tie')}, {said}" + (f", {explained} explained" if explained else "")
    state = conclude(f"tie out {period}", Report(headline, rows=[glance(line) for line in lines]))
    if closes:
        return state
    worst = "; ".join(f"{one.kind} {one.subject}, {one.left} against {one.right}" for one in standing[:5])
    name_run(f"tie out {period}: {counted(len(standing), 'break')}")
    return Failed(message=f"{headline}. {worst}. See `tieout breaks list`.")
