"""Posting rules as data: one YAML file that says which business event books what, on which ledger accounts.

A :class:`Fact` tells what happened, cut into parts. A rule takes one part and names the account to debit and the one to
credit, so every rule balances by itself. Of several rules for the same part the first whose ``when`` holds is taken.
``EVENTS`` is the closed list of facts: their parts, what each part knows, and which parts make up the whole.

A file loads only when all of it is right: every part of every event is booked exactly once on each way to the general
ledger, every account is in the chart, and the examples in the file, which use every rule, come out as they say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from core.errors import Misconfigured
from core.fx import Exchange
from core.ledger import JournalEntry, JournalLine, LedgerAccount, LedgerAccountKind, Via
from core.money import Money
from core.noun import Id

DEFAULT = Path(__file__).with_name("posting_rules.yaml")

#: How the id of an entry begins.
PREFIX: Mapping[Via, str] = {Via.DOCUMENT: "DOC", Via.JOURNAL: "JE"}

Known = Mapping[str, str | bool]


@dataclass(frozen=True, slots=True)
class PartShape:
    """What a part of an event may be asked, and the roles whose account it names itself.

    ``covers``: the pieces of the event that it stands for; empty: the one of its own name.
    """

    knows: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    covers: frozenset[str] = frozenset()


def _shape(knows: str = "", names: str = "", covers: str = "") -> PartShape:
    return PartShape(frozenset(knows.split()), frozenset(names.split()), frozenset(covers.split()))


#: What every part knows.
ALWAYS = frozenset({"entity", "currency"})
_SOLD = "product charge country region"
_WHERE = "jurisdiction country region"

#: Every event that can be booked, with its parts.
EVENTS: Mapping[str, Mapping[str, PartShape]] = {
    "invoice": {"line": _shape(f"{_SOLD} deferred", names="revenue"), "tax": _shape(_WHERE)},
    "credit note": {
        "line": _shape(_SOLD, covers="deferred earned"),
        "deferred": _shape(_SOLD),
        "earned": _shape(_SOLD, names="revenue"),
        "tax": _shape(_WHERE),
    },
    "payment": {"whole": _shape("gateway")},
    "settlement": {
        "net": _shape("gateway"),
        "fee": _shape("gateway"),
        "gross": _shape("gateway", covers="net fee"),
    },
    "refund": {"whole": _shape("gateway")},
    "recognition": {"earned": _shape(_SOLD, names="revenue")},
    "unbilled": {"earned": _shape(_SOLD, names="revenue")},
    "allocation": {"share": _shape(f"{_SOLD} deferred", names="revenue")},
    "contract asset": {"earned": _shape(_SOLD, names="revenue")},
    "credit drawn": {"whole": _shape()},
    "credit restored": {"whole": _shape()},
    "credit expired": {"whole": _shape()},
    "breakage foretold": {"whole": _shape()},
    "breakage recalled": {"whole": _shape()},
    "payout": {"whole": _shape("gateway")},
    "dispute opened": {"whole": _shape("gateway")},
    "dispute won": {"whole": _shape("gateway")},
    "dispute lost": {"whole": _shape("gateway")},
    "dispute reopened": {"whole": _shape("gateway")},
    "write-off": {
        "whole": _shape("country region", covers="net tax"),
        "net": _shape("country region"),
        "tax": _shape("country region"),
    },
    "recovery": {"whole": _shape()},
    "receipt": {"applied": _shape(), "unapplied": _shape(), "unidentified": _shape()},
    "cash identified": {"whole": _shape()},
    "cash applied": {"whole": _shape()},
    "cash returned": {"whole": _shape()},
    "fx realised": {"gain": _shape("revalues", names="revalued")},
    "fx unrealised": {"gain": _shape("revalues", names="revalued")},
    "rounding": {"gain": _shape("revalues", names="revalued")},
}


@dataclass(frozen=True, slots=True)
class Part:
    """One amount of a fact. ``knows`` answers ``when`` and segments; ``accounts``: roles that the fact names itself.

    ``source`` and ``source_id`` name what is booked. A negative amount goes to the other side, zero is not booked.
    ``exchange``: at which rate it is valued in the currency of the entity's books; None where that is its own.
    """

    name: str
    amount: Money
    memo: str
    source: str
    source_id: str
    knows: Known = field(default_factory=dict)
    accounts: Mapping[str, str] = field(default_factory=dict)
    exchange: Exchange | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """What happened, ready to be booked. ``id`` makes the id of its entries, ``source`` names its whole.

    ``via``: the way of an event whose rules leave it open.
    """

    event: str
    id: str
    entity: str
    currency: str
    posted_on: date
    account_id: str | None
    memo: str
    source: str
    source_id: str
    parts: Sequence[Part]
    via: Via | None = None

    def known(self, part: Part) -> Known:
        """All that a part may be asked."""
        return {"entity": self.entity, "currency": self.currency, **part.knows}


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ChartAccount(_Data):
    """An account of the chart. ``role``: what rules call it. ``monetary``: revalued when it holds other currencies.

    ``revalued_in``: the account that takes what a journal changes of its worth; empty: itself.
    """

    code: Id
    name: str
    kind: LedgerAccountKind
    role: Id
    monetary: bool = False
    revalued_in: str = ""


class Segment(_Data):
    """A dimension of the general ledger, taken from what a part knows.

    ``values`` translates it; what is not listed is ``otherwise``, and without ``values`` it stays as it is. A part that
    does not know it, or an empty value, leaves the segment out.
    """

    of: str
    values: dict[str, str] = {}
    otherwise: str | None = None

    def value(self, known: Known) -> str:
        found = str(known.get(self.of, ""))
        return self.values.get(found, self.otherwise or "") if self.values else found


class Rule(_Data):
    """One row of the rules: of ``part`` of ``event``, debit this role (or account) and credit that one.

    ``via`` is ``either`` where the fact decides. ``total`` names the side that is one line for the whole document; that
    line carries the segments that all its parts share. ``when``: what the part must know, each one value or a list.
    """

    id: Id
    event: str
    via: Literal["document", "journal", "either"]
    part: str
    when: dict[str, bool | str | list[str]] = {}
    debit: str
    credit: str
    total: Literal["debit", "credit"] | None = None
    segments: list[str] = []
    note: str = ""

    def takes(self, known: Known) -> bool:
        return all(
            known.get(name) in wanted if isinstance(wanted, list) else known.get(name) == wanted
            for name, wanted in self.when.items()
        )


class ExamplePart(BaseModel):
    """A part of an example; whatever else stands there is what it knows, or an account it names."""

    model_config = ConfigDict(frozen=True, extra="allow")

    part: str
    amount: str


class Sides(_Data):
    """By ledger account, what an entry debits and credits."""

    debit: dict[str, str]
    credit: dict[str, str]


class Example(_Data):
    """A fact and the entries that the rules must make of it. ``segments``: by ledger account, where they matter."""

    name: str
    event: str
    currency: str = "USD"
    entity: str = "main"
    via: Via | None = None
    parts: list[ExamplePart]
    document: Sides | None = None
    journal: Sides | None = None
    segments: dict[str, dict[str, str]] = {}

    def fact(self) -> Fact:
        """The fact that it tells. ValueError when an amount is no money; KeyError for an event or part unknown."""
        parts = []
        for number, told in enumerate(self.parts, 1):
            names, more = EVENTS[self.event][told.part].names, told.model_extra or {}
            try:
                amount = Money.of(Decimal(told.amount), self.currency)
            except InvalidOperation:
                raise ValueError(f"{told.amount!r} is no amount") from None
            known = {name: value for name, value in more.items() if name not in names}
            accounts = {name: value for name, value in more.items() if name in names}
            parts.append(Part(told.part, amount, told.part, "example", str(number), known, accounts))
        day = date(2026, 10, 31)
        about = ("EXAMPLE", self.entity, self.currency, day, None, self.name, "example", "EXAMPLE")
        return Fact(self.event, *about, parts, self.via)


class RulesFile(_Data):
    chart: list[ChartAccount]
    segments: dict[str, Segment] = {}
    rules: list[Rule]
    examples: list[Example]


@dataclass(frozen=True)
class PostingRules:
    """A file of posting rules, checked: its ``text``, and as ``version`` the hash of its content (12 hex digits)."""

    chart: tuple[LedgerAccount, ...]
    segments: Mapping[str, Segment]
    rules: tuple[Rule, ...]
    examples: tuple[Example, ...]
    text: str
    version: str

    @cached_property
    def _by_role(self) -> Mapping[str, tuple[str, ...]]:
        codes: dict[str, list[str]] = defaultdict(list)
        for account in self.chart:
            codes[account.role].append(account.code)
        return {role: tuple(found) for role, found in codes.items()}

    @cached_property
    def _by_part(self) -> Mapping[tuple[str, str, str], tuple[Rule, ...]]:
        rules: dict[tuple[str, str, str], list[Rule]] = defaultdict(list)
        for rule in self.rules:
            rules[rule.event, rule.via, rule.part].append(rule)
        return {place: tuple(found) for place, found in rules.items()}

    @cached_property
    def _ways(self) -> frozenset[tuple[str, str]]:
        return frozenset((event, via) for event, via, _ in self._by_part)

    def asked(self, event: str) -> frozenset[str]:
        """What the rules and segments of an event ask of its parts."""
        rules = [rule for rule in self.rules if rule.event == event]
        return frozenset(
            [name for rule in rules for name in rule.when]
            + [self.segments[n].of for rule in rules for n in rule.segments]
        )

    @cached_property
    def revalued_in(self) -> Mapping[str, str]:
        """By ledger account, the one that takes what a journal changes of its worth, where it is another."""
        return {account.code: account.revalued_in for account in self.chart if account.revalued_in}

    def accounts(self, role: str) -> tuple[str, ...]:
        """The ledger accounts of a role; none when the chart has none."""
        return self._by_role.get(role, ())

    def account(self, role: str) -> str:
        """The ledger account of a role, the first when there are several. Misconfigured when there is none."""
        if not (found := self.accounts(role)):
            raise Misconfigured(f"the chart of the posting rules has no account with the role {role!r}; add one")
        return found[0]

    def rule(self, fact: Fact, way: str, part: Part) -> Rule | None:
        """The first rule that takes a part; None where this way books nothing of it."""
        known = fact.known(part)
        return next((one for one in self._by_part.get((fact.event, way, part.name), ()) if one.takes(known)), None)

    def book(self, fact: Fact) -> list[JournalEntry]:
        """What a fact books: at most one entry per way to the general ledger; none where all amounts are zero."""
        entries = (self._entry(fact, via) for via in Via)
        return [entry for entry in entries if entry is not None]

    def _entry(self, fact: Fact, via: Via) -> JournalEntry | None:
        wanted = (via.value, "either") if fact.via in (None, via) else (via.value,)
        ways = [way for way in wanted if (fact.event, way) in self._ways]
        ruled = [(part, ruling) for way in ways for part, ruling in self._ruled(fact, way)]
        firsts: dict[tuple[str, str], Booking] = {}
        lines: list[Booking] = []
        lasts: dict[tuple[str, str], Booking] = {}
        for (part, ruling), own in zip(ruled, _valued([part for part, _ in ruled]), strict=True):
            for booking in _pair(fact, part, ruling, own):
                if ruling.rule.total != booking.side:
                    lines.append(booking)
                    continue
                whole, key = firsts if booking.side == "debit" else lasts, (booking.account, booking.side)
                whole[key] = whole[key].with_more(booking) if key in whole else booking
        ident = f"{PREFIX[via]}-{fact.id}"
        booked = [one for one in (*firsts.values(), *lines, *lasts.values()) if one.amount]
        if not booked:
            return None
        return JournalEntry(
            id=ident,
            entity=fact.entity,
            event=fact.event,
            via=via,
            currency=fact.currency,
            posted_on=fact.posted_on,
            account_id=fact.account_id,
            memo=fact.memo,
            rules_version=self.version,
            lines=tuple(one.line(f"{ident}-{position}", position) for position, one in enumerate(booked, 1)),
        )

    def _ruled(self, fact: Fact, way: str) -> Iterator[tuple[Part, Ruling]]:
        """The parts that this way books, with what is booked of each; parts that know the same are ruled once."""
        rulings: dict[tuple[object, ...], Ruling | None] = {}
        for part in fact.parts:
            alike = part.name, *part.knows.items()
            if alike not in rulings:
                rule = self.rule(fact, way, part)
                rulings[alike] = None if rule is None else self._ruling(rule, fact.known(part))
            if ruling := rulings[alike]:
                yield part, ruling

    def _ruling(self, rule: Rule, known: Known) -> Ruling:
        segments = {name: value for name in sorted(rule.segments) if (value := self.segments[name].value(known))}
        return Ruling(
            rule,
            segments,
            (("debit", rule.debit, self._code(rule.debit)), ("credit", rule.credit, self._code(rule.credit))),
        )

    def _code(self, role: str) -> str:
        return self._by_role[role][0] if role in self._by_role else role


def _pair(fact: Fact, part: Part, ruling: Ruling, own: Money | None) -> Iterator[Booking]:
    for side, role, code in ruling.sides:
        about = (part.memo, part.source, part.source_id)
        if ruling.rule.total == side:
            about = (fact.memo, fact.source, fact.source_id)
        account = part.accounts.get(role) or code
        yield Booking(account, side, part.amount, *about, (ruling.rule.id,), ruling.segments, own)


def _added(one: Money | None, other: Money | None) -> Money | None:
    return other if one is None else one if other is None else one + other


def _valued(parts: Sequence[Part]) -> list[Money | None]:
    """What parts are in the currency of the books; those of one rate sum to their sum converted, to the minor unit."""
    found: list[Money | None] = [None] * len(parts)
    rates: dict[Exchange, list[int]] = defaultdict(list)
    for number, part in enumerate(parts):
        if part.exchange is not None:
            rates[part.exchange].append(number)
    for exchange, numbers in rates.items():
        for number, own in zip(numbers, exchange.of_all([parts[n].amount for n in numbers]), strict=True):
            found[number] = own
    return found


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a rule books of the parts that know the same: ``sides`` are side, role, and the account of the role."""

    rule: Rule
    segments: Mapping[str, str]
    sides: tuple[tuple[str, str, str], tuple[str, str, str]]


@dataclass(slots=True)
class Booking:
    """One line before it has a place. ``amount`` is on ``side``; below zero it goes to the other one."""

    account: str
    side: str
    amount: Money
    memo: str
    source: str
    source_id: str
    rules: tuple[str, ...]
    segments: Mapping[str, str]
    functional: Money | None

    def with_more(self, other: Booking) -> Booking:
        return replace(
            self,
            amount=self.amount + other.amount,
            rules=tuple(dict.fromkeys(self.rules + other.rules)),
            segments=dict(self.segments.items() & other.segments.items()),
            functional=_added(self.functional, other.functional),
        )

    def line(self, ident: str, position: int) -> JournalLine:
        turned = self.amount.minor < 0
        amount, debits = -self.amount if turned else self.amount, (self.side == "debit") is not turned
        return JournalLine(
            id=ident,
            position=position,
            ledger_account=self.account,
            debit=amount if debits else None,
            credit=None if debits else amount,
            memo=self.memo,
            source=self.source,
            source_id=self.source_id,
            rule=", ".join(self.rules),
            segments=dict(sorted(self.segments.items())) if self.segments else {},
            functional=None if self.functional is None else abs(self.functional),
        )
