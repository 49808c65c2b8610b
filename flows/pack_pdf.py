"""The PDF of a pack: for people who sign and file, with the same figures as the page."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from fpdf import FPDF, FontFace

from flows.pack_figures import Bar, contracts, figures, grouped, state_in_words, tied, title, to_earn, waterfall
from flows.pack_month import Month, aged, columns_of_aging

#: Millimetres.
MARGIN, WIDTH, ROW = 15, 180, 5

INK, SOFT, LINE, WASH = (22, 32, 42), (91, 104, 117), (205, 212, 219), (245, 247, 249)
GOOD, BAD = (26, 127, 75), (179, 38, 30)
FONT = "Helvetica"

#: Most rows that a table of the PDF shows; all of them stand in the CSV.
ROWS = 45


def document(month: Month) -> bytes:
    """The whole PDF; the same month gives the same bytes."""
    pdf = FPDF(format="A4")
    pdf.set_creation_date(month.hub.now())
    pdf.set_title(f"Close of {month.close.period}, {_plain(month.entity_name)}")
    pdf.set_margins(MARGIN, MARGIN)
    pdf.set_auto_page_break(True, MARGIN)
    pdf.add_page()
    _head(pdf, month)
    _figures(pdf, month)
    _charts(pdf, month)
    _contracts(pdf, month)
    _journals(pdf, month)
    _trial_balance(pdf, month)
    _aging(pdf, month)
    _ties(pdf, month)
    _people(pdf, month)
    return bytes(pdf.output())


def _plain(text: str) -> str:
    """Text that the built-in fonts of a PDF can show."""
    return text.encode("latin-1", "replace").decode("latin-1")


def _say(pdf: FPDF, text: str, size: int = 9, style: str = "", colour: tuple[int, int, int] = INK) -> None:
    pdf.set_font(FONT, style, size)
    pdf.set_text_color(*colour)
    pdf.multi_cell(WIDTH, size * 0.48, _plain(text), new_x="LMARGIN", new_y="NEXT")


def _heading(pdf: FPDF, text: str) -> None:
    if pdf.will_page_break(26):
        pdf.add_page()
    pdf.ln(5)
    _say(pdf, text, 12, "B")
    pdf.ln(1.5)


def _head(pdf: FPDF, month: Month) -> None:
    close = month.close
    _say(pdf, f"Close of {close.period}", 20, "B")
    pdf.ln(1)
    _say(pdf, f"{month.entity_name} ({close.entity}), {close.currency}; general ledger: {month.hub.system('erp')}", 10)
    begun = f"begun {close.frozen_at:%Y-%m-%d %H:%M} UTC by {close.started_by}"
    _say(pdf, f"{close.id}; cut-off {close.cut_off:%Y-%m-%d %H:%M} UTC; {begun}", 8, colour=SOFT)
    pdf.ln(1)
    _say(pdf, state_in_words(month).capitalize(), 10, "B", GOOD if month.is_final else BAD)
    pdf.ln(2)


def _figures(pdf: FPDF, month: Month) -> None:
    """Two rows of four boxes."""
    wide, high, top = WIDTH / 4, 15, pdf.get_y()
    for number, (name, value) in enumerate(figures(month)):
        x, y = MARGIN + number % 4 * wide, top + number // 4 * (high + 2)
        pdf.set_fill_color(*WASH)
        pdf.set_draw_color(*LINE)
        pdf.rect(x, y, wide - 2, high, style="DF")
        pdf.set_xy(x + 2, y + 2)
        pdf.set_font(FONT, "", 7)
        pdf.set_text_color(*SOFT)
        pdf.cell(wide - 6, 4, _plain(name))
        pdf.set_xy(x + 2, y + 7)
        pdf.set_font(FONT, "B", 9)
        pdf.set_text_color(*INK)
        pdf.cell(wide - 6, 5, _plain(value)[:26])
    pdf.set_xy(MARGIN, top + 2 * (high + 2))


def _charts(pdf: FPDF, month: Month) -> None:
    rolls = month.drawn
    if not rolls:
        return
    _heading(pdf, "Roll-forwards")
    wide = WIDTH / 2
    for first in range(0, len(rolls), 2):
        pair = [(title(name, roll), waterfall(roll)) for name, roll in rolls[first : first + 2]]
        high = max(len(bars) for _, bars in pair) * ROW + 9
        if pdf.will_page_break(high):
            pdf.add_page()
        top = pdf.get_y()
        for place, (name, bars) in enumerate(pair):
            _waterfall(pdf, name, bars, MARGIN + place * wide, top, wide - 4)
        pdf.set_xy(MARGIN, top + high)


def _waterfall(pdf: FPDF, name: str, bars: Sequence[Bar], x: float, y: float, width: float) -> None:
    """A row per step: its name, the bar between where it starts and where it ends, its amount."""
    label, figure = 24.0, 22.0
    room = width - label - figure
    ends = [Decimal(0), *(bar.start for bar in bars), *(bar.end for bar in bars)]
    low, reach = min(ends), (max(ends) - min(ends)) or Decimal(1)
    pdf.set_xy(x, y)
    pdf.set_font(FONT, "B", 8)
    pdf.set_text_color(*INK)
    pdf.cell(width, 5, _plain(name))
    pdf.set_font(FONT, "", 7)
    for number, bar in enumerate(bars):
        top = y + 6 + number * ROW
        left, right = (x + label + float((edge - low) / reach) * room for edge in sorted((bar.start, bar.end)))
        pdf.set_fill_color(*(int(bar.colour[i : i + 2], 16) for i in (1, 3, 5)))
        pdf.rect(left, top + 0.8, max(right - left, 0.4), ROW - 1.8, style="F")
        pdf.set_xy(x, top)
        pdf.cell(label - 2, ROW, _plain(bar.name)[:18], align="R")
        pdf.set_xy(x + width - figure, top)
        pdf.cell(figure, ROW, grouped(bar.amount), align="R")


def _contracts(pdf: FPDF, month: Month) -> None:
    for grid, file in [(one, "contracts.csv") for one in contracts(month)] + [
        (one, "waterfall.csv") for one in to_earn(month)
    ]:
        _heading(pdf, grid.name)
        rows = [[name[:26], *map(grouped, amounts)] for name, amounts in [("in all", grid.total), *grid.rows]]
        numbers = len(grid.heads) - 1
        _table(pdf, grid.heads, rows, [40] + [(WIDTH - 40) // numbers] * numbers, numbers, file)


def _table(
    pdf: FPDF, heads: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], numbers: int, more: str = ""
) -> None:
    """A table whose last ``numbers`` columns are right-aligned; ``more``: where the rest stands when it is too long."""
    pdf.set_font(FONT, "", 8)
    pdf.set_draw_color(*LINE)
    pdf.set_text_color(*INK)
    pdf.set_fill_color(255, 255, 255)
    aligns = ["LEFT"] * (len(heads) - numbers) + ["RIGHT"] * numbers
    head = FontFace(emphasis="BOLD", color=SOFT, fill_color=WASH)
    with pdf.table(
        width=WIDTH, col_widths=tuple(widths), text_align=tuple(aligns), headings_style=head, line_height=ROW,
        borders_layout="HORIZONTAL_LINES", align="LEFT", padding=(0, 1),
    ) as table:  # fmt: skip
        for cells in (heads, *rows[:ROWS]):
            row = table.row()
            for cell in cells:
                row.cell(_plain(cell))
    if len(rows) > ROWS:
        _say(pdf, f"and {len(rows) - ROWS:,} more in {more}", 8, colour=SOFT)


def _journals(pdf: FPDF, month: Month) -> None:
    _heading(pdf, "Journals of this close, by account")
    if not month.journals.number:
        _say(pdf, "Nothing was left to post: every journal of the month stands in the general ledger.")
        return
    rows = [
        [code, month.name_of(code), currency, grouped(debit), grouped(credit)]
        for (code, currency), (debit, credit) in sorted(month.journals.sides.items())
    ]
    _table(pdf, ["account", "name", "currency", "debit", "credit"], rows, [16, 74, 20, 35, 35], 2, "journals.csv")


def _trial_balance(pdf: FPDF, month: Month) -> None:
    _heading(pdf, "Trial balance of the subledgers, debits less credits")
    rows = [
        [b.account, b.name, b.currency, *map(grouped, (b.opening, b.debit, b.credit, b.closing))]
        for b in month.balances
    ]
    heads = ["account", "name", "currency", "opening", "debit", "credit", "closing"]
    _table(pdf, heads, rows, [15, 45, 16, 26, 26, 26, 26], 4, "trial_balance.csv")


def _aging(pdf: FPDF, month: Month) -> None:
    _heading(pdf, f"Receivables by age on {month.span.last_day:%Y-%m-%d}")
    rows = [
        [f"{customer} {name}"[:60], currency, *map(grouped, row.values()), grouped(sum(row.values(), Decimal(0)))]
        for (customer, name, currency), row in aged(month.open_items).items()
    ]
    if not rows:
        _say(pdf, "Nothing is open.")
        return
    heads = ["customer", "", *columns_of_aging(), "total"]
    _table(pdf, heads, rows, [40, 12, 19, 18, 18, 18, 18, 18, 19], 7, "aging.csv")


def _ties(pdf: FPDF, month: Month) -> None:
    _heading(pdf, f"Tie-out: {tied(month)}")
    rows = [
        [t.tie, grouped(t.left), grouped(t.right), grouped(t.difference), t.unit, f"{t.count:,}"] for t in month.ties
    ]
    if rows:
        heads = ["tie", "left", "right", "difference", "unit", "records"]
        _table(pdf, heads, rows, [66, 30, 30, 22, 16, 16], 5, "ties.csv")


def _people(pdf: FPDF, month: Month) -> None:
    _heading(pdf, "Approvals")
    for one in month.decisions:
        reason = f': "{one.reason}"' if one.reason else ""
        _say(pdf, f"{one.verdict.value} by {one.who}, {one.at:%Y-%m-%d %H:%M} UTC, {one.via}{reason} ({one.digest})")
    if not month.decisions:
        _say(pdf, "Nobody decided yet.")
    _heading(pdf, "Overrides")
    for passed in month.overrides:
        _say(pdf, f'{passed.gate.value}: {passed.record}, let pass by {passed.who}: "{passed.reason}"')
    if not month.overrides:
        _say(pdf, "No gate was let pass.")
