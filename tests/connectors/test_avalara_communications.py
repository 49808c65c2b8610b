"""AFC through its connector: what is peculiar to this vendor. The general contract is in test_contract.py."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
import yaml
from hypothesis import given
from hypothesis import strategies as st

from connectors.avalara_communications import RESOURCES, Communications, connect, in_cents
from core.errors import Misconfigured, OutcomeUnknown, Rejected, TieBroken
from core.invoicing import Invoice, InvoiceStatus, finalise
from core.mapping.book import inspect_book
from core.ports import ExternalKey, Guard, Payload, Receipt, World
from core.tax import TaxDocument
from core.ties import Figure
from sandbox.avalara_communications import PASSWORD, USER
from sandbox.server import Running, start
from tests.connectors.contract_avalara_communications import key, payload, settings

BOOK, _ = inspect_book(Path(__file__).parents[2] / "mappings")
SPECS = Path(os.environ.get("TIEOUT_VENDOR_SPECS", "../shared/vendor-specs")) / "avalara-communications"
published = pytest.mark.skipif(not SPECS.exists(), reason="skipped: no vendor specs at hand")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with start(["avalara_communications"]) as running:
        yield running


@pytest.fixture
def vendor(sandbox: Running) -> Iterator[httpx.Client]:
    """The emulator itself, emptied: its objects and its faults."""
    with httpx.Client(base_url=sandbox.urls["avalara_communications"], auth=(USER, PASSWORD)) as client:
        client.post("/_sandbox/reset")
        yield client


@pytest.fixture
def afc(sandbox: Running, vendor: httpx.Client) -> Iterator[Communications]:
    connector = connect(settings(sandbox.urls["avalara_communications"]), World(sleep=lambda _: None))
    assert isinstance(connector, Communications)
    yield connector
    connector.close()


def document(afc: Communications, n: int = 1, **changes: Any) -> Receipt:
    return afc.upsert("tax_document", {**payload(n), **changes}, key(n))


def commit(afc: Communications, doc: str) -> Receipt:
    return afc.upsert("tax_commit", {"cmmt": True}, ExternalKey("doc", doc))


def void(afc: Communications, doc: str) -> Receipt:
    return afc.upsert("tax_void", {"cmmt": False}, ExternalKey("doc", doc))


def plant(vendor: httpx.Client, kind: str, match: str) -> None:
    vendor.post("/_sandbox/faults", json={"kind": kind, "match": match}).raise_for_status()


def reported(vendor: httpx.Client) -> list[str]:
    """The items that count at the vendor: what a return would be made of."""
    return [item["ref"] for item in vendor.get("/_sandbox/objects/transaction").json() if item["committed"]]


def items(**changes: Any) -> list[dict[str, Any]]:
    """The items of payload(1), the first one changed."""
    first, second = payload(1)["itms"]
    return [{**first, **changes}, second]


# ---- the one guard: a fresh code per try, and a commit of the code whose answer is held


def test_a_calculation_counts_for_nothing_until_it_is_committed(afc: Communications, vendor: httpx.Client) -> None:
    receipt = document(afc)
    assert receipt.vendor_id == receipt.answer["doc"]
    assert receipt.vendor_id.startswith("INV-2026-10-0001/")
    assert receipt.answer["cmmt"] is False
    assert reported(vendor) == []
    commit(afc, receipt.vendor_id)
    assert reported(vendor) == ["INV-2026-10-0001-1", "INV-2026-10-0001-2"]


@pytest.mark.parametrize("kind", ["lose_reply", "garbage", "error_after", "reset"])
def test_an_unknown_outcome_and_another_try_are_reported_once(
    afc: Communications, vendor: httpx.Client, kind: str
) -> None:
    """Whatever the lost try left behind stands under another code, which nobody commits."""
    plant(vendor, kind, "CalcTaxes")
    with pytest.raises(OutcomeUnknown):
        document(afc)
    assert afc.find("tax_document", key(1)) is None
    commit(afc, document(afc).vendor_id)
    assert reported(vendor) == ["INV-2026-10-0001-1", "INV-2026-10-0001-2"]


def test_no_two_tries_share_a_code(afc: Communications) -> None:
    assert document(afc).vendor_id != document(afc).vendor_id


@pytest.mark.parametrize("kind", ["lose_reply", "garbage", "error_after", "reset"])
def test_a_commit_may_be_repeated_when_its_outcome_is_unknown(
    afc: Communications, vendor: httpx.Client, kind: str
) -> None:
    doc = document(afc).vendor_id
    plant(vendor, kind, "Commit")
    with pytest.raises(OutcomeUnknown):
        commit(afc, doc)
    assert afc.find("tax_commit", ExternalKey("doc", doc)) is None
    assert commit(afc, doc).answer == {"doc": doc, "cmmt": True, "ok": True}
    assert commit(afc, doc).vendor_id == doc
    assert len(reported(vendor)) == 2


@pytest.mark.parametrize("cmmt", [True, False])
def test_a_locked_document_is_committed_for_good(afc: Communications, cmmt: bool) -> None:
    """A commit of it is done already; to take it back is refused."""
    locked = {"err": [{"code": -2000, "msg": "Document code has been locked."}]}
    with respx.mock:
        respx.post(url__regex=".*/Commit").mock(httpx.Response(200, json=locked))
        if cmmt:
            assert commit(afc, "INV-1/a").answer["ok"] is True
            return
        with pytest.raises(Rejected) as refused:
            void(afc, "INV-1/a")
    assert (refused.value.record, refused.value.field, refused.value.code) == ("tax_void", "doc", "-2000")


def test_a_void_takes_a_document_out_of_what_is_reported(afc: Communications, vendor: httpx.Client) -> None:
    doc = document(afc).vendor_id
    commit(afc, doc)
    void(afc, doc)
    assert reported(vendor) == []


def test_a_document_that_was_never_calculated_cannot_be_committed(afc: Communications) -> None:
    with pytest.raises(Rejected, match="No transactions found") as refused:
        commit(afc, "INV-2/none")
    assert (refused.value.record, refused.value.field) == ("tax_commit", "doc")


def test_a_calculation_that_would_commit_itself_is_refused_before_it_is_sent(
    afc: Communications, vendor: httpx.Client
) -> None:
    with pytest.raises(Rejected) as refused:
        document(afc, cmmt=True)
    assert (refused.value.field, refused.value.value) == ("cmmt", "True")
    assert vendor.get("/_sandbox/objects").json() == {}


# ---- the answer, and how it becomes cents


def test_taxes_are_kept_as_answered_and_billed_in_cents(afc: Communications) -> None:
    """35.10 x 0.0799 + 64.90 x 0.18202 = 14.617588: 14.62 over eight taxes; ten lines at 3.27."""
    access, lines = document(afc).answer["itms"]
    assert (access["billed"], lines["billed"]) == (Decimal("14.62"), Decimal("32.70"))
    assert sum(tax["billed"] for tax in access["txs"]) == Decimal("14.62")
    fund = next(tax for tax in access["txs"] if tax["tid"] == 454)
    assert (fund["tax"], fund["billed"]) == (Decimal("1.6672499999999997"), Decimal("1.67"))
    assert [(tax["rate"], tax["lns"], tax["lvl"]) for tax in lines["txs"]] == [(Decimal("3.27"), 10, 3)]


def test_an_answer_becomes_a_tax_document_that_ties_and_makes_the_invoice_final(afc: Communications) -> None:
    """The mapping's own payload goes out; the answer comes in; the base is the invoice's subtotal."""
    invoice_out = BOOK.find("avalara_communications", "invoice", "out", "tax_document")
    invoice = Invoice.model_validate_json(json.dumps(invoice_out.spec.examples[0].given, default=str))
    receipt = afc.upsert("tax_document", invoice_out.out(invoice, lambda *_: None), invoice_out.key(invoice))
    found = BOOK.find("avalara_communications", "tax_document", "in", "tax_document").into(receipt.answer)
    assert isinstance(found, TaxDocument)
    final = finalise(invoice, found)
    assert (final.status, final.subtotal, str(final.tax.amount)) == (InvoiceStatus.FINAL, invoice.subtotal, "49.82")
    assert [str(line.tax.amount) for line in final.lines] == ["14.62", "32.70", "2.50"]
    figure = BOOK.find("avalara_communications", "figure", "in", "tax_document").into(receipt.answer)
    assert isinstance(figure, Figure)
    assert (figure.key, figure.amount) == (invoice.id, final.tax)
    commit_out = BOOK.find("avalara_communications", "tax_document", "out", "tax_commit")
    assert commit_out.key(found) == ExternalKey("doc", receipt.vendor_id)


def test_noise_of_doubles_never_decides_a_cent(afc: Communications) -> None:
    """0.304999... is 0.305 to the vendor, and 0.31 to the customer."""
    tax = {"bill": True, "name": "T", "lvl": 0, "pcd": 0, "tid": 1, "calc": 1, "rate": 0.1}
    answer = answered([{**tax, "tax": 0.30499999999999994}], summed=0.305)
    assert answer(afc).answer["itms"][0]["billed"] == Decimal("0.31")


@given(st.lists(st.decimals(-100, 100, places=6), max_size=12))
def test_shares_in_cents_add_up_to_the_sum_rounded_once(amounts: list[Decimal]) -> None:
    shares = in_cents(amounts)
    assert sum(shares) == sum(amounts, Decimal(0)).quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert all(abs(share - amount) < Decimal("0.01") for share, amount in zip(shares, amounts, strict=True))
    assert all(share == 0 for share, amount in zip(shares, amounts, strict=True) if amount == 0)
    if sum(amounts):
        assert in_cents([-amount for amount in amounts]) == [-share for share in shares]


def credited(afc: Communications, *items: Payload) -> list[dict[str, Any]]:
    """The items of the answer about a credit note."""
    receipt = afc.upsert("tax_credit", {**payload(1), "itms": list(items)}, ExternalKey("invn", "CN-2026-10-0001"))
    return list(receipt.answer["itms"])


def test_an_adjustment_gives_back_to_the_cent_what_was_billed(afc: Communications) -> None:
    def billed(items: Iterable[Payload]) -> list[Decimal]:
        return [tax["billed"] for item in items for tax in item["txs"]]

    original = document(afc).answer["itms"]
    reversed_items = [{**item, "adj": True} for item in payload(1)["itms"]]
    assert billed(credited(afc, *reversed_items)) == [-share for share in billed(original)]


def test_the_parts_of_a_line_give_back_what_the_line_was_billed(afc: Communications) -> None:
    """14.62 taken of 100.00; thirds are told what each gives back, and AFC's taxes are shared over just that."""
    whole = items(chg=Decimal(100))[0]
    assert document(afc, itms=[whole]).answer["itms"][0]["billed"] == Decimal("14.62")
    due = [Decimal("-4.87"), Decimal("-4.88"), Decimal("-4.87")]
    parts = [{**whole, "adj": True, "chg": Decimal("33.33"), "billed": tax} for tax in due]
    found = [credited(afc, {**part, "pror": Decimal("0.3333"), "proadj": 1})[0] for part in parts]
    assert [one["billed"] for one in found] == due
    assert [sum(tax["billed"] for tax in one["txs"]) for one in found] == due


