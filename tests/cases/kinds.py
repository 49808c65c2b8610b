"""One function per kind of case: it hands the case to the core and names what the core answers.

Nothing here computes money: figures are read, given to the core, and compared by the runner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from core import calendar, crediting, receivables, recognition, trial
from core.catalog import Parts
from core.credits import Fee, Grant, Overage, Recurrence, Usage, Wallet, burn, pay
from core.exact import Remainder, apportion, round_to
from core.money import Rounding
from core.period import DateSpan, local_date
from core.prices import Blocks, Capacity, Commitment, Committed, Graduated, Percentage, PerUnit
from core.rating import Earlier, Part, Position, Priced, StepKind, aggregate, cycles, price_charge, proration, seats
from core.rating import commitment as commitments
from core.rating import percentage as percentages
from core.rating.committed import utilisation
from core.rating.derivation import amount_of
from core.rating.discount import Coupon, CouponOrder, Line, PercentageRounding, Terms, discount
from core.rating.layers import resolve
from core.rating.prepaid import Purse, Units, serve
from core.rating.session import Group, Stage, Tariff, Window, rate_session, whole_increments
from core.rational import Fraction
from core.tax_estimate import TaxableLine, TaxRounding, estimate_tax
from core.terms import Layer, Level
from tests.cases.compound import compound
from tests.cases.reading import (
    Case,
    charge,
    convention,
    day,
    instant,
    interval,
    local,
    moment,
    number,
    numbers,
    picked,
    single_charge,
    zone_of,
)

Answer = Mapping[str, Any]


def one_charge(case: Case) -> Answer:
    usage, rules = case["usage"], convention(case)
    quantities = usage.get("windows", [usage.get("quantity", "0")])
    parts = [Part({"window": str(n)}, number(value), 1) for n, value in enumerate(quantities)]
    earlier = Earlier(
        number(usage.get("previous_quantity")),
        number(usage.get("previous_amount")),
        Position(usage.get("position", "single")),
    )
    selector = number(usage["tier_quantity"]) if "tier_quantity" in usage else None
    priced = price_charge(single_charge(case), parts, earlier=earlier, tier_by=selector)

    def of(*kinds: StepKind) -> Fraction:
        return rules.rounded(amount_of(priced.steps, *kinds))

    return {
        "amount": of(StepKind.PRICE, StepKind.CAP, StepKind.EARLIER),
        "percentage_discount": abs(of(StepKind.DISCOUNT)),
        "maximum_discount": abs(of(StepKind.MAXIMUM)),
        "true_up": of(StepKind.MINIMUM),
        "total": rules.rounded(priced.exact),
        "billable_quantity": priced.quantity,
        "previous_billable_quantity": priced.earlier_quantity,
        "discounted_units": priced.included,
    }


def percentage(case: Case) -> Answer:
    one, rules = single_charge(case), convention(case)
    amounts = tuple(Decimal(value) for value in case["usage"]["event_amounts"])
    total = aggregate.total([aggregate.Event(Fraction(value)) for value in amounts])
    assert isinstance(one.model, Percentage)
    paid = percentages.paid(one.model, amounts)
    return {
        "amount": rules.rounded(price_charge(one, [Part({}, total, len(amounts), amounts)]).exact),
        "paid_events": len(paid.each),
        "free_units": paid.free,
        "paid_units": paid.total,
    }


def graduated_prorated(case: Case) -> Answer:
    tiers = single_charge({**case, "usage": {}}).model
    assert isinstance(tiers, Graduated)
    changes = [seats.Seats(number(one["units"]), number(one["prorated_units"])) for one in case["events"]]
    return {"amount": convention(case).rounded(amount_of(seats.price_changes(tiers, changes)))}


def _by_unit(case: Case, price: Blocks | Capacity) -> tuple[Priced, Priced]:
    """The price of all so far: before and after what was billed earlier."""
    parts = [Part({"unit": unit}, number(units)) for unit, units in case["usage"]["quantities"].items()]
    one = charge(price.model_dump(mode="json"), parts=Parts.CUMULATIVE)
    billed = Earlier(amount=number(case["usage"].get("already_billed")), position=Position.LAST)
    return price_charge(one, parts), price_charge(one, parts, earlier=billed)


def block_tiers(case: Case) -> Answer:
    policy = {"ALL_TIERS": "fill", "TOP_TIER": "top"}[case["plan"]["policy"]]
    tiers = tuple({unit: _block(block) for unit, block in tier["blocks"].items()} for tier in case["plan"]["tiers"])
    gross, net = _by_unit(case, Blocks.model_validate({"by": "unit", "policy": policy, "tiers": tiers}, strict=False))
    units = {step.unit for step in gross.steps}
    return {
        "amount": convention(case).rounded(net.exact),
        "by_unit": {unit: amount_of([step for step in gross.steps if step.unit == unit]) for unit in units},
    }


def _block(block: Case) -> dict[str, Any]:
    most = block.get("max_blocks")
    return {"size": block["size"], "price": block["price"], "max_blocks": None if most is None else int(most)}


def capacity_tiers(case: Case) -> Answer:
    steps = tuple({"limits": tier["limits"], "price": tier["price"]} for tier in case["plan"]["tiers"])
    price = Capacity.model_validate({"by": "unit", "steps": steps}, strict=False)
    gross, net = _by_unit(case, price)
    return {
        "amount": net.exact,
        "gross_amount": gross.exact,
        "tier": next(step.what for step in gross.steps).removeprefix("capacity "),
    }


def commitment(case: Case) -> Answer:
    plan, rules = case["plan"], convention(case)
    match plan.get("op", "true_up"):
        case "coefficient":
            return dict.fromkeys(("coefficient", "factor"), _factor(case))
        case "windowed":
            return _windowed(case)
    fees = aggregate.total([aggregate.Event(number(fee)) for fee in case["usage"]["fees"]])
    used = rules.rounded(fees) if rules.level == "line" else fees
    share = _factor(case) if "service" in case else Fraction(1)
    pledge = Commitment(amount=Decimal(plan["commitment"]))
    return {"true_up": rules.rounded(amount_of(commitments.price(pledge, used, share)))}


def _windowed(case: Case) -> Answer:
    plan, rules = case["plan"], convention(case)
    names = ("unit_amount", "overage_factor", "commitment_units")

    def window(stated: Case) -> dict[str, Any]:
        hours = {name: int(stated[name]) for name in ("from_hour", "to_hour") if name in stated}
        pledged = {"commitment": stated["commitment_amount"]} if "commitment_amount" in stated else {}
        true_up = "charged" if stated.get("true_up") else "waived"
        return {**picked(stated, *names), **hours, **pledged, "true_up": true_up}

    windows = [window(bucket) for bucket in plan.get("buckets", ())] + [window(plan["default"])]
    model = Committed.model_validate({"windows": tuple(windows)}, strict=False)
    parts = [Part({"hour": one.get("hour", "0")}, number(one["quantity"])) for one in case["usage"]["windows"]]
    uses = [utilisation(model, part) for part in parts]

    def whole(values: list[Fraction]) -> Fraction:
        return rules.rounded(aggregate.total([aggregate.Event(value) for value in values]))

    return {
        "windows": [rules.rounded(use.total) for use in uses],
        "utilized": whole([use.utilized for use in uses]),
        "overage": whole([use.overage for use in uses]),
        "true_up": whole([use.true_up for use in uses]),
        "total": rules.rounded(price_charge(charge(model.model_dump(mode="json")), parts).exact),
    }


def _factor(case: Case, start: str | None = None) -> Fraction:
    """The declared share of the period; from ``start`` to its end where one is given."""
    rules, period = convention(case), case["period"]
    service = {"start": start, "end": period["end"]} if start else case.get("service", period)
    if rules.given.get("prorate") == "none":
        return Fraction(1)
    most = rules.given.get("max_factor")
    empty = rules.given.get("zero_length_period") == "full"
    share = proration.factor(
        (local(case, service["start"]), local(case, service["end"])),
        (local(case, period["start"]), local(case, period["end"])),
        proration.DayCount(rules.given.get("day_count", "seconds" if "T" in period["start"] else "calendar_days")),
        at_most=None if most is None else number(most),
        empty=proration.EmptyPeriod.FULL if empty else proration.EmptyPeriod.NOTHING,
    )
    return round_to(share, rules.places, rules.mode) if rules.level == "factor" else share


def prorated(case: Case) -> Answer:
    plan, rules = case["plan"], convention(case)
    match plan.get("op"):
        case "cap_credit":
            wanted = (number(plan[name]) for name in ("potential_credit", "original_amount", "previous_credits"))
            return {"credit": rules.rounded(proration.capped_credit(*wanted))}
        case "change":
            share = _factor(case, case["change_at"])
            done = proration.change(_prices(plan.get("remove")), _prices(plan.get("add")), share)
            kept = proration.Change(rules.rounded(done.credit), rules.rounded(done.charge))
            net = kept.net if rules.given.get("net") == "of_rounded_lines" else rules.rounded(done.net)
            return {"credit": kept.credit, "charge": kept.charge, "net": net}
    share = _factor(case)
    priced = proration.change([], [proration.Priced(number(plan.get("amount")))], share)
    return {"factor": share, "amount": rules.rounded(priced.charge)}


def _prices(rows: list[Case] | None) -> list[proration.Priced]:
    return [
        proration.Priced(
            number(row.get("unit_amount", row.get("amount"))),
            number(row.get("quantity"), 1),
            number(row.get("discount")),
            cut=not row.get("full_period"),
        )
        for row in rows or ()
    ]


def _service(service: Case, plan: Case, given: Case) -> cycles.Service:
    ends = date.fromisoformat(service["end"]) if service.get("end") else None
    return cycles.Service(
        date.fromisoformat(service["start"]),
        ends,
        interval(plan["billing_period"]),
        int(plan["billing_day"]),
        cycles.LeadingStart.SAME_DAY if given.get("leading_period_start") else cycles.LeadingStart.NOMINAL,
    )


def billing_cycles(case: Case) -> Answer:
    plan, rules, until = case["plan"], convention(case), date.fromisoformat(case["target"])
    service = _service(case["service"], plan, rules.given)
    if plan["mode"] == "in_advance":
        places = rules.places if rules.level == "factor" else None
        return {"cycles": cycles.in_advance(service, until, places, _count(case))}
    told = cycles.in_arrears(service, until)
    return {
        "something_to_bill": told.billed_through is not None,
        "first_billing_date": told.first_billing_date,
        "billed_through": told.billed_through,
        "next_billing_date": told.next_billing_date,
    }


def _count(case: Case) -> proration.DayCount:
    return proration.DayCount(convention(case).given.get("day_count", "calendar_days"))


def recurring_invoice(case: Case) -> Answer:
    rules, until = convention(case), date.fromisoformat(case["target"])
    places = rules.given.get("cycle_places")
    phases = [
        cycles.Phase(number(phase["amount"]), _service(phase["service"], phase, rules.given))
        for phase in case["plan"]["phases"]
    ]
    owed = cycles.owed(phases, until, None if places is None else int(places), _count(case))
    return {"amount": rules.rounded(owed)}


def period_boundaries(case: Case) -> Answer:
    plan = case["plan"]
    zone = zone_of(case)
    match plan["op"]:
        case "containing":
            anchor, at = calendar.in_zone(instant(plan["anchor"]), zone), calendar.in_zone(instant(case["at"]), zone)
            start, end = calendar.containing(anchor, interval(plan["interval"]), at)
            return {"from": start, "to": end}
        case "schedule":
            return {
                "starts": calendar.starts(local(case, plan["anchor"]), interval(plan["interval"]), int(plan["count"]))
            }
        case "inclusive_periods":
            count, each = int(plan["count"]), interval(plan["interval"])
            first = calendar.starts(date.fromisoformat(plan["anchor"]), each, count + 1)
            spans = [DateSpan(first[n], first[n + 1]) for n in range(count)]
            return {"periods": [{"from": span.start, "to": span.last_day} for span in spans]}
        case "shift_month_keep_day":
            months = calendar.Interval(months=int(plan["months"]))
            anchor_day = plan.get("anchor_day")
            return {"date": calendar.nth(day(plan["date"]), months, 1, None if anchor_day is None else int(anchor_day))}
        case "advance":
            return {"date": calendar.nth(moment(plan["start"]), interval(plan["interval"]), int(plan["count"]))}
        case "whole_periods":
            return {"periods": calendar.whole_periods(day(plan["start"]), day(plan["end"]), interval(plan["interval"]))}
        case "previous_calendar_month":
            month = calendar.month_before(instant(case["at"]), zone)
            return {"from": month.start, "to": month.end}
        case "days_between_local":
            written = convention(case).given.get("date_of_instant") == "as_written"
            start, end = (
                day(plan[name]) if written or "T" not in plan[name] else local_date(instant(plan[name]), zone)
                for name in ("start", "end")
            )
            return {"days": proration.length(start, end, proration.DayCount.CALENDAR_DAYS)}
        case "local_date":
            return {"date": local_date(instant(plan["instant"]), zone)}
        case "hours_in_local_day":
            return {"hours": calendar.hours_of_day(day(plan["date"]), zone)}
        case "bucket_local_dates":
            found = case.get("events", plan.get("instants", plan.get("events", ())))
            times = [one["time"] if isinstance(one, dict) else one for one in found]
            return {"dates": [local_date(instant(one), zone) for one in times]}
    raise KeyError(plan["op"])


def aggregation(case: Case) -> Answer:
    plan, rules = case["plan"], convention(case)
    if plan["function"] == "round":
        mode = Rounding(plan.get("rounding", "half_up"))
        return {"value": round_to(number(case["usage"]["value"]), int(plan.get("places", 0)), mode)}
    start, end = (instant(case["period"][name]) for name in ("start", "end")) if "period" in case else (None, None)
    events = [
        aggregate.Event(
            number(one.get("value"), 1),
            calendar.in_zone(instant(one["time"]), zone_of(case)) if one.get("time") else None,
            str(one.get("key", one.get(plan.get("key", "key"), ""))),
        )
        for one in case.get("events", ())
    ]
    inside = aggregate.within(events, start, end) if start and end else events
    value = rules.rounded(_aggregated(case, events, inside, start, end))
    return {"value": value, "count": len(inside)}


def _aggregated(
    case: Case,
    events: list[aggregate.Event],
    inside: list[aggregate.Event],
    start: datetime | None,
    end: datetime | None,
) -> Fraction:
    plan = case["plan"]
    match plan["function"]:
        case "sum":
            return aggregate.total(inside)
        case "count":
            return Fraction(len(inside))
        case "max":
            return aggregate.highest(inside)
        case "latest":
            return aggregate.latest(inside)
        case "unique_count":
            return Fraction(aggregate.unique(inside))
    assert start is not None
    assert end is not None
    if plan["function"] == "weighted_sum":
        initial = plan.get("initial", case.get("usage", {}).get("initial"))
        return aggregate.time_weighted(events, start, end, number(initial))
    days = plan.get("days_in_period")
    prorated_by = {
        "prorated_sum": aggregate.prorated_total,
        "prorated_unique_count": aggregate.prorated_unique,
    }[plan["function"]]
    first, last = (local_date(at, zone_of(case)) for at in (start, end - timedelta(microseconds=1)))
    return prorated_by(events, first, last, None if days is None else int(days))


def credits_(case: Case) -> Answer:
    match case["plan"]["op"]:
        case "grants":
            return _grants(case)
        case "wallets":
            given = case["wallets"]
            fees = [
                Fee(number(fee["amount"]), fee.get("type", ""), fee.get("metric", "")) for fee in case["usage"]["fees"]
            ]
        case _:
            given = case["credits"]
            fees = [Fee(number(amount)) for amount in case["usage"]["line_amounts"]]
    wallets = [
        Wallet(
            one["id"],
            number(one.get("balance", one.get("amount"))),
            int(one.get("priority", 50)),
            tuple(one.get("types", ())),
            tuple(one.get("metrics", ())),
        )
        for one in given
    ]
    paid = pay(fees, wallets)
    return {
        "applied": paid.applied,
        "due": paid.left,
        "line_due": list(paid.due),
        "used": {one.id: paid.used(n) for n, one in enumerate(wallets)},
        "balances": {one.id: balance for one, balance in zip(wallets, paid.balances, strict=True)},
    }


def _grants(case: Case) -> Answer:
    grants = []
    for one in case["grants"]:
        effective = instant(one["effective_at"])
        expiry = one.get("expires_after")
        ends = [calendar.nth(effective, interval(expiry), 1)] if expiry else []
        ends += [instant(one["voided_at"])] if one.get("voided_at") else []
        recurs = one.get("recurs")
        opening = one.get("balance_at_start")
        grants.append(
            Grant(
                one["id"],
                number(one["amount"]),
                effective,
                int(one.get("priority", 0)),
                min(ends, default=None),
                Recurrence(interval(recurs["every"]), instant(recurs["anchor"])) if recurs else None,
                number(one.get("min_rollover")),
                number(one.get("max_rollover")),
                None if opening is None else number(opening),
            )
        )
    usage = [Usage(instant(one["time"]), number(one.get("quantity", one.get("value")))) for one in case["events"]]
    start, end = (instant(case["period"][name]) for name in ("start", "end"))
    resets = [instant(one["at"] if isinstance(one, dict) else one) for one in case.get("resets", ())]
    kept = case["plan"].get("preserve_overage_on_reset")
    told = burn(grants, usage, start, end, resets, Overage.KEPT if kept else Overage.FORGOTTEN)
    return {"balances": told.balances, "overage": told.overage, "burnt": told.burnt, "expired": told.expired}


def discounts(case: Case) -> Answer:
    rules, usage = convention(case), case["usage"]
    if "lines" in usage:
        lines = [Line(number(one["amount"]), one.get("scope")) for one in usage["lines"]]
    else:
        scopes = usage.get("line_scopes", [None] * len(usage["line_amounts"]))
        lines = [Line(number(a), scope) for a, scope in zip(usage["line_amounts"], scopes, strict=True)]
    coupons = [
        Coupon(
            number(one["amount"]) if one["type"] == "fixed" else None,
            number(one["percent"]) if one["type"] == "percentage" else None,
            one.get("scope"),
        )
        for one in case["plan"]["coupons"]
    ]
    per_line = rules.given.get("percentage_per_line")
    terms = Terms(
        rules.places,
        rules.mode,
        CouponOrder(rules.given.get("discount_order", "application_order")),
        rules.remainder(),
        PercentageRounding.LINE if per_line else PercentageRounding.COUPON,
    )
    done = discount(lines, coupons, terms)
    rest = [one for one in done.remaining if one is not None]
    return {
        "coupons": list(done.coupons),
        "discount": done.total,
        "net": done.net,
        "line_discounts": list(done.lines),
        "line_nets": list(done.nets),
        "remaining": rest if isinstance(case["expected"].get("remaining"), list) else next(iter(rest), None),
    }


def allocation(case: Case) -> Answer:
    rules, weights = convention(case), case["usage"]["weights"]
    named = list(weights.items()) if isinstance(weights, dict) else [(str(n), one) for n, one in enumerate(weights)]
    total = number(case["usage"]["total"])
    parts = apportion(total, [number(one) for _, one in named], rules.places, rules.remainder(), rules.mode)
    shares = {name: part for (name, _), part in zip(named, parts, strict=True)}
    kept = {name: part for name, part in shares.items() if part or not case["plan"].get("omit_zero")}
    return {"shares": kept if isinstance(weights, dict) else list(kept.values())}


def tax_rounding(case: Case) -> Answer:
    rules = convention(case)
    lines = [TaxableLine(number(one["amount"]), tuple(numbers(one["rates"]))) for one in case["usage"]["lines"]]
    level = {"line": "line", "component": "component"}.get(rules.level or "", "total")
    told = estimate_tax(
        lines,
        rules.places if rules.level else None,
        TaxRounding(level),
        rules.mode,
        number(case["usage"].get("invoice_discount")),
        rules.remainder(),
    )
    return {
        "line_taxes": list(told.line_taxes),
        "by_rate": {text: told.by_rate[number(text)] for one in case["usage"]["lines"] for text in one["rates"]},
        "tax": told.tax,
        "taxable": told.taxable,
        "total": told.total,
        "line_nets": list(told.nets),
    }


def credit_note(case: Case) -> Answer:
    plan, rules = case["plan"], convention(case)
    match plan["op"]:
        case "unused_time":
            rates = tuple(numbers([plan["tax_percent"]])) if "tax_percent" in plan else ()
            days = number(plan["unused_days"]), number(plan["period_days"])
            note = crediting.unused_time(number(plan["amount"]), *days, rates, rules.places, rules.mode)
        case "partial_line":
            taxes = numbers(plan.get("tax_components", [plan.get("line_tax", "0")]))
            part = number(plan["line_amount"]), number(plan["credited"])
            note = crediting.part_of_line(*part, taxes, rules.places, rules.mode)
        case "items_with_coupon":
            items, credited = numbers(plan["items"]), numbers(plan["credited"])
            note = crediting.items_after_coupon(items, credited, number(plan["coupon"]), rules.places, rules.mode)
    answer = {"subtotal": note.subtotal, "tax": note.tax, "total": note.total, "components": list(note.taxes)}
    if "invoice_total" in plan:
        given = crediting.settle(note.total, number(plan["invoice_total"]), number(plan["paid"]))
        answer |= {"refund": given.refund, "credit": given.credit}
    return answer


def cdr(case: Case) -> Answer:
    plan, rules, usage = case["plan"], convention(case), case["usage"]
    if plan.get("op") == "round_duration":
        return {"seconds": whole_increments(number(usage["seconds"]), number(plan["increment"]))}
    places, most = plan.get("increment_cost_places"), plan.get("max_cost")
    tariff = Tariff(
        tuple(_tariff_window(one) for one in plan["windows"]),
        None if places is None else int(places),
        None if most is None else number(most),
    )
    stage = Stage.CONTINUED if usage.get("continuation") else Stage.OPENED
    start = calendar.in_zone(instant(usage["start"]), zone_of(case))
    told = rate_session(tariff, start, number(usage["seconds"]), stage)
    return {"cost": rules.rounded(told.cost), "billed_seconds": told.seconds}


def _tariff_window(one: Case) -> Window:
    def minute(clock: str) -> int:
        hours, minutes = clock.split(":")[:2]
        return int(hours) * 60 + int(minutes)

    groups = tuple(
        Group(*(number(group[name]) for name in ("from_second", "rate", "per", "increment"))) for group in one["groups"]
    )
    return Window(
        groups,
        number(one.get("connect_fee")),
        tuple(int(one_day) for one_day in one.get("weekdays", ())),
        minute(one.get("from", "00:00")),
        minute(one.get("to", "24:00")),
    )


def cdr_balance(case: Case) -> Answer:
    plan, balances = case["plan"], case["balances"]
    units = [
        Units(
            one["id"],
            number(one["amount"]),
            number(one.get("increment"), 1),
            number(one.get("weight")),
            number(one.get("unit_price")),
        )
        for one in balances
        if one["type"] == "units"
    ]
    purses = [
        Purse(one["id"], number(one["amount"]), number(one.get("weight"))) for one in balances if one["type"] == "money"
    ]
    rate = number(plan["money_rate"]) if "money_rate" in plan else None
    told = serve(number(case["usage"]["quantity"]), units, purses, rate, number(plan.get("money_increment"), 1))
    return {
        "balances": told.balances,
        "served": told.served,
        "unserved": told.unserved,
        "money_charged": told.money,
    }


def hierarchy(case: Case) -> Answer:
    plan, rules = case["plan"], convention(case)
    match plan["op"]:
        case "roll_up":
            children = [one for one in case["usage"]["children"] if one.get("payer", "parent") == "parent"]
            bookings = [
                trial.Booking("parent", debit=number(one["amount"]), credit=number(one.get("credit")))
                for one in children
            ]
            return {"parent_total": rules.rounded(trial.trial_balance(bookings).balances.get("parent", Fraction(0)))}
        case "effective_price":
            return _effective_price(case)
    return _pooled_rate(case)


def _effective_price(case: Case) -> Answer:
    plan = case["plan"]
    layers = [
        Layer.model_validate(
            {
                "id": account,
                "level": Level.SITE,
                "of": account,
                "effective_from": date.min,
                "charges": {"charge": {"model": {"kind": "per_unit", "unit_amount": Decimal(price)}}},
            }
        )
        for account, price in plan["overrides"].items()
    ]
    listed = charge({"kind": "per_unit", "unit_amount": plan["list_price"]})
    place, account = [], case["usage"]["account"]
    while account is not None:
        place.append((Level.SITE, account))
        account = plan["parents"].get(account)
    one, choices = resolve(listed, layers, place, date.max)
    winner = choices[0].winner if choices else "list"
    assert isinstance(one.model, PerUnit)
    return {"unit_amount": number(one.model.unit_amount), "from": winner}


def _pooled_rate(case: Case) -> Answer:
    plan, usage = case["plan"], case["usage"]
    quantities = usage.get("quantities", usage.get("accounts", usage))
    pooled = {
        **case,
        "kind": "compound",
        "plan": {
            "charges": [{**plan, "id": "pool", "type": plan.get("model", "unit"), "metric": "usage", "scope": "pool"}]
        },
        "accounts": {"root": None, **dict.fromkeys(quantities, "root")},
        "usage": {"usage": quantities},
        "period": case.get("period", {"start": "2025-01-01", "end": "2025-02-01"}),
    }
    told = compound(pooled)
    shares = {line["account"]: line["amount"] for line in told["lines"]}
    return {"amount": told["subtotal"], "total": told["subtotal"], "shares": shares}


def revrec(case: Case) -> Answer:
    plan, rules = case["plan"], convention(case)
    match plan["op"]:
        case "schedule":
            stated = rules.given.get("method", "days")
            by_months = recognition.Method.PRORATA_TEMPORIS
            method = by_months if stated == "months_partial_by_days" else recognition.Method(stated)
            places = rules.given.get("weight_places")
            months = recognition.schedule(
                number(plan["amount"]),
                day(plan["start"]),
                day(plan["end"]),
                rules.places,
                method,
                rules.remainder(),
                None if places is None else int(places),
            )
            earned_first = next(iter(months))
            return {"periods": months, "deferred_after_first": recognition.after(months, earned_first)}
        case "deferred_at":
            left = recognition.deferred_at(
                number(plan["amount"]), day(plan["start"]), day(plan["end"]), day(plan["cutoff"])
            )
            return {"deferred": rules.rounded(left)}
    return _standalone(case)


def _standalone(case: Case) -> Answer:
    plan, rules = case["plan"], convention(case)
    price, prices = number(plan["price"]), {name: number(value) for name, value in plan["ssp"].items()}
    alone = rules.remainder(Remainder.ALONE)
    if plan.get("mode") == "incremental":
        allocated = recognition.incremental(price, prices, plan["order"])
    elif plan.get("residual"):
        allocated = recognition.with_residual(price, prices, plan["residual"], rules.places)
    elif plan.get("bundle"):
        allocated = recognition.with_bundle(price, prices, plan["bundle"]["members"], rules.places)
    else:
        allocated = recognition.by_standalone_prices(price, prices, rules.places, alone)
    places = int(rules.given.get("ratio_places", 6))
    ratios = recognition.by_standalone_prices(Fraction(1), prices, places, Remainder.ALONE)
    return {"allocated": allocated, "relative_ssp": ratios}


def currency_rounding(case: Case) -> Answer:
    rules, usage = convention(case), case["usage"]
    if "amount" in usage:
        return {"amount": rules.rounded(number(usage["amount"]))}
    amounts = numbers(usage["amounts"])
    each = [rules.rounded(one) if rules.level == "line" else one for one in amounts]
    return {"amounts": each, "sum": rules.rounded(aggregate.total([aggregate.Event(one) for one in each]))}


def aging(case: Case) -> Answer:
    plan, usage = case["plan"], case["usage"]
    if plan["op"] == "allocate_payment":
        paid = aggregate.total(
            [aggregate.Event(number(usage.get(name))) for name in ("paid", "credited", "credit", "credits")]
        )
        terms = [number(term["amount"]) for term in plan["terms"]]
        return {"outstanding": receivables.settled_in_order(terms, paid)}
    items = [receivables.OpenItem(day(one["aged_from"]), number(one["outstanding"])) for one in usage["items"]]
    return {"buckets": receivables.aged(items, day(case["as_of"]), [int(bound) for bound in plan["bounds"]])}


def dunning(case: Case) -> Answer:
    plan, usage, rules = case["plan"], case["usage"], convention(case)
    match plan["op"]:
        case "interest":
            days, year = number(usage["days_overdue"]), number(plan.get("year_days"), 365)
            outstanding = number(usage["outstanding"])
            due = receivables.interest(outstanding, number(plan["annual_rate"]), days, year)
            claim = receivables.Claim(outstanding, rules.rounded(due), number(plan.get("fee")))
            return {"interest": claim.interest, "total": claim.total}
        case "level":
            levels = [receivables.DunningLevel(int(one["level"]), int(one["after_days"])) for one in plan["levels"]]
            return {
                "level": receivables.next_level(levels, int(usage["days_overdue"]), int(usage.get("last_level", 0)))
            }
    waits = [int(days) for days in plan["retry_after_days"]]
    return {"dates": receivables.retry_dates(day(usage["failed_on"]), waits, plan.get("relative_to", "previous"))}


def ledger(case: Case) -> Answer:
    if case["plan"]["op"] == "balance":
        rows = case["entries"]
        told = trial.trial_balance(
            [trial.Booking(row["account"], number(row.get("debit")), number(row.get("credit"))) for row in rows]
        )
        return {
            "balances": told.balances,
            "debits": told.debits,
            "credits": told.credits,
            "balanced": told.balanced,
        }
    usage = case["usage"]
    taxes = usage.get("taxes", usage.get("tax", {}))
    taxes = taxes if isinstance(taxes, dict) else {"tax": taxes}
    income = {account: number(amount) for account, amount in usage["income"].items()}
    bookings = trial.gross_invoice(
        income, number(usage.get("discount")), {account: number(amount) for account, amount in taxes.items()}
    )
    return {"entries": [{"account": one.account, "debit": one.debit, "credit": one.credit} for one in bookings]}


KINDS: dict[str, Callable[[Case], Answer]] = {
    **dict.fromkeys(
        (
            "unit",
            "flat",
            "graduated",
            "volume",
            "package",
            "dynamic",
            "graduated_percentage",
            "stairstep",
            "allowance",
            "unit_conversion",
            "spend_limits",
        ),
        one_charge,
    ),
    "percentage": percentage,
    "graduated_prorated": graduated_prorated,
    "block_tiers": block_tiers,
    "capacity_tiers": capacity_tiers,
    "commitment": commitment,
    "proration": prorated,
    "billing_cycles": billing_cycles,
    "recurring_invoice": recurring_invoice,
    "period_boundaries": period_boundaries,
    "aggregation": aggregation,
    "credits": credits_,
    "discount": discounts,
    "allocation": allocation,
    "tax_rounding": tax_rounding,
    "credit_note": credit_note,
    "cdr": cdr,
    "cdr_balance": cdr_balance,
    "hierarchy": hierarchy,
    "revrec": revrec,
    "currency_rounding": currency_rounding,
    "aging": aging,
    "dunning": dunning,
    "ledger": ledger,
    "compound": compound,
}
