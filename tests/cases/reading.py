"""How a case spells its figures, dates, rounding and models, in the core's own types."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from core.calendar import Interval, in_zone
from core.catalog import Charge, Parts
from core.exact import Remainder, round_to
from core.money import Rounding, exponent
from core.rational import Fraction

Case = Mapping[str, Any]


def number(value: object, default: int = 0) -> Fraction:
    return Fraction(default) if value is None else Fraction(Decimal(str(value)))


def numbers(values: Iterable[object]) -> list[Fraction]:
    return [number(one) for one in values]


def moment(text: str) -> date | datetime:
    return instant(text) if "T" in text else date.fromisoformat(text)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def zone_of(case: Case) -> str:
    """The zone a case names, in whichever of its places; UTC where it names none."""
    places = (case, case.get("plan", {}), case.get("convention", {}))
    return next((place["timezone"] for place in places if "timezone" in place), "UTC")


def local(case: Case, text: str) -> date | datetime:
    """A calendar day as it stands, an instant on the local clock of the case."""
    found = moment(text)
    return in_zone(found, zone_of(case)) if isinstance(found, datetime) else found


def day(text: str) -> date:
    return date.fromisoformat(text[:10])


def interval(text: str) -> Interval:
    return Interval.parse(text)


@dataclass(frozen=True)
class Convention:
    """The declared semantics of a case, and what a rounding level means for one of its figures."""

    given: Mapping[str, Any]
    currency: str | None

    @property
    def level(self) -> str | None:
        return self.given["rounding"]["level"] if "rounding" in self.given else None

    @property
    def mode(self) -> Rounding:
        return Rounding(self.given.get("rounding", {}).get("mode", "half_up"))

    @property
    def places(self) -> int:
        """Decimals of the declared rounding, or of the currency where none is declared."""
        if "rounding" in self.given:
            return int(self.given["rounding"]["places"])
        return exponent(self.currency) if self.currency and self.currency != "XTS" else 2

    def rounded(self, value: Fraction) -> Fraction:
        """The figure, rounded where the case declares a rounding of amounts."""
        if self.level in (None, "factor", "stated"):
            return value
        return round_to(value, self.places, self.mode)

    def remainder(self, default: Remainder = Remainder.LARGEST) -> Remainder:
        return _REMAINDERS[self.given["remainder"]] if "remainder" in self.given else default


_REMAINDERS = {
    "largest_remainder": Remainder.LARGEST,
    "last_line": Remainder.LAST,
    "last_line_floor": Remainder.LAST_FLOOR,
    "first_period": Remainder.FIRST,
    "last_period": Remainder.LAST,
    "cumulative": Remainder.CUMULATIVE,
    "none": Remainder.NONE,
}


def convention(case: Case) -> Convention:
    return Convention(case.get("convention", {}), case.get("currency"))


def tiered(kind: str, plan: Case, given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": kind,
        "tiers": plan["tiers"],
        "bounds": given.get("tier_bounds", "upper_inclusive"),
        "when_empty": given.get("zero_usage_flat", "charge_first_tier"),
    }


def model(plan: Case, given: Mapping[str, Any]) -> dict[str, Any]:
    """The price model of a plan, as the price book spells it."""
    match plan["model"]:
        case "unit":
            return {"kind": "per_unit", "unit_amount": plan["unit_amount"]}
        case "flat":
            return {"kind": "flat", "amount": plan["amount"]}
        case "dynamic":
            return {"kind": "pre_rated", "multiplier": plan["multiplier"]}
        case "package":
            return {
                "kind": "package",
                **picked(plan, "package_size", "package_amount", "free_units", "partial_package"),
            }
        case "graduated" | "graduated_percentage":
            return tiered("graduated", plan, given)
        case "volume" | "stairstep" as kind:
            return tiered(kind, plan, given)
        case "percentage":
            fields = ("rate", "fixed_per_event", "min_per_event", "max_per_event", "free_amount")
            free = {"free_events": int(plan["free_events"])} if plan.get("free_events") is not None else {}
            return {"kind": "percentage", **picked(plan, *fields), **free}
    raise KeyError(f"model {plan['model']}")


def picked(source: Case, *names: str) -> dict[str, Any]:
    return {name: source[name] for name in names if source.get(name) is not None}


def charge(price: Mapping[str, Any], **fields: Any) -> Charge:
    """A charge of that price; usage unless the fields say otherwise."""
    usual = {"code": "charge", "product_code": "product", "name": "charge", "kind": "usage", "meter": "meter"}
    return Charge.model_validate_json(json.dumps({**usual, "model": price, **fields}))


def single_charge(case: Case) -> Charge:
    """The one charge of a case, with conversion, free units, spend limits and how split periods are billed."""
    plan, given = case["plan"], case.get("convention", {})
    fields: dict[str, Any] = picked(plan, "min_spend", "max_spend", "discount_percent")
    if "usage_discount_units" in plan:
        fields["included"] = plan["usage_discount_units"]
    if "unit_conversion" in plan:
        stated = plan["unit_conversion"]
        fields["conversion"] = {
            **picked(stated, "operation", "factor", *(["rounding"] if stated.get("rounding") != "none" else [])),
            "places": int(stated.get("places", 0)),
            "split": given.get("split_conversion", "cumulative"),
        }
    if plan["model"] == "flat":
        fields["parts"] = plan.get("charged_at", Parts.FIRST)
    elif given.get("volume_billed_at") == "last":
        fields["parts"] = Parts.LAST
    if "windows" in case["usage"]:
        fields["group_by"] = ["window"]
    return charge(model(plan, given), **fields)