def test_another_tax_than_rounding_explains_is_told_as_the_vendor_computed_it(afc: Communications) -> None:
    part = items(chg=Decimal(50), adj=True)[0]
    right = credited(afc, part)[0]["billed"]
    assert credited(afc, {**part, "billed": right + Decimal("0.01")})[0]["billed"] == right + Decimal("0.01")
    assert credited(afc, {**part, "billed": right + Decimal("0.02")})[0]["billed"] == right


def test_of_half_a_line_a_tax_per_line_comes_back_by_half_unless_its_authority_never_divides_it(
    afc: Communications,
) -> None:
    """Ten lines at 3.27 in San Francisco are 16.35 for their half; at 0.50 in Houston they stay where they are."""
    houston = {"ctry": "USA", "geo": True, "st": "TX", "city": "Houston", "addr": "1 Main Street", "zip": "77003"}
    half = {**items()[1], "chg": Decimal(25), "adj": True, "pror": Decimal("0.5"), "proadj": 1}
    assert credited(afc, half)[0]["billed"] == Decimal("-16.35")
    assert credited(afc, {**half, "bill": houston})[0]["txs"] == []


def test_a_credit_without_an_adjustment_is_refused(afc: Communications) -> None:
    with pytest.raises(Rejected) as refused:
        credited(afc, *items())
    assert refused.value.field == "itms[0].adj"


