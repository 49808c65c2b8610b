"""Credits: money that accounts hold is granted, drawn by their invoices, given back, and lost when it expires.

``settle_credits`` grants what the price book says and what top-ups brought, and books what expired; it may be repeated.
The bill run draws: promotional credit when a draft is issued, prepaid credit when the invoice is final.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.accounts import Account
from core.errors import Misconfigured, Rejected
from core.invoicing import Adjustment, CreditNote, CreditNoteLine, Invoice, InvoiceStatus, lowered
from core.money import Money, Rounding, round_fraction, round_money
from core.noun import numbered
from core.period import DateSpan
from core.plan_credits import given
from core.posting import movement_entries
from core.rational import Fraction
from core.store import Work
from core.subscriptions import Subscription, SubscriptionCharge, months_on
from core.terms import Credit
from core.wallets import (
    CreditGrant,
    CreditKind,
    CreditMovement,
    Movement,
    check_account,
    discounts,
    earned_ahead,
    expiry,
    payments,
    restored,
    voided,
)
from flows.context import Hub, hub
from flows.outside_billing import bills_outside, drafts_here
from flows.post import post
from flows.receivables import pay_at_erp
from flows.report import Report, amounts, conclude, counted, dollars, sum_by_currency


def settle_credits(hub: Hub, period: str) -> Report:
    """Grants what is due up to the end of a month, and ends what expired by then; each once.

    Where another system bills, promotional credit is its own: what would lower our draft would break the tie to it.
    """
    billing = DateSpan.month(period)
    report = Report("")
    with hub.database.work() as work:
        of_plans = [] if bills_outside(hub) else _of_plans(hub, work, billing)
        granted = work.add(_new([*of_plans, *_of_top_ups(hub, work)], work))
        lost = _expire(hub, work, billing.last_day)
    report.rows = [
        *(_row(one.id, one.account_id, "granted", one.amount, one.reason) for one in granted),
        *(_row(one.grant_id, one.account_id, "expired", one.amount, "") for one in lost),
    ]
    report.money = sum_by_currency(one.amount for one in granted)
    report.counts = {"granted": len(granted), "expired": len(lost)}
    report.headline = f"{counted(len(granted), 'credit')} granted, {counted(len(lost), 'credit')} expired"
    if report.money:
        report.headline += f", {amounts(report.money)}"
    return report


def _row(ident: str, account_id: str, what: str, amount: Money, reason: str) -> dict[str, str]:
    return {"credit": ident, "account": account_id, "what": what, "amount": dollars(amount), "reason": reason}


def _new(grants: Iterable[CreditGrant], work: Work) -> list[CreditGrant]:
    """Those that are not there yet, whatever is left of the others."""
    by_id = {one.id: one for one in grants}
    known = {one.id for one in work.find(CreditGrant, id=list(by_id))}
    return [one for ident, one in by_id.items() if ident not in known]


def _of_plans(hub: Hub, work: Work, billing: DateSpan) -> Iterator[CreditGrant]:
    """Promotional credit of the price book, in the currency of the account at the rate of its day, rounded once."""
    book = hub.price_book
    bought: dict[str, list[SubscriptionCharge]] = defaultdict(list)
    for subscription in work.find(Subscription) if book.credits else ():
        bought[subscription.account_id] += subscription.charges
    accounts, rates = {one.id: one for one in work.find(Account, id=list(bought))}, hub.rates(work)
    for account_id, lines in bought.items():
        for one in given(book.credits, account_id, lines, billing):
            currency = accounts[account_id].currency
            exact = Fraction(one.credit.amount or 0) * one.units * rates.exchange(book.currency, currency, one.on).rate
            amount = round_money(exact, currency, book.rounding)
            yield _grant(one.credit, one.key, account_id, amount, one.on, f"price book: {one.credit.id}")


def _grant(credit: Credit, ident: str, account_id: str, amount: Money, on: date, source: str) -> CreditGrant:
    return CreditGrant(
        id=ident,
        account_id=account_id,
        kind=credit.kind,
        currency=amount.currency,
        amount=amount,
        left=amount,
        priority=credit.priority,
        charges=credit.charges,
        granted_on=on,
        effective_on=on,
        expires_on=None if credit.months is None else months_on(on, credit.months),
        breakage_percent=credit.breakage_percent,
        reason=credit.name,
        source=source,
    )


def _of_top_ups(hub: Hub, work: Work) -> Iterator[CreditGrant]:
    """Prepaid credit: each line of a top-up whose invoice is paid, less what was credited of it."""
    top_ups = {one.granted_by: one for one in hub.price_book.credits if one.kind is CreditKind.PREPAID}
    if not top_ups:
        return
    owed = hub.posting.account("prepaid credit")
    wrong = [one for one in top_ups if _account_of(hub, one) != owed]
    if wrong:
        raise Misconfigured(
            f"charge {wrong[0]} grants prepaid credit, which is owed, not earned: the revenue_account of its product "
            f"must be {owed}, not {_account_of(hub, wrong[0])}"
        )
    invoices = [one for one in work.find(Invoice, status=InvoiceStatus.FINAL.value) if _lines_of(one, top_ups)]
    idents = [one.id for one in invoices]
    paid, credited = work.sums.paid(idents), work.sums.credited(idents)
    given_back: dict[str, Money] = {}
    for note in work.find(CreditNote, invoice_id=idents):
        for line in note.lines:
            before = given_back.get(line.invoice_line_id, Money.zero(note.currency))
            given_back[line.invoice_line_id] = before + line.amount
    for invoice in invoices:
        zero = Money.zero(invoice.currency)
        money = paid.get(invoice.id, zero)
        if not money or money + credited.get(invoice.id, zero) < invoice.total:
            continue
        for line in _lines_of(invoice, top_ups):
            amount = line.amount - given_back.get(line.id, zero)
            if amount.minor > 0:
                credit = top_ups[line.charge_code]
                yield _grant(credit, f"CR-{line.id}", invoice.account_id, amount, invoice.invoice_date, line.id)


def _account_of(hub: Hub, charge_code: str) -> str:
    return hub.price_book.product(hub.price_book.charge(charge_code).product_code).revenue_account


def _lines_of(invoice: Invoice, codes: Iterable[str]) -> list[Any]:
    return [line for line in invoice.lines if line.charge_code in codes and line.amount.minor > 0]


def _expire(hub: Hub, work: Work, by: date) -> list[CreditMovement]:
    lost = []
    for grant in work.find(CreditGrant):
        if grant.left and grant.expires_on is not None and grant.expires_on <= by:
            before = work.find(CreditMovement, grant_id=grant.id)
            gone = expiry(grant, by, sum(one.kind is Movement.EXPIRED for one in before))
            lost += work.move_credit([gone] if gone else [])
    _book(hub, work, lost)
    return lost


def _book(hub: Hub, work: Work, movements: Iterable[CreditMovement]) -> None:
    """Books what moved prepaid credit, with the breakage that it earns, and intends to tell the ERP. TieBroken when a
    credit is not accounted for."""
    moved = list(movements)
    grants = {one.id: one for one in work.find(CreditGrant, id=[one.grant_id for one in moved])}
    told: dict[str, list[CreditMovement]] = {}
    for movement in work.find(CreditMovement, grant_id=list(grants)):
        told.setdefault(movement.grant_id, []).append(movement)
    for ident, grant in grants.items():
        check_account(grant, told[ident])
    newest = {one.grant_id: one for one in moved}
    breakage = [earned_ahead(grants[ident], told[ident], one) for ident, one in newest.items()]
    for movement in [*moved, *work.move_credit([one for one in breakage if one])]:
        if grants[movement.grant_id].kind is CreditKind.PREPAID:
            post(hub, work, movement_entries(hub.books(work, movement.account_id), movement, movement.moved_on))


def credit_held(work: Work, kind: CreditKind) -> set[str]:
    """The accounts that have credit of a kind left."""
    return {one.account_id for one in work.find(CreditGrant, kind=kind.value) if one.left}


def lower(hub: Hub, work: Work, drafted: Invoice, account_of: Mapping[str, str], held: set[str]) -> Invoice:
    """The draft less the promotional credit that it draws: of the account of each line, then of the invoice's.

    ``account_of``: by rated line, the account that used it; ``held``: the accounts that have any.
    """
    accounts = [one for one in dict.fromkeys([*account_of.values(), drafted.account_id]) if one in held]
    if not accounts:
        return drafted
    grants = work.find(CreditGrant, account_id=accounts, kind=CreditKind.PROMOTIONAL.value)
    due = {line.rated_line_id: (line.charge_code, line.amount) for line in drafted.lines}
    moved: list[CreditMovement] = []
    for account_id in accounts:
        own = {
            ident: what
            for ident, what in due.items()
            if account_id == drafted.account_id or account_of.get(ident) == account_id
        }
        for one in discounts(
            [one for one in grants if one.account_id == account_id], drafted.id, own, drafted.invoice_date
        ):
            code, amount = due[one.line_id or ""]
            due[one.line_id or ""] = code, amount - one.amount
            moved.append(one)
    _book(hub, work, work.move_credit(moved))
    reasons = {one.id: one.reason for one in grants}
    return lowered(drafted, [(one, reasons[one.grant_id]) for one in moved])


def pay_from_credit(hub: Hub, work: Work, invoice: Invoice) -> list[CreditMovement]:
    """Prepaid credit of the account pays what it can of a final invoice, but no top-up of itself."""
    top_ups = {one.granted_by for one in hub.price_book.credits if one.kind is CreditKind.PREPAID}
    if invoice.total.minor <= 0 or _lines_of(invoice, top_ups):
        return []
    grants = work.find(CreditGrant, account_id=invoice.account_id, kind=CreditKind.PREPAID.value)
    moved = work.move_credit(list(payments(grants, invoice.id, invoice.total, invoice.invoice_date)))
    _book(hub, work, moved)
    for one in moved:
        pay_at_erp(hub, work, one.id, invoice, one.amount, one.moved_on, ("prepaid credit", one.grant_id))
    return moved


def with_discounts(
    work: Work, invoice: Invoice, wanted: Mapping[int, Money | None], before: Sequence[CreditNote], reason: str
) -> dict[int, Money | None]:
    """What is to be credited, with the promotional credit that lowered those lines: in the same proportion.

    So a customer gets back what was paid, and the grant what it gave. What a credit note gave already stays as it is.
    """
    drawn = [one for one in work.find(CreditMovement, document_id=invoice.id) if one.line_id is not None]
    by_rated = {line.rated_line_id: line for line in invoice.lines}
    position = {line.id: line.position for line in invoice.lines}
    discounts_at = {by_rated[one.id].position for one in drawn}
    gone: dict[int, Money] = {}
    for note in before:
        given = {position[one.invoice_line_id]: one.amount for one in note.lines}
        own = {at: amount for at, amount in given.items() if at not in discounts_at or at in wanted}
        if note.reason == reason and own == {at: own.get(at) if one is None else one for at, one in wanted.items()}:
            return dict(given)
        gone |= {at: gone.get(at, Money.zero(note.currency)) + amount for at, amount in given.items()}
    whole, zero = dict(wanted), Money.zero(invoice.currency)
    for movement in drawn:
        line, discount = by_rated[movement.line_id or ""], by_rated[movement.id]
        if line.position not in wanted or discount.position in wanted:
            continue
        before_it, part = gone.get(line.position, zero), wanted[line.position]
        if part is None or before_it + part == line.amount:
            whole[discount.position] = None
            continue
        share = Fraction((before_it + part).minor, line.amount.minor)
        due = Money(round_fraction(discount.amount.minor * share, Rounding.HALF_UP), invoice.currency)
        if due != gone.get(discount.position, zero):
            whole[discount.position] = due - gone.get(discount.position, zero)
    return whole


def give_back(hub: Hub, work: Work, note: CreditNote, invoice: Invoice) -> CreditNote:
    """The note once credit has its part of it.

    A discount that is credited returns to its grant, a top-up that is credited is taken out of what it granted, and
    what prepaid credit paid returns to it before any card. Rejected when a top-up is used already.
    """
    moved = [*_discounts_returned(work, note, invoice), *_top_ups_taken(work, note)]
    for grant, amount in _paid_by(work, note, invoice):
        moved.append(restored(grant, amount, note.id, note.credit_date))
        note = note.replace(refunded=note.refunded + amount)
    _book(hub, work, work.move_credit(moved))
    return note


def _discounts_returned(work: Work, note: CreditNote, invoice: Invoice) -> Iterator[CreditMovement]:
    lines = {line.id: line for line in invoice.lines}
    rated = {lines[one.invoice_line_id].rated_line_id: one for one in note.lines}
    for movement in work.find(CreditMovement, id=list(rated)):
        grant = work.get(CreditGrant, movement.grant_id)
        assert grant is not None
        yield restored(grant, -rated[movement.id].amount, note.id, note.credit_date, movement.line_id)


def _top_ups_taken(work: Work, note: CreditNote) -> Iterator[CreditMovement]:
    credited: dict[str, CreditNoteLine] = {line.invoice_line_id: line for line in note.lines}
    for grant in work.find(CreditGrant, source=list(credited), kind=CreditKind.PREPAID.value):
        yield voided(grant, credited[grant.source].amount, note.credit_date, note.id)


def _paid_by(work: Work, note: CreditNote, invoice: Invoice) -> Iterator[tuple[CreditGrant, Money]]:
    """What is left of a note, by the grants that paid its invoice; never more than each paid and has not got back."""
    left = note.left
    notes = [one.id for one in work.find(CreditNote, invoice_id=invoice.id)]
    for paid in work.find(CreditMovement, document_id=invoice.id, line_id=None):
        back = work.find(CreditMovement, document_id=notes, grant_id=paid.grant_id, kind=Movement.RESTORED.value)
        amount = min(left, paid.amount - sum((one.amount for one in back), Money.zero(note.currency)))
        grant = work.get(CreditGrant, paid.grant_id)
        if amount.minor > 0 and grant is not None:
            left -= amount
            yield grant, amount


def grant_credit(
    hub: Hub,
    account_id: str,
    amount: Money,
    reason: str,
    who: str,
    on: date,
    expires_on: date | None = None,
    charges: tuple[str, ...] = (),
    priority: int = 50,
) -> CreditGrant:
    """Gives promotional credit to an account; the same for the same reason on the same day is given once.

    Rejected where another system makes the drafts that it would lower.
    """
    drafts_here(hub)
    digest = hashlib.sha256(f"{amount}|{reason}|{on}|{charges}".encode()).hexdigest()[:10]
    with hub.database.work() as work:
        _account(work, account_id)
        for code in charges:
            _charge(hub, code)
        grant = CreditGrant(
            id=f"CR-{account_id}-{digest}",
            account_id=account_id,
            kind=CreditKind.PROMOTIONAL,
            currency=amount.currency,
            amount=amount,
            left=amount,
            priority=priority,
            charges=charges,
            granted_on=on,
            effective_on=on,
            expires_on=expires_on,
            reason=reason,
            source=who,
        )
        work.add(_new([grant], work))
        return work.get(CreditGrant, grant.id) or grant


def void_credit(hub: Hub, grant_id: str, on: date) -> CreditMovement:
    """Takes back what is left of promotional credit. Rejected for prepaid credit, which is the customer's money."""
    with hub.database.work() as work:
        grant = work.get(CreditGrant, grant_id)
        if grant is None:
            raise Rejected(f"there is no credit {grant_id}", record=grant_id, field="credit")
        if grant.kind is CreditKind.PREPAID:
            why = f"credit {grant_id} was paid for; credit its top-up on invoice line {grant.source} instead"
            raise Rejected(why, record=grant_id, field="kind")
        movement = voided(grant, grant.left, on)
        _book(hub, work, work.move_credit([movement]))
    return movement


