"""The AFC emulator against the vendor's published texts: what it takes, answers, refuses and computes."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from sandbox.avalara_communications import MODELS, PASSWORD, USER, emulator
from sandbox.emulator import Shelf

SPECS = Path(os.environ.get("TIEOUT_VENDOR_SPECS", "../shared/vendor-specs")) / "avalara-communications"
published = pytest.mark.skipif(not SPECS.exists(), reason="skipped: no vendor specs at hand")

SAN_FRANCISCO = {"ctry": "USA", "st": "CA", "city": "San Francisco", "zip": "94102", "int": True}
COMPANY = {"bscl": 0, "svcl": 0, "fclt": False, "frch": False, "reg": False}
ITEM = {"ref": "1", "chg": 100, "sale": 1, "tran": 19, "serv": 6}


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 10, 31, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(clock: Clock) -> httpx.Client:
    return client(Shelf(now=clock))


def client(shelf: Shelf) -> httpx.Client:
    api = TestClient(emulator(shelf))
    api.auth = (USER, PASSWORD)
    return api


def calc(api: httpx.Client, item: dict[str, Any] | None = None, cfg: Any = None, **invoice: Any) -> Any:
    """One invoice of one item, with changes."""
    model = {
        "doc": "D",
        "bill": SAN_FRANCISCO,
        "cust": 1,
        "date": "2026-10-31T12:00:00",
        "itms": [{**ITEM, **(item or {})}],
    }
    sent = {name: value for name, value in {**model, **invoice}.items() if value is not None}
    request = {"cmpn": COMPANY, "inv": [sent], **({"cfg": cfg} if cfg else {})}
    return api.post("/api/v2/afc/CalcTaxes", json=request).json()


def commit(api: httpx.Client, doc: str, cmmt: bool | None = True) -> Any:
    return api.post("/api/v2/afc/Commit", json={"doc": doc, "cmmt": cmmt}).json()


def kept(api: httpx.Client) -> list[bool]:
    return [item["committed"] for item in api.get("/_sandbox/objects/transaction").json()]


def message(answer: Any) -> tuple[int, str]:
    return answer["err"][0]["code"], answer["err"][0]["msg"]


# ---- what counts


def test_a_calculation_that_is_sent_twice_is_there_twice(api: httpx.Client) -> None:
    """The vendor has no guard: one commit makes both count."""
    calc(api)
    calc(api)
    assert kept(api) == [False, False]
    assert commit(api, "D") == {"ok": True}
    assert kept(api) == [True, True]


def test_a_commit_may_be_repeated_and_taken_back(api: httpx.Client) -> None:
    calc(api)
    assert [commit(api, "D"), commit(api, "D"), commit(api, "D", cmmt=False)] == [{"ok": True}] * 3
    assert kept(api) == [False]


def test_a_calculation_may_commit_itself_if_it_has_a_code(api: httpx.Client) -> None:
    calc(api, cmmt=True)
    assert kept(api) == [True]
    assert message(calc(api, cmmt=True, doc=None))[1] == "DocumentCode is required in order to commit transactions."


def test_what_was_committed_last_month_is_locked(api: httpx.Client, clock: Clock) -> None:
    calc(api)
    commit(api, "D")
    clock.at = datetime(2026, 11, 1, tzinfo=UTC)
    assert message(commit(api, "D", cmmt=False)) == (-2000, "Document code has been locked.")
    assert kept(api) == [True]


@pytest.mark.parametrize(
    ("doc", "cmmt", "told"),
    [
        ("E", True, "No transactions found for document code."),
        ("", True, "DocumentCode is invalid."),
        ("D" * 151, True, "DocumentCode is invalid."),
        ("D", None, "Commit cannot be null."),
    ],
)
def test_a_commit_is_refused_as_the_vendor_lists_it(api: httpx.Client, doc: str, cmmt: bool | None, told: str) -> None:
    calc(api)
    assert message(commit(api, doc, cmmt)) == (-2000, told)


def test_an_invoice_with_a_failed_item_leaves_nothing(api: httpx.Client) -> None:
    answer = calc(api, itms=[ITEM, {**ITEM, "ref": "2", "serv": 999}])["inv"][0]
    assert message(answer) == (-16, "One or more LineItems failed.")
    assert message(answer["itms"][1]) == (-28, "Invalid transaction/service pair.")
    assert kept(api) == []


def test_a_restarted_emulator_goes_on(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "afc.db"
    calc(client(Shelf(path, now=clock)))
    again = client(Shelf(path, now=clock))
    assert commit(again, "D") == {"ok": True}
    assert kept(again) == [True]


# ---- who asks, and how


def test_only_known_credentials_are_served(api: httpx.Client) -> None:
    """Basic, or the header of 2019; the client it names must be the user's."""
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    url = "/api/v2/afc/serviceinfo"
    bare = TestClient(api.app)  # type: ignore[attr-defined]
    assert bare.get(url).status_code == 401
    assert bare.get(url, headers={"api_key": token}).status_code == 200
    assert bare.get(url, auth=(USER, "wrong")).status_code == 401
    assert bare.get(url, auth=(USER, PASSWORD), headers={"client_id": "1"}).status_code == 401
    assert bare.get("/api/v2/HealthCheck").status_code == 200


