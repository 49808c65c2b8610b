"""``tieout rate``: price a plan from the shell, and tell what another price book would change.

``who-changes`` and ``what-if`` look at a plan file, or at every account of the hub in a month.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.rate_files import read_bill
from core.accounts import Account
from core.catalog import PriceBook, load_price_book
from core.currencies import needs_rate
from core.errors import Misconfigured
from core.money import Money, total
from core.period import DateSpan
from core.rating import explain
from core.rating.compare import Bill, Delta, summed, what_if
from core.rating.compare import who_changes as moved

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
    before = _current(book, plan)
    sums = moved(_bills(before, plan, usage, period), before, load_price_book(other))
    _tell("account", sums, as_json)


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
    before = _current(book, plan)
    deltas = what_if(_bills(before, plan, usage, period), before, load_price_book(other))
    if booked is not None:
        from flows.adjust import book_difference
        from flows.context import hub

        made = book_difference(hub(), deltas, booked)
        typer.echo(f"{len(made)} adjustments booked: {booked}", err=True)
    if as_json:
        rows = [delta.model_dump(mode="json") | {"difference": str(delta.amount.amount)} for delta in deltas]
        typer.echo(json.dumps(rows, indent=2))
        return
    _tell_lines(deltas)
    _tell("account", summed(deltas, lambda delta: delta.account_id), as_json)
    _tell("product", summed(deltas, lambda delta: delta.product_code), as_json)


def _current(book: Path | None, plan: Path | None) -> PriceBook:
    """The book named; else the demo's for a plan file, and the hub's own for its accounts."""
    if book is not None or plan is not None:
        return load_price_book(book or DEMO_BOOK)
    from flows.context import hub

    return hub().price_book


def _bills(book: PriceBook, plan: Path | None, usage: Path | None, period: str | None) -> list[Bill]:
    if plan is not None:
        return [read_bill(plan, usage, book)]
    if period is None:
        raise Misconfigured("name a plan file (--plan) or a month of the hub (--period)")
    return _bills_of_hub(DateSpan.month(period))


def _bills_of_hub(period: DateSpan) -> list[Bill]:
    """Every account with its subscriptions and the usage that its bill knew, or all usage where it has none yet."""
    from flows.context import hub
    from flows.measure import contracts, measure
    from flows.units import held_units

    book = hub().price_book
    with hub().database.reading() as work:
        accounts = work.find(Account)
        subscriptions, rated = contracts(work, accounts), work.sums.rated_months()
        held, rates = held_units(work, list(subscriptions), f"{period.start:%Y-%m}"), hub().rates(work)
    exchange = {
        currency: rates.exchange(book.currency, currency, period.last_day)
        for currency in {one.currency for one in accounts}
        if needs_rate(book, currency)
    }
    known = {one.id: rated.get(one.id, {}).get(f"{period.start:%Y-%m}") for one in accounts}
    metered = measure(hub(), book, period, accounts, subscriptions, known)
    return [
        Bill(
            one,
            subscriptions[one.id],
            period,
            metered.get(one.id, []),
            held=held.get(one.id, ()),
            exchange=exchange.get(one.currency),
        )
        for one in accounts
    ]


def _tell_lines(deltas: Iterable[Delta]) -> None:
    table = Table("line", "site", "service period", "before", "after", "difference")
    for delta in deltas:
        sides = [str(side or "nothing") for side in (delta.before, delta.after)]
        table.add_row(delta.line_id, delta.site_id or "", str(delta.service_period), *sides, str(delta.amount))
    Console().print(table)


def _tell(name: str, sums: dict[str, Money], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({key: str(amount.amount) for key, amount in sums.items()}, indent=2))
        return
    for key, amount in sums.items():
        typer.echo(f"{name} {key}: {amount}")
    if not sums:
        typer.echo(f"no {name} changes")
