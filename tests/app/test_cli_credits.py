"""Credit and rates from the command line: what an operator types, and what stands afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.app.conftest import Tieout

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]


def test_credit_is_granted_once_shown_and_taken_back(configured: Path, tieout: Tieout) -> None:
    grant = ("credits", "grant", "A-0002", "12.50", "--reason", "Goodwill", "--charge", "VC-MIN", "--on", "2026-11-02")
    first = tieout(*grant, "--expires", "2027-01-01")
    assert first.code == 0, first.err
    assert "12.50 USD for A-0002, 12.50 USD left, until 2027-01-01" in first.out
    ident = first.out.split(":")[0]
    assert tieout(*grant, "--expires", "2027-01-01").out == first.out
    (shown,) = tieout("credits", "list", "A-0002", "--json").json
    assert (shown["credit"], shown["left"], shown["for"]) == (ident, "12.50 USD", "VC-MIN")
    assert tieout("credits", "void", ident).out == f"{ident}: 12.50 USD taken back\n"
    again = tieout("credits", "void", ident)
    assert (again.code, "has 0.00 USD left" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("grant", "A-9999", "1.00", "--reason", "x"), "there is no account A-9999"),
        (("grant", "A-0002", "1.001", "--reason", "x"), "more decimals than USD allows"),
        (("grant", "A-0002", "1.00", "--reason", "x", "--charge", "NONE"), "has no charge NONE"),
        (("top-up", "A-0002", "1.00"), "the price book has no prepaid credit"),
        (("void", "CR-none"), "there is no credit CR-none"),
        (("units", "A-0002", "many", "--charge", "VC-MIN", "--from", "2026-11", "--reason", "x"), "many"),
        (("units", "A-0002", "5", "--charge", "VC-MIN", "--from", "2026-13", "--reason", "x"), "is not a month"),
    ],
)
def test_bad_input_is_one_clear_sentence(
    configured: Path, tieout: Tieout, arguments: tuple[str, ...], why: str
) -> None:
    said = tieout("credits", *arguments)
    assert said.code == 2
    assert why in said.err
    assert "Traceback" not in said.err


def test_units_are_granted_for_whole_months(configured: Path, tieout: Tieout) -> None:
    units = ("credits", "units", "A-0002", "1000", "--charge", "VC-PLAN-MIN", "--reason", "Outage")
    said = tieout(*units, "--from", "2027-03", "--until", "2027-05")
    assert said.code == 0, said.err
    assert "1000 units for A-0002, from 2027-03-01, until 2027-05-01" in said.out


def test_rates_are_loaded_and_listed(configured: Path, tieout: Tieout, tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("valid_on,base,quote,rate\n2026-10-30,EUR,USD,1.0842\n")
    assert tieout("rates", "load", str(path), "--source", "ECB").out == "1 rates loaded, 0 known before\n"
    assert tieout("rates", "load", str(path), "--source", "ECB").out == "0 rates loaded, 1 known before\n"
    (shown,) = tieout("rates", "list", "EUR/USD", "--json").json
    assert (shown["on"], shown["rate"], shown["source"]) == ("2026-10-30", "1.0842", "ECB")
    path.write_text("valid_on,base,quote,rate\n2026-10-30,EUR,USD,none\n2026-10-31,EUR,US,1\n")
    wrong = tieout("rates", "load", str(path), "--source", "ECB")
    assert wrong.code == 2
    assert f"{path}:2: rate" in wrong.err
    assert f"{path}:3: quote" in wrong.err
    assert "write it like EUR/USD" in tieout("rates", "list", "EURUSD").err
