"""Apply cash: money on our own bank accounts is taken in once, given to its customer, and pays the invoices it is for.

What no rule matches stays left on its receipt, and stands on the list with what a person may look at first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.accounts import Account, BillingTerms, CashBy, payer
from core.audit import Act, Deed
from core.breaks import VOID
from core.cash import Application, CashReceipt, Match, OpenItem, Rule, Use, key, match, paid_out, suggestions, whose
from core.errors import Rejected
from core.invoicing import Invoice, InvoiceStatus
from core.ledger import JournalEntry, Via, reversal
from core.money import Money, total
from core.posting import Books, Subject, realised_entries, receipt_entries
from core.store import Work
from core.sync import OutboxCommand
from core.ties import applied_within_open
from flows import desk
from flows.context import Hub, hub
from flows.post import post
from flows.receivables import (
    final_invoice,
    held_payment,
    owe_again_at_erp,
    pay_at_erp,
    receivables,
    withdraw,
    withdraw_requests,
)
from flows.report import Report, amounts, conclude, counted, dollars, sum_by_currency

WHO = "flow apply cash"


@dataclass(frozen=True)
class Customers:
    """Who may have paid, and what: read once for a run."""

    names: dict[str, str]
    terms: dict[str, BillingTerms]
    earlier: dict[str, str]
    items: list[OpenItem]


def take_receipts(hub: Hub, receipts: Iterable[CashReceipt]) -> list[CashReceipt]:
    """Stores and books what a bank told; gives what was new. The same receipt again changes nothing."""
    wanted = list(receipts)
    with hub.database.work() as work:
        known = {one.id for one in work.find(CashReceipt, id=[one.id for one in wanted])}
        fresh = [one for one in wanted if one.id not in known]
        for one in work.add(fresh):
            zero, owner = Money.zero(one.currency), one.account_id
            shares = (zero, one.amount) if owner is None else (one.amount, zero)
            post(hub, work, receipt_entries(_books(hub, work, one), one.id, one.value_date, {}, *shares, owner))
    return fresh


def apply_receipts(hub: Hub) -> Report:
    """Identifies and applies what is left of receipts, as far as rules go. Each receipt commits by itself."""
    report = Report("", counts={"applied": 0, "left": 0})
    with hub.database.reading() as work:
        waiting = [one.id for one in work.find(CashReceipt) if one.left]
        known = customers(hub, work) if waiting else Customers({}, {}, {}, [])
    items = known.items
    for ident in waiting:
        try:
            with hub.database.work() as work:
                receipt, paid = _apply_receipt(hub, work, ident, known, items)
                work.desk.resolve(f"record:cash_receipt:{ident}")
        except Rejected as error:
            with hub.database.work() as work:
                at_risk = _receipt(work, ident).left
                failure = desk.entry(
                    error, f"record:cash_receipt:{ident}", "bank", "cash_receipt", ident, hub.now(), at_risk
                )
                work.desk.report(failure)
            report.failures.append(failure)
            continue
        for one in paid:
            report.counts["applied"] += 1
            report.money.append(one.amount)
            report.rows.append(_row(receipt, one.amount, one.item.invoice_id, one.rule.value))
        items = _less(items, paid)
        if receipt.left:
            report.counts["left"] += 1
            look_at = "; ".join(suggestions(receipt, items, known.names))
            report.rows.append(_row(receipt, receipt.left, "", look_at and f"look at {look_at}"))
    report.money = sum_by_currency(report.money)
    report.headline = counted(report.counts["applied"], "application")
    report.headline += f", {amounts(report.money)}" if report.money else ""
    if left := report.counts["left"]:
        report.headline += f"; {counted(left, 'receipt')} with money left: see `tieout cash list`"
    return report


def _apply_receipt(
    hub: Hub, work: Work, ident: str, known: Customers, items: Sequence[OpenItem]
) -> tuple[CashReceipt, list[Match]]:
    """The receipt as it is afterwards, and what it pays."""
    receipt = _receipt(work, ident)
    if _take_payout(hub, work, receipt):
        return _receipt(work, ident), []
    if receipt.account_id is None:
        account_id = whose(receipt, items, known.names, known.earlier)
        if account_id is None:
            return receipt, []
        receipt = _identify(hub, work, receipt, account_id, WHO)
    terms = known.terms.get(receipt.account_id or "")
    paid = match(receipt, items, oldest_first=terms is not None and terms.cash_by is CashBy.OLDEST)
    for one in paid:
        _apply(hub, work, _receipt(work, ident), one.item.invoice_id, one.amount, one.rule, WHO)
    return _receipt(work, ident), paid


def _less(items: Sequence[OpenItem], paid: Sequence[Match]) -> list[OpenItem]:
    """What is open after that."""
    gone = {one.item.invoice_id: one.amount for one in paid}
    rest = [replace(one, open=one.open - gone[one.invoice_id]) if one.invoice_id in gone else one for one in items]
    return [one for one in rest if one.open.minor > 0]


def unapplied(hub: Hub) -> list[dict[str, str]]:
    """The receipts that have something left, with what may be looked at first."""
    with hub.database.reading() as work:
        waiting = [one for one in work.find(CashReceipt) if one.left]
        if not waiting:
            return []
        known = customers(hub, work)
    return [_row(one, one.left, "", "; ".join(suggestions(one, known.items, known.names))) for one in waiting]


def customers(hub: Hub, work: Work) -> Customers:
    """Accounts, what is open of them, and what earlier receipts taught."""
    accounts = {one.id: one for one in work.find(Account)}
    terms = {one.id: one for one in work.find(BillingTerms)}
    final = [one for one in work.find(Invoice, status=InvoiceStatus.FINAL.value) if one.total.minor > 0]
    items = [
        OpenItem(one.invoice.id, payer(one.invoice.account_id, accounts, terms), one.invoice.due_date, one.open)
        for one in receivables(hub, work, final)
        if one.open.minor > 0
    ]
    open_ids = {one.invoice_id for one in items}
    items += [
        OpenItem(one.id, payer(one.account_id, accounts, terms), one.due_date, left, given_up=True)
        for one in final
        if one.id not in open_ids and (left := _unrecovered(work, one)).minor > 0
    ]
    earlier: dict[str, set[str]] = {}
    for receipt in work.find(CashReceipt):
        if receipt.account_id and key(receipt.payer):
            earlier.setdefault(key(receipt.payer), set()).add(receipt.account_id)
    sure = {name: next(iter(found)) for name, found in earlier.items() if len(found) == 1}
    return Customers({ident: one.name for ident, one in accounts.items()}, terms, sure, items)


def identify(hub: Hub, receipt_id: str, account_id: str, who: str) -> CashReceipt:
    """States whose a receipt is. Rejected when that is known already, or there is no such account."""
    with hub.database.work() as work:
        if work.get(Account, account_id) is None:
            raise Rejected(f"there is no account {account_id}", record=account_id, field="account")
        receipt = _receipt(work, receipt_id)
        if receipt.account_id == account_id:
            return receipt
        return _identify(hub, work, receipt, account_id, who)


def apply_to(hub: Hub, receipt_id: str, invoice_id: str, amount: Money | None, who: str) -> Application:
    """Applies so much of a receipt to an invoice (None: all that both allow). An unidentified receipt is then the
    account's that pays the invoice. Rejected when less is left or open."""
    with hub.database.work() as work:
        receipt, invoice = _receipt(work, receipt_id), final_invoice(work, invoice_id)
        if receipt.currency != invoice.currency:
            why = f"receipt {receipt_id} is in {receipt.currency} and invoice {invoice_id} in {invoice.currency}"
            raise Rejected(why, record=receipt_id, field="currency", value=receipt.currency)
        if receipt.account_id is None:
            accounts = {one.id: one for one in work.find(Account)}
            terms = {one.id: one for one in work.find(BillingTerms)}
            receipt = _identify(hub, work, receipt, payer(invoice.account_id, accounts, terms), who)
        return _apply(hub, work, receipt, invoice_id, amount, Rule.PERSON, who)