def test_taxes_that_the_seller_owes_are_not_billed(afc: Communications) -> None:
    """A wireless access charge in Puerto Rico has a relay surcharge that is not passed on."""
    there = {"ctry": "USA", "st": "PR", "city": "Adjuntas", "zip": "00601", "int": True}
    answer = document(afc, itms=items(tran=13, serv=6, bill=there)).answer
    assert {tax["tid"] for tax in answer["itms"][0]["txs"]} == {1, 13, 35, 55, 170}


def test_an_exemption_takes_its_taxes_off(afc: Communications) -> None:
    """Category 1 in North Carolina: the sales tax is there with 0, the federal charges stay."""
    durham = {"ctry": "USA", "st": "NC", "city": "Durham", "zip": "27701", "int": True}
    exempt = [{"loc": {"ctry": "USA", "st": "NC"}, "cat": 1, "dom": 1, "scp": 1920}]
    answer = document(afc, itms=items(bill=durham), exms=exempt).answer
    taxes = {tax["tid"]: tax["billed"] for tax in answer["itms"][0]["txs"]}
    assert taxes == {231: 0, 162: Decimal("11.62"), 226: Decimal("0.19")}


@pytest.mark.parametrize(
    "location",
    [
        {"pcd": 377300},
        {"npa": 415200},
        {"fips": "0607567000"},
        {"ctry": "USA", "st": "CA", "city": "San Francisco", "zip": "94105", "int": True},
        {"ctry": "USA", "st": "CA", "zip": "94105", "addr": "1 Market Street", "geo": True},
    ],
)
def test_a_place_may_be_named_by_pcode_number_or_address(afc: Communications, location: dict[str, Any]) -> None:
    first, second = payload(1)["itms"]
    answer = document(afc, bill=location, itms=[first | {"bill": location}, second | {"bill": location}]).answer
    assert [item["billed"] for item in answer["itms"]] == [Decimal("14.62"), Decimal("32.70")]


