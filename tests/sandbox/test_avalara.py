"""The AvaTax emulator against the vendor's published texts: what it takes, answers, refuses and computes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.avalara import ACCOUNT_ID, LICENSE_KEY
from sandbox.avalara_models import ENUMS, ERRORS, MODELS
from sandbox.emulator import read_json, write_json
from sandbox.server import Running, start

SPECS = Path(os.environ.get("TIEOUT_VENDOR_SPECS", "../shared/vendor-specs")) / "avatax"
published = pytest.mark.skipif(not SPECS.exists(), reason="skipped: no vendor specs at hand")

IRVINE = {"line1": "2000 Main Street", "city": "Irvine", "region": "CA", "country": "US", "postalCode": "92614"}
ONE = "/api/v2/companies/DEFAULT/transactions/INV-1"


class Api:
    """The vendor's API as a client sees it, with exact numbers."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def get(self, path: str, **query: str) -> Any:
        return self._read(
            self.client.get(path, params={name.replace("_", "$"): value for name, value in query.items()})
        )

    def post(self, path: str, body: Any) -> Any:
        return self._read(self.client.post(path, content=write_json(body)))

    def save(self, **fields: Any) -> Any:
        return self.post("/api/v2/transactions/createoradjust", {"createTransactionModel": sale(**fields)})

    @staticmethod
    def _read(answer: Any) -> Any:
        return read_json(answer.content)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with start(["avalara"]) as running:
        yield running


@pytest.fixture
def api(sandbox: Running) -> Iterator[Api]:
    with client_of(sandbox) as client:
        client.post("/_sandbox/reset")
        yield Api(client)


def client_of(running: Running) -> httpx.Client:
    return httpx.Client(base_url=running.urls["avalara"], auth=(ACCOUNT_ID, LICENSE_KEY))


def sale(**fields: Any) -> dict[str, Any]:
    line = {"number": "1", "amount": 100, "taxCode": "P0000000", "addresses": {"singleLocation": IRVINE}}
    model = {"type": "SalesInvoice", "code": "INV-1", "date": "2026-10-31", "customerCode": "A-1", "lines": [line]}
    return {name: value for name, value in {**model, **fields}.items() if value is not None}


def line(amount: Any, number: str = "1", **fields: Any) -> dict[str, Any]:
    return {"number": number, "amount": amount, "addresses": {"singleLocation": IRVINE}, **fields}


def place(**address: str) -> dict[str, Any]:
    return {"addresses": {"singleLocation": address}}


def code_of(answer: Any) -> str:
    return answer["error"]["code"]  # type: ignore[no-any-return]


# ---- against the published texts


@published
def test_the_models_it_takes_are_the_published_ones() -> None:
    """Every field, length, enum and required field of a body is as the definition states it, and no other."""
    schemas = json.loads((SPECS / "avatax-26.9.0.sdk-derived.openapi.json").read_text())["components"]["schemas"]
    for model, fields in MODELS.items():
        schema = schemas[model]
        assert {name for name, _, _ in fields.values()} == set(schema["properties"]), model
        assert {name for name, _, required in fields.values() if required} == set(schema.get("required", [])), model
        for name, kind, _ in fields.values():
            longest = schema["properties"][name].get("maxLength")
            assert kind.startswith("text:") == (longest is not None), (model, name)
            assert longest is None or kind == f"text:{longest}", (model, name)
    for enum, values in ENUMS.items():
        assert list(values) == schemas[f"enum.{enum}"]["enum"], enum


@published
def test_its_errors_have_the_published_numbers_and_words() -> None:
    """A refusal carries the number, message and severity of the vendor's error page."""
    pages = json.loads((SPECS / "errors.json").read_text())
    for code, (number, _, severity, message, _) in ERRORS.items():
        assert (number, severity, message) == tuple(pages[code][k] for k in ("number", "severity", "message")), code


