"""``tieout rates``: load dated exchange rates from a file, and show them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.printing import AsJson, show
from core.fx import FxRate

app = typer.Typer(help="Dated exchange rates.", no_args_is_help=True)


@app.command()
def load(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="CSV or YAML: valid_on, base, quote, rate.")
    ],
    source: Annotated[str, typer.Option(help="Who says so: ECB, a bank, the treasury.")],
) -> None:
    """Load a file of rates whole, or refuse it with every mistake. A rate that was loaded never changes."""
    from flows.context import hub
    from flows.exchange import load_rates

    fresh, known = load_rates(hub(), file, source)
    print(f"{fresh} rates loaded, {known} known before")


@app.command("list")
def list_rates(
    pair: Annotated[str | None, typer.Argument(help="Like EUR/USD; default: all.")] = None, as_json: AsJson = False
) -> None:
    """What one unit of the first currency was worth, with source and day."""
    from flows.context import hub

    base, _, quote = (pair or "").partition("/")
    if pair and not (base and quote):
        raise ValueError(f"{pair!r} is not a pair of currencies; write it like EUR/USD")
    wanted = {"base": base, "quote": quote} if pair else {}
    with hub().database.reading() as work:
        found = work.find(FxRate, **wanted)
    rows = [
        {
            "pair": f"{one.base}/{one.quote}",
            "on": one.valid_on.isoformat(),
            "rate": str(one.rate),
            "source": one.source,
            "recorded": f"{one.recorded_at:%F %T} UTC",
        }
        for one in found
    ]
    show(rows, as_json=as_json, empty="no rate was loaded")