def test_outside_city_limits_no_city_taxes(afc: Communications) -> None:
    outside = {"ctry": "USA", "st": "CA", "city": "San Francisco", "zip": "94105", "int": False}
    _, lines = document(afc, itms=[{**item, "bill": outside} for item in payload(1)["itms"]]).answer["itms"]
    assert (lines["billed"], lines["txs"]) == (0, [])


def test_no_answer_holds_a_float(afc: Communications) -> None:
    assert "float" not in {type(value).__name__ for value in leaves(document(afc).answer)}


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


# ---- refusals


@pytest.mark.parametrize(
    ("changes", "field", "value", "code"),
    [
        ({"cust": 9}, "cust", "9", "-2000"),
        ({"bill": None}, "bill", None, "-1008"),
        ({"itms": []}, "itms", None, "-2000"),
        ({"itms": items(tran=99)}, "itms[0].tran", "99", "-28"),
        ({"itms": items(ref="x" * 151)}, "itms[0].ref", "x" * 151, "-2000"),
        ({"itms": items(disc=9)}, "itms[0].disc", "9", "-2000"),
        ({"itms": items(bill={"pcd": 1})}, "itms[0].bill.pcd", "1", "-12"),
        ({"itms": items(bill={"npa": 1})}, "itms[0].bill.npa", "1", "-14"),
        ({"itms": items(bill={"ctry": "USA", "st": "PA", "zip": "27701"})}, "itms[0].bill", None, "-16"),
        ({"exms": [{"loc": {"st": "NC"}}]}, "exms", None, "-2000"),
    ],
)
def test_a_refusal_names_the_field_its_value_and_the_vendors_code(
    afc: Communications, changes: dict[str, Any], field: str, value: str | None, code: str
) -> None:
    """The vendor names no field: its fixed messages do, and the item they stand at."""
    with pytest.raises(Rejected) as refused:
        document(afc, **changes)
    error = refused.value
    assert (error.system, error.record, error.field, error.value, error.code) == (
        "avalara_communications", "tax_document", field, value, code,
    )  # fmt: skip


def answered(taxes: list[Any], summed: float, ref: str = "INV-2026-10-0001-1", doc: str | None = None) -> Any:
    """Sends one item to a vendor that answers with these taxes."""

    def reply(request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)["inv"][0]
        result = {"doc": doc or sent["doc"], "itms": [{"ref": ref, "txs": taxes}], "summ": [{"tax": summed}]}
        return httpx.Response(200, json={"inv": [result]})

    def send(afc: Communications) -> Receipt:
        with respx.mock:
            respx.post(url__regex=".*/CalcTaxes").mock(side_effect=reply)
            return document(afc, itms=items()[:1])

    return send