@published
def test_it_answers_only_fields_of_the_published_models(api: Api) -> None:
    """Nothing in a TransactionModel is our invention."""
    schemas = json.loads((SPECS / "avatax-26.9.0.sdk-derived.openapi.json").read_text())["components"]["schemas"]

    def check(model: str, value: dict[str, Any]) -> None:
        assert set(value) <= set(schemas[model]["properties"]), model

    document = api.save()
    check("TransactionModel", document)
    check("TransactionLineModel", document["lines"][0])
    check("TransactionLineDetailModel", document["lines"][0]["details"][0])
    check("TransactionSummary", document["summary"][0])
    check("TransactionAddressModel", document["addresses"][0])
    check("ErrorDetail", api.save(date="x")["error"]["details"][0])


#: Worked examples of the integration guide: case -> tax, taxable and exempt amount of each line.
GUIDE = {
    "3.2.1": [("7.75", "100", "0"), ("3.88", "50", "0")],
    "3.2.2": [("5.04", "65", "0"), ("2.72", "35", "0")],
    "5.1.1": [("9.00", "100", "0")],
    "5.2.1": [("9.00", "100", "0"), ("0", "0", "75")],
    "5.2.2": [("8.88", "100", "0"), ("6.66", "75", "0")],
    "7.1.1": [("7.00", "100", "0"), ("0.35", "5", "0")],
    "8.3.1": [("0", "0", "100")],
}


@published
@pytest.mark.parametrize("case", GUIDE)
def test_it_computes_the_guides_worked_examples(api: Api, case: str) -> None:
    """The asserted amounts of Avalara's integration guide come out, to the cent."""
    cases = json.loads((SPECS / "samples/dev-guide-test-cases.json").read_text())
    request = next(item for item in cases if item["case"] == case)["requests"][0]
    document = api.post("/api/v2/transactions/create", {**request, "companyCode": "DEFAULT"})
    got = [(item["tax"], item["taxableAmount"], item["exemptAmount"]) for item in document["lines"]]
    assert got == [tuple(map(Decimal, row)) for row in GUIDE[case]]


# ---- tax


def test_totals_are_sums_of_rounded_details(api: Api) -> None:
    """Each detail is rounded half up by itself; lines, summary and document are exact sums of details."""
    document = api.save(lines=[line(Decimal("10.37"), str(n)) for n in range(1, 8)])
    details = [detail for item in document["lines"] for detail in item["details"]]
    assert document["totalTax"] == sum(detail["tax"] for detail in details) == Decimal("5.60")
    assert document["totalTax"] == sum(row["tax"] for row in document["summary"])
    assert [row["taxable"] for row in document["summary"]] == [document["totalAmount"]] * 4
    for detail in details:
        assert detail["taxableAmount"] + detail["exemptAmount"] + detail["nonTaxableAmount"] == Decimal("10.37")


def test_each_line_is_taxed_where_it_is_used(api: Api) -> None:
    """A line's own address goes before the document's."""
    lines = [
        line(100, "us", **place(line1="x", city="New York", region="NY", country="US", postalCode="10005")),
        line(100, "gb", **place(city="London", country="GB")),
        line(100, "on", **place(line1="x", city="Toronto", region="ON", country="CA", postalCode="M5V 2T6")),
        line(100, "bc", **place(line1="x", city="Vancouver", region="BC", country="CA", postalCode="V5K 0A1")),
        {"number": "doc", "amount": 100},
    ]
    document = api.save(lines=lines, addresses={"singleLocation": IRVINE})
    taxes = {item["lineNumber"]: [d["tax"] for d in item["details"]] for item in document["lines"]}
    expected = {
        "us": ["4", "4.5", "0.38"],
        "gb": ["20"],
        "on": ["13"],
        "bc": ["5", "7"],
        "doc": ["6", ".25", ".5", "1"],
    }
    assert taxes == {name: list(map(Decimal, amounts)) for name, amounts in expected.items()}


