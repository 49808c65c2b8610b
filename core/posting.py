"""What each business event books: the facts that the posting rules are asked about.

Which accounts a fact moves stands in the posting rules (``posting_rules.yaml``); here stands what there is to book: the
parts of an invoice, a payment, a month earned. The ERP's own modules book receivables: an invoice document debits
receivables against *billing clearing*, a payment document moves receivables to *gateway clearing*. Those entries are
kept here too (``Via.DOCUMENT``), so that our balances are the ERP's. Everything else is pushed (``Via.JOURNAL``);
billing clearing returns to zero per invoice.

A fact in another currency than that of the entity's books is valued at the rate of its day; a credit note and what is
earned at the rate of their invoice, so that they take back and earn what it brought in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from core.accounts import Address
from core.catalog import PriceBook
from core.entities import LegalEntity
from core.errors import Misconfigured
from core.fx import Exchange, Rates
from core.invoicing import CreditNote, CreditNoteLine, Invoice, InvoiceLine
from core.ledger import JournalEntry, Via, reversal
from core.money import Money, allocate, total
from core.obligations import ContractMovement, Obligation
from core.payments import Payment, Refund, Settlement, WriteOff
from core.period import DateSpan
from core.posting_rules import Fact, Known, Part, PostingRules
from core.rating import RatedLine
from core.revenue import RecognitionPart
from core.tax import TaxDocument, TaxLine
from core.wallets import CreditMovement, Movement


@dataclass(frozen=True, slots=True)
class Subject:
    """What an entry is about: its memo, the record that it books, and the customer."""

    memo: str
    source: str
    source_id: str
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class Books:
    """The rules, the legal entity in whose books a fact stands, its exchange rates, and the gateway that collects.

    ``rate_places``: the decimals of a general ledger that is told how much of a currency one unit of the books' is. Our
    books value by what it is told, so that both come to the same.
    """

    rules: PostingRules
    entity: LegalEntity
    rates: Rates = field(default_factory=lambda: Rates(()))
    gateway: str = ""
    rate_places: int | None = None

    def exchange(self, currency: str, on: date) -> Exchange | None:
        """The rate of a currency in that of the books; None where it is the same. Rejected when none is known."""
        if currency == self.entity.currency:
            return None
        return self.rates.exchange(currency, self.entity.currency, on).as_told(self.rate_places)

    def book(
        self,
        event: str,
        ident: str,
        posted_on: date,
        subject: Subject,
        parts: Sequence[Part],
        *,
        valued_on: date | None = None,
        stated: Exchange | None = None,
        via: Via | None = None,
    ) -> list[JournalEntry]:
        """What the rules book of an event. ``stated``: the rate of parts that have none of their own; None: that of
        ``valued_on``.

        Nothing when there is no part.
        """
        if not parts:
            return []
        currency = parts[0].amount.currency
        exchange = stated or self.exchange(currency, valued_on or posted_on)
        if exchange is not None:
            parts = [part if part.exchange else replace(part, exchange=exchange) for part in parts]
        about = (subject.account_id, subject.memo, subject.source, subject.source_id)
        return self.rules.book(Fact(event, ident, self.entity.id, currency, posted_on, *about, parts, via))

    def whole(
        self,
        event: str,
        ident: str,
        posted_on: date,
        subject: Subject,
        amount: Money,
        via: Via | None = None,
    ) -> list[JournalEntry]:
        """What an event books that has one amount: payout, dispute opened, write-off, cash applied, ..."""
        part = Part("whole", amount, subject.memo, subject.source, subject.source_id, self.known)
        return self.book(event, ident, posted_on, subject, [part], via=via)

    @property
    def known(self) -> Known:
        """What every part of a payment knows."""
        return {"gateway": self.gateway} if self.gateway else {}


def _sold(line: InvoiceLine | CreditNoteLine) -> Known:
    return {"product": line.product_code, "charge": line.charge_code, **_where(line.service_address)}


def _where(address: Address) -> Known:
    return {"country": address.country, "region": address.region}


def jurisdiction_of(line: TaxLine) -> str:
    """What the jurisdiction of a tax is called in the ledger."""
    return " ".join(filter(None, (line.country, line.region, line.jurisdiction)))


def _taxes(amount: Money, source: str, source_id: str, lines: Iterable[tuple[TaxLine, Money]]) -> Iterator[Part]:
    """Tax by jurisdiction, in their order of name; what no line tells of is one part without."""
    sums: dict[str, tuple[TaxLine, Money]] = {}
    for line, tax in lines:
        name = jurisdiction_of(line)
        sums[name] = (line, sums[name][1] + tax) if name in sums else (line, tax)
    for name, (line, tax) in sorted(sums.items()):
        known = {"jurisdiction": name, "country": line.country, "region": line.region}
        yield Part("tax", tax, f"Tax, {name}", source, source_id, known)
    yield Part("tax", amount - total((tax for _, tax in sums.values()), amount.currency), "Tax", source, source_id)


def invoice_entries(books: Books, invoice: Invoice, taxed: Iterable[TaxDocument] = ()) -> list[JournalEntry]:
    """What a final invoice books: the ERP's own receivable, and our journal out of billing clearing.

    ``taxed``: the engines' answers, which tell the tax by jurisdiction.
    """
    parts = []
    for line in invoice.lines:
        known = {**_sold(line), "deferred": line.defer}
        about = (line.description, "invoice_line", line.id)
        parts.append(Part("line", line.amount, *about, known, {"revenue": line.revenue_account}))
    taxes = [(line, line.tax) for document in taxed for line in document.lines]
    parts += _taxes(invoice.tax, "tax_document", invoice.id, taxes)
    return books.book(
        "invoice",
        invoice.id,
        invoice.invoice_date,
        Subject(f"Invoice {invoice.id}", "invoice", invoice.id, invoice.account_id),
        parts,
        stated=invoice.exchange,
    )


def credit_entries(books: Books, note: CreditNote, taxed: Iterable[TaxDocument] = ()) -> list[JournalEntry]:
    """What a credit note books: the sides of its invoice turned round; what was not yet earned leaves the deferred.

    ``taxed``: the engines' answers for the invoice. The tax of a line goes back to its jurisdictions in proportion.
    """
    by_line: dict[str, list[TaxLine]] = {}
    for document in taxed:
        for told in document.lines:
            by_line.setdefault(told.invoice_line_id, []).append(told)
    parts: list[Part] = []
    taxes: list[tuple[TaxLine, Money]] = []
    for line in note.lines:
        about = (line.description, "credit_note_line", line.id, _sold(line), {"revenue": line.revenue_account})
        amounts = {"line": line.amount, "deferred": line.deferred, "earned": line.amount - line.deferred}
        parts += [Part(name, amount, *about) for name, amount in amounts.items()]
        lines = by_line.get(line.invoice_line_id, [])
        weights = [abs(one.tax.minor) for one in lines]
        if any(weights):
            taxes += zip(lines, allocate(line.tax, weights), strict=True)
    parts += _taxes(note.tax, "credit_note", note.id, taxes)
    return books.book(
        "credit note",
        note.id,
        note.credit_date,
        Subject(f"Credit note {note.id}", "credit_note", note.id, note.account_id),
        parts,
        valued_on=note.invoice_date,
        stated=note.exchange,
    )


def refund_entries(
    books: Books, refund: Refund, account_id: str, posted_on: date, via: Via = Via.JOURNAL
) -> list[JournalEntry]:
    """What giving money back books; the gateway's settlement then empties gateway clearing."""
    subject = Subject(f"Refund of {refund.payment_id}", "refund", refund.id, account_id)
    return books.whole("refund", refund.id, posted_on, subject, refund.amount, via)