def test_a_summary_that_is_not_the_sum_of_its_details_breaks_the_tie(afc: Communications) -> None:
    with pytest.raises(TieBroken, match="summary"):
        answered([{"bill": True, "tax": 1.25}], summed=1.26)(afc)


@pytest.mark.parametrize("other", [{"ref": "another item"}, {"doc": "another document"}])
def test_an_answer_about_something_else_is_an_unknown_outcome(afc: Communications, other: dict[str, str]) -> None:
    with pytest.raises(OutcomeUnknown):
        answered([], summed=0, **other)(afc)


# ---- look-ups, set-up


def test_places_pairs_and_tax_types_can_be_read(afc: Communications) -> None:
    found = afc.get("pcode", "CountryIso=USA&State=CA&City=San+Francisco&ZipCode=94102")
    assert [row["PCode"] for row in found["LocationData"]] == [377300]
    assert afc.get("location", "2604100")["MatchCount"] == 5
    assert afc.get("primary", "2604100")["LocationData"][0]["Locality"] == "NEW YORK"
    assert afc.get("ts_pair", "19:21")["TSPairDescription"] == "VoIP/Lines"
    assert afc.get("tax_type", "162")["TaxDescription"] == "FUSF (VoIP)"


@pytest.mark.parametrize(
    ("resource", "vendor_id"),
    [("pcode", "State=XX&BestMatch=false"), ("location", "7"), ("ts_pair", "19:999"), ("tax_type", "999")],
)
def test_what_the_vendor_does_not_know_is_rejected(afc: Communications, resource: str, vendor_id: str) -> None:
    with pytest.raises(Rejected) as refused:
        afc.get(resource, vendor_id)
    assert refused.value.record == resource


def test_what_was_written_cannot_be_read_back(afc: Communications) -> None:
    """Nobody may take silence for an empty list."""
    for read in (lambda: afc.get("tax_document", "x"), lambda: next(afc.changes("tax_document", None))):
        with pytest.raises(Misconfigured):
            read()
    with pytest.raises(Misconfigured):
        afc.find("pcode", ExternalKey("", "377300"))


def test_the_header_of_2019_signs_in_too(sandbox: Running) -> None:
    old = settings(sandbox.urls["avalara_communications"]).model_copy(update={"sign_in": "api_key"})
    connector = connect(old, World())
    assert all(finding.ok for finding in connector.check())
    connector.close()


def test_an_unknown_profile_is_a_finding_and_stops_the_system(sandbox: Running) -> None:
    wrong = settings(sandbox.urls["avalara_communications"]).model_copy(update={"client_profile_id": 77})
    connector = connect(wrong, World())
    assert [finding.ok for finding in connector.check()] == [False]
    with pytest.raises(Misconfigured, match="Profile ID"):
        connector.upsert("tax_document", payload(1), key(1))
    connector.close()


def test_every_product_code_of_the_tables_is_a_pair_of_the_vendor(afc: Communications) -> None:
    tables = Path(__file__).parents[2] / "mappings" / "tables"
    pair_of, service_of = (
        yaml.safe_load((tables / f"afc_{kind}_type.yaml").read_text())["values"] for kind in ("transaction", "service")
    )
    assert pair_of.keys() == service_of.keys()
    for code in pair_of:
        assert (afc.get("ts_pair", code)["TransactionType"], afc.get("ts_pair", code)["ServiceType"]) == (
            pair_of[code], service_of[code],
        )  # fmt: skip


# ---- the published examples


@published
def test_in_every_published_example_the_summary_is_the_sum_of_its_details() -> None:
    """What ``_joined`` demands of an answer holds in all the vendor prints."""
    samples = json.loads((SPECS / "samples/dev-guide-rest-v2-samples.json").read_text())
    found = 0
    for name, sample in samples.items():
        for invoice in (sample.get("inv") or []) if isinstance(sample, dict) else []:
            details = [tax for item in invoice.get("itms") or [] for tax in item.get("txs") or []]
            if isinstance(invoice.get("summ"), list) and details:
                found += 1
                apart = sum(tax.get("tax") or 0 for tax in details) - sum(
                    tax.get("tax") or 0 for tax in invoice["summ"]
                )
                assert abs(apart) < 1e-6, name
    assert found > 5


def test_everything_written_is_guarded_by_its_commit() -> None:
    assert {row.guard for name, row in RESOURCES.items() if name.startswith("tax_") and name != "tax_type"} == {
        Guard.COMMIT
    }
