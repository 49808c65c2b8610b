"""What each operator makes of another system's data."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from core.errors import MappingError, Parked, TieBroken
from core.money import Money
from core.tax import TaxDocument, TaxStatus
from tests.core.mapping.written import into, problems

Payload = dict[str, Any]


def made(fields: str, payload: Payload, record: str = "payment_request") -> Any:
    return into(fields, record).into({"id": "P-1", **payload})


def refusal(fields: str, payload: Payload, record: str = "payment_request") -> MappingError:
    with pytest.raises(MappingError) as caught:
        made(fields, payload, record)
    return caught.value


@pytest.mark.parametrize("value", [12, 12.0, Decimal(12), True, [], {}])
def test_an_id_never_comes_from_a_number(value: object) -> None:
    error = refusal("account_id: {path: a, missing: fail}", {"a": value})
    assert (error.file, error.field, error.value) == ("erp/one.yaml", "account_id", value)
    assert "a: expected text" in str(error)


def test_an_id_that_is_a_number_there_is_spelled_as_text() -> None:
    assert made('account_id: {text: ["{a}"], missing: fail}', {"a": 12}).account_id == "12"


@pytest.mark.parametrize(("payload", "text"), [({}, "is absent"), ({"a": None}, "is null")])
def test_absent_and_null_are_told_apart(payload: Payload, text: str) -> None:
    assert text in str(refusal("account_id: {path: a, missing: fail}", payload))


def test_null_does_what_missing_does_unless_it_has_its_own_rule() -> None:
    """A field that must be in the answer may still be null: its absence shows a lost permission."""
    rule = "account_id: {path: a, missing: fail, null: default, default: none}"
    assert made(rule, {"a": None}).account_id == "none"
    assert "is absent" in str(refusal(rule, {}))
    assert made("account_id: {path: a, missing: default, default: none}", {"a": None}).account_id == "none"


def test_empty_text_counts_as_missing_or_as_null_where_the_file_says_so() -> None:
    assert made("description: {path: a, missing: fail}", {"a": ""}).description == ""
    assert made("description: {path: a, missing: default, default: x, empty: missing}", {"a": ""}).description == "x"
    assert (
        made("description: {path: a, missing: fail, null: default, default: x, empty: 'null'}", {"a": ""}).description
        == "x"
    )


def test_a_missing_field_may_let_the_record_wait() -> None:
    with pytest.raises(Parked) as parked:
        made("account_id: {path: a.b, missing: park}", {"a": None})
    assert parked.value.waits_for == "erp:thing:a.b"


def test_a_path_walks_objects_and_lists() -> None:
    rule = 'account_id: {path: "a[1].b", missing: default, default: none}'
    assert made(rule, {"a": [{}, {"b": "x"}]}).account_id == "x"
    assert made(rule, {"a": [{}]}).account_id == "none"
    assert "[1] needs a list" in str(refusal(rule, {"a": {"b": "x"}}))
    assert "b needs an object around it" in str(refusal(rule, {"a": ["x", "y"]}))


@pytest.mark.parametrize(
    ("rule", "payload", "money"),
    [
        ("{money: a, currency: c, missing: fail}", {"a": Decimal("12.30"), "c": "USD"}, Money(1230, "USD")),
        ("{money: a, currency: {const: JPY}, missing: fail}", {"a": "12"}, Money(12, "JPY")),
        ("{money: a, currency: c, unit: minor, missing: fail}", {"a": 1230, "c": "USD"}, Money(1230, "USD")),
        ("{money: a, currency: c, sign: negate, missing: fail}", {"a": -5, "c": "USD"}, Money(500, "USD")),
        ("{money: a, currency: c, round: half_up, missing: fail}", {"a": "0.005", "c": "USD"}, Money(1, "USD")),
        ("{money: a, currency: c, missing: default, default: 0}", {"c": "EUR"}, Money(0, "EUR")),
        ('{money: a, currency: c, missing: default, default: "1.50"}', {"c": "EUR"}, Money(150, "EUR")),
        (
            "{money: a, currency: {enum: c, values: {USD: usd}, missing: fail}, missing: fail}",
            {"a": 1, "c": "usd"},
            Money(100, "USD"),
        ),
    ],
)
def test_money_comes_in_the_currency_of_its_source(rule: str, payload: Payload, money: Money) -> None:
    assert made(f"amount: {rule}", payload).amount == money


@pytest.mark.parametrize("value", [12.3, "1,2", True, Decimal("NaN"), "12.345", Decimal("1e999999999"), None])
def test_what_is_no_exact_amount_is_refused(value: object) -> None:
    error = refusal("amount: {money: a, currency: {const: USD}, missing: fail}", {"a": value})
    assert error.field == "amount"
    assert "amount: a: " in str(error)


def test_money_without_a_currency_is_refused_naming_the_currency() -> None:
    error = refusal("amount: {money: a, currency: c, missing: fail}", {"a": 1})
    assert str(error) == "erp/one.yaml: amount: c: is absent"


TAX = """
id: {path: code, missing: fail}
invoice_id: {path: code, missing: fail}
vendor_id: {text: ["{id}"], missing: fail}
status:
  enum: status
  values: {uncommitted: [Saved, Temporary], committed: Committed, voided: Cancelled}
  missing: fail
