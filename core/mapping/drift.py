"""What a mapping rests on, beside what the other system's fields are now, as its vendor describes them.

Out: every target field must be there, take our writes, be of the kind that its operator makes, be long enough and know
the words that are sent; and nothing may be demanded that the mapping does not send. In: every path that is read must
lead somewhere, to the kind that its operator takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeAlias

from core.mapping import spec as s
from core.mapping.book import Mapping as MappingFile
from core.mapping.paths import EachItem, Path, parse_path, parse_text
from core.mapping.shapes import Kind, Shape
from core.mapping.site import one_step
from core.ports import DescribedField, FieldKind


class DriftKind(StrEnum):
    MISSING = "missing_field"
    RETYPED = "wrong_type"
    SHORTENED = "too_short"
    WORD = "word_missing"
    REQUIRED = "newly_required"
    READ_ONLY = "read_only"


@dataclass(frozen=True, slots=True)
class Drift:
    """One field of the other system on which a mapping file does not rest any more; ``detail`` is one clause."""

    mapping: MappingFile
    field: str
    kind: DriftKind
    detail: str


Fields: TypeAlias = Mapping[str, DescribedField]
Found: TypeAlias = Iterator[tuple[str, DriftKind, str]]

#: Most words that a message names.
NAMED = 5
UNKNOWN = DescribedField(FieldKind.ANYTHING)
_KINDS: Mapping[Kind, FieldKind] = {
    Kind.TEXT: FieldKind.TEXT,
    Kind.ENUM: FieldKind.TEXT,
    Kind.INTEGER: FieldKind.NUMBER,
    Kind.DECIMAL: FieldKind.NUMBER,
    Kind.BOOLEAN: FieldKind.BOOLEAN,
    Kind.DATE: FieldKind.DATE,
    Kind.INSTANT: FieldKind.INSTANT,
}


def drifts(mapping: MappingFile, there: Fields, sent: Sequence[Mapping[str, Any]] = ()) -> list[Drift]:
    """What of a mapping does not fit the fields ``there``, once a field.

    ``sent``: payloads that this mapping made, whose texts and words must find room too where the file states no bound.
    """
    noun = Shape(Kind.OBJECT, of=mapping.noun)
    if mapping.direction == "out":
        found = _Outgoing(mapping).fields(mapping.spec.fields, there, (noun,), "", sent)
    else:
        found = _incoming(mapping.spec.fields, (("", there),), noun)
    first: dict[str, Drift] = {}
    for name, kind, detail in found:
        first.setdefault(name, Drift(mapping, name, kind, detail))
    return list(first.values())


def alternatives(operator: s.Operator) -> Iterator[s.Operator]:
    """An operator and what stands in its ``otherwise:``, one after the other."""
    one: object = operator
    while isinstance(one, s.Operator):
        yield one
        one = one.otherwise


@dataclass(frozen=True, slots=True)
class _Outgoing:
    mapping: MappingFile

    def fields(
        self,
        fields: Mapping[str, s.Operator],
        there: Fields,
        frames: tuple[Shape, ...],
        at: str,
        sent: Sequence[Mapping[str, Any]],
    ) -> Found:
        if not there:
            return
        for name, operator in fields.items():
            where, about = f"{at}{name}", there.get(name)
            if about is None:
                yield where, DriftKind.MISSING, "there is no such field any more"
                continue
            if not about.writable:
                yield where, DriftKind.READ_ONLY, "the field takes no writes from us any more"
            given = [one[name] for one in sent if one.get(name) is not None]
            for one in alternatives(operator):
                yield from self._fits(one, about, frames, where, given)
            if about.required and any("skip" in (*one.actions, one.otherwise) for one in alternatives(operator)):
                yield where, DriftKind.REQUIRED, "the field is demanded now, and the mapping may leave it out"
        key = self.mapping.spec.key.to if self.mapping.spec.key and not at else ""
        if key and key not in there:
            yield key, DriftKind.MISSING, "the field that carries our key is gone"
        for name, about in there.items():
            if about.required and name not in fields and name != key:
                yield f"{at}{name}", DriftKind.REQUIRED, "the field is demanded now, and the mapping does not send it"

    def _fits(
        self, op: s.Operator, about: DescribedField, frames: tuple[Shape, ...], where: str, given: Sequence[Any]
    ) -> Found:
        made = _made(op, frames, self.mapping)
        spelled = about.spelled and about.kind is FieldKind.TEXT and FieldKind.LIST not in made
        if made and about.kind not in made | {FieldKind.ANYTHING} and not spelled:
            yield where, DriftKind.RETYPED, f"the field is {about.kind} now, and the mapping sends {_either(made)}"
            return
        texts = [*_words(op, self.mapping), *(str(one) for one in given if isinstance(one, str))]
        if lost := sorted({one for one in texts if one not in about.words}) if about.words else []:
            named = ", ".join(lost[:NAMED]) + (f" and {len(lost) - NAMED} more" if len(lost) > NAMED else "")
            yield where, DriftKind.WORD, f"the field does not take {named}"
        most = max([getattr(op, "max", None) or 0, *map(len, texts)], default=0)
        if about.length is not None and most > about.length:
            yield where, DriftKind.SHORTENED, f"the field takes {about.length} characters, and up to {most} are sent"
        if isinstance(op, s.Object):
            inner = [one for one in given if isinstance(one, Mapping)]
            yield from self.fields(op.object, about.fields, frames, f"{where}.", inner)
        for each, around in _items(op, frames):
            items = [item for one in given if isinstance(one, list) for item in one if isinstance(item, Mapping)]
            yield from self.fields(each, about.fields, around, f"{where}.", items)


def _items(op: s.Operator, frames: tuple[Shape, ...]) -> Iterator[tuple[Mapping[str, s.Operator], tuple[Shape, ...]]]:
    """The objects that a list is made of: their fields, and the frames that these are read in."""
    match op:
        case s.Each():
            for path in _levels(op.each):
                shape = _shape(frames, path) if frames else None
                frames = (shape.item, *frames) if shape and shape.item else ()
            if frames:
                yield op.fields, frames
        case s.ListOf():
            for item in op.list:
                for one in alternatives(item):
                    if isinstance(one, s.Object):
                        yield one.object, frames
                    yield from _items(one, frames)
        case _:
            return


def _levels(path: str) -> Iterator[Path]:
    """The path of the list of each level of an `each:`, as seen from the level around it."""
    whole = parse_path(path)
    for place, steps in enumerate(whole.levels()):
        yield Path(0 if place else whole.up, steps)


def _shape(frames: tuple[Shape, ...], path: Path) -> Shape | None:
    shape = frames[-1 if path.up is None else path.up]
    for step in path.steps:
        if step is EachItem:
            return None
        found = one_step(shape, step)
        if isinstance(found, str):
            return None
        shape = found
    return shape


def _copied(frames: tuple[Shape, ...], path: Path) -> set[FieldKind]:
    shape = _shape(frames, path)
    return {_KINDS[shape.kind]} if shape and shape.kind in _KINDS else set()


def _kind_of(value: object) -> set[FieldKind]:
    match value:
        case bool():
            return {FieldKind.BOOLEAN}
        case int() | Decimal():
            return {FieldKind.NUMBER}
        case str() if value in ("true", "false"):
            return {FieldKind.TEXT, FieldKind.BOOLEAN}
        case str():
            return {FieldKind.TEXT, *([FieldKind.NUMBER] if value.replace(".", "", 1).isdecimal() else [])}
        case _:
            return set()


def _made(op: s.Operator, frames: tuple[Shape, ...], mapping: MappingFile) -> set[FieldKind]:
    """The kinds of field that take what an operator makes; empty: not to be said."""
    match op:
        case s.CopyPath():
            return _copied(frames, parse_path(op.path))
        case s.Const():
            return _kind_of(op.const)
        case s.MoneyOf() | s.QuantityOf():
            return {FieldKind.NUMBER, *([FieldKind.TEXT] if op.form else [])}
        case s.DateOf():
            return {FieldKind.INSTANT if op.format == "noon_instant" else FieldKind.DATE}
        case s.InstantOf():
            return {FieldKind.INSTANT, *([FieldKind.NUMBER] if op.format.startswith("epoch") else [])}
        case s.EnumOf() | s.Lookup():
            return set().union(*map(_kind_of, _values(op, mapping)))
        case s.Ref():
            return {FieldKind.TEXT, FieldKind.NUMBER}
        case s.TextOf(text=[only]) if isinstance((parts := parse_text(only))[0], Path) and len(parts) == 1:
            return {FieldKind.TEXT} | _copied(frames, parts[0])
        case s.TextOf():
            return {FieldKind.TEXT}
        case s.Each() | s.ListOf():
            return {FieldKind.LIST}
        case s.Object():
            return {FieldKind.OBJECT}
        case _:
            return set()


def _theirs(op: s.EnumOf) -> list[Any]:
    return [word for side in op.values.values() for word in (side if isinstance(side, list) else [side])]


def _values(op: s.Operator, mapping: MappingFile) -> list[Any]:
    """The words that an operator can send."""
    match op:
        case s.Const():
            return [op.const]
        case s.EnumOf():
            return _theirs(op)
        case s.Lookup():
            table = mapping.tables[op.table].values
            return list(table.values() if op.read == "forward" else table)
        case _:
            return []


def _words(op: s.Operator, mapping: MappingFile) -> list[str]:
    return [str(word) for word in _values(op, mapping) if not isinstance(word, bool)]


def _either(kinds: set[FieldKind]) -> str:
    return " or ".join(sorted(kinds))


# What is read ---------------------------------------------------------------------------------------------------------

#: The object that paths are read from, with the beginning of their names, the innermost first.
Frames: TypeAlias = tuple[tuple[str, Fields], ...]


def _follow(frames: Frames, path: Path) -> tuple[str, DescribedField | None]:
    """Where a path leads to, by its whole name; None where there is nothing any more."""
    name, fields = frames[-1 if path.up is None else path.up]
    about = UNKNOWN
    for step in path.steps:
        if not isinstance(step, str):
            continue
        if not fields:
            return f"{name}{step}", UNKNOWN
        found = fields.get(step)
        if found is None:
            return f"{name}{step}", None
        about, fields, name = found, found.fields, f"{name}{step}."
    return name.rstrip("."), about


def _incoming(fields: Mapping[str, s.Operator], frames: Frames, noun: Shape) -> Found:
    wanted = noun.settable()
    for name, operator in fields.items():
        for one in alternatives(operator):
            yield from _reads(one, frames, wanted.get(name))


def _reads(op: s.Operator, frames: Frames, shape: Shape | None) -> Found:
    if op.when:
        yield from _read(op.when.path, set(), frames)
    match op:
        case s.Object():
            yield from _incoming(op.object, frames, shape or Shape(Kind.ANYTHING))
        case s.Each():
            yield from _read(op.each, {FieldKind.LIST}, frames)
            yield from _incoming(op.fields, _inside(op.each, frames), (shape and shape.item) or Shape(Kind.ANYTHING))
        case s.SumOf():
            yield from _read(op.sum, {FieldKind.LIST}, frames)
            yield from _reads(op.of, _inside(op.sum, frames), None)
        case s.ListOf():
            for item in op.list:
                yield from _reads(item, frames, shape)
        case s.TextOf():
            for part in (part for text in op.text for part in parse_text(text) if isinstance(part, Path)):
                yield from _led(part, set(), frames)
        case s.MoneyOf():
            yield from _read(op.money, {FieldKind.NUMBER, *([FieldKind.TEXT] if op.form else [])}, frames)
            if isinstance(op.currency, s.Operator):
                yield from _reads(op.currency, frames, None)
            elif op.currency:
                yield from _read(op.currency, set(), frames)
        case s.QuantityOf():
            yield from _read(op.quantity, {FieldKind.NUMBER, *([FieldKind.TEXT] if op.form else [])}, frames)
        case s.DateOf():
            yield from _read(op.date, {FieldKind.DATE, *([FieldKind.INSTANT] if op.timezone else [])}, frames)
        case s.InstantOf():
            epoch = op.format.startswith("epoch")
            yield from _read(op.instant, {FieldKind.INSTANT, *([FieldKind.NUMBER] if epoch else [])}, frames)
        case s.CopyPath():
            kind = _KINDS.get(shape.kind) if shape else None
            yield from _read(op.path, {kind} if kind else set(), frames)
        case s.Lookup():
            yield from _read(op.lookup, set(), frames)
        case s.EnumOf():
            yield from _read(op.enum, set(), frames)
            name, about = _follow(frames, parse_path(op.enum))
            lost = [str(word) for word in _theirs(op) if about and about.words and str(word) not in about.words]
            if lost:
                yield name, DriftKind.WORD, f"the field never says {', '.join(lost[:NAMED])} any more"
        case _:
            return


def _read(path: str, takes: set[FieldKind], frames: Frames) -> Found:
    return _led(parse_path(path), takes, frames)


def _led(path: Path, takes: set[FieldKind], frames: Frames) -> Found:
    name, about = _follow(frames, path)
    if about is None:
        yield name, DriftKind.MISSING, "there is no such field any more"
        return
    spelled = about.spelled and FieldKind.TEXT in takes
    if takes and about.kind not in takes | {FieldKind.ANYTHING} and not spelled:
        yield name, DriftKind.RETYPED, f"the field is {about.kind} now, and the mapping reads {_either(takes)}"


def _inside(path: str, frames: Frames) -> Frames:
    """The frames of an item of a list."""
    for one in _levels(path):
        name, about = _follow(frames, one)
        frames = ((f"{name}.", about.fields if about else {}), *frames)
    return frames
