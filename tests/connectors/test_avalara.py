"""AvaTax through its connector: what is peculiar to this vendor. The general contract is in test_contract.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from connectors.avalara import AvaTax, Settings, connect, read_error
from core.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, TieoutError, Unavailable
from core.invoicing import Invoice
from core.mapping.book import inspect_book
from core.ports import ExternalKey, Receipt, World
from core.tax import TaxDocument, TaxStatus
from core.ties import Figure
from sandbox.server import Running, start
from tests.connectors.contract_avalara import key, payload, settings

BOOK, _ = inspect_book(Path(__file__).parents[2] / "mappings")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with start(["avalara"]) as running:
        yield running


@pytest.fixture
def vendor(sandbox: Running) -> Iterator[httpx.Client]:
    """The emulator itself, emptied: its objects and its faults."""
    with httpx.Client(base_url=sandbox.urls["avalara"], auth=("2000000001", "sandbox-licence-key")) as client:
        client.post("/_sandbox/reset")
        yield client


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def avatax(sandbox: Running, vendor: httpx.Client, slept: list[float]) -> Iterator[AvaTax]:
    connector = connect(settings(sandbox.urls["avalara"]), World(sleep=slept.append))
    assert isinstance(connector, AvaTax)
    yield connector
    connector.close()


def document(avatax: AvaTax, n: int = 1) -> Receipt:
    return avatax.upsert("tax_document", payload(n), key(n))


def commit(avatax: AvaTax, n: int = 1) -> Receipt:
    return avatax.upsert("tax_commit", {"commit": True}, key(n))


def void(avatax: AvaTax, n: int = 1) -> Receipt:
    return avatax.upsert("tax_void", {"code": "DocVoided"}, voided(n))


def voided(n: int) -> ExternalKey:
    return ExternalKey("transactionCode", key(n).value)


def plant(vendor: httpx.Client, kind: str, match: str, **more: Any) -> None:
    vendor.post("/_sandbox/faults", json={"kind": kind, "match": match, **more})


def objects(vendor: httpx.Client) -> dict[str, int]:
    return vendor.get("/_sandbox/objects").json()  # type: ignore[no-any-return]


# ---- tax_document


def test_a_document_is_saved_uncommitted_and_its_answer_is_the_tax(avatax: AvaTax) -> None:
    """The receipt carries the vendor's model, with exact amounts and every detail."""
    receipt = document(avatax)
    assert (receipt.created, receipt.answer["status"], receipt.answer["version"]) == (True, "Saved", 1)
    assert receipt.vendor_id == str(receipt.answer["id"])
    assert receipt.answer["totalTax"] == Decimal("14.12")
    assert len(receipt.answer["lines"][0]["details"]) == 4
    assert avatax.get("tax_document", receipt.vendor_id) == receipt.answer
    found = avatax.find("tax_document", key(1))
    assert found == replace(receipt, created=False)


def test_company_and_type_come_from_the_connector_when_the_payload_has_none(avatax: AvaTax) -> None:
    """An estimate would be computed and forgotten; a document of ours is always a SalesInvoice."""
    bare = {name: value for name, value in payload(1).items() if name not in ("type", "code")}
    assert avatax.upsert("tax_document", bare, key(1)).answer["type"] == "SalesInvoice"


def test_a_second_upsert_replaces_an_uncommitted_document(avatax: AvaTax, vendor: httpx.Client) -> None:
    """A redrafted invoice leaves one document with the new amounts."""
    document(avatax)
    changed = {**payload(1), "customerCode": "A-0002"}
    receipt = avatax.upsert("tax_document", changed, key(1))
    assert (receipt.created, receipt.answer["customerCode"]) == (False, "A-0002")
    assert objects(vendor) == {"transaction": 1}


