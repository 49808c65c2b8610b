"""A whole invoice: a case becomes price book, account, subscription and usage, and the core rates it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from core.accounts import Account, Address, Site
from core.catalog import PriceBook
from core.credits import Fee, Wallet, pay
from core.exact import Remainder
from core.money import Money, total
from core.period import DateSpan
from core.rating import MeteredQuantity, RatedLine, aggregate, drawn, rate
from core.rational import Fraction
from core.subscriptions import Subscription, SubscriptionCharge
from core.tax_estimate import TaxableLine, TaxRounding, estimate_tax
from tests.cases.reading import Case, convention, day, instant, model, number, picked

COMMITMENT = "commitment"


def compound(case: Case) -> Mapping[str, Any]:
    plan, accounts = case["plan"], case["accounts"]
    root = next(name for name, above in accounts.items() if above is None)
    period = DateSpan(day(case["period"]["start"]), day(case["period"]["end"]))
    book = PriceBook.model_validate_json(json.dumps(_book(case, root)))
    lines = rate(
        book,
        _account(root, accounts, book.currency),
        [_subscription(case, root, period, book.currency)],
        period,
        list(_usage(case, root)),
        hierarchy={name: above for name, above in accounts.items() if above is not None},
    )
    return _answer(case, root, lines, plan.get("order", ["discount", "commitment", "tax", "credits"]))


def _listed(value: Any) -> list[Any]:
    """A stage may be stated once or as a list."""
    return [] if value is None else value if isinstance(value, list) else [value]


def _book(case: Case, root: str) -> dict[str, Any]:
    plan, given = case["plan"], case.get("convention", {})
    charges = [_charge(one, given) for one in plan["charges"]]
    free = {"kind": "per_unit", "unit_amount": "0"}
    charges += [
        {
            "code": f"free {metric}",
            "product_code": "product",
            "name": metric,
            "kind": "usage",
            "meter": metric,
            "model": free,
        }
        for metric in case.get("usage", {})
        if metric not in {one.get("metric") for one in plan["charges"]}
    ]
    order = plan.get("order", ["discount", "commitment"])
    for one in _listed(plan.get("commitment")):
        before = "discount" in order and order.index("commitment") < order.index("discount")
        pledge = one.get("minimum", one.get("amount", one.get("commitment")))
        charges.append(
            {
                "code": COMMITMENT,
                "product_code": "product",
                "name": COMMITMENT,
                "kind": "recurring",
                "timing": "arrears",
                "align": "calendar",
                "billing_day": 1,
                "model": {
                    "kind": "commitment",
                    "amount": pledge,
                    "excluding": one.get("excluding", []),
                    "counts": "listed" if before else "net",
                },
            }
        )
    product = {"code": "product", "name": "product", "tax_code": "", "revenue_account": "revenue"}
    return {
        "name": "case",
        "currency": case.get("currency", "USD"),
        "rounding": given.get("rounding", {}).get("mode", "half_up"),
        "rounding_at": "document" if given.get("rounding", {}).get("level") in ("total", "invoice") else "line",
        "products": [product],
        "charges": charges,
        "allowances": [_allowance(one, plan) for one in plan.get("allowances", ())],
        "layers": list(_layers(plan, root, given)),
        "rules": [_rule(n, one, case) for n, one in enumerate(_listed(plan.get("discounts", plan.get("discount"))))],
    }


def _charge(one: Case, given: Case) -> dict[str, Any]:
    usual = {"code": one["id"], "product_code": "product", "name": one["id"]}
    match one["type"]:
        case "flat":
            return {**usual, "kind": "recurring", "model": {"kind": "flat", "amount": one["amount"]}}
        case "recurring" | "one_time" as kind:
            price = {"kind": "per_unit", "unit_amount": one.get("unit_amount", one.get("amount"))}
            return {**usual, "kind": kind, "model": price}
    scope = one.get("scope", "site")
    return {**usual, "kind": "usage", "meter": one["metric"], "scope": scope, "model": _model(one, given)}


def _model(one: Case, given: Case) -> dict[str, Any]:
    """Where a pool chooses the tier, each site pays its units at that tier's price: a volume price."""
    kind = "volume" if one.get("scope") == "tier_by_pool" and one["type"] == "graduated" else one["type"]
    return model({**one, "model": kind}, given)


def _layers(plan: Case, root: str, given: Case) -> Iterator[dict[str, Any]]:
    for one in plan["charges"]:
        for account, changed in one.get("overrides", {}).items():
            price = _charge({**one, **changed}, given)["model"]
            yield {
                "id": f"{account} {one['id']}",
                "level": "account" if account == root else "site",
                "of": account,
                "effective_from": "0001-01-01",
                "charges": {one["id"]: {"model": price}},
            }