def payment_entries(books: Books, payment: Payment, posted_on: date) -> list[JournalEntry]:
    """What a succeeded payment books in the ERP's receivables."""
    subject = Subject(f"Payment of {payment.invoice_id}", "payment", payment.id, payment.account_id)
    return books.whole("payment", payment.id, posted_on, subject, payment.amount)


def settlement_entries(
    books: Books, settlement: Settlement, account_id: str | None, posted_on: date
) -> list[JournalEntry]:
    """What the gateway booked to our balance: net and fee out of gateway clearing."""
    subject = Subject(f"Settlement of {settlement.payment_id}", "settlement", settlement.id, account_id)
    amounts = {"net": settlement.net, "fee": settlement.fee, "gross": settlement.gross}
    about = (subject.memo, subject.source, subject.source_id, books.known)
    parts = [Part(name, amount, *about) for name, amount in amounts.items()]
    return books.book("settlement", settlement.id, posted_on, subject, parts)


def write_off_entries(books: Books, given_up: WriteOff, invoice: Invoice) -> list[JournalEntry]:
    """What giving up a part of an invoice books, at the rate of the invoice: nothing is realised by it."""
    subject = Subject(f"{given_up.invoice_id} is given up", "write_off", given_up.id, given_up.account_id)
    about = subject.memo, subject.source, subject.source_id, _where(invoice.billing_address)
    amounts = {"whole": given_up.amount, "net": given_up.net, "tax": given_up.tax}
    parts = [Part(name, amount, *about) for name, amount in amounts.items()]
    on = given_up.written_on
    rate = given_up.exchange
    return books.book("write-off", given_up.id, on, subject, parts, valued_on=invoice.invoice_date, stated=rate)


