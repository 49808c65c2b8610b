"""Bill: rated lines become draft invoices, the tax engine is asked, and its answer makes them final."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.accounts import Account, BillingTerms, ExemptBy, GroupBy, owner
from core.errors import Rejected, TieoutError
from core.invoicing import (
    Adjustment,
    CarryForward,
    Invoice,
    InvoiceLine,
    InvoiceStatus,
    adjusted,
    assemble,
    billed,
    carry,
    finalise,
    group_of,
    why_carried,
    worth_a_line,
)
from core.money import Money
from core.period import DateSpan
from core.posting import invoice_entries
from core.rating import RatedLine
from core.store import BILLING, Work
from core.subscriptions import Subscription
from core.sync import OutboxCommand
from core.wallets import CreditKind
from flows import desk
from flows.context import Hub, hub
from flows.credit import take_returned_taxes, tax_document
from flows.credits import credit_held, lower, pay_from_credit
from flows.outside_billing import bills_outside, outside_drafts
from flows.post import post
from flows.recognise import schedule_invoice
from flows.report import Report, amounts, conclude, counted, dollars, sum_by_currency


def draft_invoices(hub: Hub, period: str) -> Report:
    """Drafts invoices from the rated lines of a month, adjustments and what was carried, and intends to ask for tax.

    One per account, or by its terms; a draft below zero or below the account's minimum is carried to the next month.
    Where another system bills, its closed invoices of the month become the drafts.
    """
    billing = DateSpan.month(period)
    if bills_outside(hub):
        return _take_over(hub, billing)
    report = Report("")
    with hub.database.work() as work:
        work.alone(BILLING)
        known, held = invoiced_accounts(work, billing), credit_held(work, CreditKind.PROMOTIONAL)
        for drafted, taken in _drafts(hub, work, billing, known, report):
            reason = why_carried(drafted.subtotal, taken.minimum)
            stated = drafted if reason else _with_rate(hub, work, drafted, report)
            if stated is None:
                continue
            kept = carry(drafted, reason) if reason else None
            for source in taken.sources:
                work.put(source.model_copy(update={"taken_by": kept.id if kept else drafted.id}))
            if kept:
                work.add([kept])
                report.rows.append(_row(kept.id, taken.account, kept.lines, kept.amount, reason))
                continue
            _draft(hub, work, lower(hub, work, stated, taken.account_of, held), taken.account, report)
    return _told(report, len(known))


def _with_rate(hub: Hub, work: Work, drafted: Invoice, report: Report) -> Invoice | None:
    """The draft with the rate of its day into the books of who sells; None, and it stands on the desk, without one."""
    ident = f"record:exchange:{drafted.id}"
    if all(one.currency == drafted.currency for one in hub.settings.all_entities):
        return drafted
    try:
        rate = hub.books(work, drafted.account_id).exchange(drafted.currency, drafted.invoice_date)
    except Rejected as error:
        failure = desk.entry(error, ident, "hub", "invoice", drafted.id, hub.now(), drafted.subtotal)
        work.desk.report(failure)
        report.failures.append(failure)
        return None
    if rate is None:
        return drafted
    work.desk.resolve(ident)
    return drafted.replace(exchange=rate)


def _take_over(hub: Hub, billing: DateSpan) -> Report:
    """Takes over the billing system's invoices of a month that are not here yet."""
    drafts, failures = outside_drafts(hub, billing)
    report, known = Report("", failures=failures), 0
    with hub.database.work() as work:
        accounts, _ = _accounts(work)
        for drafted in drafts:
            if work.get(Invoice, drafted.id) is None:
                _draft(hub, work, drafted, accounts[drafted.account_id], report)
            else:
                known += 1
    return _told(report, known)


def _draft(hub: Hub, work: Work, drafted: Invoice, account: Account, report: Report) -> None:
    """Keeps a draft and the intents to ask for its tax."""
    work.add([drafted])
    _ask_for_tax(hub, work, drafted)
    report.money.append(drafted.subtotal)
    report.rows.append(_row(drafted.id, account, drafted.lines, drafted.subtotal, ""))