def unapply(hub: Hub, application_id: str, reason: str, who: str) -> Application:
    """Takes an application back: the invoice is open again, and the money is left of its receipt.

    Rejected when there is none such, or it was taken back before.
    """
    with hub.database.work() as work:
        made = work.get(Application, application_id)
        if made is None or made.use not in (Use.APPLIED, Use.RECOVERED):
            raise Rejected(f"there is no application {application_id}", record=application_id, field="application")
        if work.find(Application, reverses=application_id):
            raise Rejected(f"{application_id} was taken back before", record=application_id, field="application")
        return _reverse(hub, work, made, hub.now().date(), reason, who)


def return_receipt(hub: Hub, receipt_id: str, reason: str, returned_on: date, who: str) -> Application | None:
    """The money went back to its payer: what it paid is open again, and nothing of it is left (None: it was so before).

    ``reason``: as the bank gives it, like ``R01 insufficient funds``.
    """
    with hub.database.work() as work:
        receipt = _receipt(work, receipt_id)
        done = work.find(Application, receipt_id=receipt_id)
        gone = {one.reverses for one in done}
        for made in done:
            if made.use in (Use.APPLIED, Use.RECOVERED) and made.id not in gone:
                _reverse(hub, work, made, returned_on, reason, who)
        receipt = _receipt(work, receipt_id)
        if not receipt.left:
            return None
        back = _made(work, receipt, Use.RETURNED, receipt.left, returned_on, Rule.PERSON, who, reason=reason)
        if receipt.account_id is None:
            post(hub, work, [reversal(one, returned_on) for one in _booked(work, f"JE-{receipt.id}")])
        else:
            subject = Subject(f"Receipt {receipt.id} went back: {reason}", "receipt", receipt.id, receipt.account_id)
            books = _books(hub, work, receipt)
            post(hub, work, books.whole("cash returned", back.id, returned_on, subject, back.amount))
        _tell(hub, work, Act.CASH_RETURNED, who, back)
        return back