def test_taxability_follows_the_tax_code_and_the_state(api: Api) -> None:
    """Software as a service is not taxed in California, taxed in New York, and on 80 % in Texas."""
    lines = [
        line(100, "CA", taxCode="SW054000"),
        line(100, "NY", taxCode="SW054000", **place(line1="x", city="Utica", region="NY", postalCode="13501")),
        line(100, "TX", taxCode="SW054000", **place(line1="x", city="Austin", region="TX", postalCode="78701")),
    ]
    rows = {item["lineNumber"]: item for item in api.save(lines=lines)["lines"]}
    assert {name: row["taxableAmount"] for name, row in rows.items()} == {"CA": 0, "NY": 100, "TX": 80}
    assert rows["TX"]["details"][0]["nonTaxableAmount"] == 20
    assert rows["TX"]["tax"] == Decimal("6.60")


@pytest.mark.parametrize("exemption", [{"entityUseCode": "E"}, {"customerUsageType": "a"}, {"exemptionNo": "EX-1"}])
def test_an_exemption_leaves_the_amount_exempt_in_every_jurisdiction(api: Api, exemption: dict[str, str]) -> None:
    """The document stays, its tax is zero, and the exempt amount is told apart from the non-taxable one."""
    document = api.save(**exemption)
    assert (document["totalTax"], document["totalExempt"]) == (0, 100)
    assert {(d["exemptAmount"], d["taxableAmount"]) for d in document["lines"][0]["details"]} == {(100, 0)}


def test_a_line_that_is_marked_taxable_is_taxed_for_an_exempt_customer(api: Api) -> None:
    """A line's own use code goes before the document's."""
    assert api.save(entityUseCode="E", lines=[line(100, entityUseCode="TAXABLE")])["totalTax"] == Decimal("7.75")


@pytest.mark.parametrize("amount", ["10.00", "1.00", "-3.33", "0.01"])
def test_a_tax_override_is_told_apart_from_the_calculated_tax(api: Api, amount: str) -> None:
    """An imported tax is booked as given (guide, case 11.4.1); what AvaTax would have said stands beside it."""
    document = api.save(taxOverride={"type": "TaxAmount", "taxAmount": Decimal(amount), "reason": "offline"})
    assert (document["totalTax"], document["totalTaxCalculated"]) == (Decimal(amount), Decimal("7.75"))
    assert sum(d["tax"] for d in document["lines"][0]["details"]) == Decimal(amount)


def test_a_refund_gives_back_its_share_of_an_overridden_tax(api: Api) -> None:
    """Not of what would have been calculated."""
    api.save(commit=True, lines=[line(100, taxOverride={"type": "TaxAmount", "taxAmount": 9, "reason": "offline"})])
    half = {**REFUND, "refundType": "Percentage", "refundPercentage": 50}
    assert api.post(f"{ONE}/refund", half)["totalTax"] == Decimal("-4.50")


# ---- life of a document


def test_an_uncommitted_document_is_replaced_and_a_committed_one_is_superseded(api: Api) -> None:
    """createoradjust: Saved keeps its version; Committed leaves an Adjusted copy under a higher version."""
    assert [api.save()["version"], api.save(lines=[line(90)])["version"]] == [1, 1]
    api.post(f"{ONE}/commit", {"commit": True})
    adjusted = api.save(lines=[line(80)], commit=True)
    assert (adjusted["version"], adjusted["status"], adjusted["adjustmentReason"]) == (2, "Committed", "Other")
    listed = api.get("/api/v2/companies/DEFAULT/transactions", _filter="date ge '2026-01-01'", _orderBy="version ASC")
    assert [(row["status"], row["totalAmount"]) for row in listed["value"]] == [("Adjusted", 90), ("Committed", 80)]
    assert api.client.get("/_sandbox/objects").json() == {"transaction": 1, "superseded_transaction": 1}


def test_create_refuses_a_committed_code_and_overwrites_an_uncommitted_one(api: Api) -> None:
    """Only createoradjust and adjust touch what is committed."""
    assert api.post("/api/v2/transactions/create", sale())["status"] == "Saved"
    assert api.post("/api/v2/transactions/create", sale(commit="true"))["status"] == "Committed"
    assert code_of(api.post("/api/v2/transactions/create", sale())) == "TransactionAlreadyExists"