def test_paths_are_matched_without_regard_to_case(api: httpx.Client) -> None:
    assert api.get("/api/v2/AFC/TsPairs").json() == api.get("/api/v2/afc/tspairs").json()


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"{}"])
def test_a_body_that_says_nothing_is_empty(api: httpx.Client, body: bytes) -> None:
    assert message(api.post("/api/v2/afc/CalcTaxes", content=body).json()) == (-2000, "Request body cannot be empty.")


@pytest.mark.parametrize("wrong", [{"bogus": 1}, {"chg": "100"}, {"line": 1.5}, {"ref": 7}, {"date": "2026-10-31"}])
def test_a_field_of_another_model_or_type_is_refused(api: httpx.Client, wrong: dict[str, Any]) -> None:
    invoice = {"bill": SAN_FRANCISCO, "cust": 1, "date": "2026-10-31T12:00:00", "itms": [{**ITEM, **wrong}]}
    answer = api.post("/api/v2/afc/CalcTaxes", json={"cmpn": COMPANY, "inv": [invoice]})
    assert answer.status_code == 400
    assert f"inv[0].itms[0].{next(iter(wrong))} " in message(answer.json())[1]


@pytest.mark.parametrize(
    ("invoice", "code", "told"),
    [
        ({"bill": None}, -1008, "BillTo is required."),
        ({"cust": None}, -2000, "CustomerType is required."),
        ({"date": None}, -2000, "Date is required."),
        ({"itms": []}, -2000, "Items list is empty."),
        ({"dtl": False}, -2000, "ReturnDetail and/or ReturnSummary must be set to true."),
        ({"bill": {"pcd": 1}}, -12, "PCode not found."),
        ({"bill": {"npa": 1}}, -14, "NPANXX not found."),
        ({"bill": {"fips": "1"}}, -24, "FIPS not found."),
        ({"bill": {"st": "PA", "zip": "27701"}}, -16, "County/State/Zip not found."),
        ({"doc": "D" * 151}, -2000, "DocumentCode cannot exceed 150 characters."),
        ({"opt": [{"key": "11"}]}, -2000, "Key in OptionalFields must have a numeric value between 1 and 10."),
    ],
)
def test_an_invoice_is_refused_as_the_vendor_lists_it(
    api: httpx.Client, invoice: dict[str, Any], code: int, told: str
) -> None:
    assert message(calc(api, **invoice)) == (code, told)
    assert kept(api) == []


# ---- what is computed


def test_taxes_are_doubles_that_nobody_rounded(api: httpx.Client) -> None:
    """35.1 % of the charge is within the state."""
    taxes = calc(api)["inv"][0]["itms"][0]["txs"]
    fund = next(tax for tax in taxes if tax["tid"] == 454)
    assert (fund["tm"], fund["tax"]) == (35.099999999999994, 1.6672499999999997)


def test_taxes_of_the_seller_are_left_out_only_when_that_is_asked(api: httpx.Client) -> None:
    adjuntas = {"pcd": 5116000}
    wireless = {"tran": 13, "serv": 6, "bill": adjuntas}
    by_default, asked = calc(api, wireless), calc(api, wireless, cfg={"retnb": False})
    found = [{tax["tid"] for tax in answer["inv"][0]["itms"][0]["txs"]} for answer in (by_default, asked)]
    assert found[0] - found[1] == {232}


def test_an_untaxed_amount_counts_once_an_invoice_in_invoice_mode_and_once_an_item_otherwise(api: httpx.Client) -> None:
    """25 of internet access are free in Texas: of two items of 15, 5 are taxed, or nothing."""
    houston = {"pcd": 3775200}
    internet = [{**ITEM, "ref": str(n), "chg": 15, "tran": 5, "serv": 58, "bill": houston} for n in (1, 2)]
    taxed = [
        sum(tax["tax"] for item in calc(api, itms=internet, invm=mode)["inv"][0]["itms"] for tax in item["txs"])
        for mode in (True, False)
    ]
    assert taxed == [pytest.approx(0.4125), 0]