def _take_payout(hub: Hub, work: Work, receipt: CashReceipt) -> bool:
    """Books a receipt of nobody as the payout of the gateway that it is, as the last tie-out saw payouts; each once."""
    if receipt.account_id is not None:
        return False
    gateway = hub.system("gateway")
    taken = {one.reason for one in work.find(Application, use=Use.PAID_OUT.value)}
    seen = work.figures.all(gateway, "payout")
    payout = paid_out(receipt, gateway, [one for one in seen if one.state not in VOID and one.vendor_id not in taken])
    if payout is None:
        return False
    on, reason = receipt.value_date, payout.vendor_id
    made = _made(work, receipt, Use.PAID_OUT, receipt.left, on, Rule.REFERENCE, WHO, reason=reason)
    subject = Subject(f"{gateway} paid out {payout.vendor_id}", "receipt", receipt.id)
    post(hub, work, [reversal(one, on) for one in _booked(work, f"JE-{receipt.id}")])
    post(hub, work, _books(hub, work, receipt).whole("payout", made.id, on, subject, made.amount))
    _tell(hub, work, Act.CASH_APPLIED, WHO, made)
    return True


def _identify(hub: Hub, work: Work, receipt: CashReceipt, account_id: str, who: str) -> CashReceipt:
    if not work.identify_cash(receipt.id, account_id):
        why = f"receipt {receipt.id} is known to be {receipt.account_id}'s; unapply it and return it if that is wrong"
        raise Rejected(why, record=receipt.id, field="account", value=account_id)
    if receipt.left:
        subject = Subject(f"Receipt {receipt.id} is of {account_id}", "receipt", receipt.id, account_id)
        books = _books(hub, work, receipt)
        post(hub, work, books.whole("cash identified", f"IDN-{receipt.id}", receipt.value_date, subject, receipt.left))
    deed = Deed(hub.now(), who, Act.IDENTIFIED, "", "cash_receipt", receipt.id, {"account": account_id})
    work.audit.tell(deed)
    return receipt.model_copy(update={"account_id": account_id})