def test_orders_are_computed_and_never_kept(api: Api) -> None:
    """A SalesOrder, also the default type, is Temporary and cannot be read again."""
    assert (api.save(type="SalesOrder")["status"], api.save(type=None)["type"]) == ("Temporary", "SalesOrder")
    assert code_of(api.get(ONE)) == "EntityNotFoundError"


@pytest.mark.parametrize(
    ("status", "reason", "result"),
    [
        ("Saved", "DocVoided", "Cancelled"),
        ("Saved", "DocDeleted", None),
        ("Saved", "PostFailed", "InvalidDocumentStatus"),
        ("Posted", "PostFailed", "Saved"),
        ("Committed", "DocDeleted", "Cancelled"),
        ("Committed", "docVoided", "Cancelled"),
        ("Committed", "Unspecified", "Committed"),
        ("Committed", "AdjustmentCancelled", "InvalidDocumentStatus"),
        ("Cancelled", "DocVoided", "TransactionAlreadyCancelled"),
        ("Cancelled", "DocDeleted", None),
    ],
)
def test_void_does_what_the_vendors_table_says(api: Api, status: str, reason: str, result: str | None) -> None:
    """The effect of each reason on each status (page "Cancel Transactions"); None: the document is gone."""
    api.save(commit=status == "Committed")
    if status == "Posted":
        api.post(f"{ONE}/verify", {"verifyTotalTax": 7.75, "verifyTransactionDate": "2026-10-31"})
    if status == "Cancelled":
        api.post(f"{ONE}/void", {"code": "DocVoided"})
    answer = api.post(f"{ONE}/void", {"code": reason})
    after = api.get(ONE)
    if "error" in answer:
        assert code_of(answer) == result
    else:
        assert ("error" in after) if result is None else after["status"] == result


def test_a_void_takes_back_the_last_adjustment(api: Api) -> None:
    """AdjustmentCancelled brings the superseded version back as Committed."""
    api.save(commit=True)
    api.post(
        f"{ONE}/adjust", {"adjustmentReason": "PriceAdjusted", "newTransaction": sale(lines=[line(1)], commit=True)}
    )
    assert api.post(f"{ONE}/void", {"code": "AdjustmentCancelled"})["totalAmount"] == 100
    assert api.get(ONE)["version"] == 1


def test_a_locked_document_cannot_be_changed_by_any_call(api: Api) -> None:
    """Reported to an authority: only a refund corrects it."""
    api.save()
    assert code_of(api.post(f"{ONE}/lock", {"isLocked": True})) == "DocumentNotCommitted"
    api.post(f"{ONE}/commit", {"commit": True})
    assert api.post(f"{ONE}/lock", {"isLocked": True})["locked"] is True
    adjust = {"adjustmentReason": "Other", "newTransaction": sale()}
    for action, body in (
        ("void", {"code": "DocVoided"}),
        ("uncommit", {}),
        ("adjust", adjust),
        ("commit", {"commit": 1 > 0}),
    ):
        assert code_of(api.post(f"{ONE}/{action}", body)) == "CannotModifyLockedTransaction", action
    assert code_of(api.save()) == "CannotModifyLockedTransaction"
    assert (
        api.post(f"{ONE}/refund", {"refundTransactionCode": "R", "refundDate": "2026-11-01"})["status"] == "Committed"
    )


@pytest.mark.parametrize("action", ["commit", "uncommit", "unvoid", "verify"])
def test_a_move_from_the_wrong_status_is_refused(api: Api, action: str) -> None:
    """Committed cannot be committed or verified again, Saved not uncommitted, a living one not unvoided."""
    api.save(commit=action in ("commit", "verify"))
    expected = "InvalidDocumentStatusForVerify" if action == "verify" else "InvalidDocumentStatus"
    assert code_of(api.post(f"{ONE}/{action}", {"commit": True} if action == "commit" else {})) == expected