def test_a_committed_document_is_never_reopened(avatax: AvaTax, vendor: httpx.Client) -> None:
    """The same figures are adopted as they are; other figures are refused by name."""
    document(avatax)
    commit(avatax)
    again = document(avatax)
    assert (again.created, again.answer["status"], again.answer["version"]) == (False, "Committed", 1)
    lines = [{**line, "amount": Decimal("1.00")} for line in payload(1)["lines"]]
    with pytest.raises(Rejected, match="tax_adjust") as refused:
        avatax.upsert("tax_document", {**payload(1), "lines": lines}, key(1))
    assert (refused.value.record, refused.value.field, refused.value.code) == (
        "tax_document", "lines", "TransactionIsCommitted",
    )  # fmt: skip
    assert objects(vendor) == {"transaction": 1}


def test_a_code_with_characters_of_urls_is_found_again(avatax: AvaTax) -> None:
    """The vendor's own path encodings are used both ways."""
    odd = ExternalKey("code", "INV/1+2?3%4#5 6")
    avatax.upsert("tax_document", payload(1), odd)
    assert avatax.upsert("tax_commit", {"commit": True}, odd).answer["code"] == odd.value


@pytest.mark.parametrize("kind", ["lose_reply", "garbage", "error_after"])
def test_an_unknown_outcome_is_looked_up_and_leaves_one_document(
    avatax: AvaTax, vendor: httpx.Client, kind: str
) -> None:
    """Lost reply, broken body or a 5xx after the work: never repeated blindly, found by the key."""
    plant(vendor, kind, "POST .*createoradjust")
    with pytest.raises(OutcomeUnknown):
        document(avatax)
    found = avatax.find("tax_document", key(1))
    assert found is not None
    assert found.answer["totalTax"] == Decimal("14.12")
    document(avatax)
    assert objects(vendor) == {"transaction": 1}


def test_a_rate_limit_is_waited_out(avatax: AvaTax, vendor: httpx.Client, slept: list[float]) -> None:
    """As long as Retry-After says, then the same call succeeds."""
    plant(vendor, "rate_limit", "POST .*createoradjust", seconds=7)
    assert document(avatax).created
    assert slept == [7.0]


@pytest.mark.parametrize(
    ("change", "field", "value", "code"),
    [
        ({"bogus": "x"}, "bogus", "x", "ModelStateInvalid"),
        ({"companyCode": "OTHER"}, "companyCode", "OTHER", None),
        ({"customerCode": "A" * 51}, "customerCode", "A" * 51, "StringLengthError"),
        ({"customerCode": ""}, "customerCode", "", "ValueRequiredError"),
        ({"date": "soon"}, "date", "soon", "DateFormatError"),
        ({"type": "Invoice"}, "type", "Invoice", "InvalidEnumValue"),
        ({"lines": [{"number": "1", "amount": "ten"}]}, "lines[0].amount", "ten", "ModelStateInvalid"),
        ({"lines": [{"number": "1", "amount": 1}]}, "addresses", None, "MissingAddress"),
    ],
)
def test_a_refusal_names_the_field_its_value_and_the_vendors_code(
    avatax: AvaTax, change: dict[str, Any], field: str, value: str | None, code: str | None
) -> None:
    """In the names of the payload, not of the model that wraps it."""
    with pytest.raises(Rejected) as refused:
        avatax.upsert("tax_document", {**payload(1), **change}, key(1))
    error = refused.value
    assert (error.system, error.record, error.field, error.value, error.code) == (
        "avalara", "tax_document", field, value, code,
    )  # fmt: skip


# ---- commit and void


def test_commit_is_found_only_when_it_is_done_and_may_be_repeated(avatax: AvaTax) -> None:
    """A committed document answers the same receipt again, though the vendor refuses the second commit."""
    document(avatax)
    assert avatax.find("tax_commit", key(1)) is None
    first = commit(avatax)
    assert (first.created, first.answer["status"]) == (True, "Committed")
    assert commit(avatax) == replace(first, created=False) == avatax.find("tax_commit", key(1))


