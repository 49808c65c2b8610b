"""The ties of the ledger: each account, what documents explain of it, and what a foreign entry moved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal

from core.breaks import (
    KINDS,
    Cells,
    Difference,
    Facet,
    Moved,
    month_of,
)
from core.ledger import JournalEntry
from core.money import Money, total
from core.store import Work
from core.ties import Break
from flows.comparing import Comparing, Tie, add, by_currency
from flows.figures import GL
from flows.prepare import chart

#: The event of a document's booking, by what a tie calls its record.
_EVENTS = {"invoice": "invoice", "credit_note": "credit note", "payment": "payment", "erp_refund": "refund"}


class LedgerTies(Comparing):
    def ledger(self) -> None:
        """Our balance of each ledger account, from the first booking to the last, against the general ledger's."""
        erp = self.hub.system("erp")
        with self.hub.database.reading() as work:
            books = {one.id: one.currency for one in self.hub.settings.all_entities}
            ours: dict[tuple[str, str, str], int] = defaultdict(int)
            for (account, month, entity), minor in work.sides.monthly().items():
                ours[account, month, books.get(entity, self.currency)] += minor
            owed = work.sums.unbooked()
            contracts = work.sums.contract_balances()
        if self._wanted(erp):
            self._see(erp, GL)
            self._accounts(erp, ours)
        if not self._wanted("hub"):
            return
        roles = ("billing clearing", "deferred revenue", "contract assets")
        codes = {role: self.hub.posting.account(role) for role in roles}
        with self.hub.database.reading() as work:
            held = {role: work.sides.held(code) for role, code in codes.items()}
        clearing = Tie("billing clearing = 0", "hub", "zero", "clearing", monthly=False)
        self._holds(clearing, codes["billing clearing"], held["billing clearing"], {})
        schedule = Tie("deferred revenue = schedules", "ledger", "schedules", "schedule", monthly=False)
        deferred = {currency: -amount for currency, amount in held["deferred revenue"].items()}
        self._holds(schedule, codes["deferred revenue"], deferred, owed)
        if any(held["contract assets"].values()) or contracts:
            contract = Tie("contract assets = allocated - billed", "ledger", "obligations", "schedule", monthly=False)
            self._holds(contract, codes["contract assets"], held["contract assets"], contracts)

    def _holds(self, tie: Tie, code: str, held: Mapping[str, Money], wanted: Mapping[str, Money]) -> None:
        """What a ledger account holds of each currency against what it should; other currencies than ours by name."""
        ours, theirs = {}, {}
        for currency in sorted({self.currency, *held, *wanted}):
            key = code if currency == self.currency else f"{code} {currency}"
            zero = Money.zero(currency)
            ours[key], theirs[key] = held.get(currency, zero), wanted.get(currency, zero)
        self._compare_sums(tie, ours, theirs)

    def _accounts(self, erp: str, ours: Mapping[tuple[str, str, str], int]) -> None:
        """A line for each ledger account; what no Break of a document explains of it is one Break."""
        with self.hub.database.reading() as work:
            seen = work.figures.all(erp, GL)
        theirs: dict[tuple[str, str, str], int] = defaultdict(int)
        for figure in seen:
            theirs[figure.key, figure.state, figure.currency] += figure.amount.minor
        names = {account.code: account.name for account in chart(self.hub.posting, self.hub.price_book)}
        for code, currency in sorted({(code, currency) for code, _, currency in (*ours, *theirs)}):
            left, right = (
                Money(sum(minor for cell, minor in side.items() if (cell[0], cell[2]) == (code, currency)), currency)
                for side in (ours, theirs)
            )
            tie = Tie(_account_tie(code, names), "hub", erp, "gl", erp, GL, monthly=False)
            self._total(tie, by_currency({code: left}), by_currency({code: right}))
        moved = Moved(
            {
                (code, month): Money(minor, currency)
                for code, month, currency in sorted({*ours, *theirs})
                if (minor := theirs.get((code, month, currency), 0) - ours.get((code, month, currency), 0))
            }
        )
        raw = dict(moved.cells)
        for one in [one for one in self.breaks if one.system == erp]:
            if KINDS[one.kind].facet in (Facet.CURRENCY, Facet.RATE):
                moved.absorb(one, self._accounts_of(one))
            else:
                moved.explain(one, self._effect(erp, one))
        self._moved(erp, moved, names)
        for code in {code for code, _ in raw}:
            self._follow(_account_tie(code, names), code, moved, raw)

    def _moved(self, erp: str, moved: Moved, names: Mapping[str, str]) -> None:
        """One Break for what a foreign entry moved: accounts that come to nothing together, or else each alone."""
        cells = list(moved.cells.items())
        balanced = len({amount.currency for _, amount in cells}) == 1 and not sum(one.minor for _, one in cells)
        groups = [cells] if balanced else [[cell] for cell in cells]
        for group in filter(None, groups):
            (code, _), amount = group[0]
            told = "; ".join(f"{account} {month} {money}" for (account, month), money in group)
            zero = Money.zero(amount.currency)
            subject = "+".join(dict.fromkeys(account for (account, _), _ in group))
            facet = Facet.ROUNDING if self._is_rounding(group) else Facet.AMOUNT
            shown = total((money for (account, _), money in group if account == code), amount.currency)
            tie = Tie(_account_tie(code, names), "hub", erp, "gl", erp, GL, monthly=False)
            one = self._add(tie, subject[:255], (zero, shown), [Difference(facet, "nothing", told)])
            for account in {account for (account, _), _ in group} - {code}:
                moved.because.setdefault(account, []).append(one.id)

    def _is_rounding(self, group: Sequence[tuple[tuple[str, str], Money]]) -> bool:
        """Whether it is at most half a minor unit for each entry in another currency than the books'."""
        with self.hub.database.reading() as work:
            foreign = work.sides.foreign_entries(self.currency)
        return foreign > 0 and all(2 * abs(money.minor) <= foreign for _, money in group)

    def _follow(self, tie: str, code: str, moved: Moved, raw: Cells) -> None:
        """Says on the line of an account what its difference follows from."""
        for number, line in enumerate(self.lines):
            mine = [money for (account, _), money in raw.items() if account == code and money.currency == line.unit]
            if line.tie == tie and mine and code in moved.because:
                own = sum(
                    (one.difference.amount for one in self.breaks if one.tie == tie and one.currency == line.unit),
                    Decimal(0),
                )
                explained = -(total(mine, line.unit).amount) + own
                why = "follows from " + ", ".join(moved.because[code][:3])
                self.lines[number] = line.model_copy(update={"explained": explained, "why": why})

    def _entries(self, work: Work, one: Break) -> list[JournalEntry]:
        """What we booked for the document of a Break, or the entries that its journal sums."""
        own = work.find(JournalEntry, id=[one.subject, f"DOC-{one.subject}"])
        return own + work.find(JournalEntry, gl_journal=one.subject)

    def _accounts_of(self, one: Break) -> set[str]:
        with self.hub.database.reading() as work:
            return {line.ledger_account for entry in self._entries(work, one) for line in entry.lines}

    def _effect(self, erp: str, one: Break) -> Cells:
        """What a Break of a document moves in the general ledger."""
        _, seen = self._pairs.get(one.id, (None, ()))
        record, facet = KINDS[one.kind].record, KINDS[one.kind].facet
        with self.hub.database.reading() as work:
            entries = self._entries(work, one)
            codes = {proof.vendor_id: proof.record_id for proof in work.outbox.proofs(erp, "ledger_account")}
            pair = work.sides.accounts_of(_EVENTS[record]) if record in _EVENTS else None
        booked = _booked(entries)
        if facet in (Facet.GONE, Facet.VOIDED, Facet.UNSENT, Facet.UNREADABLE):
            return {cell: -amount for cell, amount in booked.items()}
        effect: dict[tuple[str, str], Money] = {}
        for found in seen:
            figure = found.figure
            month = month_of(figure.dated or (entries[0].posted_on if entries else self.billing.last_day))
            if record == "journal_entry" and figure.parts:
                for part in figure.parts:
                    add(effect, (codes.get(part.name, part.name), month), part.amount)
            elif pair:
                add(effect, (pair[0], month), figure.amount)
                add(effect, (pair[1], month), -figure.amount)
        for cell, amount in booked.items():
            add(effect, cell, -amount)
        return {cell: amount for cell, amount in effect.items() if amount}


def _booked(entries: Sequence[JournalEntry]) -> dict[tuple[str, str], Money]:
    cells: dict[tuple[str, str], Money] = {}
    for entry in entries:
        for line in entry.lines:
            add(cells, (line.ledger_account, month_of(entry.posted_on)), line.functional_amount)
    return cells


def _account_tie(code: str, names: Mapping[str, str]) -> str:
    return f"GL {code} {names.get(code, '')}".strip()