REFUND = {"refundTransactionCode": "R-1", "refundDate": "2026-11-02"}


@pytest.mark.parametrize(
    ("body", "amount", "tax"),
    [
        ({}, "-150", "-11.63"),
        ({"refundType": "Partial", "refundLines": ["2"]}, "-50", "-3.88"),
        ({"refundType": "Percentage", "refundPercentage": 50}, "-75", "-5.82"),
        ({"refundType": "TaxOnly"}, "0", "-11.63"),
    ],
)
def test_a_refund_is_a_committed_return_of_the_negative_amounts(
    api: Api, body: dict[str, Any], amount: str, tax: str
) -> None:
    """Full, by lines, by percentage, or of the tax alone; the original stays as it is (guide, case 4.2.3)."""
    api.save(commit=True, lines=[line(100, "1"), line(50, "2")])
    refund = api.post(f"{ONE}/refund", {**REFUND, **body})
    assert (refund["type"], refund["status"], refund["date"]) == ("ReturnInvoice", "Committed", "2026-11-02")
    assert (refund["totalAmount"], refund["totalTax"]) == (Decimal(amount), Decimal(tax))
    assert api.get(ONE)["status"] == "Committed"
    assert api.get("/api/v2/companies/DEFAULT/transactions/R-1/types/ReturnInvoice")["id"] == refund["id"]
    assert code_of(api.post(f"{ONE}/refund", {**REFUND, **body})) == "TransactionAlreadyExists"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"refundType": "Partial"}, "RefundLinesRequired"),
        ({"refundType": "Partial", "refundLines": ["9"]}, "LineNoOutOfRange"),
        ({"refundType": "Full", "refundLines": ["1"]}, "RefundTypeAndLineMismatch"),
        ({"refundType": "Full", "refundPercentage": 20}, "RefundTypeAndPercentageMismatch"),
        ({"refundType": "Percentage"}, "RefundPercentageMissing"),
        ({"refundType": "Percentage", "refundPercentage": 101}, "RefundPercentageOutOfRange"),
        ({"refundDate": None}, "ValueRequiredError"),
    ],
)
def test_a_refund_that_contradicts_itself_is_refused(api: Api, body: dict[str, Any], code: str) -> None:
    """With the vendor's own code for each contradiction."""
    api.save(commit=True)
    assert code_of(api.post(f"{ONE}/refund", {**REFUND, **body})) == code


def test_a_document_is_one_company_code_and_type_whatever_the_case(api: Api) -> None:
    """The code is matched without regard to case; another type is another document."""
    api.save(commit=True)
    assert api.save(code="inv-1", lines=[line(1)], commit=True)["version"] == 2
    assert api.post(f"{ONE}/refund", {**REFUND, "refundTransactionCode": "INV-1"})["version"] == 1


def test_codes_with_slashes_are_read_in_the_vendors_own_encoding(api: Api) -> None:
    """``/`` in a path is ``_-ava2f-_``."""
    api.save(code="INV/1 #2")
    assert api.get("/api/v2/companies/DEFAULT/transactions/INV_-ava2f-_1%20_-ava23-_2")["code"] == "INV/1 #2"


# ---- what is refused


