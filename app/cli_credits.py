"""``tieout credits``: grant, list and void credit of accounts, in money and in units, and sell top-ups."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

import typer

from app.cli_documents import known
from app.operators import operator
from app.printing import AsJson, show
from core.accounts import Account
from core.exact import to_decimal
from core.money import Money, as_fraction
from core.period import DateSpan, local_date
from core.rating.derivation import plain
from core.units import UnitBalance
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

    held = known(Account, account)
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


@app.command()
def units(
    account: AccountId,
    amount: Annotated[str, typer.Argument(help="Units of the charge, like 1000.")],
    reason: Reason,
    charge: Annotated[list[str], typer.Option(help="A charge whose usage takes them; may be repeated.")],
    first: Annotated[str, typer.Option("--from", help="The first billing month, like 2026-11.")],
    until: Annotated[str | None, typer.Option(help="The first month they are gone; default: never.")] = None,
    priority: Annotated[int, typer.Option(help="Lower is drawn first.")] = 0,
) -> None:
    """Give units beyond what a plan includes, for whole billing months; what a month leaves goes on to the next."""
    from flows.context import hub
    from flows.units import grant_units

    made = grant_units(
        hub(),
        account,
        to_decimal(as_fraction(amount)),
        tuple(charge),
        reason,
        _day(None, known(Account, account)),
        DateSpan.month(first).start,
        DateSpan.month(until).start if until else None,
        priority,
    )
    print(f"{made.id}: {made.units} units for {account}, from {made.effective_on}{_until(made.expires_on)}")


@app.command("top-up")
def top_up(account: AccountId, amount: Amount, on: Day = None) -> None:
    """Bill prepaid credit on the next draft; it is usable once that invoice is paid."""
    from flows import credits as flow
    from flows.context import hub

    held = known(Account, account)
    made = flow.top_up(hub(), account, Money.of(amount, held.currency), _day(on, held))
    print(f"{made.id}: {made.amount} of {made.charge_code}, on the next draft of {account}")


@app.command("list")
def list_credits(
    account: Annotated[str | None, typer.Argument(help="Like A-0001; default: all.")] = None, as_json: AsJson = False
) -> None:
    """What each credit was granted for and what is left of it, and what units did month by month."""
    from flows.context import hub

    with hub().database.reading() as work:
        of = {} if account is None else {"account_id": account}
        found, balances = work.find(CreditGrant, **of), work.find(UnitBalance, **of)
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
    rows += [
        {
            "credit": one.source,
            "account": one.account_id,
            "kind": f"units, {one.period}",
            "granted": plain(one.opening + one.granted),
            "left": plain(one.closing),
            "expires": one.last or "",
            "for": one.allowance or "",
            "reason": "",
        }
        for one in balances
    ]
    show(rows, as_json=as_json, empty="no credit was granted")


@app.command()
def void(credit: Annotated[str, typer.Argument(help="Like CR-A-0001-...")], on: Day = None) -> None:
    """Take back what is left of promotional credit."""
    from flows.context import hub
    from flows.credits import void_credit

    gone = void_credit(hub(), credit, on.date() if on else hub().now().date())
    print(f"{credit}: {gone.amount} taken back")


def _day(on: datetime | None, account: Account) -> date:
    from flows.context import hub

    return on.date() if on else local_date(hub().now(), account.timezone)


def _until(expires_on: date | None) -> str:
    return "" if expires_on is None else f", until {expires_on}"
