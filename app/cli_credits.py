"""``tieout credits``: grant, list and void credit of accounts, in money and in units, and sell top-ups."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

import typer

from app.operators import operator
from app.printing import AsJson, show
from core.accounts import Account
from core.errors import Rejected
from core.money import Money
from core.period import local_date
from core.wallets import CreditGrant

app = typer.Typer(help="Credit of accounts, in money and in units.", no_args_is_help=True)

AccountId = Annotated[str, typer.Argument(help="Like A-0001.")]
Amount = Annotated[str, typer.Argument(help="In the currency of the account, like 250.00.")]
Reason = Annotated[str, typer.Option(help="Why; it stands on the invoice.")]
Codes = Annotated[list[str] | None, typer.Option("--charge", help="A charge it is for; may be repeated. None: any.")]
Day = Annotated[datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="Date; default: today there.")]
Expiry = Annotated[
    datetime | None, typer.Option("--expires", formats=["%Y-%m-%d"], help="The first day it is gone; default: never.")
]


@app.command()
def grant(
    account: AccountId,
    amount: Amount,
    reason: Reason,
    charge: Codes = None,
    expires: Expiry = None,
    priority: Annotated[int, typer.Option(help="Lower is drawn first.")] = 50,
    on: Day = None,
) -> None:
    """Give promotional credit: it lowers the lines of the next drafts, before tax."""
    from flows.context import hub
    from flows.credits import grant_credit

    held = _account(account)
    made = grant_credit(
        hub(),
        account,
        Money.of(amount, held.currency),
        reason,
        operator(),
        _day(on, held),
        expires.date() if expires else None,
        tuple(charge or ()),
        priority,
    )
    print(f"{made.id}: {made.amount} for {account}, {made.left} left{_until(made.expires_on)}")


@app.command("top-up")
def top_up(account: AccountId, amount: Amount, on: Day = None) -> None:
    """Bill prepaid credit on the next draft; it is usable once that invoice is paid."""
    from flows import credits as flow
    from flows.context import hub

    held = _account(account)
    made = flow.top_up(hub(), account, Money.of(amount, held.currency), _day(on, held))
    print(f"{made.id}: {made.amount} of {made.charge_code}, on the next draft of {account}")


@app.command("list")
def list_credits(
    account: Annotated[str | None, typer.Argument(help="Like A-0001; default: all.")] = None, as_json: AsJson = False
) -> None:
    """What each credit was granted for, and what is left of it."""
    from flows.context import hub

    with hub().database.reading() as work:
        found = work.find(CreditGrant, **({} if account is None else {"account_id": account}))
    rows = [
        {
            "credit": one.id,
            "account": one.account_id,
            "kind": one.kind.value,
            "granted": str(one.amount),
            "left": str(one.left),
            "expires": "" if one.expires_on is None else one.expires_on.isoformat(),
            "for": ", ".join(one.charges) or "any charge",
            "reason": one.reason,
        }
        for one in found
    ]
    show(rows, as_json=as_json, empty="no credit was granted")


@app.command()
def void(credit: Annotated[str, typer.Argument(help="Like CR-A-0001-...")], on: Day = None) -> None:
    """Take back what is left of promotional credit."""
    from flows.context import hub
    from flows.credits import void_credit

    gone = void_credit(hub(), credit, on.date() if on else hub().now().date())
    print(f"{credit}: {gone.amount} taken back")


def _account(ident: str) -> Account:
    from flows.context import hub

    with hub().database.reading() as work:
        held = work.get(Account, ident)
    if held is None:
        raise Rejected(f"there is no account {ident}", record=ident, field="account")
    return held


def _day(on: datetime | None, account: Account) -> date:
    from flows.context import hub

    return on.date() if on else local_date(hub().now(), account.timezone)


def _until(expires_on: date | None) -> str:
    return "" if expires_on is None else f", until {expires_on}"