#: What a movement of prepaid credit is booked as. Promotional credit is a discount on the invoice, and books nothing.
MOVED = {
    Movement.DRAWN: "credit drawn",
    Movement.RESTORED: "credit restored",
    Movement.EXPIRED: "credit expired",
    Movement.FORETOLD: "breakage foretold",
    Movement.RECALLED: "breakage recalled",
}


def movement_entries(books: Books, movement: CreditMovement, posted_on: date) -> list[JournalEntry]:
    """What a movement of prepaid credit books; what is voided is booked by the credit note that voids it."""
    if movement.kind not in MOVED:
        return []
    memo = f"{MOVED[movement.kind].capitalize()}: {movement.document_id or movement.grant_id}"
    subject = Subject(memo, "credit_movement", movement.id, movement.account_id)
    return books.whole(MOVED[movement.kind], movement.id, posted_on, subject, movement.amount)


def receipt_entries(
    books: Books,
    receipt_id: str,
    posted_on: date,
    applied: Mapping[str, Money],
    unapplied: Money,
    unidentified: Money,
    account_id: str | None = None,
) -> list[JournalEntry]:
    """What money on our bank account books. ``applied``: by invoice; ``unapplied``: of a customer, on no invoice yet;
    ``unidentified``: nobody knows whose."""
    parts = [Part("applied", amount, f"Pays {ident}", "invoice", ident) for ident, amount in applied.items()]
    about = (f"Receipt {receipt_id}", "receipt", receipt_id)
    parts += [Part("unapplied", unapplied, *about), Part("unidentified", unidentified, *about)]
    return books.book("receipt", receipt_id, posted_on, Subject(*about, account_id), parts)


def recognition_id(month: str, account_id: str, number: int = 1) -> str:
    """The key of an account's n-th recognition journal of a month."""
    return f"JE-{_recognition(month, account_id, number)}"


def _recognition(month: str, account_id: str, number: int) -> str:
    return _numbered(f"REV-{month}-{account_id}", number)


def _numbered(ident: str, number: int) -> str:
    return f"{ident}-{number}" if number > 1 else ident


