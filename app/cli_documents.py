"""Commands about single documents and accounts: credit-note, adjust, dispute, terms, statement."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeVar

import typer

from app.operators import operator
from app.printing import AsJson, show
from core.accounts import Account, BillingTerms, ByParent, CashBy, ExemptBy, GroupBy
from core.errors import Rejected
from core.invoicing import CreditNote, Invoice
from core.ledger import JournalEntry
from core.money import Money
from core.noun import Noun
from core.payments import WriteOff, WriteOffState
from core.period import DateSpan, local_date
from core.statement import statement

app = typer.Typer()
disputes = typer.Typer(help="What customers object to, here and at their banks.", no_args_is_help=True)
app.add_typer(disputes, name="dispute")
given_up = typer.Typer(
    help="Invoices that were given up, and those that wait for a second person.", no_args_is_help=True
)
app.add_typer(given_up, name="write-offs")

Day = Annotated[datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="Date; default: today there.")]


N = TypeVar("N", bound=Noun)


def known(kind: type[N], ident: str) -> N:
    """The noun of that id. Rejected when there is none."""
    from flows.context import hub

    with hub().database.reading() as work:
        held = work.get(kind, ident)
    if held is None:
        noun = kind.__name__.lower()
        raise Rejected(f"there is no {noun} {ident}", record=ident, field=noun)
    return held


@app.command("credit-note")
def credit_note(
    invoice: Annotated[str, typer.Argument(help="The invoice, like INV-2026-10-A-0001.")],
    reason: Annotated[str, typer.Option(help="Why; it stands on the credit note.")],
    line: Annotated[list[int] | None, typer.Option(help="Position of a line; may be repeated.")] = None,
    amount: Annotated[list[str] | None, typer.Option(help="Before tax, one per --line; none: whole lines.")] = None,
    full: Annotated[bool, typer.Option("--full", help="All that is left of the invoice.")] = False,
    refund: Annotated[
        bool, typer.Option("--refund", help="Pay back what was paid; default: keep as a balance.")
    ] = False,
    on: Day = None,
) -> None:
    """Give back a part or all of an invoice, with its tax, in every system; the next `deliver` carries it out."""
    from flows.context import hub
    from flows.credit import Leftover, credit_invoice

    if full == bool(line):
        raise ValueError("name lines (--line), or --full for all that is left")
    if amount and len(amount) != len(line or ()):
        raise ValueError("give one --amount for each --line, or none at all")
    held = known(Invoice, invoice)
    account = known(Account, held.account_id)
    amounts = [Money.of(one, held.currency) for one in amount] if amount else [None] * len(line or ())
    day = on.date() if on else local_date(hub().now(), account.timezone)
    leftover = Leftover.REFUND if refund else Leftover.BALANCE
    wanted = dict(zip(line or (), amounts, strict=True))
    _tell_credit(credit_invoice(hub(), invoice, wanted, reason, day, leftover, operator()))


@app.command()
def void(
    invoice: Annotated[str, typer.Argument(help="The invoice that should never have been.")],
    reason: Annotated[str, typer.Option(help="Why; it stands on the credit note.")],
    on: Day = None,
) -> None:
    """Take an invoice back in every system: all that is left of it is credited, and what was paid goes back."""
    from flows.context import hub
    from flows.credit import Leftover, credit_invoice

    day = on.date() if on else local_date(hub().now(), known(Account, known(Invoice, invoice).account_id).timezone)
    _tell_credit(credit_invoice(hub(), invoice, {}, reason, day, Leftover.REFUND, operator()))


@app.command("credit-steps")
def credit_steps(
    note: Annotated[str, typer.Argument(help="A credit note, like CN-INV-2026-10-A-0001-1.")], as_json: AsJson = False
) -> None:
    """How far a credit note, with its refunds, has come at each system, and what it waits for."""
    from flows.context import hub
    from flows.credit import steps_of

    known(CreditNote, note)
    with hub().database.reading() as work:
        show(steps_of(work, note), as_json=as_json, empty="it was made before steps were kept")


def _tell_credit(note: CreditNote) -> None:
    print(f"{note.id}: {note.total} = {note.subtotal} + tax {note.tax}, dated {note.credit_date}")
    for applied in note.applied:
        print(f"  {applied.amount} lowers {applied.invoice_id}")
    if note.refunded:
        print(f"  {note.refunded} goes back to the customer")
    if note.left:
        print(f"  {note.left} stays as a balance of {note.account_id}")


@app.command()
def adjust(
    invoice: Annotated[str, typer.Argument(help="The invoice whose line is corrected.")],
    line: Annotated[int, typer.Option(help="Position of the line.")],
    amount: Annotated[str, typer.Option(help="Before tax; above zero a debit, below it a credit.")],
    reason: Annotated[str, typer.Option(help="Why; it stands on the next invoice.")],
) -> None:
    """Put a correction of an invoice's line on the next draft of its account."""
    from flows.adjust import adjust_line
    from flows.context import hub

    made = adjust_line(hub(), invoice, line, Money.of(amount, known(Invoice, invoice).currency), reason)
    where = f"on {made.taken_by}" if made.taken_by else f"on the next draft of {made.account_id}"
    print(f"{made.id}: {made.amount} for {made.service_period}, {where}")