def _allowance(one: Case, plan: Case) -> dict[str, Any]:
    codes = [charge["id"] for metric in one["metrics"] for charge in plan["charges"] if charge.get("metric") == metric]
    unpriced = [
        f"free {metric}" for metric in one["metrics"] if metric not in {c.get("metric") for c in plan["charges"]}
    ]
    by_code = {charge["id"]: charge.get("metric") for charge in plan["charges"]}
    weights = {code: one["weights"][by_code[code]] for code in codes if by_code[code] in one.get("weights", {})}
    earned = {"driver": one.get("driver"), "per": one.get("earn_rate"), "cap": one.get("cap")}
    return {
        "id": one["id"],
        **picked(one, "units", "driver", "steps"),
        **({"per_site": one["per_account"]} if "per_account" in one else {}),
        **({"earned": earned} if "earn_rate" in one else {}),
        "charges": codes + unpriced,
        "share": "proportional" if one.get("share") == "proportional" else "in_order",
        "weights": weights,
    }


def _rule(n: int, one: Case, case: Case) -> dict[str, Any]:
    charges, order = case["plan"]["charges"], case["plan"].get("order", ["discount", "commitment"])
    kind = (
        {"kind": "percent_off", "percent": one["percent"]}
        if "percent" in one
        else {"kind": "amount_off", "amount": one["amount"]}
    )
    on = [one["on"]] if isinstance(one.get("on"), str) and one["on"] != "total" else one.get("on", [])
    on = [] if on == "total" else on
    if not on:
        on = [charge["id"] for charge in charges]
        if case["plan"].get("commitment") and order.index("commitment") < order.index("discount"):
            on.append(COMMITMENT)
    when = one.get("when")
    return {
        "id": one.get("id", f"discount {n}"),
        "then": kind,
        "on": on,
        "when": [_condition(when, charges)] if when else [],
    }


def _condition(when: Case, charges: list[Case]) -> dict[str, Any]:
    if "charge" in when:
        return {"measure": "amount", "of": [when["charge"]], "at_least": when["at_least"]}
    priced = [charge["id"] for charge in charges if charge.get("metric") == when["metric"]][:1]
    return {"measure": "quantity", "of": priced or [f"free {when['metric']}"], "at_least": when["at_least"]}


def _account(root: str, accounts: Mapping[str, str | None], currency: str) -> Account:
    address = Address(line1="", city="", country="US")
    sites = tuple(Site(id=name, name=name, address=address) for name in accounts if name != root)
    return Account(id=root, name=root, email="", currency=currency, billing_address=address, sites=sites)


def _subscription(case: Case, root: str, period: DateSpan, currency: str) -> Subscription:
    def bought(code: str, n: int, quantity: object = 1, site: str | None = None, **days: date) -> SubscriptionCharge:
        return SubscriptionCharge(
            id=f"{code} {n}",
            order_line_id=code,
            charge_code=code,
            product_code="product",
            site_id=None if site in (None, root) else site,
            quantity=Decimal(str(quantity)),
            starts_on=days.get("starts_on", period.start),
            ends_on=days.get("ends_on", period.end),
            contract_value=Money.zero(currency),
        )

    plan = case["plan"]
    charges: list[SubscriptionCharge] = []
    for one in plan["charges"]:
        if one["type"] in ("recurring", "one_time"):
            for n, item in enumerate(_items(case, one)):
                starts = max(period.start, day(item["from"])) if item.get("from") else period.start
                ends = min(period.end, day(item["to"])) if item.get("to") else period.end
                if starts < ends:
                    charges.append(
                        bought(
                            one["id"], n, item.get("quantity", 1), item.get("account"), starts_on=starts, ends_on=ends
                        )
                    )
        else:
            charges.append(bought(one["id"], 0))
    priced = {one.get("metric") for one in plan["charges"]}
    charges += [bought(f"free {metric}", 0) for metric in case.get("usage", {}) if metric not in priced]
    for one in _listed(plan.get("commitment")):
        starts = day(one["prorate_from"]) if one.get("prorate_from") else period.start
        charges.append(bought(COMMITMENT, 0, starts_on=max(starts, period.start)))
    return Subscription(
        id="subscription",
        account_id=root,
        order_id="order",
        currency=currency,
        timezone="UTC",
        starts_on=period.start,
        ends_on=period.end,
        charges=tuple(charges),
    )


