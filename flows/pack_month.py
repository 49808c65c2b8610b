"""What a pack tells of a month, gathered once for its tables and its pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property

from core.accounts import Account
from core.audit import AuditRow
from core.close import Close, CloseState, Decision, JournalDraft, Obstacle, Override
from core.invoicing import CreditNote, Invoice, InvoiceStatus
from core.ledger import JournalEntry, LedgerAccount, LedgerAccountKind
from core.money import Money
from core.payments import Payment
from core.period import DateSpan
from core.store import Work
from core.ties import Break, TieLine
from flows.context import Hub
from flows.prepare import chart
from flows.read_back import Compared

#: The subledgers whose movements are shown: what people call each, and the role of its ledger accounts.
SUBLEDGERS: Mapping[str, str] = {
    "receivables": "receivables",
    "unbilled receivables": "unbilled receivables",
    "contract assets": "contract asset",
    "deferred revenue": "deferred revenue",
    "prepaid by customers": "prepaid liability",
    "tax payable": "tax payable",
    "gateway clearing": "gateway clearing",
}

#: How long an open item is overdue: the bucket's name, and its last day.
BUCKETS: tuple[tuple[str, int | None], ...] = (
    ("not due", 0),
    ("1-30", 30),
    ("31-60", 60),
    ("61-90", 90),
    ("over 90", None),
)
ON_ACCOUNT = "on account"

FIRST_DAY = date(1900, 1, 1)


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
class Roll:
    """One subledger over the month: what each event moved."""

    subledger: str
    account: str
    currency: str
    opening: Decimal
    moved: Mapping[str, Decimal]

    @property
    def closing(self) -> Decimal:
        return self.opening + sum(self.moved.values(), Decimal(0))


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

    @cached_property
    def span(self) -> DateSpan:
        return DateSpan.month(self.close.period)

    @property
    def entity_name(self) -> str:
        return self.hub.settings.legal_entity.name

    @cached_property
    def drafts(self) -> list[JournalDraft]:
        """The journals of the close, booked and waiting, of all its rounds."""
        return self.work.find(JournalDraft, close_id=self.close.id)

    @property
    def journals(self) -> list[JournalEntry]:
        return [draft.entry for draft in self.drafts]

    @cached_property
    def waiting(self) -> list[JournalEntry]:
        return [draft.entry for draft in self.drafts if not draft.booked]

    @cached_property
    def chart(self) -> Mapping[str, LedgerAccount]:
        return {account.code: account for account in chart(self.hub.posting, self.hub.price_book)}

    def name_of(self, account: str) -> str:
        return self.chart[account].name if account in self.chart else ""

    @cached_property
    def revenue(self) -> list[Money]:
        """What the income accounts earned in the month, by currency."""
        earned: dict[str, int] = {}
        for (account, currency, _), (debit, credit) in self.moved.items():
            if account in self.chart and self.chart[account].kind is LedgerAccountKind.INCOME:
                earned[currency] = earned.get(currency, 0) + credit - debit
        return [Money(minor, currency) for currency, minor in sorted(earned.items())]

    @cached_property
    def customers(self) -> Mapping[str, str]:
        return {account.id: account.name for account in self.work.find(Account)}

    @cached_property
    def moved(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """(ledger account, currency, event) to debits and credits of the month, the waiting journals among them."""
        found = {
            (one.ledger_account, one.currency, one.event): (one.debit, one.credit)
            for one in self.work.periods.movements(self.span.start, self.span.end)
        }
        for entry in self.waiting:
            for line in entry.lines if self.span.start <= entry.posted_on < self.span.end else ():
                key = line.ledger_account, entry.currency, entry.event
                debit, credit = found.get(key, (0, 0))
                found[key] = (
                    debit + (line.debit.minor if line.debit else 0),
                    credit + (line.credit.minor if line.credit else 0),
                )
        return found

    @cached_property
    def balances(self) -> list[Balance]:
        """The trial balance, by account and currency."""
        opening: dict[tuple[str, str], int] = defaultdict(int)
        for one in self.work.periods.movements(FIRST_DAY, self.span.start):
            opening[one.ledger_account, one.currency] += one.net
        debits, credits = dict.fromkeys(opening, 0), dict.fromkeys(opening, 0)
        for (account, currency, _), (debit, credit) in self.moved.items():
            debits[account, currency] = debits.get((account, currency), 0) + debit
            credits[account, currency] = credits.get((account, currency), 0) + credit
        return [
            Balance(
                account,
                self.name_of(account),
                currency,
                decimal(opening.get((account, currency), 0), currency),
                decimal(debits[account, currency], currency),
                decimal(credits[account, currency], currency),
            )
            for account, currency in sorted(debits)
        ]

    @cached_property
    def rolls(self) -> list[Roll]:
        rolls = []
        for subledger, role in SUBLEDGERS.items():
            for code in self.hub.posting.accounts(role):
                for balance in self.balances:
                    if balance.account == code:
                        moved = {
                            event: decimal(debit - credit, currency)
                            for (account, currency, event), (debit, credit) in sorted(self.moved.items())
                            if (account, currency) == (code, balance.currency)
                        }
                        rolls.append(Roll(subledger, code, balance.currency, balance.opening, moved))
        return rolls

    @cached_property
    def open_items(self) -> list[OpenItem]:
        """What is open at the end of the month, invoice by invoice; the rest of a customer's balance is on account."""
        codes, end = self.hub.posting.accounts("receivables"), self.span.end
        invoices = {one.id: one for one in self.work.find(Invoice, status=InvoiceStatus.FINAL.value)}
        payments = {one.id: one.invoice_id for one in self.work.find(Payment)}
        notes = {one.id: one for one in self.work.find(CreditNote)}
        left: dict[tuple[str, str, str], int] = defaultdict(int)
        for one in self.work.periods.receivable_sources(codes, end):
            document = {"invoice": one.source_id, "payment": payments.get(one.source_id, "")}.get(one.source, "")
            if one.source == "credit_note" and one.source_id in notes:
                for applied in notes[one.source_id].applied:
                    left[one.account_id, one.currency, applied.invoice_id] -= applied.amount.minor
                    left[one.account_id, one.currency, ""] += applied.amount.minor
            left[one.account_id, one.currency, document if document in invoices else ""] += one.net
        items = []
        for (customer, currency, document), minor in sorted(left.items()):
            if minor:
                due = invoices[document].due_date if document else None
                items.append(
                    OpenItem(
                        customer,
                        self.customers.get(customer, ""),
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

    @cached_property
    def digests(self) -> list[str]:
        """Under which digests the journals were shown; of a close without journals, that of none."""
        shown = {draft.digest for draft in self.drafts} | ({self.close.digest} if self.close.digest else set())
        return sorted(shown)

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