def _ask_for_tax(hub: Hub, work: Work, drafted: Invoice) -> None:
    work.outbox.enqueue(
        [
            OutboxCommand.of(engine, "tax_document", "invoice", part, hub.now(), money=part.subtotal)
            for engine, part in by_engine(hub, drafted).items()
        ]
    )


def _told(report: Report, known: int) -> Report:
    drafted_now = len(report.money)
    report.counts = {
        "drafted": drafted_now,
        "already_drafted": known,
        "carried": len(report.rows) - drafted_now,
    }
    report.money = sum_by_currency(report.money)
    report.headline = f"{counted(drafted_now, 'invoice')}" + (f", {amounts(report.money)}" if report.money else "")
    return report


def invoiced_accounts(work: Work, billing: DateSpan) -> set[str]:
    """Accounts whose lines of a month stand on a document, their own or that of the account that owns them."""
    done = {invoice.account_id for invoice in work.find(Invoice, billing_period_start=billing.start)}
    done |= {kept.account_id for kept in work.find(CarryForward, billing_period_start=billing.start)}
    if not done:
        return done
    accounts, terms = _accounts(work)
    owners, _ = _owners(accounts, terms)
    return done | {ident for ident, above in owners.items() if above in done}


def _accounts(work: Work) -> tuple[dict[str, Account], dict[str, BillingTerms]]:
    return {one.id: one for one in work.find(Account)}, {one.id: one for one in work.find(BillingTerms)}


def _owners(
    accounts: Mapping[str, Account], terms: Mapping[str, BillingTerms]
) -> tuple[dict[str, str], dict[str, Rejected]]:
    """Whose invoice carries each account's lines, and the accounts of which it cannot be told."""
    owners, wrong = {}, {}
    for ident in accounts:
        try:
            owners[ident] = owner(ident, accounts, terms)
        except Rejected as error:
            wrong[ident] = error
    return owners, wrong


@dataclass(frozen=True)
class Taken:
    """What a draft was made of: whose it is, the least that is issued, what it takes on, and whose its lines are."""

    account: Account
    minimum: Money | None
    sources: list[Adjustment | CarryForward]
    account_of: Mapping[str, str]


