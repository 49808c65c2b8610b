"""The price book: Product > RatePlan > Charge > Tier, as one YAML file that a finance clerk can review."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from core.errors import Misconfigured, Rejected
from core.fx import Exchange
from core.meters import ADDITIVE, Aggregation, Meter
from core.money import Rounding
from core.noun import CurrencyCode, Id, Noun, Quantity
from core.prices import Commitment, Conversion, Model, NotNegative
from core.revenue_policy import Pattern, RevenuePolicy
from core.terms import Allowance, Credit, Entitlement, Layer, Override, Rule
from core.wallets import CreditKind


class Product(Noun):
    """What is sold. ``tax_code`` as the tax engine spells it; ``revenue_account`` a ledger account of ours."""

    code: Id
    name: str
    tax_code: str
    revenue_account: str
    revenue: RevenuePolicy | None = None
    """How its charges are earned that say nothing themselves."""


class ChargeKind(StrEnum):
    RECURRING = "recurring"
    USAGE = "usage"
    ONE_TIME = "one_time"


class Timing(StrEnum):
    ADVANCE = "advance"  # due when the service period starts
    ARREARS = "arrears"  # due when the service period has ended


class Align(StrEnum):
    """Where service periods start."""

    CALENDAR = "calendar"  # on the charge's billing day, in the months that ``every_months`` divides
    ANNIVERSARY = "anniversary"  # on the day the charge started; a shorter month clamps, the next returns to the day
    SUBSCRIPTION = "subscription"  # on the day the subscription started, so that charges added later end with it


class Proration(StrEnum):
    """What a service period that is cut short costs."""

    DAY = "day"  # calendar days served / days of the whole service period
    SECOND = (
        "second"  # elapsed seconds of the same days in the account's zone: days of 23 and 25 hours count as they are
    )
    NONE = "none"  # the full price


class Parts(StrEnum):
    """How a service period billed in parts is charged (None: a flat price by ``timing``, others by difference)."""

    DIFFERENCE = "difference"  # the price of all so far, less the price of what earlier parts measured
    FIRST = "first"  # whole, with the first part
    LAST = "last"  # whole, with the last part
    CUMULATIVE = "cumulative"  # the quantity is all so far: its price, less what earlier parts billed


class Scope(StrEnum):
    """What is priced together when a charge serves several sites."""

    SITE = "site"  # each site alone
    ACCOUNT = "account"  # all sites together, on one line of the account
    POOL = "pool"  # all sites together, the amount shared by usage with largest remainder
    TIER_BY_POOL = "tier_by_pool"  # the tier by all sites together, each site pays its own units at that price


def _usual_timing(charge: dict[str, Any]) -> Timing:
    return Timing.ADVANCE if charge.get("kind") is ChargeKind.RECURRING else Timing.ARREARS


class Charge(Noun):
    """One price of one product. ``code`` is what an order line names.

    ``timing`` defaults to advance for recurring charges and arrears for usage; ``meter`` and ``where`` (dimension ->
    value) say which usage it prices; ``every_months`` is the length of a service period; ``model`` is its price.
    """

    code: Id
    product_code: Id
    name: str
    kind: ChargeKind
    timing: Timing = Field(default_factory=_usual_timing)
    every_months: Annotated[int, Field(ge=1, le=120)] = 1
    align: Align = Align.CALENDAR
    billing_day: Annotated[int, Field(ge=1, le=31)] = 1
    meter: Id | None = None
    where: dict[str, str] = Field(default_factory=dict)
    model: Model
    conversion: Conversion | None = None
    included: NotNegative = Quantity(0)
    """Units that are free in each service period, on each line; a pool over lines is an Allowance."""
    discount_percent: Annotated[Quantity, Field(ge=0, le=100)] = Quantity(0)
    max_spend: NotNegative | None = None
    """Most a line may cost in a service period, after the discount."""
    min_spend: NotNegative | None = None
    """Least a line costs in a service period, after discount and maximum."""
    parts: Parts | None = None
    group_by: tuple[str, ...] = ()
    """Dimensions whose every combination of values is priced alone, then added."""
    scope: Scope = Scope.SITE
    proration: Proration = Proration.DAY
    trial_days: Annotated[int, Field(ge=0)] = 0
    """Days from the ordered start that are free; the charge starts after them."""
    rounding: Rounding | None = None
    """None: the rounding of the price book."""
    revenue: RevenuePolicy | None = None
    """How it is earned; None: as its product says, or as is usual."""

    @model_validator(mode="after")
    def _meter_of_kind(self) -> Self:
        if (self.kind is ChargeKind.USAGE) != (self.meter is not None):
            raise ValueError("a usage charge names its meter, and no other charge has one")
        if self.kind is ChargeKind.USAGE and self.timing is Timing.ADVANCE:
            raise ValueError("usage is charged in arrears")
        if self.kind is ChargeKind.USAGE and self.revenue and self.revenue.pattern not in (None, Pattern.AS_USED):
            raise ValueError("usage is earned as used")
        return self

    @property
    def usual_pattern(self) -> Pattern:
        """How it is earned when nobody declares anything."""
        if self.kind is ChargeKind.ONE_TIME:
            return Pattern.POINT_IN_TIME
        return Pattern.STRAIGHT_LINE if self.timing is Timing.ADVANCE else Pattern.AS_USED


class RatePlan(Noun):
    """Charges sold together."""

    code: Id
    name: str
    charges: tuple[Id, ...]


class RoundingAt(StrEnum):
    """The one point where exact amounts become money."""

    LINE = "line"  # each line
    DOCUMENT = (
        "document"  # the sum of all lines, once; lines take minor units by largest remainder, so that they sum to it
    )


class WhenLate(StrEnum):
    """What becomes of usage that is recorded after the bill of its month."""

    ADJUSTMENT = "adjustment"  # the month is rated again by its own book; the next bill has a line per difference
    OPEN_PERIOD = "open_period"  # it counts as usage of the next bill's month, at its prices


class InCurrency(Noun):
    """How a book sells in another currency: ``charges`` by their stated prices, ``others`` converted or not at all."""

    code: CurrencyCode
    charges: dict[Id, Override] = Field(default_factory=dict)
    others: Literal["refuse", "convert"] = "refuse"


class PriceBook(Noun):
    """All prices of one seller, in one currency and those it is sold in besides. Equal content: equal ``version``.

    A meter that ``meters`` does not define is the plain sum of the events of its name.
    """

    name: Id
    currency: CurrencyCode
    rounding: Rounding = Rounding.HALF_UP
    rounding_at: RoundingAt = RoundingAt.LINE
    late_usage: WhenLate = WhenLate.ADJUSTMENT
    products: tuple[Product, ...] = ()
    meters: tuple[Meter, ...] = ()
    charges: tuple[Charge, ...] = ()
    rate_plans: tuple[RatePlan, ...] = ()
    currencies: tuple[InCurrency, ...] = ()
    allowances: tuple[Allowance, ...] = ()
    credits: tuple[Credit, ...] = ()
    layers: tuple[Layer, ...] = ()
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if found := [f"{_spell(path)}: {text}" for path, text in _contradictions(self.model_dump())]:
            raise ValueError("; ".join(found))
        evaluation_order(self.rules, self.charges)
        return self

    @cached_property
    def version(self) -> str:
        """First 12 hex digits of the SHA-256 of the content."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def sells_at(self, version: str, exchange: Exchange | None, converted: frozenset[str]) -> None:
        """Makes this the book of that version in another currency; ``core.currencies`` alone calls it."""
        self.__dict__ |= {"version": version, "_exchanges": dict.fromkeys(converted, exchange)}

    @cached_property
    def _exchanges(self) -> dict[str, Exchange | None]:
        """The charges whose prices are of another currency, each with its rate (None: none is known)."""
        return {}

    def converts(self, code: str) -> bool:
        """Whether the prices of a charge are of another currency than the book sells in here."""
        return code in self._exchanges

    def exchange_of(self, code: str) -> Exchange | None:
        """The rate at which the exact amounts of a charge are converted; None: they are not.

        Rejected when they are, and the book was given no rate.
        """
        if code not in self._exchanges:
            return None
        if (exchange := self._exchanges[code]) is None:
            raise Rejected(f"{code} is priced at a dated exchange rate, and none is known", record=code, field="rate")
        return exchange

    @cached_property
    def evaluation(self) -> tuple[Rule | Charge, ...]:
        """Rules and commitment charges in the order in which their figures are known."""
        return evaluation_order(self.rules, self.charges)

    @cached_property
    def own_layers(self) -> tuple[Layer, ...]:
        """The layers whose prices are in the currency that the book sells in here."""
        return tuple(one for one in self.layers if one.currency in (None, self.currency))

    @cached_property
    def _charges(self) -> dict[str, Charge]:
        return {charge.code: charge for charge in self.charges}

    @cached_property
    def _meters(self) -> dict[str, Meter]:
        return {meter.name: meter for meter in self.meters}

    @cached_property
    def _products(self) -> dict[str, Product]:
        return {product.code: product for product in self.products}

    def charge(self, code: str) -> Charge:
        """The charge of that code. KeyError when there is none."""
        if code not in self._charges:
            raise KeyError(f"price book {self.name} has no charge {code}")
        return self._charges[code]

    def meter(self, name: str) -> Meter:
        """The meter of that name, as defined or the plain sum."""
        return self._meters.get(name) or Meter(name=name)

    def revenue(self, code: str) -> RevenuePolicy:
        """How the charge of that code is earned: as it says, else its product, else as is usual."""
        charge = self.charge(code)
        policy = charge.revenue or self.product(charge.product_code).revenue or RevenuePolicy()
        usage = charge.kind is ChargeKind.USAGE
        pattern = None if usage else policy.pattern
        return policy.model_copy(update={"pattern": pattern or charge.usual_pattern})

    def product(self, code: str) -> Product:
        """The product of that code. KeyError when there is none."""
        if code not in self._products:
            raise KeyError(f"price book {self.name} has no product {code}")
        return self._products[code]