@pytest.mark.parametrize(
    ("fields", "code", "refers_to"),
    [
        ({"customerCode": None}, "ValueRequiredError", "customerCode"),
        ({"date": None}, "ValueRequiredError", "date"),
        ({"date": "31.10.2026"}, "DateFormatError", "date"),
        ({"lines": []}, "MissingLine", "lines"),
        ({"lines": [{"number": "1"}]}, "ValueRequiredError", "lines[0].amount"),
        ({"lines": [line("ten")]}, "ModelStateInvalid", "lines[0].amount"),
        ({"lines": [line(1), line(2)]}, "LineAlreadyExists", "lines.number"),
        ({"lines": [{"amount": 1}]}, "MissingAddress", "addresses"),
        ({"bogus": 1}, "ModelStateInvalid", "bogus"),
        ({"code": "x" * 51}, "StringLengthError", "code"),
        ({"type": "Invoice"}, "InvalidEnumValue", "type"),
        ({"commit": 1}, "ModelStateInvalid", "commit"),
        ({"currencyCode": "ZZZ"}, "ModelStateInvalid", "currencyCode"),
        ({"companyCode": "OTHER"}, "EntityNotFoundError", "companyCode"),
        ({"lines": [line(1, **place(city="Irvine", region="CA"))]}, "InvalidAddress",
         "lines[1].addresses.singleLocation"),
        ({"lines": [line(1, **place(line1="x", city="y", region="QQ"))]}, "InvalidCountryRegion",
         "lines[1].addresses.singleLocation.region"),
        ({"lines": [line(1, **place(country="Narnia"))]}, "InvalidCountry",
         "lines[1].addresses.singleLocation.country"),
        ({"lines": [line(1, addresses={"singleLocation": IRVINE, "shipTo": IRVINE})]}, "AddressConflictException",
         "lines[1].addresses"),
        ({"lines": [line(1, addresses={"shipTo": IRVINE})]}, "MissingAddress", "lines[1].addresses"),
    ],
)  # fmt: skip
def test_a_wrong_body_is_refused_with_the_field_named(
    api: Api, fields: dict[str, Any], code: str, refers_to: str
) -> None:
    """Nothing is kept, and the error says which field."""
    answer = api.save(**fields)
    assert code_of(answer) == code
    assert answer["error"]["details"][0]["refersTo"].removeprefix("createTransactionModel.") == refers_to
    assert api.client.get("/_sandbox/objects").json() == {}


def test_a_body_that_is_not_json_is_refused_at_its_position(api: Api) -> None:
    """JsonFormatError names line and position."""
    answer = api.client.post("/api/v2/transactions/create", content=b'{"date": ')
    assert (answer.status_code, code_of(answer.json())) == (400, "JsonFormatError")
    assert code_of(api.client.post("/api/v2/transactions/create").json()) == "ModelRequiredException"


def test_every_call_needs_the_account_and_its_key(api: Api) -> None:
    """Ping answers anyone and tells whether it knows him; everything else is 401."""
    api.client.auth = (ACCOUNT_ID, "wrong")
    assert api.get("/api/v2/utilities/ping")["authenticated"] is False
    assert code_of(api.save()) == "AuthenticationException"
    api.client.auth = None
    assert code_of(api.save()) == "AuthenticationIncomplete"


def test_what_is_not_modelled_says_so(api: Api) -> None:
    """A part of AvaTax that is missing here is refused, never answered with a wrong tax."""
    assert code_of(api.save(lines=[line(1, taxIncluded=True)])) == "SandboxDoesNotModel"
    assert code_of(api.save(taxOverride={"type": "DeriveTaxable"})) == "SandboxDoesNotModel"


# ---- reading


def test_nested_objects_come_only_when_asked_for(api: Api) -> None:
    """A write shows everything; a read shows the header, and with $include what it names and implies."""
    assert {"lines", "summary", "addresses"} <= set(api.save())
    assert not {"lines", "summary", "addresses"} & set(api.get(ONE))
    assert "details" not in api.get(ONE, _include="Lines")["lines"][0]
    assert "details" in api.get(ONE, _include="details")["lines"][0]
    assert {"lines", "summary"} <= set(api.get(ONE, _include="Summary"))


def test_a_forced_timeout_leaves_the_document(api: Api) -> None:
    """``$include=ForceTimeout`` answers TimeoutRequested after the work was done."""
    body = json.dumps({"createTransactionModel": sale()})
    answer = api.client.post("/api/v2/transactions/createoradjust?$include=ForceTimeout", content=body)
    assert code_of(answer.json()) == "TimeoutRequested"
    assert api.get(ONE)["status"] == "Saved"