def test_a_locked_document_counts_as_committed(avatax: AvaTax, vendor: httpx.Client) -> None:
    """Reported to an authority it was committed before."""
    document(avatax)
    commit(avatax)
    vendor.post("/api/v2/companies/DEFAULT/transactions/INV-2026-10-0001/lock", json={"isLocked": True})
    assert commit(avatax).answer["locked"] is True
    with pytest.raises(Rejected) as refused:
        void(avatax)
    assert refused.value.code == "CannotModifyLockedTransaction"


def test_void_cancels_once_and_may_be_repeated(avatax: AvaTax) -> None:
    """TransactionAlreadyCancelled is success; a cancelled document cannot be committed."""
    document(avatax)
    assert avatax.find("tax_void", voided(1)) is None
    first = void(avatax)
    assert first.answer["status"] == "Cancelled"
    assert void(avatax) == replace(first, created=False)
    with pytest.raises(Rejected) as refused:
        commit(avatax)
    assert (refused.value.record, refused.value.code) == ("tax_commit", "InvalidDocumentStatus")


def test_committing_what_is_not_there_is_refused(avatax: AvaTax) -> None:
    """EntityNotFoundError of a document is the record's fault, not the system's."""
    with pytest.raises(Rejected) as refused:
        commit(avatax)
    assert refused.value.code == "EntityNotFoundError"


@pytest.mark.parametrize("write", [commit, void])
def test_a_lost_reply_to_a_move_is_found(avatax: AvaTax, vendor: httpx.Client, write: Any) -> None:
    """find tells that the document is where it should be."""
    document(avatax)
    plant(vendor, "lose_reply", "POST .*/(commit|void)")
    with pytest.raises(OutcomeUnknown):
        write(avatax)
    assert write(avatax).created is False


# ---- refund and adjustment

REFUND_KEY = ExternalKey("refundTransactionCode", "CN-1")


def refund(avatax: AvaTax, **fields: Any) -> Receipt:
    wanted = {"transactionCode": key(1).value, "refundDate": "2026-11-02", **fields}
    return avatax.upsert("tax_refund", wanted, REFUND_KEY)


@pytest.mark.parametrize(
    ("fields", "tax"),
    [
        ({"refundType": "Full"}, "-14.12"),
        ({"refundType": "Partial", "refundLines": ["INV-2026-10-0001-2"]}, "-7.06"),
        ({"refundType": "Percentage", "refundPercentage": 50}, "-7.06"),
    ],
)
def test_a_refund_is_made_once_by_its_own_code(
    avatax: AvaTax, vendor: httpx.Client, fields: dict[str, Any], tax: str
) -> None:
    """A lost reply and a repeat leave one ReturnInvoice."""
    document(avatax)
    commit(avatax)
    plant(vendor, "lose_reply", "POST .*/refund")
    with pytest.raises(OutcomeUnknown):
        refund(avatax, **fields)
    receipt = refund(avatax, **fields)
    assert receipt == avatax.find("tax_refund", REFUND_KEY)
    assert (receipt.answer["type"], receipt.answer["totalTax"]) == ("ReturnInvoice", Decimal(tax))
    assert objects(vendor) == {"transaction": 2}


def test_a_refund_of_what_was_never_committed_is_refused(avatax: AvaTax) -> None:
    """And one that names no original does not even go out."""
    document(avatax)
    with pytest.raises(Rejected) as refused:
        refund(avatax)
    assert refused.value.code == "InvalidDocumentStatus"
    with pytest.raises(Rejected) as refused:
        refund(avatax, transactionCode=None)
    assert (refused.value.record, refused.value.field) == ("tax_refund", "transactionCode")