def _apply(
    hub: Hub, work: Work, receipt: CashReceipt, invoice_id: str, amount: Money | None, rule: Rule, who: str
) -> Application:
    """Applies and books; valued at the day when there was both the money and the invoice, or the first open one after
    its month was locked: so the ERP's payment is dated."""
    invoice = work.find(Invoice, id=invoice_id)[0]
    withdraw_requests(hub, work, invoice)
    (one,) = receivables(hub, work, [invoice])
    if one.lost and one.open.minor <= 0:
        return _recover(hub, work, receipt, invoice, amount, rule, who)
    amount = min(receipt.left, max(one.unasked, Money.zero(invoice.currency))) if amount is None else amount
    if not 0 < amount.minor <= receipt.left.minor:
        why = f"{receipt.left} is left of receipt {receipt.id} and {one.unasked} open on {invoice_id}, not {amount}"
        raise Rejected(why, record=receipt.id, field="amount", value=str(amount))
    if amount > one.unasked:
        asked = (
            f", and the gateway was asked for {total(one.asked.values(), invoice.currency)} of it" if one.asked else ""
        )
        why = f"{one.open} is open on invoice {invoice_id}{asked}; apply less than {amount}, the rest stays unapplied"
        raise Rejected(why, record=invoice_id, field="amount", value=str(amount))
    applied_within_open(invoice_id, amount, one.open)
    met = max(receipt.value_date, invoice.invoice_date)
    on = hub.open_day(work, invoice.account_id, met)
    made = _made(work, receipt, Use.APPLIED, amount, on, rule, who, invoice_id=invoice_id)
    books, whose_it_is = _books(hub, work, receipt), invoice.account_id
    if hub.books(work, whose_it_is).entity.id != books.entity.id:
        why = f"invoice {invoice_id} stands in other books than the bank account of receipt {receipt.id}"
        raise Rejected(why, record=receipt.id, field="entity", value=receipt.entity)
    subject = Subject(f"Receipt {receipt.id} pays {invoice_id}", "invoice", invoice_id, whose_it_is)
    post(hub, work, books.whole("cash applied", made.id, on, subject, amount), of=met)
    for ident, role, moved, booked_on, rate, via in (
        (made.id, "receivables", amount, invoice.invoice_date, invoice.exchange, Via.DOCUMENT),
        (f"{made.id}-U", "unapplied cash", -amount, receipt.value_date, None, Via.JOURNAL),
    ):
        about = (ident, role, moved, booked_on, on, whose_it_is, via)
        post(hub, work, realised_entries(books, *about, booked_at=rate), of=met)
    pay_at_erp(hub, work, made.id, invoice, amount, on, ("receipt", receipt.id))
    _tell(hub, work, Act.CASH_APPLIED, who, made)
    return made


def _recover(
    hub: Hub, work: Work, receipt: CashReceipt, invoice: Invoice, amount: Money | None, rule: Rule, who: str
) -> Application:
    """Money for an invoice that was given up pays for the loss, as far as nothing else has."""
    most = min(receipt.left, _unrecovered(work, invoice))
    amount = most if amount is None else amount
    if not 0 < amount.minor <= most.minor:
        why = f"{most} of receipt {receipt.id} can still be recovered of {invoice.id}, which was given up, not {amount}"
        raise Rejected(why, record=receipt.id, field="amount", value=str(amount))
    on = receipt.value_date
    made = _made(work, receipt, Use.RECOVERED, amount, on, rule, who, reason=invoice.id)
    subject = Subject(f"Receipt {receipt.id} recovers {invoice.id}", "invoice", invoice.id, invoice.account_id)
    post(hub, work, _books(hub, work, receipt).whole("recovery", made.id, on, subject, amount))
    _tell(hub, work, Act.CASH_APPLIED, who, made)
    return made


def _unrecovered(work: Work, invoice: Invoice) -> Money:
    """What was given up of an invoice, and did not come nevertheless."""
    zero = Money.zero(invoice.currency)
    lost = work.sums.written_off([invoice.id]).get(invoice.id, zero)
    if not lost:
        return zero
    came = work.find(Application, use=Use.RECOVERED.value, reason=invoice.id)
    back = {one.reverses for one in work.find(Application, reverses=[one.id for one in came])}
    return lost - total((one.amount for one in came if one.id not in back), invoice.currency)