def test_a_list_is_limited_to_thirty_days_unless_it_names_a_date(api: Api) -> None:
    """As published for ListTransactionsByCompany."""
    api.save(date="2020-01-01")
    path = "/api/v2/companies/DEFAULT/transactions"
    assert api.get(path)["@recordsetCount"] == 0
    assert api.get(path, _filter="code eq 'INV-1'")["@recordsetCount"] == 0
    assert api.get(path, _filter="date ge '2019-12-31'")["@recordsetCount"] == 1


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("totalAmount gt 20", ["C"]),
        ("totalAmount between 10 and 20", ["A", "B"]),
        ("code in ('A', 'C')", ["A", "C"]),
        ("status eq 'saved' and (code eq 'A' or code ne 'B')", ["A", "C"]),
        ("purchaseOrderNo contains 'o''b'", ["B"]),
        ("code startsWith 'c'", ["C"]),
        ("locked eq false and description is not null", ["A", "B", "C"]),
        ("locked eq true", []),
    ],
)
def test_filters_select_as_the_vendors_language_says(api: Api, text: str, codes: list[str]) -> None:
    """Comparison by type, text without regard to case, quotes doubled inside quotes."""
    for code, amount in (("A", 10), ("B", 20), ("C", 30)):
        api.save(code=code, lines=[line(amount)], purchaseOrderNo="Po'B" if code == "B" else "x")
    found = api.get("/api/v2/companies/DEFAULT/transactions", _filter=f"date ge '2026-01-01' and {text}")
    assert [row["code"] for row in found["value"]] == codes


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nosuch eq 1", "InvalidQueryField"),
        ("lines eq 1", "InvalidQueryField"),
        ("totalAmount gt ten", "InvalidQueryValue"),
        ("code like 'A'", "MalformedFilterException"),
        ("(code eq 'A'", "MalformedFilterException"),
        ("code eq 'A' code", "MalformedFilterException"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(api: Api, text: str, code: str) -> None:
    """Unknown field, wrong type of value, unknown word."""
    api.save()
    assert (
        code_of(api.get("/api/v2/companies/DEFAULT/transactions", _filter=f"date ge '2026-01-01' and {text}")) == code
    )


def test_pages_follow_the_next_link_to_the_end(api: Api) -> None:
    """``@nextLink`` carries the filter and order along, and is absent on the last page."""
    for code in "ABCDE":
        api.save(code=code)
    page = api.get(
        "/api/v2/companies/DEFAULT/transactions", _filter="date ge '2026-01-01'", _orderBy="code DESC", _top="2"
    )
    seen = [row["code"] for row in page["value"]]
    while "@nextLink" in page:
        page = read_json(api.client.get(page["@nextLink"]).content)
        seen += [row["code"] for row in page["value"]]
    assert seen == list("EDCBA")


def test_an_address_outside_the_us_and_canada_is_not_validated(api: Api) -> None:
    """Resolution covers the US and Canada; elsewhere it answers a message of severity Error."""
    home = api.get("/api/v2/addresses/resolve", **{**IRVINE, "textCase": "Upper"})
    assert home["validatedAddresses"][0]["city"] == "IRVINE"
    assert [row["jurisdictionType"] for row in home["taxAuthorities"]] == ["State", "County", "Special", "Special"]
    abroad = api.get("/api/v2/addresses/resolve", line1="1 Poultry", city="London", country="GB")
    assert (abroad["validatedAddresses"], abroad["messages"][0]["severity"]) == ([], "Error")


def test_a_restarted_emulator_goes_on(tmp_path: Path) -> None:
    """Documents, their requests and their ids survive in the file."""
    for expected in (1, 2):
        with start(["avalara"], tmp_path) as running, client_of(running) as client:
            assert Api(client).save(commit=True)["version"] == expected
            assert Api(client).post(f"{ONE}/refund", {"refundDate": "2026-11-01"})["totalTax"] == Decimal("-7.75")
