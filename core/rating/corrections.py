"""A billed month rated again with what is known now: the lines that bring the earlier bills up to date.

The earlier bills are never changed. A correction says which line it corrects, carries the whole derivation of the new
rating, and takes off what was billed before, so that all bills of the month together are the new rating.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.money import Money, total
from core.period import DateSpan
from core.rating.derivation import Billed
from core.rating.lines import RatedLine
from core.rational import Fraction
from core.ties import require


def corrections(
    again: Sequence[RatedLine], billed: Sequence[RatedLine], corrected: str, bill: str
) -> tuple[RatedLine, ...]:
    """What the bill of month ``bill`` says about month ``corrected``.

    ``again``: the lines of one account and month rated anew; ``billed``: those that its bills have, each correction
    after what it corrects. A line is corrected when its amount differs, or only what was measured for it.
    """
    latest: dict[str, RatedLine] = {}
    amounts: dict[str, list[Money]] = defaultdict(list)
    quantities: dict[str, Decimal] = defaultdict(Decimal)
    for line in billed:
        ident = original(line)
        latest[ident] = line
        amounts[ident].append(line.amount)
        quantities[ident] += line.quantity
    found = []
    for line in again:
        old, before = latest.pop(line.id, None), total(amounts[line.id], line.amount.currency)
        if line.amount == before and _measured(line) == _measured(old):
            continue
        more = line.quantity - quantities[line.id]
        told = Billed(line_id=line.id, amount=before, unserved=_unserved(old, line))
        found.append(_correction(line, told, more, corrected, bill))
    for ident, line in latest.items():
        if before := total(amounts[ident], line.amount.currency):
            gone = Billed(line_id=ident, amount=before, withdrawn=True, unserved=line.service_period)
            found.append(_correction(line, gone, -quantities[ident], corrected, bill))
    everything = [line.amount for line in (*billed, *found)]
    if everything:
        currency = everything[0].currency
        due = total((line.amount for line in again), currency)
        require("bills of a month = the month rated again", corrected, total(everything, currency), due)
    return tuple(found)


def original(line: RatedLine) -> str:
    """The id of the line that a correction corrects, through all corrections; else its own."""
    return line.derivation.billed.line_id if line.derivation.billed is not None else line.id


@dataclass(frozen=True, slots=True)
class PricedUsage:
    """What a line says of the usage that it prices; nothing was ``measured`` for one that is withdrawn.

    ``line_id``: that of the line which a correction corrects, through all corrections; else its own. ``corrects``: the
    month that it corrects.
    """

    line_id: str
    account_id: str
    charge_code: str
    book_version: str
    corrects: str | None
    measured: Fraction
    events: int

    @classmethod
    def of(cls, line: RatedLine) -> PricedUsage:
        version, (measured, events) = line.derivation.book_version, _measured(line)
        return cls(original(line), line.account_id, line.charge_code, version, line.corrects, measured, events)


def _measured(line: RatedLine | None) -> tuple[Fraction, int]:
    """What was measured for a line that stands, and in how many events; nothing for none."""
    if line is None or (line.derivation.billed is not None and line.derivation.billed.withdrawn):
        return Fraction(0), 0
    return line.derivation.measured, line.derivation.events


def _unserved(old: RatedLine | None, line: RatedLine) -> DateSpan | None:
    """The end of the service period that the bills have and the line has not any more."""
    if old is None or old.service_period.end <= line.service_period.end:
        return None
    return DateSpan(line.service_period.end, old.service_period.end)


def _correction(line: RatedLine, before: Billed, quantity: Decimal, corrected: str, bill: str) -> RatedLine:
    due = total((line.derivation.rounded, *(one.amount for one in line.derivation.adjustments)), line.amount.currency)
    known = line.description.removesuffix(f", correction of {corrected}")
    values = {
        "id": f"{before.line_id}+{bill}",
        "description": f"{known}, correction of {corrected}",
        "quantity": quantity,
        "unit_price": None,
        "amount": (due - due if before.withdrawn else due) - before.amount,
        "derivation": line.derivation.model_copy(update={"billed": before}),
        "corrects": corrected,
    }
    return RatedLine.model_validate({**dict(line), **values})