@disputes.command("open")
def open_dispute(
    invoice: Annotated[str, typer.Argument(help="The invoice that is objected to.")],
    reason: Annotated[str, typer.Option(help="What the customer says.")],
    amount: Annotated[str | None, typer.Option(help="With tax; default: all that is open.")] = None,
    on: Day = None,
) -> None:
    """Hold an amount of an invoice back from collection."""
    from flows import adjust as flow
    from flows.context import hub

    held = None if amount is None else Money.of(amount, known(Invoice, invoice).currency)
    dispute = flow.open_dispute(hub(), invoice, held, reason, on.date() if on else hub().now().date())
    print(f"{dispute.id}: {dispute.amount} of {dispute.invoice_id} is not collected")


@disputes.command("list")
def list_chargebacks(as_json: AsJson = False) -> None:
    """Payments that banks took back or ask about, where their money stands, and until when evidence is due."""
    from flows.chargebacks import chargebacks
    from flows.context import hub

    show(chargebacks(hub()), as_json=as_json, empty="no bank has taken a payment back")


@disputes.command("close")
def close_dispute(dispute: Annotated[str, typer.Argument(help="Like DIS-INV-...-1.")], on: Day = None) -> None:
    """End a dispute; what it held is collected again, unless a credit note takes it."""
    from flows import adjust as flow
    from flows.context import hub

    closed = flow.close_dispute(hub(), dispute, on.date() if on else hub().now().date())
    print(f"{closed.id} closed: {closed.amount} of {closed.invoice_id} is open again")


@app.command("write-off")
def write_off(
    invoice: Annotated[str, typer.Argument(help="The invoice that nobody will pay.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    amount: Annotated[str | None, typer.Option(help="With tax; default: all that is open.")] = None,
    on: Day = None,
) -> None:
    """Give up what nobody will pay of an invoice; above the limit a second person approves."""
    from flows import write_off as flow
    from flows.context import hub

    held = known(Invoice, invoice)
    wanted = None if amount is None else Money.of(amount, held.currency)
    day = on.date() if on else local_date(hub().now(), known(Account, held.account_id).timezone)
    made = flow.write_off(hub(), invoice, wanted, reason, day, operator())
    _tell_write_off(made)


@given_up.command("list")
def list_write_offs(as_json: AsJson = False) -> None:
    """Every write-off, those that wait for a second person first."""
    from flows.context import hub
    from flows.write_off import write_offs

    show(write_offs(hub()), as_json=as_json, empty="nothing was given up")


@given_up.command("approve")
def approve_write_off(ident: Annotated[str, typer.Argument(help="Like WO-INV-...-1.")]) -> None:
    """Approve what another person gave up."""
    from flows import write_off as flow
    from flows.context import hub

    _tell_write_off(flow.approve(hub(), ident, operator()))


@given_up.command("refuse")
def refuse_write_off(
    ident: Annotated[str, typer.Argument(help="Like WO-INV-...-1.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
) -> None:
    """Refuse what was given up: the invoice is open as before."""
    from flows import write_off as flow
    from flows.context import hub

    _tell_write_off(flow.refuse(hub(), ident, reason, operator()))


def _tell_write_off(made: WriteOff) -> None:
    what = f"{made.id}: {made.amount} of {made.invoice_id}"
    match made.state:
        case WriteOffState.PROPOSED:
            print(f"{what} waits for another person: `tieout write-offs approve {made.id}`")
        case WriteOffState.BOOKED:
            print(f"{what} is given up, dated {made.written_on}")
        case WriteOffState.REFUSED:
            print(f"{what} is refused: it is open as before")


@app.command()
def terms(
    account: Annotated[str, typer.Argument(help="Like A-0001.")],
    group_by: Annotated[GroupBy, typer.Option(help="What gets an invoice of its own.")] = GroupBy.ACCOUNT,
    by_parent: Annotated[ByParent, typer.Option(help="What the account above takes over.")] = ByParent.NOTHING,
    minimum: Annotated[str | None, typer.Option(help="Smaller drafts are carried to the next month.")] = None,
    exempt_by: Annotated[ExemptBy, typer.Option(help="Whose exemption holds where the parent owns.")] = ExemptBy.BUYER,
    cash_by: Annotated[CashBy, typer.Option(help="What money pays that names no invoice.")] = CashBy.AMOUNT,
) -> None:
    """State how an account is billed, from its next draft on, and what its money pays."""
    from flows.adjust import set_terms
    from flows.context import hub

    currency = known(Account, account).currency
    least = None if minimum is None else Money.of(minimum, currency)
    stated = BillingTerms(
        id=account,
        currency=currency,
        group_by=group_by,
        by_parent=by_parent,
        minimum=least,
        exempt_by=exempt_by,
        cash_by=cash_by,
    )
    set_terms(hub(), stated)
    print(f"{account}: an invoice per {group_by.value}; parent: {by_parent.value}; minimum: {least or 'none'}")


@app.command("statement")
def show_statement(
    account: Annotated[str, typer.Argument(help="Like A-0001.")],
    period: Annotated[str, typer.Option(help="A month, like 2026-10.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value.")] = False,
) -> None:
    """What an account owed before a month, its documents and payments in it, and what it owes after."""
    from flows.context import hub

    with hub().database.reading() as work:
        entries = work.find(JournalEntry, account_id=account)
    currency, receivables = known(Account, account).currency, hub().posting.accounts("receivables")
    told = statement(account, currency, entries, DateSpan.month(period), receivables)
    if as_json:
        print(told.model_dump_json(indent=2))
        return
    print(f"{account}, {told.period}: opening {told.opening}")
    for line in told.lines:
        print(f"  {line.posted_on}  {line.what:12} {line.document:32} {line.amount!s:>20}")
    print(f"closing {told.closing}")
