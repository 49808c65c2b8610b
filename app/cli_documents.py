"""Commands about single documents: ``tieout credit-note``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from core.accounts import Account
from core.errors import Rejected
from core.invoicing import Invoice
from core.money import Money
from core.period import local_date

app = typer.Typer()

Day = Annotated[datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="Date; default: today there.")]


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
    with hub().database.reading() as work:
        held = work.get(Invoice, invoice)
        account = held and work.get(Account, held.account_id)
    if held is None:
        raise Rejected(f"there is no invoice {invoice}", record=invoice, field="invoice")
    amounts = [Money.of(one, held.currency) for one in amount] if amount else [None] * len(line or ())
    day = on.date() if on else local_date(hub().now(), account.timezone if account else "UTC")
    leftover = Leftover.REFUND if refund else Leftover.BALANCE
    note = credit_invoice(hub(), invoice, dict(zip(line or (), amounts, strict=True)), reason, day, leftover)
    print(f"{note.id}: {note.total} = {note.subtotal} + tax {note.tax}, dated {note.credit_date}")
    for applied in note.applied:
        print(f"  {applied.amount} lowers {applied.invoice_id}")
    if note.refunded:
        print(f"  {note.refunded} goes back to the customer")
    if note.left:
        print(f"  {note.left} stays as a balance of {note.account_id}")
