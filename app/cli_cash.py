"""``tieout cash``: money on our own bank accounts: take bank files in, see what is left, and say what it pays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.operators import operator
from app.printing import AsJson, show
from core.cash import CashReceipt
from core.money import Money

app = typer.Typer(help="Money on our own bank accounts, and the invoices it pays.", no_args_is_help=True)

ReceiptId = Annotated[str, typer.Argument(help="Like RCT-0123456789ab.")]


@app.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A BAI2 statement, ACH returns (NACHA), or a CSV.")
    ],
    entity: Annotated[
        str | None, typer.Option(help="The legal entity of the bank account; default: the first.")
    ] = None,
) -> None:
    """Take a bank file in whole, or refuse it whole with file, line and field; the same file again changes nothing."""
    from flows.bank import import_bank_file
    from flows.context import hub

    print(import_bank_file(hub(), file, entity, operator()))


@app.command("list")
def list_left(as_json: AsJson = False) -> None:
    """Receipts with money left on them, whose they are, and what to look at first."""
    from flows.apply_cash import unapplied
    from flows.context import hub

    show(unapplied(hub()), as_json=as_json, empty="all that came in is applied")


@app.command()
def match(as_json: AsJson = False) -> None:
    """Apply all that rules can match, as the flow Apply cash does."""
    from flows.apply_cash import apply_receipts
    from flows.context import hub

    report = apply_receipts(hub())
    show(report.rows, as_json=as_json, empty="nothing to apply", title=report.headline)


@app.command()
def apply(
    receipt: ReceiptId,
    invoice: Annotated[str, typer.Argument(help="Like INV-2026-10-A-0001.")],
    amount: Annotated[str | None, typer.Option(help="Default: all that is left and open.")] = None,
) -> None:
    """Say which invoice money pays; it is then the customer's who pays that invoice."""
    from app.cli_documents import known
    from flows.apply_cash import apply_to
    from flows.context import hub

    wanted = None if amount is None else Money.of(amount, known(CashReceipt, receipt).currency)
    made = apply_to(hub(), receipt, invoice, wanted, operator())
    print(f"{made.id}: {made.amount} pays {invoice}; {known(CashReceipt, receipt).left} is left of {receipt}")


@app.command()
def unapply(
    application: Annotated[str, typer.Argument(help="Like APP-RCT-0123456789ab-1.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
) -> None:
    """Take an application back: the invoice is open again and the money left."""
    from flows import apply_cash as flow
    from flows.context import hub

    made = flow.unapply(hub(), application, reason, operator())
    print(f"{made.id}: {made.amount} of {made.invoice_id} is open again")


@app.command()
def identify(receipt: ReceiptId, account: Annotated[str, typer.Argument(help="Like A-0001.")]) -> None:
    """Say whose money it is; the next receipt of the same payer is then known by itself."""
    from flows import apply_cash as flow
    from flows.context import hub

    made = flow.identify(hub(), receipt, account, operator())
    print(f"{receipt}: {made.left} is {account}'s")


@app.command("return")
def return_money(
    receipt: ReceiptId, reason: Annotated[str, typer.Option(help="As the bank gives it, like R01.")]
) -> None:
    """The money went back to its payer: what it paid is open again."""
    from flows.apply_cash import return_receipt
    from flows.context import hub

    back = return_receipt(hub(), receipt, reason, hub().now().date(), operator())
    print(f"{receipt}: {back.amount} went back" if back else f"{receipt} went back before")