def _drafts(
    hub: Hub, work: Work, billing: DateSpan, known: set[str], report: Report
) -> Iterator[tuple[Invoice, Taken]]:
    """Every draft of a month, of accounts that have none yet; one whose owner cannot be told goes to the desk."""
    accounts, terms = _accounts(work)
    book = hub.price_book
    owners, wrong = _owners(accounts, terms)
    for ident in terms:
        if ident not in wrong:
            work.desk.resolve(f"record:billing_terms:{ident}")
    for ident, error in wrong.items():
        entry = desk.entry(error, f"record:billing_terms:{ident}", "hub", "billing_terms", ident, hub.now())
        work.desk.report(entry)
        report.failures.append(entry)
    subscriptions = work.find(Subscription)
    orders = {charge.id: one.purchase_order for one in subscriptions for charge in one.charges if one.purchase_order}
    users = {charge.id: one.account_id for one in subscriptions for charge in one.charges}
    going_on = {owners.get(one.account_id) for one in subscriptions if one.ends_on is None or one.ends_on > billing.end}
    lines: dict[tuple[str, str], list[InvoiceLine]] = defaultdict(list)
    sources: dict[tuple[str, str], list[Adjustment | CarryForward]] = defaultdict(list)
    exempt: dict[tuple[str, str], Account] = {}
    account_of: dict[str, str] = {}

    def place(line: InvoiceLine, account_id: str) -> tuple[str, str]:
        above = owners[account_id]
        account_id = users.get(line.subscription_charge_id or "", account_id)
        group = group_of(line, terms[above].group_by if above in terms else GroupBy.ACCOUNT, orders)
        buyer = _buyer(accounts[account_id], accounts[above], terms.get(account_id))
        if buyer.tax_exemption != accounts[above].tax_exemption:
            group = ".".join(part for part in (group, buyer.tax_exemption or "taxable") if part)
        where = above, group
        exempt[where] = buyer
        lines[where].append(line)
        account_of[line.rated_line_id] = account_id
        return where

    for rated in work.find(RatedLine, billing_period=f"{billing.start:%Y-%m}"):
        if rated.account_id in owners and worth_a_line(rated):
            place(billed(rated, accounts[rated.account_id], book), rated.account_id)
    for adjustment in work.find(Adjustment, taken_by=None):
        if adjustment.account_id not in owners:
            continue
        where = place(adjusted(adjustment, accounts[adjustment.account_id], book), adjustment.account_id)
        sources[where].append(adjustment)
    for kept in work.find(CarryForward, taken_by=None):
        if kept.account_id in owners and kept.billing_period.start < billing.start:
            for where in dict.fromkeys([place(line, kept.account_id) for line in kept.lines]):
                sources[where].append(kept)
    for (account_id, group), found in sorted(lines.items()):
        if account_id not in known:
            own = terms.get(account_id)
            order = orders.get(found[0].subscription_charge_id or "")
            by_order = own is not None and own.group_by is GroupBy.PURCHASE_ORDER
            drafted = assemble(
                accounts[account_id],
                found,
                billing,
                hub.open_day(work, account_id, billing.last_day),
                group,
                order if by_order else None,
                exempt[account_id, group],
            )
            minimum = own.minimum if own and account_id in going_on else None
            used_by = {line.rated_line_id: account_of[line.rated_line_id] for line in found}
            yield drafted, Taken(accounts[account_id], minimum, sources[account_id, group], used_by)


def _buyer(account: Account, above: Account, own: BillingTerms | None) -> Account:
    """Whose exemption from tax holds for the lines of an account."""
    return account if own is not None and own.exempt_by is ExemptBy.USER else above


def _row(ident: str, account: Account, lines: Sequence[InvoiceLine], amount: Money, carried: str) -> dict[str, str]:
    return {
        "invoice": ident,
        "account": account.name,
        "lines": str(len(lines)),
        "before tax": dollars(amount),
        "carried": carried,
    }


def by_engine(hub: Hub, invoice: Invoice) -> dict[str, Invoice]:
    """What each tax engine is asked about: the lines whose tax codes it takes."""
    lines: dict[str, list[InvoiceLine]] = defaultdict(list)
    for line in invoice.lines:
        lines[hub.tax_engine(line.tax_code)].append(line)
    return {engine: invoice.part(taken) for engine, taken in lines.items()}


