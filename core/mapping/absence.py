"""What an operator does when there is no value, or none it knows: take the default, leave out, wait, refuse."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from core.mapping import spec as s
from core.mapping import values as v
from core.mapping.shapes import Kind, Shape
from core.mapping.site import Convert, Scope, Site, Take, nothing
from core.mapping.values import Unfit


def gone(site: Site, op: s.Sourced, path: str, *, may_miss: bool, currency: Take | None = None) -> Convert:
    """What the operator does when its value is absent or null."""
    if site.going_out and op.null is not None:
        site.at("null").problem("a noun knows no difference of absent and null; state `missing:` alone")
    may_miss = may_miss or op.empty is not None
    if may_miss and op.missing is None:
        site.problem(f"{path} may be missing; state `missing:` default, skip, park or fail")
    if not may_miss and op.missing is not None:
        site.at("missing").problem(f"{path} is never missing")
    missing = op.missing or "fail"
    default = _default(site, op, currency) if op.stated("default") else None
    absent = act(site, missing, "is absent", path, default)
    null = act(site, op.null or missing, "is null", path, default)
    return lambda value, scope: null(scope) if value is None else absent(scope)


def miss(site: Site, op: s.Known, why: str, awaited: str, silent: s.Action = "fail") -> Convert:
    """What the operator does with a word that is not in its list."""
    action = op.unknown or silent
    if action in ("default", "skip"):
        take = site.at("default").literal(op.default) if action == "default" else nothing
        return lambda _value, scope: take(scope)

    def refuse(value: Any, _scope: Scope) -> Any:
        raise Unfit(why, value, waits_for=f"{awaited}{value}" if action == "park" else "")

    return refuse


def act(site: Site, action: s.Action, why: str, path: str, default: Take | None = None) -> Take:
    """Does what an action says."""
    if action == "default" and default is not None:
        return default
    if action == "skip":
        return nothing
    awaited = site.awaited(path) if action == "park" else ""

    def refuse(_scope: Scope) -> Any:
        raise Unfit(why, source=path, waits_for=awaited)

    return refuse


def _default(site: Site, op: s.Sourced, currency: Take | None) -> Take:
    """The default, in the form of the target; a bare amount is in the currency of the field."""
    there = site.at("default")
    if currency is not None and isinstance(op.default, (str, int, Decimal)):
        amount = there.at(target=Shape(Kind.DECIMAL)).constant(op.default)
        return lambda scope: v.money_in(amount, currency(scope))
    return there.literal(op.default)