_Path = tuple[str | int, ...]

#: Where one part names others: section, field, the section it names, and what a part of that is called.
_REFERENCES = (
    ("charges", "product_code", "products", "product"),
    ("rate_plans", "charges", "charges", "charge"),
    ("allowances", "charges", "charges", "charge"),
    ("allowances", "granted_by", "charges", "charge"),
    ("allowances", "weights", "charges", "charge"),
    ("currencies", "charges", "charges", "charge"),
    ("credits", "granted_by", "charges", "charge"),
    ("credits", "charges", "charges", "charge"),
    ("layers", "charges", "charges", "charge"),
    ("rules", "on", "charges", "charge"),
)


def _contradictions(tree: Mapping[str, Any]) -> Iterator[tuple[_Path, str]]:
    """What is wrong between the parts of a book: where, and in which words. The parts themselves may be broken too."""

    def rows(section: str) -> list[dict[str, Any]]:
        return [row if isinstance(row, dict) else {} for row in tree.get(section) or ()]

    def name(row: dict[str, Any]) -> str:
        return str(row.get("code", row.get("id", row.get("name"))))

    for section in (
        "products",
        "meters",
        "charges",
        "rate_plans",
        "currencies",
        "allowances",
        "credits",
        "layers",
        "rules",
    ):
        names = [name(row) for row in rows(section)]
        for index, one in enumerate(names):
            if names.index(one) < index:
                yield (section, index), f"{one} is declared before"
    for section, field, target, noun in _REFERENCES:
        known = {name(row) for row in rows(target)}
        for index, row in enumerate(rows(section)):
            wanted = row.get(field)
            for one in [wanted] if isinstance(wanted, str) else wanted or ():
                if one not in known:
                    yield (section, index, field), f"there is no {noun} {one}"
    readers: dict[str, list[str]] = {}
    for row in rows("meters"):
        readers.setdefault(str(row.get("of") or row.get("name")), []).append(name(row))
    defined = {one for names in readers.values() for one in names}
    for index, row in enumerate(rows("meters") if tree.get("late_usage") == WhenLate.OPEN_PERIOD else ()):
        if row.get("aggregation", Aggregation.SUM) not in ADDITIVE:
            yield ("meters", index, "aggregation"), f"{name(row)} does not add up over months"
    for index, row in enumerate(rows("charges") if tree.get("late_usage") == WhenLate.OPEN_PERIOD else ()):
        if row.get("meter") and row.get("every_months", 1) != 1:
            yield ("charges", index, "every_months"), f"{name(row)} has no bill every month to carry late usage into"
    for index, row in enumerate(rows("charges")):
        if (meter := row.get("meter")) in readers and meter not in defined:
            yield ("charges", index, "meter"), f"events of {meter} are read by {', '.join(readers[meter])} only"
    kinds = {name(row): row.get("kind") for row in rows("charges")}
    for index, row in enumerate(rows("credits")):
        top_up = kinds.get(str(row.get("granted_by")), ChargeKind.ONE_TIME)
        if row.get("kind") == CreditKind.PREPAID and top_up != ChargeKind.ONE_TIME:
            yield ("credits", index, "granted_by"), "prepaid credit is granted by a one-time charge, its top-up"
    yield from _currency_contradictions(rows, tree)
    known = {name(row) for row in rows("charges")}
    for index, row in enumerate(rows("rules")):
        for number, condition in enumerate(row.get("when") or ()):
            for one in condition.get("of", ()) if isinstance(condition, dict) else ():
                if one not in known:
                    yield ("rules", index, "when", number, "of"), f"there is no charge {one}"