currency: {path: currency, missing: fail}
document_date: {date: date, missing: fail}
base: {money: base, currency: currency, missing: fail}
tax: {money: tax, currency: currency, missing: fail}
lines:
  each: lines[].details
  missing: fail
  fields:
    id: {text: ["{^.line}-{id}"], missing: fail}
    invoice_line_id: {path: ^.line, missing: fail}
    jurisdiction: {path: name, missing: fail}
    jurisdiction_type: {const: State}
    region: {const: MA}
    country: {const: US}
    tax_name: {const: TAX}
    rate: {quantity: rate, missing: fail}
    taxable: {money: taxable, currency: $.currency, missing: fail}
    tax: {money: tax, currency: $.currency, missing: fail}
"""


def answer(**changes: Any) -> Payload:
    detail = {"id": 1, "name": "MA", "rate": Decimal("0.0625"), "taxable": 100, "tax": Decimal("6.25")}
    return {
        "id": 77, "code": "INV-1", "status": "Temporary", "currency": "USD", "date": "2026-10-31",
        "base": Decimal("100.0"), "tax": Decimal("6.25"),
        "lines": [{"line": "L1", "details": [detail]}, {"line": "L2"}],
        **changes,
    }  # fmt: skip


def test_a_whole_document_comes_in_typed() -> None:
    document = into(TAX, "tax_document").into(answer())
    assert isinstance(document, TaxDocument)
    assert (document.status, document.document_date, document.vendor_id) == (
        TaxStatus.UNCOMMITTED,
        date(2026, 10, 31),
        "77",
    )
    assert [(line.id, line.invoice_line_id, line.tax) for line in document.lines] == [("L1-1", "L1", Money(625, "USD"))]


def test_a_path_goes_out_one_list_at_a_time() -> None:
    fields = TAX.replace('id: {text: ["{^.line}-{id}"]', 'id: {text: ["{^.^.code}-{^.line}-{id}"]')
    document: Any = into(fields, "tax_document").into(answer())
    assert document.lines[0].id == "INV-1-L1-1"


def test_a_document_whose_figures_do_not_agree_is_no_mapping_error() -> None:
    """The mapping is right, the document is not: that is a broken tie."""
    with pytest.raises(TieBroken):
        into(TAX, "tax_document").into(answer(tax=7))


def test_an_error_inside_a_list_names_the_item() -> None:
    bad = {"id": 1, "name": 5, "rate": 1, "taxable": 100, "tax": 0}
    error = refusal(TAX, answer(lines=[{"line": "L1", "details": [bad]}]), "tax_document")
    assert (error.field, error.value) == ("lines[0].jurisdiction", 5)


@pytest.mark.parametrize("lines", ["x", {"line": "L1"}, [["L1"]], [None], 5])
def test_a_list_is_a_list_of_objects(lines: object) -> None:
    """One object where a list should be is refused, not taken for a list of one."""
    assert "lines[].details" in str(refusal(TAX, answer(lines=lines), "tax_document"))


def test_a_word_of_theirs_that_is_not_mapped_is_refused() -> None:
    error = refusal(TAX, answer(status="Queued"), "tax_document")
    assert str(error) == "erp/one.yaml: status: status: is not in `values:`, got 'Queued'"


def test_a_value_that_the_noun_refuses_is_named_like_any_other() -> None:
    error = refusal("currency: {path: c, missing: fail}", {"c": "usd"})
    assert (error.field, error.value) == ("currency", "usd")


def test_a_table_is_read_backward_where_the_file_says_so() -> None:
    rule = "account_id: {lookup: a, table: countries, read: backward, missing: fail}"
    assert made(rule, {"a": "840"}).account_id == "US"


PAYMENT = """
id: {path: id, missing: fail}
vendor_id: {path: id, missing: fail}
account_id: {const: A-1}
invoice_id: {const: INV-1}
currency: {const: USD}
amount: {money: amount, currency: {const: USD}, missing: fail}
status: {enum: paid, values: {succeeded: true, failed: false}, missing: fail}
received_at: {instant: at, format: epoch_s, missing: fail}
failure: {path: reason, missing: skip}
"""


def test_true_is_not_the_number_1() -> None:
    payment = into(PAYMENT, "payment").into({"id": "P", "amount": 1, "paid": True, "at": 1793448000})
    assert payment.model_dump()["status"] == "succeeded"
    assert payment.model_dump()["received_at"] == datetime(2026, 10, 31, 12, tzinfo=UTC)
    with pytest.raises(MappingError, match="is not in `values:`"):
        into(PAYMENT, "payment").into({"id": "P", "amount": 1, "paid": 1, "at": 1793448000})


def test_an_optional_field_that_is_skipped_takes_its_default() -> None:
    payment: Any = into(PAYMENT, "payment").into({"id": "P", "amount": 1, "paid": False, "at": 0, "reason": None})
    assert payment.failure is None


@pytest.mark.parametrize("payload", [None, [], "x", 5])
def test_a_payload_is_an_object(payload: Any) -> None:
    with pytest.raises(MappingError, match="a payload is an object"):
        into(PAYMENT, "payment").into(payload)


def test_nested_nouns_are_made_of_objects() -> None:
    account: Any = into(
        """
        id: {path: id, missing: fail}
        name: {path: id, missing: fail}
        email: {const: a@b.example}
        currency: {const: USD}
        payment_terms_days: {quantity: terms, places: 0, missing: fail}
        billing_address:
          object:
            line1: {path: a.street, missing: fail}
            city: {path: a.city, missing: fail}
            country: {const: US}
        """,
        "account",
    ).into({"id": "A-1", "terms": Decimal("30.0"), "a": {"street": "1 Main", "city": "Boston"}})
    assert (account.billing_address.city, account.payment_terms_days) == ("Boston", 30)


@pytest.mark.parametrize(
    ("field", "rule", "message"),
    [
        ("account_id", "{path: a}", "fields.account_id: a may be missing; state `missing:`"),
        ("account_id", "{path: a, missing: skip}", "fields.account_id: the record is not valid without this field"),
        ("account_id", "{const: a, when: {path: b, present: true}, otherwise: skip}", "fields.account_id: the record"),
        ("account_id", "{money: a, currency: c, missing: fail}", "fields.account_id: the field is text: use `path:`"),
        ("account_id", "{const: 5}", "fields.account_id.const: 5 does not fit text"),
        ("account_id", "{path: a, missing: default, default: 5}", "fields.account_id.default: 5 does not fit text"),
        ("account_id", "{ref: a, resource: b, missing: fail}", "fields.account_id: the field is text: use `path:`"),
        ("acount_id", "{path: a, missing: fail}", "fields.acount_id: the record has no such field; did you"),
        ("amount", "{path: a, missing: fail}", "fields.amount: the field is money: use `money:`"),
        ("amount", "{quantity: a, missing: fail}", "fields.amount: the field is money: use `money:`"),
        ("amount", "{money: a, missing: fail}", "fields.amount: say which currency the amount is in"),
        ("amount", "{money: a, currency: c, as: text, missing: fail}", "fields.amount.as: is for direction `out`"),
        ("amount", "{money: a, currency: {path: c, missing: skip}, missing: fail}", "fields.amount.currency: the"),
        ("amount", "{money: a, currency: c, missing: default, default: x}", "fields.amount.default: 'x' does not fit"),
        ("amount", "{const: {amount: '1', currency: usd}}", "fields.amount.const: {'amount': '1', 'currency': 'usd'}"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_work_does_not_load(field: str, rule: str, message: str) -> None:
    found = problems(f"{field}: {rule}", "payment_request", "in")
    assert any(problem.startswith(message) for problem in found), found


def test_every_required_field_must_be_mapped() -> None:
    assert problems("code: {path: id, missing: fail}", "product", "in") == [
        f"fields: the required field {name} is not mapped" for name in ("name", "tax_code", "revenue_account")
    ]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("received_at: {date: at, missing: fail}", "fields.received_at: the field is an instant: use `instant:`"),
        ("received_at: {instant: at, round: floor, missing: fail}",
         "fields.received_at.round: an instant of ours keeps every microsecond; `round:` is for direction `out`"),
        ("received_at: {path: at, missing: fail}", "fields.received_at: the field is an instant: use `instant:`"),
        ("status: {path: paid, missing: fail}", "fields.status: the field is one of a few words: use `enum:`"),
        ("status: {enum: paid, values: {done: true}, missing: fail}",
         "fields.status.values: 'done' does not fit one of a few words; there is failed, pending, succeeded"),
        ("status: {enum: paid, values: {failed: x, pending: x}, missing: fail}",
         "fields.status.values: 'x' stands there for two different words"),
        ("status: {enum: paid, values: {failed: x}, missing: default, default: fail}",
         "fields.status.default: 'fail' does not fit one of a few words; did you mean failed?"),
    ],
)  # fmt: skip
def test_times_and_words_go_only_through_their_own_operators(rule: str, message: str) -> None:
    name = rule.split(":")[0]
    others = [line for line in PAYMENT.strip().splitlines() if not line.startswith(f"{name}:")]
    assert problems("\n".join([*others, rule]), "payment", "in") == [message]