def test_an_adjustment_is_made_once_by_its_reference_code(avatax: AvaTax, vendor: httpx.Client) -> None:
    """Also when the reply was lost, and when a later adjustment has superseded it."""
    document(avatax)
    commit(avatax)

    def adjust(name: str, amount: str) -> Receipt:
        lines = [{**line, "amount": Decimal(amount)} for line in payload(1)["lines"]]
        new = {**payload(1), "lines": lines, "commit": True}
        wanted = {"adjustmentReason": "PriceAdjusted", "adjustmentDescription": name, "newTransaction": new}
        return avatax.upsert("tax_adjust", wanted, ExternalKey("referenceCode", name))

    plant(vendor, "lose_reply", "POST .*/adjust")
    with pytest.raises(OutcomeUnknown):
        adjust("ADJ-1", "80.00")
    assert adjust("ADJ-1", "80.00").answer["version"] == 2
    assert adjust("ADJ-2", "70.00").answer["version"] == 3
    assert (adjust("ADJ-1", "80.00").created, adjust("ADJ-1", "80.00").answer["status"]) == (False, "Adjusted")
    current = avatax.find("tax_document", key(1))
    assert current is not None
    assert current.answer["totalAmount"] == Decimal("140.00")


# ---- reading


def test_changes_page_to_the_end_also_for_documents_older_than_thirty_days(avatax: AvaTax) -> None:
    """The vendor's default window of 30 days does not hide anything."""
    for n in range(1, 6):
        avatax.upsert("tax_document", {**payload(n), "date": "2020-01-31"}, key(n))
    commit(avatax, 2)
    assert [change.payload["code"] for change in avatax.changes("tax_document", None) if change.payload] == [
        key(n).value for n in range(1, 6)
    ]
    assert [change.payload["code"] for change in avatax.changes("tax_commit", None) if change.payload] == [key(2).value]


def test_changes_begin_at_the_cursor_and_include_it(avatax: AvaTax) -> None:
    """The cursor is the vendor's modifiedDate; a document changed at that very moment comes again."""
    document(avatax, 1)
    cursor = document(avatax, 2).answer["modifiedDate"]
    commit(avatax, 1)
    changes = list(avatax.changes("tax_document", cursor))
    assert {change.payload["code"]: change.payload["status"] for change in changes if change.payload} == {
        key(1).value: "Committed",
        key(2).value: "Saved",
    }
    assert all(change.changed_at >= datetime.fromisoformat(cursor).replace(tzinfo=UTC) for change in changes)


def test_superseded_versions_are_not_changes(avatax: AvaTax) -> None:
    """Only the current version of a document is a document."""
    document(avatax)
    commit(avatax)
    new = {**payload(1), "customerCode": "A-2", "commit": True}
    wanted = {"adjustmentReason": "Other", "newTransaction": new}
    avatax.upsert("tax_adjust", wanted, ExternalKey("referenceCode", "ADJ-1"))
    assert len(list(avatax.changes("tax_document", None))) == 1


def test_an_address_is_resolved_and_never_written(avatax: AvaTax) -> None:
    """``get`` takes the query of the vendor's call; what cannot be resolved is refused."""
    resolved = avatax.get("address", "line1=2000+Main+Street&city=Irvine&region=CA&postalCode=92614&country=US")
    assert resolved["validatedAddresses"][0]["region"] == "CA"
    with pytest.raises(Rejected) as refused:
        avatax.get("address", "line1=1+Poultry&city=London&country=GB")
    assert (refused.value.record, refused.value.field) == ("address", "address")
    with pytest.raises(Rejected) as refused:
        avatax.get("address", "city=Irvine&region=CA&country=US")
    assert refused.value.code == "InvalidAddress"
    for verb in (lambda: avatax.upsert("address", {}, key(1)), lambda: avatax.find("address", key(1))):
        with pytest.raises(Misconfigured):
            verb()


# ---- the doctor


