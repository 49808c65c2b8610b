"""A price book in another of its currencies: stated prices as they are, the others converted at one dated rate.

A charge that is converted is priced in the currency of the book, exactly, and its exact amount is converted before the
one rounding of the line. Amounts of rules and commitments are converted once, to the minor unit, since they act on
rounded amounts.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from core.catalog import Charge, InCurrency, PriceBook
from core.errors import Rejected
from core.fx import Exchange
from core.money import round_money
from core.prices import Commitment
from core.rational import Fraction
from core.terms import AmountOff, Layer, MaximumSpend, Override, Rule

#: Fields of a layer or a charge that are money.
MONEY = ("model", "max_spend", "min_spend")


def needs_rate(book: PriceBook, currency: str) -> bool:
    """Whether the book converts anything to sell in a currency."""
    return currency != book.currency and _terms(book, currency).others == "convert"


def in_currency(book: PriceBook, currency: str, exchange: Exchange | None = None) -> PriceBook:
    """The book as it sells in a currency; itself in its own. Its version stays that of the book.

    ``exchange``: from the book's currency to this one, where prices are converted (None: only to see what is sold).
    Rejected when the book does not sell in the currency.
    """
    if currency == book.currency:
        return book
    terms = _terms(book, currency)
    rate = exchange if terms.others == "convert" else None
    fields = {name: getattr(book, name) for name in PriceBook.model_fields}
    fields |= {
        "name": f"{book.name} in {currency}",
        "currency": currency,
        "charges": tuple(_charges(book, terms, rate)),
        "layers": tuple(one for layer in book.layers if (one := _layer(layer, terms))),
        "rules": tuple(_rule(rule, rate) for rule in book.rules),
    }
    sold = PriceBook.model_construct(**fields)
    converted = frozenset(one.code for one in sold.charges if one.code not in terms.charges)
    sold.sells_at(book.version, rate, converted)
    return sold


def _terms(book: PriceBook, currency: str) -> InCurrency:
    for one in book.currencies:
        if one.code == currency:
            return one
    sold = ", ".join([book.currency, *(one.code for one in book.currencies)])
    why = f"price book {book.name} sells in {sold}, not in {currency}; state its prices under `currencies`"
    raise Rejected(why, record=book.name, field="currency", value=currency)


def _charges(book: PriceBook, terms: InCurrency, rate: Exchange | None) -> Iterator[Charge]:
    for charge in book.charges:
        stated = terms.charges.get(charge.code)
        if stated is not None:
            yield charge.model_copy(update=_set(stated))
        elif terms.others == "convert":
            model = charge.model
            if isinstance(model, Commitment) and rate is not None:
                model = model.model_copy(update={"amount": _converted(model.amount, rate)})
            yield charge.model_copy(update={"model": model})


def _set(stated: Override) -> dict[str, Any]:
    """What a stated price says; a spend that it does not state is none, since the book's is in another currency."""
    said = {name: value for name in Override.model_fields if (value := getattr(stated, name)) is not None}
    return {"max_spend": None, "min_spend": None, **said}


def _layer(layer: Layer, terms: InCurrency) -> Layer | None:
    """The layer as it counts in a currency: its own whole, the book's without the prices of what is stated here."""
    if layer.currency is not None:
        return layer if layer.currency == terms.code else None
    left = {
        code: one.model_copy(update=dict.fromkeys(MONEY)) if code in terms.charges else one
        for code, one in layer.charges.items()
    }
    return layer.model_copy(update={"charges": left})


def _rule(rule: Rule, rate: Exchange | None) -> Rule:
    then = rule.then
    if rate is None:
        return rule
    if isinstance(then, AmountOff | MaximumSpend):
        then = then.model_copy(update={"amount": _converted(then.amount, rate)})
    when = tuple(
        one
        if one.measure == "quantity"
        else one.model_copy(
            update={
                name: None if (bound := getattr(one, name)) is None else _converted(bound, rate)
                for name in ("at_least", "below")
            }
        )
        for one in rule.when
    )
    return rule.model_copy(update={"then": then, "when": when})


def _converted(amount: Decimal, rate: Exchange) -> Decimal:
    return round_money(Fraction(amount) * rate.rate, rate.quote).amount
