"""Replay: what a changed mapping would have said of the records that were sent already, and in what money.

The nouns are those of the intents that were delivered; what was said of them is kept with each proof. Nothing is
written, and no system is asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from core.errors import MappingError, TieoutError
from core.mapping import Mapping as MappingFile
from core.mapping import load_file
from core.mapping.book import operators
from core.mapping.spec import MoneyOf
from core.money import Money
from core.plan import FieldChange, differences
from core.store import Work
from core.store.codec import dump
from core.sync import OutboxCommand, SyncRecord
from flows.context import Hub
from flows.plan_delivery import noun_of
from flows.report import Report, amounts, counted, dollars, sum_by_currency


@dataclass(frozen=True, slots=True)
class Replayed:
    """One record as the changed mapping says it. ``refused``: why it would not be sent at all; empty: it would."""

    proof: SyncRecord
    command: OutboxCommand
    changes: tuple[FieldChange, ...] = ()
    currency: str = ""
    refused: str = ""


def replay(hub: Hub, file: Path, since: datetime) -> Report:
    """Every record that was sent at or after ``since`` as the mapping in ``file`` would say it, field by field.

    BrokenBook (a MappingError) when the file does not load, MappingError when it is not of direction out.
    """
    mapping = load_file(file, hub.settings.mappings_folder)
    if mapping.direction != "out":
        raise MappingError("only records that were sent can be replayed", file=mapping.file, field="direction")
    sent, altered = 0, []
    with hub.database.reading() as work:
        for one in _replayed(hub, work, mapping, since):
            sent += 1
            altered += [one] if one.changes or one.refused else []
    units = _money_fields(mapping)
    differ = [change for one in altered for change in _differences(one, units) if change]
    at_stake = amounts(sum_by_currency(one.command.money for one in altered if one.command.money))
    rows = [row for one in altered for row in _rows(hub, one, units)]
    said = f"{len(altered)} of {counted(sent, 'record')} would be said otherwise"
    worth = f", worth {at_stake}" if at_stake else ""
    moved = f"amounts in them differ by {amounts(sum_by_currency(differ))}" if differ else "no amount in them differs"
    return Report(
        f"{said}{worth}; {moved}",
        counts={
            "records": sent,
            "altered": sum(bool(one.changes) for one in altered),
            "refused": sum(bool(one.refused) for one in altered),
        },
        money=sum_by_currency(differ),
        rows=rows,
    )


def _replayed(hub: Hub, work: Work, mapping: MappingFile, since: datetime) -> Iterator[Replayed]:
    refs = hub.refs(work)
    for proof, payload in work.outbox.sent(mapping.system, mapping.resource, since):
        command = work.outbox.get(proof.command_key)
        if command is None or command.record != mapping.record:
            continue
        try:
            noun = noun_of(command)
            after = json.loads(dump(mapping.out(noun, refs)))
        except TieoutError as error:
            yield Replayed(proof, command, refused=hub.mask.text(str(error)))
            continue
        changes = differences(hub.mask.value(json.loads(payload)), hub.mask.value(after))
        yield Replayed(proof, command, changes, str(getattr(noun, "currency", "")))


def _money_fields(mapping: MappingFile) -> Mapping[str, str]:
    """Target fields that are amounts, without positions in lists, to their unit."""
    return {
        re.sub(r"\[\d+\]", "", name): one.unit
        for name, one in operators(mapping.spec.fields)
        if isinstance(one, MoneyOf)
    }


def _differences(one: Replayed, units: Mapping[str, str]) -> Sequence[Money | None]:
    """What each change adds to the amount in its field; None for other fields."""
    return [_difference(change, units, one.currency) for change in one.changes]


def _difference(change: FieldChange, units: Mapping[str, str], currency: str) -> Money | None:
    unit = units.get(".".join(part for part in change.field.split(".") if not part.isdecimal()))
    if unit is None or not currency:
        return None
    try:
        moved = Decimal(change.after or 0) - Decimal(change.before or 0)
        return Money(int(moved), currency) if unit == "minor" else Money.of(moved, currency)
    except (InvalidOperation, ValueError):  # it was no amount before
        return None


def _rows(hub: Hub, one: Replayed, units: Mapping[str, str]) -> Iterator[dict[str, str]]:
    told = {
        "record": f"{one.command.record} {one.proof.record_id}",
        "their id": one.proof.vendor_id,
        "amount": "" if one.command.money is None else dollars(one.command.money),
        "said by": one.proof.mapping_version,
    }
    if one.refused:
        yield {**told, "field": "", "before": "", "after": f"would not be sent: {one.refused}", "difference": ""}
    for change, moved in zip(one.changes, _differences(one, units), strict=True):
        yield {
            **told,
            "field": change.field,
            "before": _shown(change.before),
            "after": _shown(change.after),
            "difference": "" if moved is None else dollars(moved),
        }


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