def _reverse(hub: Hub, work: Work, made: Application, on: date, reason: str, who: str) -> Application:
    receipt, on = _receipt(work, made.receipt_id), max(on, made.applied_on)
    more = {"invoice_id": made.invoice_id, "reverses": made.id, "reason": reason}
    back = _made(work, receipt, Use.REVERSED, made.amount, on, made.rule, who, **more)
    kinds = (made.id, f"FX-{made.id}", f"FX-{made.id}-U")
    entries = _booked(work, *(f"{way}-{one}" for one in kinds for way in ("DOC", "JE")))
    if _unpaid_at_erp(hub, work, made, entries):
        post(hub, work, [reversal(one, one.posted_on) for one in entries])
    else:
        # The ERP's payment stands: what it booked is taken back by a journal.
        post(hub, work, [reversal(one, on).model_copy(update={"via": Via.JOURNAL}) for one in entries])
        if made.invoice_id is not None:
            (invoice,) = work.find(Invoice, id=made.invoice_id)
            owe_again_at_erp(hub, work, made.id, invoice, made.amount, made.amount, made.applied_on)
    _tell(hub, work, Act.CASH_REVERSED, who, back)
    return back


def _unpaid_at_erp(hub: Hub, work: Work, made: Application, entries: Sequence[JournalEntry]) -> bool:
    """Whether the ERP's payment of an application is undone on its own day, as if it had never been: not sent yet, or
    voided where the ERP's mappings tell how. A month that is closed is not changed any more."""
    days = {(one.entity, one.posted_on) for one in entries}
    if made.invoice_id is None or any(work.periods.open_day(entity, day) != day for entity, day in days):
        return False
    erp = hub.system("erp")
    if withdraw(work, work.outbox.of_record(erp, "payment", made.id)):
        return True
    if not hub.mappings.known(erp, "held_payment", "out", "payment_void"):
        return False
    (invoice,) = work.find(Invoice, id=made.invoice_id)
    of = ("receipt", made.receipt_id)
    paid = held_payment(hub, work, made.id, invoice, made.amount, made.applied_on, of)
    work.outbox.enqueue([OutboxCommand.of(erp, "payment_void", "held_payment", paid, hub.now(), money=made.amount)])
    return True


def _made(
    work: Work, receipt: CashReceipt, use: Use, amount: Money, on: date, rule: Rule, who: str, **more: Any
) -> Application:
    number = len(work.find(Application, receipt_id=receipt.id)) + 1
    made = Application(
        id=f"APP-{receipt.id}-{number}",
        receipt_id=receipt.id,
        use=use,
        currency=receipt.currency,
        amount=amount,
        applied_on=on,
        rule=rule,
        who=who,
        **more,
    )
    work.apply_cash([made])
    return made


def _booked(work: Work, *idents: str) -> list[JournalEntry]:
    return work.find(JournalEntry, id=list(idents))


def _tell(hub: Hub, work: Work, act: Act, who: str, made: Application) -> None:
    detail = {"receipt": made.receipt_id, "invoice": made.invoice_id, "amount": str(made.amount), "reason": made.reason}
    work.audit.tell(Deed(hub.now(), who, act, "", "cash_application", made.id, detail))


def _receipt(work: Work, ident: str) -> CashReceipt:
    receipt = work.get(CashReceipt, ident)
    if receipt is None:
        raise Rejected(f"there is no receipt {ident}; see `tieout cash list`", record=ident, field="receipt")
    return receipt


def _books(hub: Hub, work: Work, receipt: CashReceipt) -> Books:
    return hub.books_of(work, receipt.entity)


def _row(receipt: CashReceipt, amount: Money, invoice_id: str, why: str) -> dict[str, str]:
    return {
        "receipt": receipt.id,
        "day": receipt.value_date.isoformat(),
        "account": receipt.account_id or "unidentified",
        "payer": receipt.payer,
        "text": receipt.text,
        "amount": dollars(amount),
        "invoice": invoice_id,
        "why": why,
    }


@flow(
    name="Apply cash",
    description="Gives money on our bank accounts to its customers and applies it to their invoices; what no rule "
    "matches is listed with suggestions.",
)
def apply_cash() -> State[Any]:
    return conclude("Apply cash", apply_receipts(hub()))
