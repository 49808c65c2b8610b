"""Dated exchange rates: loaded from a file, kept with their source and day, never changed, and used with one rounding.

A rate says how many units of ``quote`` one unit of ``base`` was worth on ``valid_on``. A conversion takes the newest
rate on or before its day, at most ``OLDEST`` days old: the pair itself, else its inverse, else both over a third
currency (the first by name that has both). Everything is exact until the one rounding of the converted amount.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from core import strict_yaml
from core.errors import Rejected
from core.exact import share_out
from core.money import Money, Rounding, exponent, round_money
from core.noun import CurrencyCode, Id, Instant, Noun, Quantity
from core.rational import ExactFraction, Fraction

#: Most days that a rate stays in use: a month, since some sources publish one rate a month.
OLDEST = 31

COLUMNS = ("valid_on", "base", "quote", "rate")


class FxRate(Noun):
    """One unit of ``base`` was worth ``rate`` units of ``quote`` on ``valid_on``, said ``source``."""

    id: Id
    source: Id
    base: CurrencyCode
    quote: CurrencyCode
    valid_on: date
    rate: Annotated[Quantity, Field(gt=0)]
    recorded_at: Instant

    @model_validator(mode="after")
    def _two_currencies(self) -> FxRate:
        exponent(self.base), exponent(self.quote)
        if self.base == self.quote:
            raise ValueError(f"a rate is between two currencies, not {self.base} and {self.quote}")
        return self


class Exchange(Noun):
    """The rate of one conversion, as a document states it; ``rates`` are the ids of the rates it was made of."""

    base: CurrencyCode
    quote: CurrencyCode
    on: date
    rate: Annotated[ExactFraction, Field(gt=0)]
    rates: tuple[Id, ...]

    def as_told(self, places: int | None) -> Exchange:
        """The nearest rate that can be told as units of ``base`` for one of ``quote`` in so many decimals.

        Itself where ``places`` is None; Rejected where there is none.
        """
        if places is None:
            return self
        told = Fraction(round(1 / self.rate, places))
        if not told:
            why = f"one {self.quote} is less of {self.base} than the general ledger can be told in {places} decimals"
            raise Rejected(why, record=f"{self.base}/{self.quote}", field="rate", value=str(self.rate))
        return self.model_copy(update={"rate": 1 / told})

    def of(self, money: Money, mode: Rounding = Rounding.HALF_UP) -> Money:
        """An amount of ``base`` in ``quote``, rounded once. ValueError for another currency."""
        return round_money(self._exact(money), self.quote, mode)

    def of_all(self, parts: Sequence[Money], mode: Rounding = Rounding.HALF_UP) -> list[Money]:
        """Parts whose sum is the sum of ``parts`` converted: rounded once, spare units by largest remainder."""
        exact = [self._exact(one) for one in parts]
        return share_out(round_money(sum(exact, Fraction(0)), self.quote, mode), exact)

    def _exact(self, money: Money) -> Fraction:
        if money.currency != self.base:
            raise ValueError(f"{money} cannot be converted at a rate of {self.base}")
        return Fraction(money.amount) * self.rate


class RatesError(Rejected):
    """A file of rates has mistakes; ``mistakes`` tells each as ``file:line: field: what is wrong``."""

    cure = "Correct every line named, then load the file again; nothing of it was kept."

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes), record="fx_rate")
        self.mistakes = tuple(mistakes)


class Rates:
    """Rates as they were known. ``sources``: those that may be used, the preferred first (none: all, one per pair).

    ``rates`` are read when a rate is first asked for.
    """

    def __init__(self, rates: Iterable[FxRate], sources: Sequence[str] = (), known_at: datetime | None = None) -> None:
        self._rates, self._sources, self._known_at = rates, tuple(sources), known_at

    @cached_property
    def _by_pair(self) -> Mapping[tuple[str, str], list[FxRate]]:
        pairs: dict[tuple[str, str], list[FxRate]] = {}
        for one in self._rates:
            used = not self._sources or one.source in self._sources
            if used and (self._known_at is None or one.recorded_at <= self._known_at):
                pairs.setdefault((one.base, one.quote), []).append(one)
        return pairs

    def exchange(self, base: str, quote: str, on: date) -> Exchange:
        """The rate between two currencies on a day. Rejected when none is known that is new enough."""
        if base == quote:
            return Exchange(base=base, quote=quote, on=on, rate=Fraction(1), rates=())
        currencies = sorted({currency for pair in self._by_pair for currency in pair} - {base, quote})
        for path in ([base, quote], *([base, third, quote] for third in currencies)):
            legs = [self._leg(start, end, on) for start, end in pairwise(path)]
            if all(legs):
                rate = Fraction(1)
                for leg in legs:
                    rate *= leg[0] if leg else 1
                used = tuple(leg[1] for leg in legs if leg)
                return Exchange(base=base, quote=quote, on=on, rate=rate, rates=used)
        raise Rejected(
            f"no exchange rate of {base} in {quote} is known for {on}, nor one of the {OLDEST} days before; "
            "load it with `tieout rates load`",
            record=f"{base}/{quote}",
            field="rate",
            value=on.isoformat(),
        )

    def _leg(self, base: str, quote: str, on: date) -> tuple[Fraction, str] | None:
        for pair, turned in (((base, quote), False), ((quote, base), True)):
            found = [one for one in self._by_pair.get(pair, ()) if 0 <= (on - one.valid_on).days <= OLDEST]
            if found:
                one = max(found, key=lambda one: (one.valid_on, self._preference(one, found)))
                return (1 / Fraction(one.rate) if turned else Fraction(one.rate)), one.id
        return None

    def _preference(self, one: FxRate, among: Sequence[FxRate]) -> int:
        if self._sources:
            return -self._sources.index(one.source)
        if len({other.source for other in among}) > 1:
            names = ", ".join(sorted({other.source for other in among}))
            raise Rejected(
                f"the rate of {one.base} in {one.quote} is told by {names}; name the sources to use, the preferred "
                "first (`fx_sources` in tieout.toml)",
                record=f"{one.base}/{one.quote}",
                field="source",
            )
        return 0


def read_rates(path: Path, source: str, recorded_at: datetime) -> tuple[FxRate, ...]:
    """The rates of a CSV (a header of ``COLUMNS``) or a YAML list of the same fields.

    RatesError with all mistakes of the file at once.
    """
    rows = _yaml_rows if path.suffix in (".yaml", ".yml") else _csv_rows
    found: dict[str, FxRate] = {}
    mistakes: list[str] = []
    try:
        for line, row in rows(path):
            try:
                one = _rate(row, source, recorded_at)
            except ValidationError as error:
                faults = error.errors(include_url=False, include_context=False, include_input=False)
                mistakes += [
                    f"{path}:{line}: {'.'.join(map(str, one['loc'])) or 'rate'}: {one['msg']}" for one in faults
                ]
                continue
            if found.setdefault(one.id, one) != one:
                mistakes.append(f"{path}:{line}: rate: {one.id} stands in the file as {found[one.id].rate} already")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RatesError([f"{path}:1: cannot be read: {error}"]) from None
    except strict_yaml.YamlProblem as error:
        raise RatesError([f"{path}:{error.line}: {error}"]) from None
    if mistakes or not found:
        raise RatesError(mistakes or [f"{path}:1: there is no rate in it"])
    return tuple(found.values())


def _rate(row: Mapping[str, Any], source: str, recorded_at: datetime) -> FxRate:
    text = {name: str(value).strip() for name, value in row.items() if value not in (None, "")}
    ident = f"{source}:{text.get('base')}/{text.get('quote')}:{text.get('valid_on')}"
    known = {"id": ident, "source": source, "recorded_at": recorded_at.isoformat()}
    return FxRate.model_validate_json(json.dumps({**text, **known}))


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise RatesError([f"{path}:1: {name}: the header lacks this column" for name in missing])
    for row in reader:
        yield reader.line_num, {name: row[name] for name in COLUMNS}


def _yaml_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    document = strict_yaml.read(path.read_bytes())
    if not isinstance(document.data, list):
        raise RatesError([f"{path}:1: a file of rates is a list of {', '.join(COLUMNS)}"])
    for index, row in enumerate(document.data):
        if not isinstance(row, dict):
            raise RatesError([f"{path}:{document.line((index,))}: a rate has the fields {', '.join(COLUMNS)}"])
        yield document.line((index,)), row