def test_check_finds_a_well_configured_company(avatax: AvaTax) -> None:
    """Credentials, company, nexus."""
    findings = avatax.check()
    assert [(finding.check, finding.ok) for finding in findings] == [
        ("credentials", True), ("company", True), ("nexus", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "check"), [({"license_key": "wrong"}, "credentials"), ({"company_code": "NOPE"}, "company")]
)
def test_check_stops_at_what_is_wrong_and_says_the_cure(
    sandbox: Running, vendor: httpx.Client, change: dict[str, str], check: str
) -> None:
    """The first failing finding is the last, and no secret is in it."""
    wrong = Settings.model_validate(
        {
            "base_url": sandbox.urls["avalara"],
            "account_id": "2000000001",
            "license_key": "sandbox-licence-key",
            **change,
        }
    )
    connector = connect(wrong, World(sleep=lambda _: None))
    last = connector.check()[-1]
    assert (last.check, last.ok) == (check, False)
    assert last.cure
    assert "wrong" not in last.detail
    with pytest.raises(Misconfigured):
        connector.upsert("tax_document", payload(1), key(1))
    connector.close()


def test_check_reports_an_unreachable_service(sandbox: Running) -> None:
    """No exception: the finding is the answer."""
    nowhere = settings("http://127.0.0.1:1")
    finding = connect(nowhere, World(sleep=lambda _: None)).check()[0]
    assert (finding.check, finding.ok) == ("credentials", False)


# ---- what an error body means


def answer(status: int, body: Any, method: str = "POST") -> httpx.Response:
    return httpx.Response(status, json=body, request=httpx.Request(method, "https://rest.avatax.com/api/v2/x"))


def fault(code: str, **detail: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": "m", "details": [{"code": code, "message": "m", **detail}]}}


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer(401, fault("AuthenticationException")), Misconfigured),
        (answer(403, fault("PermissionRequired")), Misconfigured),
        (answer(400, fault("SubscriptionRequired")), Misconfigured),
        (answer(404, fault("EntityNotFoundError", message="Company not found.")), Misconfigured),
        (answer(404, fault("EntityNotFoundError", message="Transaction not found.")), Rejected),
        (answer(400, fault("RemoteServerError")), OutcomeUnknown),
        (answer(400, fault("RemoteServerError"), "GET"), Unavailable),
        (answer(400, {"code": "InvalidAddress", "details": [{"code": "InvalidAddress"}]}), Rejected),
    ],
)
def test_a_code_means_one_next_action(response: httpx.Response, kind: type[TieoutError]) -> None:
    """Stop the system, cure the record, look it up, or try again."""
    assert type(read_error(response)) is kind


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_waits_and_server_faults_are_left_to_the_status(status: int) -> None:
    """Whatever the body says."""
    assert read_error(answer(status, fault("InvalidAddress"))) is None


@pytest.mark.parametrize(
    ("detail", "field", "value"),
    [
        ({"refersTo": "addresses"}, "addresses", None),
        ({"description": "Please provide a value for field customerCode."}, "customerCode", None),
        ({"description": "Field 'code' must be between 0 and 50 characters in length."}, "code", None),
        ({"description": "The value 'x' for the field 'type' is invalid."}, "type", "x"),
        ({"description": "The value '-5' is not a valid 'refundPercentage'."}, "refundPercentage", "-5"),
    ],
)
def test_the_field_is_read_from_the_vendors_wording_too(detail: dict[str, str], field: str, value: str | None) -> None:
    """Older answers have no refersTo; the templates of the messages are fixed."""
    error = read_error(answer(400, fault("ModelStateInvalid", **detail)))
    assert isinstance(error, Rejected)
    assert (error.field, error.value) == (field, value)


