"""What a pack tells of a month, gathered once for its tables and its pages."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any

from core.accounts import Account
from core.audit import AuditRow
from core.close import Close, CloseState, Decision, Digest, JournalDraft, Obstacle, Override
from core.invoicing import CreditNote
from core.ledger import LedgerAccount, LedgerAccountKind
from core.money import Money
from core.period import DateSpan
from core.revenue_reports import NONE, Earning, Moved, rolls_by_contract
from core.store import Work
from core.store.codec import CHUNK, pages
from core.subledgers import BY_CONTRACT, SUBLEDGERS, Booked, Roll, roll_forward, subledger
from core.ties import Break, TieLine
from flows.context import Hub
from flows.prepare import chart
from flows.read_back import Compared

#: The subledgers whose movements are drawn; all of them stand in the tables.
DRAWN = ("receivables", "contract assets", "deferred revenue", "credit and prepaid liability", "tax payable")

#: How long an open item is overdue: the bucket's name, and its last day.
BUCKETS: tuple[tuple[str, int | None], ...] = (
    ("not due", 0),
    ("1-30", 30),
    ("31-60", 60),
    ("61-90", 90),
    ("over 90", None),
)
ON_ACCOUNT = "on account"

#: Most journals that the page lists; all of them stand in journals.csv.
LISTED = 100


@dataclass(frozen=True)
class Balance:
    """One ledger account over the month; debits less credits in ``opening`` and ``closing``."""

    account: str
    name: str
    currency: str
    opening: Decimal
    debit: Decimal
    credit: Decimal

    @property
    def closing(self) -> Decimal:
        return self.opening + self.debit - self.credit


@dataclass(frozen=True)
class OpenItem:
    """What is open of one document at the end of the month; ``document``: ``on account`` where no invoice has it."""

    customer: str
    name: str
    currency: str
    document: str
    due: date | None
    bucket: str
    open: Decimal


@dataclass(frozen=True)
class Listed:
    """One journal of the close, as the page lists it."""

    id: str
    event: str
    posted_on: str
    memo: str
    lines: int
    debits: Decimal


@dataclass
class Journals:
    """The journals of a close, counted and summed as they are written into the pack.

    ``sides``: debits and credits by ledger account and currency. ``digests``: by round. ``listed``: the first ones.
    """

    number: int = 0
    sides: dict[tuple[str, str], list[Decimal]] = field(default_factory=dict)
    digests: dict[int, Digest] = field(default_factory=dict)
    listed: list[Listed] = field(default_factory=list)

    def passing(self, drafts: Iterable[JournalDraft]) -> Iterator[tuple[JournalDraft, dict[str, Any]]]:
        """Each draft with its entry as JSON values."""
        for draft in drafts:
            entry = json.loads(draft.text)
            debits = Decimal(0)
            for line in entry["lines"]:
                key = line["ledger_account"], entry["currency"]
                if (sides := self.sides.get(key)) is None:
                    sides = self.sides[key] = [Decimal(0), Decimal(0)]
                if "debit" in line:
                    amount = Decimal(line["debit"]["amount"])
                    sides[0] += amount
                    debits += amount
                else:
                    sides[1] += Decimal(line["credit"]["amount"])
            self.number += 1
            self.digests.setdefault(draft.round, Digest()).add(draft.text)
            if len(self.listed) < LISTED:
                about = entry["id"], entry["event"], entry["posted_on"], entry["memo"]
                self.listed.append(Listed(*about, len(entry["lines"]), debits))
            yield draft, entry


@dataclass
class Month:
    """What a pack tells, gathered once for the tables and for the pages."""

    hub: Hub
    work: Work
    close: Close
    ties: Sequence[TieLine] = ()
    breaks: Sequence[Break] = ()
    obstacles: Sequence[Obstacle] = ()
    compared: Sequence[Compared] = ()
    journals: Journals = field(default_factory=Journals)

    @cached_property
    def span(self) -> DateSpan:
        return DateSpan.month(self.close.period)

    @property
    def entity_name(self) -> str:
        return self.hub.settings.entity(self.close.entity).name

    @property
    def drafts(self) -> Iterator[JournalDraft]:
        """The journals of the close, booked and waiting, of all its rounds, one after the other."""
        return self.work.periods.drafts(self.close.id)

    @property
    def waiting(self) -> Iterator[JournalDraft]:
        """Those that are not booked yet."""
        return self.work.periods.drafts(self.close.id, self.close.round)

    @cached_property
    def waits(self) -> bool:
        return next(self.waiting, None) is not None

    @cached_property
    def chart(self) -> Mapping[str, LedgerAccount]:
        return {account.code: account for account in chart(self.hub.posting, self.hub.price_book)}

    def name_of(self, account: str) -> str:
        return self.chart[account].name if account in self.chart else ""

    @cached_property
    def booked(self) -> list[Booked]:
        """What was booked up to and with the month, and what the waiting journals would book."""
        booked = self.work.sums.booked(self.close.entity, self.close.period)
        moves = self.close.moves if self.waits else ()
        return [*booked, *(one for one in moves if one.month <= self.close.period)]

    @cached_property
    def revenue(self) -> list[Money]:
        """What the income accounts earned in the month, by currency."""
        earned: dict[str, Money] = {}
        for one in self.booked:
            account, currency = self.chart.get(one.ledger_account), one.net.currency
            if one.month == self.close.period and account and account.kind is LedgerAccountKind.INCOME:
                earned[currency] = earned.get(currency, Money.zero(currency)) - one.net
        return list(earned.values())

    @cached_property
    def balances(self) -> list[Balance]:
        """The trial balance, by account and currency."""
        sums: dict[tuple[str, str], list[Money]] = {}
        for one in self.booked:
            currency = one.net.currency
            held = sums.setdefault((one.ledger_account, currency), [Money.zero(currency)] * 3)
            if one.month < self.close.period:
                held[0] += one.net
            else:
                held[1], held[2] = held[1] + one.debit, held[2] + one.credit
        return [
            Balance(account, self.name_of(account), currency, *(money.amount for money in held))
            for (account, currency), held in sorted(sums.items())
        ]

    @cached_property
    def rolls(self) -> list[tuple[str, Roll]]:
        """The roll-forward of each subledger; tax by jurisdiction, cash clearing by gateway."""
        return [
            (name, roll)
            for name in SUBLEDGERS
            for roll in subledger(self.hub.posting, self.booked, name, self.close.period)
        ]

    @cached_property
    def drawn(self) -> list[tuple[str, Roll]]:
        """The same by ledger account alone, of the subledgers that are drawn."""
        rules = self.hub.posting
        return [
            (name, roll)
            for name in DRAWN
            for roll in roll_forward(
                self.booked, self.close.period, [code for role in SUBLEDGERS[name] for code in rules.accounts(role)]
            )
        ]

    @cached_property
    def by_contract(self) -> list[tuple[str, Roll]]:
        """The roll-forwards of deferred revenue and contract assets by contract; the waiting journals are in them."""
        rules = self.hub.posting
        names = {code: name for name in BY_CONTRACT for role in SUBLEDGERS[name] for code in rules.accounts(role)}
        moved = self.work.contracts.moved(self.close.entity, list(names), self.span.start, self.span.end)
        rolls = rolls_by_contract(self.close.entity, [*moved, *self._waiting(names)])
        return [(names[roll.ledger_account], roll) for roll in rolls]

    def _waiting(self, accounts: Container[str]) -> Iterator[Moved]:
        """What the waiting journals would move of contracts up to the end of the month."""
        lines = (
            (line, entry["event"], entry["posted_on"] < self.span.start.isoformat())
            for entry in (json.loads(draft.text) for draft in self.waiting)
            for line in entry["lines"]
            if line["ledger_account"] in accounts and entry["posted_on"] < self.span.end.isoformat()
        )
        for page in pages(lines, CHUNK):
            contracts: dict[tuple[str, str], str] = {}
            for source in {line["source"] for line, _, _ in page}:
                ids = [line["source_id"] for line, _, _ in page if line["source"] == source]
                contracts |= {(source, k): of for k, of in self.work.contracts.of_sources(source, ids).items()}
            for line, event, before in page:
                told, sign = (line["debit"], 1) if line.get("debit") else (line["credit"], -1)
                net = Money.of(Decimal(told["amount"]) * sign, told["currency"])
                contract = contracts.get((line["source"], line["source_id"]), NONE)
                yield Moved(line["ledger_account"], contract, event, before, net)

    @cached_property
    def waterfall(self) -> list[Earning]:
        """What was billed ahead up to the end of the month, by the months of billing and of earning."""
        deferred = self.hub.posting.accounts("deferred revenue")
        return self.work.contracts.waterfall(self.close.entity, deferred, self.span.end)

    @property
    def receivables(self) -> Sequence[str]:
        """The ledger accounts whose open items are aged."""
        return self.hub.posting.accounts("receivables")

    @cached_property
    def open_items(self) -> list[OpenItem]:
        """What is open at the end of the month, invoice by invoice; the rest of a customer's balance is on account."""
        due_dates, payments = self.work.periods.due_dates(), self.work.periods.paid_invoices()
        notes = {one.id: one for one in self.work.find(CreditNote)}
        left: dict[tuple[str, str, str], int] = defaultdict(int)
        for one in self.work.periods.open_sources(self.close.entity, self.receivables, self.span.end):
            document = {"invoice": one.source_id, "payment": payments.get(one.source_id, "")}.get(one.source, "")
            if one.source == "credit_note" and one.source_id in notes:
                for applied in notes[one.source_id].applied:
                    left[one.account_id, one.currency, applied.invoice_id] -= applied.amount.minor
                    left[one.account_id, one.currency, ""] += applied.amount.minor
            left[one.account_id, one.currency, document if document in due_dates else ""] += one.net
        customers = sorted({customer for (customer, _, _), minor in left.items() if minor})
        names = {one.id: one.name for one in self.work.find(Account, id=customers)}
        items = []
        for (customer, currency, document), minor in sorted(left.items()):
            if minor:
                due = due_dates[document] if document else None
                items.append(
                    OpenItem(
                        customer,
                        names.get(customer, ""),
                        currency,
                        document or ON_ACCOUNT,
                        due,
                        _bucket(due, self.span.last_day),
                        decimal(minor, currency),
                    )
                )
        return items

    @cached_property
    def overrides(self) -> list[Override]:
        return self.work.find(Override, close_id=self.close.id)

    @cached_property
    def decisions(self) -> list[Decision]:
        return sorted(self.work.find(Decision, close_id=self.close.id), key=lambda one: one.at)

    @cached_property
    def audit(self) -> list[AuditRow]:
        return self.work.audit.rows(record_id=self.close.id, limit=100_000)[::-1]

    @property
    def is_final(self) -> bool:
        return self.close.state is CloseState.CLOSED


def decimal(minor: int, currency: str) -> Decimal:
    """Minor units as a plain amount."""
    return Money(minor, currency).amount


def _bucket(due: date | None, last_day: date) -> str:
    if due is None:
        return ON_ACCOUNT
    late = (last_day - due).days
    return next(name for name, most in BUCKETS if most is None or late <= most)


def aged(items: Iterable[OpenItem]) -> dict[tuple[str, str, str], dict[str, Decimal]]:
    """(customer, name, currency) to what is open in each bucket."""
    rows: dict[tuple[str, str, str], dict[str, Decimal]] = {}
    for item in items:
        row = rows.setdefault((item.customer, item.name, item.currency), dict.fromkeys(columns_of_aging(), Decimal(0)))
        row[item.bucket] += item.open
    return rows


def columns_of_aging() -> list[str]:
    return [*(name for name, _ in BUCKETS), ON_ACCOUNT]
