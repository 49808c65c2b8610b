"""Whether a general ledger takes postings of a day is what its owner set there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import httpx
import pytest

from connectors.registry import SYSTEMS
from core.ports import KeepsBooks, World
from sandbox import server
from tests.connectors import contract_netsuite, contract_quickbooks, contract_xero

pytestmark = pytest.mark.server

#: How an owner closes October at each emulator: path and body.
CLOSING: dict[str, tuple[Callable[[str], Any], str, dict[str, Any]]] = {
    "netsuite": (contract_netsuite.settings, "periods/2026-10", {"closed": True}),
    "quickbooks": (contract_quickbooks.settings, "quickbooks", {"closed_through": "2026-10-31"}),
    "xero": (contract_xero.settings, "xero", {"period_lock": "2026-10-31"}),
}


@pytest.mark.parametrize("system", CLOSING)
def test_a_closed_month_takes_no_postings_and_the_next_one_does(system: str) -> None:
    """The last day of a closed month is refused, the first day of the next one is not."""
    settings, path, body = CLOSING[system]
    with server.start([system]) as running:
        url = running.urls[system]
        connector = SYSTEMS[system].connect(settings(url), World())
        assert isinstance(connector, KeepsBooks)
        assert connector.takes_postings(date(2026, 10, 31))
        httpx.post(f"{url}/_sandbox/{path}", json=body).raise_for_status()
        assert not connector.takes_postings(date(2026, 10, 31))
        assert connector.takes_postings(date(2026, 11, 1))
        connector.close()