@respx.mock
def test_days_and_moments_of_the_real_service_are_read_in_all_their_spellings() -> None:
    """A day may carry T00:00:00; a moment may have seven decimals and a Z, or no zone."""
    rows = [
        {"id": 1, "date": "2015-11-06T00:00:00", "modifiedDate": "2015-11-06T21:56:48.15"},
        {"id": 2, "date": "2020-03-20", "modifiedDate": "2020-03-20T10:54:46.3137384Z"},
    ]
    respx.get(url__startswith="https://rest.avatax.com/").respond(json={"@recordsetCount": 2, "value": rows})
    avatax = connect(Settings.model_validate({"account_id": "1", "license_key": "k"}), World())
    changes = list(avatax.changes("tax_document", None))
    assert [change.payload["date"] for change in changes if change.payload] == ["2015-11-06", "2020-03-20"]
    assert [change.changed_at for change in changes] == [
        datetime(2015, 11, 6, 21, 56, 48, 150000, UTC),
        datetime(2020, 3, 20, 10, 54, 46, 313738, UTC),
    ]


@respx.mock
def test_a_long_wait_goes_back_to_the_outbox() -> None:
    """A 429 beyond half a minute is not slept through."""
    respx.get(url__startswith="https://rest.avatax.com/").respond(429, headers={"Retry-After": "120"})
    avatax = connect(Settings.model_validate({"account_id": "1", "license_key": "k"}), World())
    with pytest.raises(RateLimited) as limited:
        avatax.find("tax_document", key(1))
    assert limited.value.wait_seconds == 120


@respx.mock
def test_every_call_says_who_calls() -> None:
    """X-Avalara-Client: application; version; library; version; machine. The key is in no other place than Basic."""
    route = respx.get(url__startswith="https://rest.avatax.com/").respond(json={"@recordsetCount": 0, "value": []})
    avatax = connect(Settings.model_validate({"account_id": "1", "license_key": "k", "machine": "m1"}), World())
    list(avatax.changes("tax_document", None))
    headers = route.calls[0].request.headers
    assert headers["x-avalara-client"].split("; ")[::2] == ["Tieout", "httpx", "m1"]
    assert headers["authorization"] == "Basic MTpr"


# ---- through the mappings


def invoice() -> Invoice:
    example = BOOK.find("avalara", "invoice", "out", "tax_document").examples[0].given
    return Invoice.model_validate_json(json.dumps(example))


def test_an_invoice_goes_out_and_comes_back_as_a_tax_document_that_ties(avatax: AvaTax) -> None:
    """Mapped, taxed, mapped back: base is the subtotal, and each invoice line finds its tax by its id."""
    out = BOOK.find("avalara", "invoice", "out", "tax_document")
    sold = invoice()
    receipt = avatax.upsert("tax_document", out.out(sold, lambda *_: None), out.key(sold))
    back = BOOK.find("avalara", "tax_document", "in", "tax_document").into(receipt.answer)
    assert isinstance(back, TaxDocument)
    assert (back.id, back.status, back.base) == (sold.id, TaxStatus.UNCOMMITTED, sold.subtotal)
    assert {line.invoice_line_id for line in back.lines} == {line.id for line in sold.lines}
    assert len({line.id for line in back.lines}) == len(back.lines)
    assert [back.tax_of(line.id).minor for line in sold.lines] == [0, 1000]

    commit_it = BOOK.find("avalara", "tax_document", "out", "tax_commit")
    committed = avatax.upsert("tax_commit", commit_it.out(back, lambda *_: None), commit_it.key(back))
    figure = BOOK.find("avalara", "figure", "in", "tax_document").into(committed.answer)
    assert isinstance(figure, Figure)
    assert (figure.key, figure.amount, figure.state) == (sold.id, back.tax, "Committed")

    void_it = BOOK.find("avalara", "tax_document", "out", "tax_void")
    cancelled = avatax.upsert("tax_void", void_it.out(back, lambda *_: None), void_it.key(back))
    again = BOOK.find("avalara", "tax_document", "in", "tax_document").into(cancelled.answer)
    assert isinstance(again, TaxDocument)
    assert again.status is TaxStatus.VOIDED