def finalise_invoices(hub: Hub) -> Report:
    """Takes the tax engine's answers and makes the drafts final: booked, scheduled, ready for the other systems.

    A draft whose month was locked meanwhile is dated anew first, and its tax asked for again: what is final stands in
    one month everywhere. Answers about credit notes are taken as well, from engines that commit them apart.
    """
    erp = hub.system("erp")
    report = Report("")
    with hub.database.reading() as work:
        drafts = work.find(Invoice, status=InvoiceStatus.DRAFT.value)
        held = credit_held(work, CreditKind.PREPAID)
        days = {invoice.id: hub.open_day(work, invoice.account_id, invoice.invoice_date) for invoice in drafts}
        asked = {invoice.id: list(by_engine(hub, invoice)) for invoice in drafts}
        answers = {
            (proof.system, proof.record_id): proof.answer
            for engine in {engine for engines in asked.values() for engine in engines}
            for proof in work.outbox.proofs(engine, "tax_document", record_id=list(asked))
        }
    for invoice in drafts:
        if days[invoice.id] != invoice.invoice_date:
            _date_anew(hub, invoice, days[invoice.id], report)
            continue
        engines = asked[invoice.id]
        if any((engine, invoice.id) not in answers for engine in engines):
            continue
        ident = f"record:invoice:{invoice.id}"
        now = hub.now()
        try:
            documents = {engine: tax_document(hub, engine, answers[engine, invoice.id]) for engine in engines}
            if any(document.document_date != invoice.invoice_date for document in documents.values()):
                continue  # what was answered of the day before it was dated anew
            final = finalise(invoice, *documents.values())
            with hub.database.work() as work:
                if not _stands(hub, work, invoice):
                    continue
                work.put(final)
                for document in documents.values():
                    work.put(document)
                entries = invoice_entries(hub.books(work, final.account_id), final, documents.values())
                post(hub, work, entries, of=final.billing_period.last_day)
                schedule_invoice(hub, work, final)
                if final.account_id in held:
                    pay_from_credit(hub, work, final)
                work.outbox.enqueue(
                    [
                        *(
                            OutboxCommand.of(engine, "tax_commit", "tax_document", document, now, money=document.tax)
                            for engine, document in documents.items()
                        ),
                        OutboxCommand.of(erp, "invoice", "invoice", final, now, money=final.total),
                    ]
                )
                work.desk.resolve(ident)
        except TieoutError as error:
            failure = desk.entry(error, ident, engines[0], "invoice", invoice.id, now, invoice.subtotal)
            report.failures.append(failure)
            with hub.database.work() as work:
                work.desk.report(failure)
            continue
        report.money.append(final.total)
        report.rows.append(
            {
                "invoice": final.id,
                "tax document": ", ".join(document.vendor_id for document in documents.values()),
                "before tax": dollars(final.subtotal),
                "tax": dollars(final.tax),
                "total": dollars(final.total),
                "due": final.due_date.isoformat(),
            }
        )
    report.counts = {
        "final": len(report.rows),
        "waiting_for_tax": len(drafts) - len(report.rows) - len(report.failures),
    }
    report.counts["returned"], refused = take_returned_taxes(hub)
    report.failures += refused
    report.money = sum_by_currency(report.money)
    report.headline = f"{counted(len(report.rows), 'invoice')} final" + (
        f", {amounts(report.money)} with tax" if report.money else ""
    )
    return report


def _date_anew(hub: Hub, drafted: Invoice, day: date, report: Report) -> None:
    """Dates a draft on the first day that is open, at the rate of that day, and intends to ask for its tax as of it."""
    with hub.database.work() as work:
        stated = _with_rate(hub, work, drafted.dated(day), report) if _unchanged(work, drafted) else None
        if stated is not None:
            work.put(stated)
            _ask_for_tax(hub, work, stated)


def _stands(hub: Hub, work: Work, drafted: Invoice) -> bool:
    """Whether a draft is as it was read, and its month is open: another run, or a close, may have come between."""
    day = drafted.invoice_date
    return _unchanged(work, drafted) and hub.open_day(work, drafted.account_id, day) == day


def _unchanged(work: Work, drafted: Invoice) -> bool:
    """Whether a draft is as it was read; until the unit of work ends, nobody else makes it final or dates it anew."""
    work.alone(f"finalise {drafted.id}")
    return work.get(Invoice, drafted.id) == drafted


@flow(
    name="Bill the period",
    flow_run_name="bill {period}",
    description="Drafts one invoice per account from what was rated for the month, and asks the tax engine about it.",
)
def bill(period: str) -> State[Any]:
    return conclude(f"bill {period}", draft_invoices(hub(), period))


@flow(
    name="Finalise invoices",
    description="Puts the tax engine's answer on each draft and makes it final: booked, and never changed again. "
    "Commits the tax that credit notes give back, where the engine takes back the same.",
)
def finalise_drafts() -> State[Any]:
    return conclude("Finalise invoices", finalise_invoices(hub()))
