"""``tieout rate``: price a plan from the shell, and tell what another price book would change.

``who-changes`` and ``what-if`` look at a plan file, or at every account of the hub in a month.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.rate_files import read_bill
from core.accounts import Account
from core.catalog import PriceBook, load_price_book
from core.currencies import needs_rate
from core.errors import Misconfigured, Rejected
from core.fx import Exchange, Rates
from core.money import Money, total
from core.period import DateSpan
from core.rating import RatedLine, explain
from core.rating.compare import Bill, Delta, WhatIf, summed, what_if

app = typer.Typer(help="Pricing: preview, who-changes, what-if.", no_args_is_help=True)

Book = Annotated[Path, typer.Option(exists=True, dir_okay=False, help="A price book.")]
BookOrHubs = Annotated[Path | None, typer.Option(help="A price book; default: the hub's.", exists=True, dir_okay=False)]
OtherBook = Annotated[Path, typer.Option("--with", exists=True, dir_okay=False, help="The price book to compare with.")]
PlanFile = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A plan file, instead of the hub.")]
UsageFile = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A CSV of usage for the plan.")]
Month = Annotated[str | None, typer.Option(help="A month of the hub, like 2026-10.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print data instead of text.")]

DEMO_BOOK = Path(__file__).resolve().parent / "demo" / "northwind.yaml"


@app.command()
def preview(
    plan: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A plan file, see docs/pricing.md.")],
    usage: Annotated[Path | None, typer.Argument(exists=True, dir_okay=False, help="A CSV of usage.")] = None,
    book: Book = DEMO_BOOK,
    as_json: AsJson = False,
) -> None:
    """Price a plan file and a usage file, with the derivation of every line. The bill run calls the same function."""
    prices = load_price_book(book)
    lines = read_bill(plan, usage, prices).rated(prices)
    whole = total((line.amount for line in lines), lines[0].amount.currency if lines else prices.currency)
    if as_json:
        data = {"lines": [line.model_dump(mode="json") for line in lines], "total": str(whole.amount)}
        typer.echo(json.dumps(data, indent=2))
        return
    for line in lines:
        typer.echo(f"{explain(line)}\n")
    typer.echo(f"Total before tax: {whole}")


@app.command("who-changes")
def who_changes(
    other: OtherBook,
    book: BookOrHubs = None,
    plan: PlanFile = None,
    usage: UsageFile = None,
    period: Month = None,
    as_json: AsJson = False,
) -> None:
    """The accounts that another price book (or an edit of a layer) moves, and by how much."""
    changed = _compared(_current(book, plan), load_price_book(other), plan, usage, period)
    sums = _by_account(changed)
    if as_json:
        _print({"accounts": _plain(sums), "left_out": changed.left_out})
        return
    _tell("account", sums)
    _tell_left_out(changed)


@app.command("what-if")
def what_if_(
    other: OtherBook,
    book: BookOrHubs = None,
    plan: PlanFile = None,
    usage: UsageFile = None,
    period: Month = None,
    as_json: AsJson = False,
    booked: Annotated[str | None, typer.Option("--book-as", help="Bill the difference next, for this reason.")] = None,
) -> None:
    """Rate again with another price book: the exact difference per line, account and product.

    Nothing is kept, unless the difference is booked: then the next draft of each account carries it as an adjustment.
    """
    if booked is not None and plan is not None:
        raise Misconfigured("only a month of the hub (--period) can be booked, not a plan file")
    changed = _compared(_current(book, plan), load_price_book(other), plan, usage, period)
    if booked is not None:
        from flows.adjust import book_difference
        from flows.context import hub

        made = book_difference(hub(), changed.deltas, booked)
        typer.echo(f"{len(made)} adjustments booked: {booked}", err=True)
    if as_json:
        rows = [delta.model_dump(mode="json") | {"difference": str(delta.amount.amount)} for delta in changed.deltas]
        _print({"lines": rows, "left_out": changed.left_out})
        return
    _tell_lines(changed.deltas)
    _tell("account", _by_account(changed))
    _tell("product", summed(changed.deltas, lambda delta: delta.product_code))
    _tell("total", summed(changed.deltas, lambda delta: delta.amount.currency))
    _tell_left_out(changed)


def _compared(before: PriceBook, after: PriceBook, plan: Path | None, usage: Path | None, period: str | None) -> WhatIf:
    """What differs on the plan file, or on every account of the hub in the month."""
    if plan is not None:
        return what_if([read_bill(plan, usage, before)], before, after)
    if period is None:
        raise Misconfigured("name a plan file (--plan) or a month of the hub (--period)")
    bills, left_out = _bills_of_hub(DateSpan.month(period), before, after)
    found = what_if(bills, before, after)
    return WhatIf(found.deltas, {**left_out, **found.left_out})


def _current(book: Path | None, plan: Path | None) -> PriceBook:
    """The book named; else the demo's for a plan file, and the hub's own for its accounts."""
    if book is not None or plan is not None:
        return load_price_book(book or DEMO_BOOK)
    from flows.context import hub

    return hub().price_book


def _bills_of_hub(period: DateSpan, before: PriceBook, after: PriceBook) -> tuple[list[Bill], dict[str, str]]:
    """Every account with its subscriptions and the usage that its bill knew, or all usage where it has none yet.

    And, by account, why the books cannot price it in its currency.
    """
    from flows.context import hub
    from flows.measure import contracts, measure
    from flows.units import held_units

    month = f"{period.start:%Y-%m}"
    with hub().database.reading() as work:
        accounts = work.find(Account)
        abroad = [one.id for one in accounts if {one.currency} != {before.currency, after.currency}]
        lines = work.find(RatedLine, account_id=abroad, billing_period=month)
        subscriptions, rated = contracts(work, accounts), work.sums.rated_months()
        held, rates = held_units(work, list(subscriptions), month), hub().rates(work)
    billed = {line.account_id: line.derivation.exchange for line in lines if line.derivation.exchange is not None}
    exchange, left_out = {}, {}
    for one in accounts:
        try:
            exchange[one.id] = rate_of(one, (before, after), billed.get(one.id), rates, period.last_day)
        except Rejected as refused:
            left_out[one.id] = str(refused)
    known = {one.id: rated.get(one.id, {}).get(month) for one in accounts}
    metered = measure(hub(), before, period, accounts, subscriptions, known)
    bills = [
        Bill(
            one,
            subscriptions[one.id],
            period,
            metered.get(one.id, []),
            held=held.get(one.id, ()),
            exchange=exchange[one.id],
        )
        for one in accounts
        if one.id in exchange
    ]
    return bills, left_out


def rate_of(
    account: Account, books: Sequence[PriceBook], billed: Exchange | None, rates: Rates, on: date
) -> Exchange | None:
    """The rate that the account's bill has, where it has one, else that of the day; None where no book converts."""
    bases = {book.currency for book in books if needs_rate(book, account.currency)}
    if not bases:
        return None
    if len(bases) > 1:
        why = f"both books convert to {account.currency}, from {' and '.join(sorted(bases))}"
        raise Rejected(why, record=account.id, field="currency", value=account.currency)
    (base,) = bases
    return billed if billed is not None and billed.base == base else rates.exchange(base, account.currency, on)


def _by_account(changed: WhatIf) -> dict[str, Money]:
    return summed(changed.deltas, lambda delta: delta.account_id)


def _tell_lines(deltas: Iterable[Delta]) -> None:
    table = Table("line", "site", "service period", "before", "after", "difference")
    for delta in deltas:
        sides = [str(side or "nothing") for side in (delta.before, delta.after)]
        table.add_row(delta.line_id, delta.site_id or "", str(delta.service_period), *sides, str(delta.amount))
    Console().print(table)


def _tell(name: str, sums: Mapping[str, Money]) -> None:
    for key, amount in sums.items():
        typer.echo(f"{name} {key}: {amount}")
    if not sums:
        typer.echo(f"no {name} changes")


def _tell_left_out(changed: WhatIf) -> None:
    for account, why in changed.left_out.items():
        typer.echo(f"not in it, account {account}: {why}")


def _plain(sums: Mapping[str, Money]) -> dict[str, str]:
    return {key: str(amount.amount) for key, amount in sums.items()}


def _print(data: object) -> None:
    typer.echo(json.dumps(data, indent=2))