def _currency_contradictions(
    rows: Callable[[str], list[dict[str, Any]]], tree: Mapping[str, Any]
) -> Iterator[tuple[_Path, str]]:
    """What of prices in other currencies cannot be: all money of a charge is of one currency, and none has no rate."""
    stated = {row.get("code"): set(row.get("charges") or ()) for row in rows("currencies")}
    for index, row in enumerate(rows("currencies")):
        if row.get("code") == tree.get("currency"):
            yield ("currencies", index, "code"), f"{row['code']} is the currency of the book itself"
        for code, price in (row.get("charges") or {}).items():
            if isinstance(price, dict) and price.get("model") is None:
                yield ("currencies", index, "charges", code), f"{code} states no model in {row.get('code')}"
        money = [one for one in rows("rules") if _money_of(one)]
        if money and row.get("others", "refuse") == "refuse":
            why = f"rule {money[0].get('id')} states an amount in {tree.get('currency')}; say others: convert"
            yield ("currencies", index, "others"), why
    for index, row in enumerate(rows("layers")):
        if (currency := row.get("currency")) is not None and currency != tree.get("currency"):
            for code in set(row.get("charges") or ()) - stated.get(currency, set()):
                yield ("layers", index, "charges", code), f"{code} states no price in {currency}"


def _money_of(rule: Mapping[str, Any]) -> bool:
    then, when = rule.get("then"), rule.get("when") or ()
    acts = isinstance(then, dict) and then.get("kind") in ("amount_off", "maximum")
    return acts or any(isinstance(one, dict) and one.get("measure") == "amount" for one in when)