def test_a_part_of_a_month_divides_fixed_taxes_where_their_authority_does(api: httpx.Client) -> None:
    """Ten lines for half a month: half of San Francisco's tax, all of Texas', of an adjustment as it asks for it."""

    def taxed(pcode: int, **more: Any) -> list[float]:
        lines = {**ITEM, "chg": 0, "line": 10, "tran": 19, "serv": 21, "pror": 0.5, "bill": {"pcd": pcode}, **more}
        return [tax["tax"] for tax in calc(api, lines)["inv"][0]["itms"][0].get("txs", [])]

    assert taxed(377300) == [pytest.approx(16.35)]
    assert taxed(3775200) == [pytest.approx(5)]
    assert taxed(3775200, adj=True) == taxed(3775200, adj=True, proadj=2) == [pytest.approx(-5)]
    assert taxed(3775200, adj=True, proadj=1) == []
    assert taxed(3775200, adj=True, proadj=1, pror=1) == [pytest.approx(-5)]


@pytest.mark.parametrize("wrong", [{"pror": 1.5}, {"proadj": 3}, {"pror": 0.5, "qty": 2}, {"adj": True, "chg": -1}])
def test_what_the_texts_do_not_allow_of_an_adjustment_is_refused(api: httpx.Client, wrong: dict[str, Any]) -> None:
    assert "does not model" in json.dumps(calc(api, {**ITEM, **wrong}))


def test_a_pcode_is_found_by_what_is_known_of_a_place(api: httpx.Client) -> None:
    def ask(**fields: Any) -> Any:
        return api.post("/api/v2/afc/PCode", json=fields).json()

    assert {row["PCode"] for row in ask(ZipCode="10001", BestMatch=True, LimitResults=25)["LocationData"]} == {2604100}
    assert ask(NpaNxx="415200")["LocationData"][0]["Locality"] == "SAN FRANCISCO"
    assert ask(CountryIso="IND", State="AP", City="Tirumala", BestMatch=True)["LocationData"][0]["PCode"] == 5148400
    assert ask(CountryIso="IND", State="AP", City="Tirumala", BestMatch=False)["LocationData"] is None


def test_geocoding_tells_whether_a_place_is_within_city_limits(api: httpx.Client) -> None:
    aurora = {"ref": "A", "addr": "24210 E 19th Ave", "city": "Aurora", "st": "CO", "zip": "80019"}
    found, failed = api.post("/api/v2/geo/Geocode", json=[aurora, {"ref": "B", "city": "Aurora", "st": "CO"}]).json()
    assert (found["pcd"], found["inc"]) == (429801, False)
    assert failed == {"ref": "B", "err": "StreetAddress must be provided for address geocoding."}


# ---- the published texts


@published
def test_the_models_are_those_of_the_published_definition() -> None:
    words = {"string": "text", "integer": "int", "number": "number", "boolean": "bool"}

    def kind(field: Any) -> str:
        if "$ref" in field:
            return str(field["$ref"].rpartition("/")[2])
        if field["type"] == "array":
            return f"[{kind(field['items'])}]"
        return "moment" if field.get("format") == "date-time" else words[field["type"]]

    spec = json.loads((SPECS / "afc-openapi-v2-2021.facts.json").read_text())["components"]["schemas"]
    for name, fields in MODELS.items():
        assert fields == {field: kind(value) for field, value in spec[name]["properties"].items()}, name


@published
@pytest.mark.parametrize(
    "example",
    ["simple-request#3", "adjustment#1", "adjustment#3", "invoice-mode#1", "invoice-mode#3", "multi-line-request#3",
     "exclusion#1", "optional-fields#1"],
)  # fmt: skip
def test_a_published_example_is_answered_to_the_last_bit(api: httpx.Client, example: str) -> None:
    samples = json.loads((SPECS / "samples/dev-guide-rest-v2-samples.json").read_text())
    name, _, number = f"customizing-transactions.sample-transactions.{example}".rpartition("#")
    answer = api.post("/api/v2/afc/CalcTaxes", json=samples[f"{name}#{number}"]).json()["inv"][0]
    wanted = samples[f"{name}#{int(number) + 1}"]["inv"][0]
    assert [_sorted(item) for item in answer["itms"]] == [_sorted(item) for item in wanted["itms"]]


def _sorted(item: Any) -> Any:
    return {**item, "txs": sorted(item.get("txs", []), key=lambda tax: (tax["tid"], tax["lvl"]))}


def test_an_exemption_abroad_is_told_by_its_country_and_at_home_by_its_state(api: httpx.Client) -> None:
    def exempt(**location: str) -> Any:
        return calc(api, exms=[{"loc": location, "cat": 1, "dom": 1, "scp": 1920}])

    assert "err" not in exempt(ctry="GBR")
    assert "Insufficient information" in json.dumps(exempt(ctry="USA"))
    assert "Insufficient information" in json.dumps(exempt(st=""))