def recognition_entries(
    books: Books,
    month: str,
    account_id: str,
    earned: Sequence[RecognitionPart],
    number: int = 1,
    lines: Mapping[str, InvoiceLine] | None = None,
    invoiced_on: Mapping[str, date] | None = None,
    stated: Mapping[str, Exchange | None] | None = None,
) -> list[JournalEntry]:
    """What an account's deferred lines earn in a month, booked on its last day.

    ``lines``: the invoice lines by id, for rules and segments that ask for product and place. By id of the invoice
    line, for those in another currency than the books: ``invoiced_on``, the date of its invoice, and ``stated``, the
    rate that its invoice states.
    """
    ident, last_day = _recognition(month, account_id, number), DateSpan.month(month).last_day
    parts = []
    for one in earned:
        line = (lines or {}).get(one.invoice_line_id)
        about = (f"Earned in {month}", "recognition", one.id, _sold(line) if line else {})
        rate = (stated or {}).get(one.invoice_line_id)
        rate = rate or books.exchange(one.currency, (invoiced_on or {}).get(one.invoice_line_id, last_day))
        parts.append(Part("earned", one.amount, *about, {"revenue": one.revenue_account}, rate))
    subject = Subject(f"Revenue earned in {month}", "recognition", ident, account_id)
    return books.book("recognition", ident, last_day, subject, parts)


def allocation_entries(
    books: Books,
    ident: str,
    posted_on: date,
    moved: Sequence[ContractMovement],
    promised: Mapping[str, Obligation],
    valued_on: date | None = None,
) -> list[JournalEntry]:
    """What contract movements of one customer book: allocated above billed to contract assets, or below it out of them.

    ``promised``: the obligations by id.
    """
    parts = [
        Part(
            "share",
            one.moved,
            f"{promised[one.obligation_id].charge_code}: {one.kind}",
            "contract_movement",
            one.id,
            {
                "product": promised[one.obligation_id].product_code,
                "charge": promised[one.obligation_id].charge_code,
                "deferred": one.deferred,
            },
            {"revenue": one.revenue_account},
        )
        for one in moved
    ]
    account_id = moved[0].account_id if moved else None
    subject = Subject(f"Allocated prices, {ident.removeprefix('ALC-')}", "contract", ident, account_id)
    return books.book("allocation", ident, posted_on, subject, parts, valued_on=valued_on)


def unbilled_entries(
    books: Books, month: str, account_id: str, lines: Sequence[RatedLine], book: PriceBook, number: int = 1
) -> list[JournalEntry]:
    """What was used in a month and is billed later: earned on its last day, taken back on the first day after it."""
    parts = []
    for line in lines:
        known = {"product": line.product_code, "charge": line.charge_code}
        revenue = {"revenue": book.product(line.product_code).revenue_account}
        parts.append(Part("earned", line.amount, line.description, "rated_line", line.id, known, revenue))
    subject = Subject(f"Unbilled in {month}", "month", month, account_id)
    return _until_next_day(books, "unbilled", f"UNB-{month}-{account_id}", subject, parts, number)


def contract_asset_entries(
    books: Books, month: str, account_id: str, lines: Sequence[RatedLine], book: PriceBook, number: int = 1
) -> list[JournalEntry]:
    """What is served before it may be billed: an asset on the last day of a month, taken back on the day after.

    ``lines``: what will be billed, each with what of it is earned by the end of the month.
    """
    parts = []
    for line in lines:
        known = {"product": line.product_code, "charge": line.charge_code}
        revenue = {"revenue": book.product(line.product_code).revenue_account}
        about = line.description, "subscription_charge", line.subscription_charge_id
        parts.append(Part("earned", line.amount, *about, known, revenue))
    subject = Subject(f"Served before billing in {month}", "month", month, account_id)
    return _until_next_day(books, "contract asset", f"CA-{month}-{account_id}", subject, parts, number)


def _until_next_day(
    books: Books, event: str, ident: str, subject: Subject, parts: Sequence[Part], number: int
) -> list[JournalEntry]:
    """An entry on the last day of the month that it is about, and its reversal on the first day of the next."""
    span = DateSpan.month(subject.source_id)
    entries = books.book(event, _numbered(ident, number), span.last_day, subject, parts)
    return [*entries, *(reversal(entry, span.end) for entry in entries)]