def evaluation_order(rules: Sequence[Rule], charges: Sequence[Charge]) -> tuple[Rule | Charge, ...]:
    """Rules and commitment charges in the order in which their figures are known. ValueError names a cycle.

    A rule waits for the rules that act on an amount it reads; of rules on the same charge the earlier in the book goes
    first. A commitment waits for the rules on the charges it counts, unless it counts them as listed.
    """
    nodes: list[Rule | Charge] = [*rules, *(charge for charge in charges if isinstance(charge.model, Commitment))]
    reads, acts = [reads_of(node, charges) for node in nodes], [acts_on(node, charges) for node in nodes]
    waits: dict[int, set[int]] = {}
    for later, node in enumerate(nodes):
        waits[later] = set()
        for earlier, other in enumerate(nodes):
            shared = acts[earlier] & acts[later]
            # Of two rules the earlier in the book goes first; a rule on a commitment waits for it wherever it stands.
            follows = isinstance(node, Rule) and (earlier < later or isinstance(other, Charge))
            if earlier != later and (acts[earlier] & (reads[later] - acts[later]) or (follows and shared)):
                waits[later].add(earlier)
    try:
        return tuple(nodes[index] for index in TopologicalSorter(waits).static_order())
    except CycleError as error:
        names = [_name(nodes[index]) for index in error.args[1]]
        raise ValueError(f"rules wait for each other: {' -> '.join(reversed(names))}") from None


