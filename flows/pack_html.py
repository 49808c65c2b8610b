"""The page of a pack: what approvers and auditors read first. One file, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape
from pathlib import Path

from core.close import Verdict
from flows.pack_figures import Bar, Grid, contracts, figures, grouped, state_in_words, tied, title, to_earn, waterfall
from flows.pack_month import LISTED, Month, aged, columns_of_aging

STYLE = Path(__file__).with_name("pack.css").read_text(encoding="utf-8")


def page(month: Month) -> str:
    """The whole page."""
    close = month.close
    sections = [
        _head(month),
        _figures(month),
        _journals(month),
        _charts(month),
        _contracts(month),
        _trial_balance(month),
        _aging(month),
        _ties(month),
        _people(month),
        _read_back(month),
        f"<footer class=soft>Every figure stands in a file of this folder; <code>manifest.json</code> has the hash of "
        f"each. <code>tieout close verify {escape(close.id)}</code> checks them without the database. Posting rules "
        f"<code>{month.hub.posting.version}</code>.</footer>",
    ]
    title = f"Close of {close.period}, {escape(month.entity_name)}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{''.join(sections)}</main></body></html>"
    )


def _head(month: Month) -> str:
    close = month.close
    style = "good" if month.is_final else "bad"
    return (
        f"<header><div><h1>Close of {close.period}</h1><p>{escape(month.entity_name)} ({escape(close.entity)}), "
        f"{close.currency}; general ledger: {escape(month.hub.system('erp'))}</p>"
        f"<p class=soft>{close.id}; cut-off {close.cut_off:%F %H:%M} UTC; begun {close.frozen_at:%F %H:%M} UTC by "
        f"{escape(close.started_by)}</p></div>"
        f"<div class='badge {style}'>{escape(state_in_words(month))}</div></header>"
    )


def _figures(month: Month) -> str:
    shown = "".join(f"<div class=figure>{escape(name)}<b>{escape(value)}</b></div>" for name, value in figures(month))
    return f"<div class=figures>{shown}</div>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, total: Sequence[str] = ()) -> str:
    """A table whose columns with a ``>`` before their head are right-aligned; ``total``: its last row."""

    def cells(values: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if head.startswith('>') else ''}>{value.removeprefix('>')}</{tag}>"
            for head, value in zip(heads, values, strict=True)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    last = f"<tr class=total>{cells(total, 'td')}</tr>" if total else ""
    return f"<table><thead><tr>{cells(heads, 'th')}</tr></thead><tbody>{body}{last}</tbody></table>"


def _journals(month: Month) -> str:
    heading = "<h2>Journals of this close</h2>"
    journals = month.journals
    if not journals.number:
        return heading + "<p>Nothing was left to post: every journal of the month stands in the general ledger.</p>"
    rows = [
        [escape(code), escape(month.name_of(code)), currency, grouped(debit), grouped(credit)]
        for (code, currency), (debit, credit) in sorted(journals.sides.items())
    ]
    whole = _table(["account", "name", "currency", ">debit", ">credit"], rows, total=_sums(month))
    listed = [
        [
            escape(one.id),
            escape(one.event),
            one.posted_on,
            escape(one.memo),
            str(one.lines),
            grouped(one.debits),
        ]
        for one in journals.listed
    ]
    more = journals.number - len(journals.listed)
    note = f"<p class=soft>and {more:,} more in journals.csv</p>" if more > 0 else ""
    heads = ["journal", "event", "posted on", "memo", ">lines", ">debits"]
    return heading + whole + "<h2>One by one</h2>" + _table(heads, listed) + note


def _sums(month: Month) -> list[str]:
    sums: dict[str, list[Decimal]] = {}
    for (_, currency), (debit, credit) in month.journals.sides.items():
        held = sums.setdefault(currency, [Decimal(0), Decimal(0)])
        held[0], held[1] = held[0] + debit, held[1] + credit
    if len(sums) != 1:
        return []
    ((currency, (debit, credit)),) = sums.items()
    return ["", "", currency, grouped(debit), grouped(credit)]


def _trial_balance(month: Month) -> str:
    rows = [
        [
            escape(b.account), escape(b.name), b.currency,
            grouped(b.opening), grouped(b.debit), grouped(b.credit), grouped(b.closing),
        ]
        for b in month.balances
    ]  # fmt: skip
    heads = ["account", "name", "currency", ">opening", ">debit", ">credit", ">closing"]
    note = (
        "<p class=soft>Debits less credits; the waiting journals are in it.</p>" if month.waits else
        "<p class=soft>Debits less credits.</p>"
    )  # fmt: skip
    total: list[str] = []
    if len({b.currency for b in month.balances}) == 1:
        opening, debit, credit, closing = (
            sum((getattr(b, name) for b in month.balances), Decimal(0))
            for name in ("opening", "debit", "credit", "closing")
        )
        total = ["", "", month.balances[0].currency, *map(grouped, (opening, debit, credit, closing))]
    return f"<h2>Trial balance of the subledgers</h2>{note}" + _table(heads, rows, total=total)


def _charts(month: Month) -> str:
    drawn = [
        f"<div class=chart><h3>{escape(title(name, roll))}</h3>{_svg(waterfall(roll))}</div>"
        for name, roll in month.drawn
    ]
    return f"<h2>Roll-forwards</h2><div class=charts>{''.join(drawn)}</div>{_rolls(month)}" if drawn else ""


def _contracts(month: Month) -> str:
    """Deferred revenue and contract assets by contract, and when what is deferred is earned."""
    told = [_grid(grid, "contracts.csv") for grid in contracts(month)]
    told += [_grid(grid, "waterfall.csv") for grid in to_earn(month)]
    return f"<h2>Deferred revenue and contract assets</h2>{''.join(told)}" if told else ""


def _grid(grid: Grid, file: str) -> str:
    heads = [grid.heads[0], *(f">{head}" for head in grid.heads[1:])]
    rows = [[escape(name), *map(grouped, amounts)] for name, amounts in grid.rows[:LISTED]]
    more = len(grid.rows) - LISTED
    rest = f"<p class=soft>and {more:,} more in <code>{file}</code></p>" if more > 0 else ""
    return f"<h3>{escape(grid.name)}</h3>" + _table(heads, rows, total=["", *map(grouped, grid.total)]) + rest


def _svg(bars: Sequence[Bar]) -> str:
    """A waterfall as inline SVG: a row per step, the bar between where it starts and where it ends."""
    width, label, figure, height = 480, 128, 96, 24
    room = width - label - figure
    ends = [Decimal(0), *(bar.start for bar in bars), *(bar.end for bar in bars)]
    low, reach = min(ends), (max(ends) - min(ends)) or Decimal(1)

    def x(value: Decimal) -> str:
        return f"{label + float((value - low) / reach) * room:.1f}"

    parts = [f'<line x1="{x(Decimal(0))}" y1="0" x2="{x(Decimal(0))}" y2="{height * len(bars)}" stroke="#b9c3cc"/>']
    for number, bar in enumerate(bars):
        top = number * height
        left, right = sorted((bar.start, bar.end))
        size = max(float((right - left) / reach) * room, 1.0)
        parts.append(
            f'<text x="{label - 8}" y="{top + 15}" text-anchor="end">{escape(bar.name)}</text>'
            f'<rect x="{x(left)}" y="{top + 4}" width="{size:.1f}" height="{height - 9}" rx="1.5" fill="{bar.colour}"/>'
            f'<text x="{width}" y="{top + 15}" text-anchor="end">{grouped(bar.amount)}</text>'
        )
    return f'<svg viewBox="0 0 {width} {height * len(bars)}" role="img">{"".join(parts)}</svg>'


def _rolls(month: Month) -> str:
    rows = []
    for name, roll in month.rolls:
        moved = ", ".join(f"{escape(event)} {grouped(money.amount)}" for event, money in roll.movements.items())
        about = [escape(name), escape(f"{roll.ledger_account} {roll.detail}"), roll.closing.currency, moved]
        rows.append([*about, grouped(roll.opening.amount), grouped(roll.closing.amount)])
    return _table(["subledger", "account", "currency", "moved by", ">opening", ">closing"], rows)


def _aging(month: Month) -> str:
    heading = "<h2>Receivables by age</h2>"
    rows = aged(month.open_items)
    if not rows:
        return heading + f"<p>Nothing is open on {month.span.last_day:%F}.</p>"
    heads = ["customer", "currency", *(f">{name}" for name in columns_of_aging()), ">total"]
    shown = [
        [escape(f"{customer} {name}"), currency, *map(grouped, row.values()), grouped(sum(row.values(), Decimal(0)))]
        for (customer, name, currency), row in rows.items()
    ]
    return heading + _table(heads, shown)


def _ties(month: Month) -> str:
    heading = f"<h2>Tie-out</h2><p class=soft>{tied(month)}.</p>"
    rows = []
    for one in month.ties:
        style = "good" if one.closes else "bad"
        difference = f"<span class={style}>{grouped(one.difference)}</span>"
        sides = [escape(one.left_name), grouped(one.left), escape(one.right_name), grouped(one.right)]
        rows.append([escape(one.tie), *sides, difference, escape(one.unit), f"{one.count:,}"])
    found = [
        [
            escape(one.kind),
            escape(one.subject),
            str(one.left),
            str(one.right),
            escape(one.cause),
            f"<span class={'good' if one.explained else 'bad'}>{escape(one.explained or 'not explained')}</span>",
        ]
        for one in month.breaks
    ]
    heads = ["tie", "", ">left", "", ">right", ">difference", "unit", ">records"]
    told = _table(["break", "record", ">left", ">right", "cause", "explained"], found) if found else ""
    return heading + (_table(heads, rows) if rows else "") + told


def _people(month: Month) -> str:
    decided = [
        [
            f"<span class={'good' if one.verdict is Verdict.APPROVE else 'bad'}>{one.verdict.value}</span>",
            escape(one.who),
            f"{one.at:%F %H:%M} UTC",
            escape(one.via),
            escape(one.reason),
            f"<code>{one.digest}</code>",
        ]
        for one in month.decisions
    ]  # fmt: skip
    passed = [
        [escape(one.gate.value), escape(one.record), escape(one.who), f"{one.at:%F %H:%M} UTC", escape(one.reason)]
        for one in month.overrides
    ]
    approvals = _table(["verdict", "who", "when", "where", "reason", "journals"], decided)
    overrides = _table(["gate", "record", "who", "when", "reason"], passed)
    return (
        "<h2>Approvals</h2>" + (approvals if decided else "<p>Nobody decided yet.</p>") + "<h2>Overrides</h2>"
        + (overrides if passed else "<p>No gate was let pass.</p>")
    )  # fmt: skip


def _read_back(month: Month) -> str:
    if not month.compared:
        return ""
    wrong = [one for one in month.compared if one.wrong]
    lines, journals = sum(one.lines for one in month.compared), len({one.journal for one in month.compared})
    told = (
        f"<p class={'bad' if wrong else 'good'}>{lines:,} lines of {journals:,} journals were read back from "
        f"{escape(month.hub.system('erp'))}; {len(wrong)} accounts differ.</p>"
    )
    rows = [[escape(one.journal), escape(one.account), escape(one.wrong)] for one in wrong]
    return "<h2>Read back</h2>" + told + (_table(["journal", "account", "what differs"], rows) if wrong else "")
