"""``tieout ledger``: what was booked, by account and month, and the posting rules that booked it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.printing import AsJson, show
from core.errors import Rejected
from core.posting_file import load_posting_rules, sides
from core.posting_rules import PostingRules, Rule
from core.subledgers import SUBLEDGERS, Roll, roll_forward, subledger, trial_balance

app = typer.Typer(help="What was booked, and the rules that booked it.", no_args_is_help=True)
rules_app = typer.Typer(help="Posting rules: which event books what.", no_args_is_help=True)
app.add_typer(rules_app, name="rules")

Period = Annotated[str, typer.Option(help="A month, like 2026-10.")]
Entity = Annotated[str | None, typer.Option(help="A legal entity; default: all.")]
File = Annotated[Path | None, typer.Argument(exists=True, dir_okay=False, help="Default: those in use.")]


@app.command("show")
def show_subledger(
    period: Period,
    name: Annotated[str | None, typer.Argument(help="A subledger, like receivables; default: all accounts.")] = None,
    entity: Entity = None,
    as_json: AsJson = False,
) -> None:
    """Roll-forward of a month: what each account held before it, what every event moved, and what it holds after."""
    from flows.context import hub

    if name is not None and name not in SUBLEDGERS:
        raise Rejected(f"there is no subledger {name!r}; there is {', '.join(SUBLEDGERS)}", field="name", value=name)
    rules = hub().posting
    with hub().database.reading() as work:
        booked = work.sums.booked(entity, period)
    rolls = subledger(rules, booked, name, period) if name else roll_forward(booked, period)
    names = _names()
    rows = [row for roll in rolls for row in _rolled(roll, names)]
    show(rows, as_json=as_json, empty=f"nothing was booked up to {period}")


def _rolled(roll: Roll, names: dict[str, str]) -> list[dict[str, str]]:
    steps = {"opening": roll.opening, **roll.movements, "closing": roll.closing}
    account = " ".join(filter(None, (roll.ledger_account, names.get(roll.ledger_account, ""))))
    return [
        {
            "entity": roll.entity,
            "account": account,
            "detail": roll.detail,
            "what": what,
            "amount": str(amount.amount),
            "currency": amount.currency,
        }
        for what, amount in steps.items()
    ]


@app.command("trial-balance")
def show_trial_balance(period: Period, entity: Entity = None, as_json: AsJson = False) -> None:
    """The balance of every account at the end of a month; debits equal credits in every entity and currency."""
    from flows.context import hub

    with hub().database.reading() as work:
        lines = trial_balance(work.sums.booked(entity, period), period)
    names = _names()
    rows = [
        {
            "entity": line.entity,
            "account": line.ledger_account,
            "name": names.get(line.ledger_account, ""),
            "debit": str(line.debit.amount) if line.debit else "",
            "credit": str(line.credit.amount) if line.credit else "",
            "currency": line.debit.currency,
        }
        for line in lines
    ]
    show(rows, as_json=as_json, empty=f"nothing was booked up to {period}")


def _names() -> dict[str, str]:
    from flows.context import hub
    from flows.prepare import chart

    return {account.code: account.name for account in chart(hub().posting, hub().price_book)}


@app.command()
def verify() -> None:
    """Sum every journal line anew, and compare with the balances that the database keeps."""
    from flows.context import hub

    with hub().database.reading() as work:
        kept, summed = work.sums.booked(), work.sums.booked_by_entry()
    for one in set(kept) ^ set(summed):
        print(f"{one.entity} {one.month} {one.ledger_account} {one.event}: {one.net} is kept, and is not the sum")
    if kept != summed:
        raise typer.Exit(1)
    print(f"{len(kept)} balances are the sums of their entries")


@rules_app.command("check")
def check_rules(file: File = None) -> None:
    """Load a file of posting rules with all its examples, and print every rule; or every mistake, with its line."""
    rules = _rules(file)
    show([_row(rule) for rule in rules.rules], as_json=False, empty="", title=f"posting rules {rules.version}")
    print(f"{len(rules.rules)} rules, {len(rules.chart)} accounts, {len(rules.examples)} examples come out as they say")


def _row(rule: Rule) -> dict[str, str]:
    when = ", ".join(
        f"{name} is {' or '.join(wanted) if isinstance(wanted, list) else str(wanted).lower()}"
        for name, wanted in rule.when.items()
    )
    return {
        "rule": rule.id,
        "via": rule.via,
        "of": f"{rule.part} of {rule.event}",
        "when": when,
        "debits": rule.debit,
        "credits": rule.credit,
        "segments": ", ".join(rule.segments),
    }


@rules_app.command("test")
def try_rules(file: File = None, as_json: AsJson = False) -> None:
    """What the rules book of each of their examples."""
    rules = _rules(file)
    rows = [
        {
            "example": example.name,
            "event": example.event,
            "way": entry.via.value,
            "debits": ", ".join(f"{code} {amount}" for code, amount in sides(entry)["debit"].items()),
            "credits": ", ".join(f"{code} {amount}" for code, amount in sides(entry)["credit"].items()),
        }
        for example in rules.examples
        for entry in rules.book(example.fact())
    ]
    show(rows, as_json=as_json, empty="there is no example")


def _rules(file: Path | None) -> PostingRules:
    from flows.context import hub

    return load_posting_rules(file) if file else hub().posting