def _items(case: Case, charge: Case) -> list[dict[str, Any]]:
    """The items of a recurring charge, or one per event of a one-time item inside the period."""
    if charge["type"] == "recurring":
        return list(charge.get("items", case.get("items", ())))
    period = case["period"]
    events = [one for one in case.get("events", ()) if one.get("item") == charge.get("item", charge["id"])]
    inside = [
        one for one in events if day(period["start"]) <= day(one.get("date", one.get("time"))) < day(period["end"])
    ]
    return [{**one, "from": day(one.get("date", one.get("time"))).isoformat(), "to": None} for one in inside]


def _usage(case: Case, root: str) -> Iterator[MeteredQuantity]:
    for metric, by_account in case.get("usage", {}).items():
        for account, quantity in by_account.items():
            yield MeteredQuantity(
                account_id=root,
                site_id=None if account == root else account,
                meter=metric,
                dimensions={},
                quantity=Decimal(quantity),
                events=1,
            )


def _answer(case: Case, root: str, lines: tuple[RatedLine, ...], order: list[str]) -> dict[str, Any]:
    plan, rules = case["plan"], convention(case)
    bill_to = {one["id"]: one.get("bill_to", root) for one in plan["charges"]}
    priced = [line for line in lines if line.charge_code in bill_to]
    pledged = [line for line in lines if line.charge_code == COMMITMENT]
    currency = lines[0].amount.currency
    kept = [*priced, *pledged]
    discount = total([-change.amount for line in kept for change in line.derivation.adjustments], currency)
    dues = [Fraction(line.amount.amount) for line in kept]
    fees = [Fee(due, "charge", line.charge_code) for due, line in zip(dues, kept, strict=True)]
    wallets = [
        Wallet(
            one["id"],
            number(one.get("balance", one.get("amount"))),
            int(one.get("priority", 50)),
            (),
            tuple([one["only"]] if isinstance(one.get("only"), str) else one.get("only", ())),
            None,
            _expiry(one),
        )
        for one in case.get("credits", ())
    ]
    tax, paid = Fraction(0), pay(fees, wallets[:0])
    percents = tuple(number(one["percent"]) for one in _listed(plan.get("tax")))
    closing = instant(f"{case['period']['end'][:10]}T00:00:00Z") - timedelta(seconds=1)
    for stage in order:
        if stage == "tax":
            whole = estimate_tax([TaxableLine(fee.amount, ()) for fee in fees], None).taxable
            line = TaxableLine(whole, percents)
            tax = estimate_tax([line], rules.places, TaxRounding.TOTAL, rules.mode, remainder=Remainder.NONE).tax
            fees.append(Fee(tax, "tax"))
        elif stage == "credits":
            paid = pay(fees, wallets, closing)
            fees = [Fee(due, fee.kind, fee.code) for due, fee in zip(paid.due, fees, strict=True)]
    return {
        "lines": _lines(priced, bill_to, "rounded" if rules.level == "line" else "exact"),
        "subtotal": total([line.derivation.rounded for line in priced], currency).amount,
        "allowance_used": drawn(lines),
        "discount": discount.amount,
        "commitment_true_up": total([line.derivation.rounded for line in pledged], currency).amount,
        "tax": tax,
        "credits_used": {one.id: paid.used(n) for n, one in enumerate(wallets)},
        "credits_left": {
            one.id: left for one, left in zip(wallets, paid.balances or [one.balance for one in wallets], strict=True)
        },
        "credits_total": paid.applied,
        "total": pay(fees, []).left,
    }


def _expiry(one: Case) -> Any:
    stated = next((value for name, value in one.items() if name.startswith("expire")), None)
    return None if stated is None else instant(stated if "T" in stated else f"{stated}T00:00:00Z")


def _lines(lines: list[RatedLine], bill_to: Mapping[str, str], figure: str) -> list[dict[str, Any]]:
    """One row per charge and account, as the case states them: several items of one charge are one row.

    ``figure``: whether the case states the ``rounded`` amounts of lines, or rounds later and states them ``exact``.
    """
    rows: dict[tuple[str, str], list[RatedLine]] = {}
    for line in lines:
        rows.setdefault((line.charge_code, line.site_id or bill_to[line.charge_code]), []).append(line)
    return [
        {
            "charge": code,
            "account": account,
            "quantity": sum((line.quantity for line in members), Decimal(0)),
            "amount": _amount(members, figure),
        }
        for (code, account), members in rows.items()
    ]


def _amount(lines: list[RatedLine], figure: str) -> Fraction:
    """Shares of a pool have no exact amount of their own; they are money."""
    if figure == "exact" and all(line.derivation.share is None for line in lines):
        return aggregate.total([aggregate.Event(line.derivation.exact) for line in lines])
    return Fraction(total([line.derivation.rounded for line in lines], lines[0].amount.currency).amount)
