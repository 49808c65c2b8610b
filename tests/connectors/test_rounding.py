"""What a vendor will come to is worked out from the very payload; what would drift is refused before the wire."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from connectors import dynamics, netsuite, quickbooks, xero
from connectors.registry import SYSTEMS
from connectors.rounding import Rounding, foretold
from core.errors import Rejected
from core.ports import Guard
from sandbox.dynamics_records import CENTS
from sandbox.netsuite import cents

CONNECTORS = {"netsuite": netsuite, "quickbooks": quickbooks, "xero": xero, "dynamics": dynamics}
SALES = [
    pytest.param(system, resource, rounding, id=f"{system}-{resource}")
    for system, connector in CONNECTORS.items()
    for resource, rounding in connector.ROUNDING.items()
]


def document(rounding: Rounding, *lines: tuple[str, str, str], total: str) -> dict[str, Any]:
    """A payload of lines of quantity, price and amount; an empty one is not sent."""
    made = []
    for quantity, price, amount in lines:
        line: dict[str, Any] = {}
        given = ((rounding.quantity, quantity), (rounding.price, price), (rounding.amount, amount))
        for path, value in given:
            if path and value:
                _put(line, path, Decimal(value))
        made.append(line)
    payload: dict[str, Any] = {rounding.total: Decimal(total)}
    _put(payload, rounding.lines, made)
    return payload


def _put(holder: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        holder = holder.setdefault(name, {})
    holder[last] = value


def test_every_connector_that_sends_invoices_or_credit_notes_states_how_its_system_rounds() -> None:
    for system in SYSTEMS:
        connector = import_module(SYSTEMS[system].module)
        for resource in ("invoice", "credit_note"):
            row = connector.RESOURCES.get(resource)
            if row is not None and row.guard is not Guard.READ_ONLY:
                assert resource in getattr(connector, "ROUNDING", {}), (system, resource)


@pytest.mark.parametrize(("system", "resource", "rounding"), SALES)
def test_a_total_that_a_cent_would_be_lacking_of_is_refused_with_both_figures(
    system: str, resource: str, rounding: Rounding
) -> None:
    """Three thirds of 100.00 are 99.99 where each line is rounded by itself."""
    lines = [("1", "33.33", "33.33")] * 3
    assert foretold(system, resource, rounding, document(rounding, *lines, total="99.99")) == Decimal("99.99")
    with pytest.raises(Rejected) as refused:
        foretold(system, resource, rounding, document(rounding, *lines, total="100.00"))
    assert (refused.value.system, refused.value.record, refused.value.field) == (system, resource, rounding.total)
    assert "100.00" in str(refused.value)
    assert "99.99" in str(refused.value)


@pytest.mark.parametrize(("system", "resource", "rounding"), SALES)
def test_a_price_of_tiers_whose_product_is_another_amount_is_refused(
    system: str, resource: str, rounding: Rounding
) -> None:
    """333.333 minutes for 100.10 have no price that a vendor comes to 100.10 by; as one unit of 100.10 they survive."""
    tiers = document(rounding, ("333.333", "0.3003", ""), total="100.10")
    if rounding.price_places == 2:
        assert foretold(system, resource, rounding, {**tiers, rounding.total: Decimal("100.00")}) == Decimal("100.00")
    with pytest.raises(Rejected):
        foretold(system, resource, rounding, {**tiers, rounding.total: Decimal("100.11")})
    one = document(rounding, ("1", "100.10", "100.10"), total="100.10")
    assert foretold(system, resource, rounding, one) == Decimal("100.10")


@pytest.mark.parametrize(("system", "resource", "rounding"), [one for one in SALES if one.values[2].amount])
def test_an_amount_with_more_decimals_than_the_vendor_keeps_is_refused(
    system: str, resource: str, rounding: Rounding
) -> None:
    with pytest.raises(Rejected, match=r"10\.005"):
        foretold(system, resource, rounding, document(rounding, ("", "", "10.005"), total="10.005"))


@given(some.decimals(0, 10_000, places=5, allow_nan=False), some.decimals(0, 1_000, places=2, allow_nan=False))
def test_what_is_foretold_is_what_the_emulators_come_to(quantity: Decimal, price: Decimal) -> None:
    """Of NetSuite and Dynamics; those of Xero and QuickBooks are held to it by their connectors' own tests."""
    line = (str(quantity), str(price), "")
    for rounding, theirs in (
        (netsuite.ROUNDING["invoice"], cents(quantity * price)),
        (dynamics.ROUNDING["invoice"], (quantity * price).quantize(CENTS, ROUND_HALF_UP)),
    ):
        assert foretold("", "invoice", rounding, document(rounding, line, total=str(theirs))) == theirs


def test_the_tax_of_a_dynamics_line_is_added_to_it() -> None:
    line = {"quantity": 1, "priceperunit": Decimal("120.05"), "tax": Decimal("9.90")}
    payload = {"invoice_details": [line], "totalamount": Decimal("129.95")}
    assert foretold("dynamics", "invoice", dynamics.ROUNDING["invoice"], payload) == Decimal("129.95")


def test_a_line_without_any_amount_is_refused() -> None:
    with pytest.raises(Rejected) as refused:
        foretold("xero", "invoice", xero.ROUNDING["invoice"], {"LineItems": [{"Description": "x", "UnitAmount": 1}]})
    assert refused.value.field == "LineItems.0.LineAmount"