def acts_on(node: Rule | Charge, charges: Sequence[Charge]) -> frozenset[str]:
    """The codes of the charges whose amounts a rule changes (none: all but commitments), or a commitment makes."""
    if isinstance(node, Charge):
        return frozenset({node.code})
    if isinstance(node.then, Entitlement):
        return frozenset()
    return frozenset(node.on or (one.code for one in charges if not isinstance(one.model, Commitment)))


def reads_of(node: Rule | Charge, charges: Sequence[Charge]) -> frozenset[str]:
    """The codes of the charges whose amounts a rule or a commitment looks at, after the rules on them."""
    if isinstance(node, Rule):
        return frozenset(code for one in node.when if one.measure == "amount" for code in one.of)
    model = node.model
    net = isinstance(model, Commitment) and model.counts == "net"
    return counted(model, node.code, charges) if net and isinstance(model, Commitment) else frozenset()


def counted(commitment: Commitment, own: str, charges: Sequence[Charge]) -> frozenset[str]:
    """The codes of the charges a commitment counts; never itself."""
    named = set(commitment.of) or {one.code for one in charges if not isinstance(one.model, Commitment)}
    return frozenset(named - set(commitment.excluding) - {own})


def _name(node: Rule | Charge) -> str:
    return node.id if isinstance(node, Rule) else node.code


class PriceBookError(Misconfigured):
    """A price book file has mistakes; ``mistakes`` tells each as ``file:line: field: what is wrong``."""

    cure = "Correct every line named, then run `tieout catalog check`."

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class _ExactLoader(yaml.SafeLoader):
    """YAML that keeps what is written: ``0.1`` is Decimal("0.1"), ``on`` and ``NO`` are text, ``0010`` is not octal."""


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal:
    return Decimal(str(loader.construct_scalar(node)))


_ExactLoader.yaml_implicit_resolvers = {}
for _tag, _form, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", "tf"),
    ("int", r"-?(?:0|[1-9][0-9]*)", "-0123456789"),
    ("float", r"-?(?:0|[1-9][0-9]*)\.[0-9]+", "-0123456789"),
    ("timestamp", r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "0123456789"),
):
    _ExactLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_form})$"), [*_first])
_ExactLoader.add_constructor("tag:yaml.org,2002:float", _decimal)


def read_yaml(path: Path) -> Any:
    """The content of a YAML or JSON file as it is written. PriceBookError where it is no YAML, Misconfigured where it
    cannot be read."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_ExactLoader)
    except (yaml.YAMLError, ValueError, ArithmeticError) as error:
        raise PriceBookError([f"{path}: {error}"]) from None
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from None


def load_price_book(path: Path) -> PriceBook:
    """The price book of a YAML or JSON file. PriceBookError with all mistakes of the file at once."""
    tree = read_yaml(path)
    root = yaml.compose(path.read_text(encoding="utf-8"), Loader=_ExactLoader)
    if not isinstance(tree, dict):
        raise PriceBookError([f"{path}:1: a price book is a mapping of name, currency, products, charges..."])
    found = list(_contradictions(tree))
    try:
        book = PriceBook.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        found += [(fault["loc"], fault["msg"]) for fault in faults if fault["loc"] or not found]
    if found:
        told = sorted((_line(root, where), f"{_spell(where)}: {what}") for where, what in found)
        raise PriceBookError([f"{path}:{line}: {what}" for line, what in told])
    return book


def _line(node: yaml.Node | None, path: _Path) -> int:
    """The line (from 1) of the innermost node on a path; names that are not in the file are passed over."""
    line = 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            hits = [(key, value) for key, value in node.value if key.value == step]
            if not hits:
                continue
            line, node = hits[0][0].start_mark.line + 1, hits[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def _spell(path: _Path) -> str:
    return ".".join(str(step) for step in path)