@dataclass(frozen=True, slots=True)
class Position:
    """What a ledger account holds of another currency, and what it is worth in the books so far."""

    ledger_account: str
    held: Money
    worth: Money


def realised_entries(
    books: Books,
    ident: str,
    role: str,
    settled: Money,
    booked_on: date,
    settled_on: date,
    account_id: str | None = None,
    via: Via = Via.DOCUMENT,
    *,
    booked_at: Exchange | None = None,
    settled_at: Exchange | None = None,
) -> list[JournalEntry]:
    """What settling an item of ``role`` gained or lost against the rate that it was booked at.

    ``settled``: above zero an asset, below it a liability. Nothing where the currency is that of the books. ``via``: as
    a document where the ERP books it itself with the payment it is told of, else as a journal. ``booked_at``,
    ``settled_at``: the rates that the item and what settles it state themselves; None: those of their days.
    """
    before = booked_at or books.exchange(settled.currency, booked_on)
    after = settled_at or books.exchange(settled.currency, settled_on)
    if before is None or after is None:
        return []
    gain = after.of(settled) - before.of(settled)
    account = books.rules.account(role)
    code = account if via is Via.DOCUMENT else _revalued_in(books, account)
    return _gains(books, "fx realised", f"FX-{ident}", settled_on, [(code, settled.currency, gain)], account_id, via)


def revaluation_entries(books: Books, month: str, positions: Iterable[Position], number: int = 1) -> list[JournalEntry]:
    """What the rates of a month's last day make of what monetary accounts hold of other currencies; taken back on the
    day after, so that what is realised later starts from the rate of its own booking."""
    span = DateSpan.month(month)
    monetary = {account.code for account in books.rules.chart if account.monetary}
    gains = []
    for one in sorted(positions, key=lambda one: (one.ledger_account, one.held.currency)):
        exchange = books.exchange(one.held.currency, span.last_day)
        if exchange is not None and one.ledger_account in monetary:
            gain = exchange.of(one.held) - one.worth
            gains.append((_revalued_in(books, one.ledger_account), one.held.currency, gain))
    ident = _numbered(f"FXR-{month}-{books.entity.id}", number)
    entries = _gains(books, "fx unrealised", ident, span.last_day, gains)
    return [*entries, *(reversal(entry, span.end) for entry in entries)]


def rounding_entries(books: Books, month: str, positions: Iterable[Position], most: int = 100) -> list[JournalEntry]:
    """What conversions have left over on accounts that hold nothing of a currency any more, to the rounding account.

    ``most``: minor units; Misconfigured beyond, since so much comes from no rounding.
    """
    left = [one for one in positions if not one.held and one.worth]
    for one in left:
        if abs(one.worth.minor) > most:
            raise Misconfigured(
                f"ledger account {one.ledger_account} holds no {one.held.currency} and is still worth {one.worth}: "
                "more than rounding leaves; book the gain or loss that is missing"
            )
    gains = [(_revalued_in(books, one.ledger_account), one.held.currency, -one.worth) for one in left]
    return _gains(books, "rounding", f"RND-{month}-{books.entity.id}", DateSpan.month(month).last_day, gains)


def _revalued_in(books: Books, code: str) -> str:
    """The account for what a journal changes of the worth of another."""
    return books.rules.revalued_in.get(code, code)


def _gains(
    books: Books,
    event: str,
    ident: str,
    posted_on: date,
    gains: Iterable[tuple[str, str, Money]],
    account_id: str | None = None,
    via: Via | None = None,
) -> list[JournalEntry]:
    """``gains``: ledger account, the currency whose worth changed, and by how much."""
    parts = [
        Part("gain", gain, f"{event} {currency}", "fx", ident, {"revalues": currency}, {"revalued": code})
        for code, currency, gain in gains
        if gain
    ]
    return books.book(event, ident, posted_on, Subject(event.capitalize(), "fx", ident, account_id), parts, via=via)
