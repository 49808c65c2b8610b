"""``tieout catalog``: check a price book, show it, compare two, import one, print its JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from app.catalog_import import from_rate_sheet, from_stripe
from core.catalog import PriceBook, PriceBookError, load_price_book
from core.catalog_diff import differences

app = typer.Typer(help="The price book: check, diff, show, schema, import.", no_args_is_help=True)

BookFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A price book, YAML or JSON.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print data instead of text.")]


@app.command()
def check(file: BookFile, as_json: AsJson = False) -> None:
    """Load a price book and tell every mistake with its line. Exit 1 when there is any."""
    try:
        book = load_price_book(file)
        mistakes: tuple[str, ...] = ()
    except PriceBookError as error:
        mistakes = error.mistakes
    if as_json:
        typer.echo(json.dumps({"mistakes": mistakes}, indent=2))
    elif mistakes:
        typer.echo("\n".join(mistakes))
        typer.echo(f"{len(mistakes)} to correct")
    else:
        typer.echo(f"{book.name}, version {book.version}: {len(book.charges)} charges, no mistakes")
    raise typer.Exit(1 if mistakes else 0)


@app.command()
def diff(before: BookFile, after: BookFile, as_json: AsJson = False) -> None:
    """What another book says differently, field by field. Exit 1 when anything differs."""
    found = differences(load_price_book(before), load_price_book(after))
    if as_json:
        typer.echo(json.dumps([one.model_dump() for one in found], indent=2))
    else:
        for one in found:
            typer.echo(f"{one.path}: {one.before or 'nothing'} -> {one.after or 'nothing'}")
        typer.echo(f"fields that differ: {len(found)}")
    raise typer.Exit(1 if found else 0)


@app.command()
def show(file: BookFile, charge: Annotated[str | None, typer.Argument(help="A charge code.")] = None) -> None:
    """The charges of a book as a table, or one charge in full."""
    book = load_price_book(file)
    if charge is not None:
        try:
            one = book.charge(charge)
        except KeyError as error:
            raise typer.BadParameter(str(error.args[0])) from None
        typer.echo(yaml.safe_dump(one.model_dump(mode="json", exclude_unset=True), sort_keys=False), nl=False)
        return
    table = Table(
        "code", "product", "name", "kind", "every", "price", title=f"{book.name} {book.version}", title_justify="left"
    )
    for each in book.charges:
        every = f"{each.every_months} months" if each.every_months > 1 else "month"
        table.add_row(each.code, each.product_code, each.name, each.kind, every, each.model.kind)
    Console().print(table)


@app.command()
def schema() -> None:
    """The JSON Schema of a price book, for editors and other programs."""
    typer.echo(json.dumps(PriceBook.model_json_schema(), indent=2))


@app.command("import-stripe")
def import_stripe(file: Annotated[Path, typer.Argument(exists=True, help="A JSON list of Stripe prices.")]) -> None:
    """Stripe prices as the charges of a price book, in YAML."""
    content = json.loads(file.read_text(encoding="utf-8"))
    prices = content["data"] if isinstance(content, dict) else content
    typer.echo(yaml.safe_dump({"charges": from_stripe(prices)}, sort_keys=False), nl=False)


@app.command("import-sheet")
def import_sheet(
    file: Annotated[Path, typer.Argument(exists=True, help="A CSV: unit_amount, and a column per dimension.")],
    code: Annotated[str, typer.Option(help="Code of the charge.")],
    product: Annotated[str, typer.Option(help="Code of the product.")],
    meter: Annotated[str, typer.Option(help="The meter it prices.")],
) -> None:
    """A rate sheet as one charge with a price per combination of dimensions, in YAML."""
    typer.echo(yaml.safe_dump({"charges": [from_rate_sheet(file, code, product, meter)]}, sort_keys=False), nl=False)