def top_up(hub: Hub, account_id: str, amount: Money, on: date) -> Adjustment:
    """Puts a top-up on the next draft of an account; its credit is usable once that invoice is paid.

    Rejected where another system makes the drafts.
    """
    drafts_here(hub)
    credit = next((one for one in hub.price_book.credits if one.kind is CreditKind.PREPAID), None)
    if credit is None:
        raise Misconfigured("the price book has no prepaid credit; add one under `credits` (docs/pricing.md)")
    with hub.database.work() as work:
        _account(work, account_id)
        known = {one.id for one in work.find(Adjustment, account_id=account_id)}
        adjustment = Adjustment(
            id=numbered(f"TOP-{account_id}-{on}", known),
            account_id=account_id,
            charge_code=credit.granted_by,
            product_code=hub.price_book.charge(credit.granted_by).product_code,
            service_period=DateSpan.month(f"{on:%Y-%m}"),
            currency=amount.currency,
            amount=amount,
            reason=credit.name,
        )
        work.add([adjustment])
    return adjustment


def _account(work: Work, account_id: str) -> Account:
    account = work.get(Account, account_id)
    if account is None:
        raise Rejected(f"there is no account {account_id}", record=account_id, field="account")
    return account


def _charge(hub: Hub, code: str) -> None:
    try:
        hub.price_book.charge(code)
    except KeyError as error:
        raise Rejected(str(error.args[0]), record=code, field="charge", value=code) from None


@flow(
    name="Settle credits",
    flow_run_name="settle credits {period}",
    description="Grants the credit that plans and paid top-ups give up to the end of a month, and books what expired.",
)
def credits(period: str) -> State[Any]:
    return conclude(f"settle credits {period}", settle_credits(hub(), period))
