"""Adjust: how an account is billed, one-off lines for its next draft, and disputes that hold an amount back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date

from core.accounts import Account, BillingTerms, payer
from core.errors import Rejected
from core.invoicing import Adjustment
from core.money import Money
from core.noun import numbered
from core.payments import Dispute
from core.rating.compare import Delta
from core.store import Work
from core.subscriptions import Subscription
from flows.context import Hub
from flows.outside_billing import drafts_here
from flows.receivables import final_invoice, receivables, withdraw_requests


def set_terms(hub: Hub, terms: BillingTerms) -> None:
    """States how an account is billed from its next draft on. Rejected when it is not there, or nobody is above it."""
    with hub.database.work() as work:
        accounts = {account.id: account for account in work.find(Account)}
        if terms.id not in accounts:
            raise Rejected(f"there is no account {terms.id}", record=terms.id, field="account")
        payer(terms.id, accounts, {**{one.id: one for one in work.find(BillingTerms)}, terms.id: terms})
        work.put(terms)


def adjust_line(hub: Hub, invoice_id: str, position: int, amount: Money, reason: str) -> Adjustment:
    """Puts a correction of an invoice's line on the next draft of its account: above zero a debit, below it a credit.

    The same correction for the same reason is made once. Rejected where another system makes the drafts.
    """
    drafts_here(hub)
    with hub.database.work() as work:
        invoice = final_invoice(work, invoice_id)
        line = next((line for line in invoice.lines if line.position == position), None)
        if line is None:
            raise Rejected(f"invoice {invoice_id} has no line {position}", record=invoice_id, field="line")
        served = line.subscription_charge_id and work.parent_of_child(
            Subscription, "charges", id=line.subscription_charge_id
        )
        account_id = served.account_id if served else invoice.account_id
        adjustment = Adjustment(
            id=_ident(account_id, line.id, amount, reason),
            account_id=account_id,
            site_id=line.site_id,
            subscription_charge_id=line.subscription_charge_id,
            charge_code=line.charge_code,
            product_code=line.product_code,
            service_period=line.service_period,
            currency=invoice.currency,
            amount=amount,
            reason=reason,
            invoice_id=invoice.id,
        )
        _once(work, [adjustment])
        return work.get(Adjustment, adjustment.id) or adjustment


def book_difference(hub: Hub, deltas: Iterable[Delta], reason: str) -> list[Adjustment]:
    """Puts the differences of a what-if on the next draft of each account, each naming its original period.

    Gives those that were not booked before for this reason. Rejected where another system makes the drafts.
    """
    drafts_here(hub)
    adjustments = [
        Adjustment(
            id=_ident(delta.account_id, delta.line_id, delta.amount, reason),
            account_id=delta.account_id,
            site_id=delta.site_id,
            subscription_charge_id=delta.subscription_charge_id,
            charge_code=delta.charge_code,
            product_code=delta.product_code,
            service_period=delta.service_period,
            currency=delta.amount.currency,
            amount=delta.amount,
            reason=reason,
        )
        for delta in deltas
        if delta.amount
    ]
    with hub.database.work() as work:
        return _once(work, adjustments)


def _once(work: Work, adjustments: list[Adjustment]) -> list[Adjustment]:
    known = {one.id for one in work.find(Adjustment, id=[one.id for one in adjustments])}
    return work.add([one for one in adjustments if one.id not in known])


def _ident(account_id: str, subject: str, amount: Money, reason: str) -> str:
    digest = hashlib.sha256(f"{subject}|{amount}|{reason}".encode()).hexdigest()[:10]
    return f"ADJ-{account_id}-{digest}"


def open_dispute(hub: Hub, invoice_id: str, amount: Money | None, reason: str, opened_on: date) -> Dispute:
    """Holds an amount of an invoice back from collection (None: all that is open and the gateway was not asked for).

    Rejected when it is not all open any more: what was paid is credited, not held.
    """
    with hub.database.work() as work:
        invoice = final_invoice(work, invoice_id)
        withdraw_requests(hub, work, invoice)
        (one,) = receivables(hub, work, [invoice])
        held = one.free if amount is None else amount
        if not 0 < held.minor <= one.free.minor:
            why = f"{one.free} of invoice {invoice_id} is open to be held, not {held}; credit what was paid"
            raise Rejected(why, record=invoice_id, field="amount", value=str(held))
        known = {dispute.id for dispute in work.find(Dispute, invoice_id=invoice_id)}
        dispute = Dispute(
            id=numbered(f"DIS-{invoice_id}", known),
            invoice_id=invoice_id,
            account_id=invoice.account_id,
            currency=invoice.currency,
            amount=held,
            reason=reason,
            opened_on=opened_on,
        )
        work.add([dispute])
    return dispute


def close_dispute(hub: Hub, dispute_id: str, closed_on: date) -> Dispute:
    """Ends a dispute: what it held is collected again, unless a credit note takes it."""
    with hub.database.work() as work:
        dispute = work.get(Dispute, dispute_id)
        if dispute is None or dispute.closed_on is not None:
            raise Rejected(f"there is no open dispute {dispute_id}", record=dispute_id, field="dispute")
        closed = dispute.model_copy(update={"closed_on": closed_on})
        work.put(closed)
    return closed
