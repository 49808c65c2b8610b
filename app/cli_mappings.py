"""``tieout mappings``: check the mapping files, run their examples, show one as a table, replay one, start one.

``check`` and ``test`` exit with 1 when something is wrong. ``--json`` prints the same as data.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from core.mapping import Mapping, inspect_book
from core.mapping.show import rows
from core.mapping.values import shown

app = typer.Typer(help="Mapping files: check, test, show, replay, new.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option(help="Where the mapping files are.", exists=True, file_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print data instead of a table.")]

HERE = Path(__file__).resolve().parent.parent / "mappings"


@app.command()
def check(
    folder: Folder = HERE,
    as_json: AsJson = False,
    live: Annotated[str, typer.Option(help="Compare with the fields that this system in use describes now.")] = "",
) -> None:
    """Load every file: grammar, paths, targets, tables. Exit 1 on problems."""
    if live:
        _check_live(live, as_json=as_json)
        return
    book, problems = inspect_book(folder)
    files = [
        {
            "file": mapping.file,
            "record": mapping.record,
            "resource": mapping.resource,
            "direction": mapping.direction,
            "fields": len(mapping.spec.fields),
            "examples": len(mapping.examples),
            "version": mapping.version,
        }
        for mapping in book
    ]
    if as_json:
        _print_json({"mappings": files, "problems": [asdict(problem) for problem in problems]})
    else:
        _print_table(["file", "record", "resource", "direction", "fields", "examples", "version"], files)
        for problem in problems:
            typer.echo(str(problem))
        typer.echo(f"{len(files)} mappings load, {len(problems)} problems")
    raise typer.Exit(1 if problems else 0)


def _check_live(system: str, *, as_json: bool) -> None:
    """The mappings in use; what differs stands on the error desk afterwards."""
    from flows.check_mappings import check_all
    from flows.context import hub

    report = check_all(hub(), _in_use(system))
    if as_json:
        _print_json({**report.data(), "differences": report.rows})
    else:
        if report.rows:
            _print_table(list(report.rows[0]), report.rows)
        typer.echo(report.headline)
        for failure in report.failures if not report.rows else ():
            typer.echo(failure.message)
    raise typer.Exit(1 if report.failures else 0)


def _in_use(system: str) -> str:
    from flows.context import hub

    if system not in hub().systems:
        raise typer.BadParameter(f"{system} is not in use; there is {', '.join(hub().systems)}")
    return system


@app.command("test")
def run_examples(folder: Folder = HERE, as_json: AsJson = False, system: str | None = None) -> None:
    """Run the examples written in the files. Exit 1 when one comes out otherwise, or a file does not load."""
    book, problems = inspect_book(folder)
    chosen = [mapping for mapping in book if system in (None, mapping.system)]
    problems = [problem for problem in problems if system is None or problem.file.startswith((f"{system}/", "tables/"))]
    failures = [(mapping.file, failure) for mapping in chosen for failure in mapping.run_examples()]
    run = sum(len(mapping.examples) for mapping in chosen)
    if as_json:
        _print_json(
            {
                "examples": run,
                "failures": [
                    {
                        "file": file,
                        "example": failure.example,
                        "path": failure.path,
                        "expected": shown(failure.expected),
                        "got": shown(failure.got),
                    }
                    for file, failure in failures
                ],
                "problems": [asdict(problem) for problem in problems],
            }
        )
    else:
        for problem in problems:
            typer.echo(str(problem))
        for file, failure in failures:
            typer.echo(f"{file}: {failure}")
        typer.echo(
            f"{run} examples of {len(chosen)} mappings, {len(failures)} differences, {len(problems)} load problems"
        )
    raise typer.Exit(1 if failures or problems else 0)


@app.command()
def show(system: str, record: str, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Print the mappings of a record at a system as tables: target field, what it takes, rule, when missing."""
    book, problems = inspect_book(folder)
    found = [mapping for mapping in book if (mapping.system, mapping.record) == (system, record)]
    if not found:
        known = sorted({mapping.record for mapping in book if mapping.system == system})
        typer.echo(f"no mapping of {record} at {system} loads; there is {', '.join(known) or 'none'}", err=True)
        for problem in problems:
            if problem.file.startswith(f"{system}/"):
                typer.echo(str(problem), err=True)
        raise typer.Exit(1)
    if as_json:
        _print_json([_described(mapping) for mapping in found])
        return
    for mapping in found:
        here, there = "our " + record, f"{system} {mapping.resource}"
        typer.echo(
            f"\n{there if mapping.direction == 'in' else here} -> {here if mapping.direction == 'in' else there}"
        )
        typer.echo(f"{mapping.file}, version {mapping.version}, {mapping.spec.api}")
        _print_table(["field", "takes", "rule", "missing", "note"], [asdict(row) for row in rows(mapping.spec)])


@app.command()
def replay(
    since: Annotated[datetime, typer.Option(help="Records sent at that time (UTC) or later, like 2026-11-01.")],
    file: Annotated[Path, typer.Option("--with", help="The changed mapping file.", exists=True, dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Show what a changed mapping would alter in records already sent, and the money; write nothing."""
    from flows.context import hub
    from flows.replay_mapping import replay as replayed

    report = replayed(hub(), file, since.replace(tzinfo=UTC))
    if as_json:
        _print_json({**report.data(), "changes": report.rows})
        return
    if report.rows:
        _print_table(list(report.rows[0]), report.rows)
    typer.echo(report.headline)


@app.command()
def new(
    system: str,
    record: str,
    resource: Annotated[str, typer.Option(help="A row of the connector; default: the record's name.")] = "",
    direction: Annotated[str, typer.Option(help="out or in.")] = "out",
    out: Annotated[Path | None, typer.Option(help="Write the file here; it must not exist.")] = None,
) -> None:
    """Start a mapping file from what a system in use describes. Exit 1 while a demanded field is undecided."""
    from flows.context import hub
    from flows.new_mapping import new_mapping

    if direction not in ("out", "in"):
        raise typer.BadParameter("out or in", param_hint="--direction")
    if out is not None and out.exists():
        raise typer.BadParameter(f"{out} is there already; choose another name, or move it away", param_hint="--out")
    made = new_mapping(hub(), _in_use(system), record, resource or record, direction)
    if out is None:
        typer.echo(made.text)
    else:
        with out.open("x", encoding="utf-8") as file:
            file.write(made.text)
    for name in made.undecided:
        typer.echo(f"undecided: {name}; the file does not load before it has an operator", err=True)
    raise typer.Exit(1 if made.undecided else 0)


def _described(mapping: Mapping) -> dict[str, Any]:
    return {
        "file": mapping.file,
        "version": mapping.version,
        "direction": mapping.direction,
        "resource": mapping.resource,
        "api": mapping.spec.api,
        "source": mapping.spec.source,
        "fields": [asdict(row) for row in rows(mapping.spec)],
    }


def _print_table(columns: list[str], records: list[dict[str, Any]]) -> None:
    used = [column for column in columns if any(record[column] for record in records)]
    table = Table()
    for column in used:
        table.add_column(column, overflow="fold")
    for record in records:
        table.add_row(*(str(record[column]) for column in used))
    Console(markup=False).print(table)


def _print_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    app()
