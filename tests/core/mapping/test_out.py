"""What each operator makes of a noun."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from core.errors import MappingError, Parked
from core.money import Money
from core.orders import Order, OrderLine
from core.ports import ExternalKey
from tests.core.mapping.written import account, file, found_in, out, problems, progress, sent


def test_a_path_copies_what_is_there() -> None:
    assert sent("{a: {path: name}, b: {path: payment_terms_days}, c: {path: billing_address.city}}") == {
        "a": "Acme Ltd",
        "b": 30,
        "c": "Boston",
    }


def test_a_missing_value_is_left_out_or_replaced_as_said() -> None:
    """Absent, null and empty are three things to the other system."""
    assert sent(
        """
        left: {path: tax_exemption, missing: skip}
        cleared: {path: tax_exemption, missing: default, default: null}
        emptied: {path: tax_exemption, missing: default, default: ""}
        """
    ) == {"cleared": None, "emptied": ""}


def test_empty_text_is_a_value_unless_it_counts_as_missing() -> None:
    berlin = account(billing_address=account().sites[1].address)
    assert sent("a: {path: billing_address.region}", berlin) == {"a": ""}
    assert sent("a: {path: billing_address.region, empty: missing, missing: skip}", berlin) == {}


def test_a_missing_value_may_refuse_the_record_or_let_it_wait() -> None:
    with pytest.raises(MappingError, match=r"erp/one.yaml: a: tax_exemption: is null") as caught:
        sent("a: {path: tax_exemption, missing: fail}")
    assert caught.value.field == "a"
    with pytest.raises(Parked) as parked:
        sent("a: {path: tax_exemption, missing: park}")
    assert parked.value.waits_for == "erp:thing:tax_exemption"


def test_an_item_of_a_list_may_be_missing() -> None:
    assert sent('a: {path: "contacts[0].email", missing: fail}') == {"a": "ann@acme.example"}
    assert sent('a: {path: "contacts[1].email", missing: skip}') == {}


def test_what_is_too_long_is_cut_or_refused() -> None:
    assert sent("a: {path: name, max: 5, too_long: cut}") == {"a": "Acme"}
    with pytest.raises(MappingError, match="8 characters long, 5 are allowed, got 'Acme Ltd'"):
        sent("a: {path: name, max: 5, too_long: fail}")


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("{money: invoiced}", Decimal("1234.56")),
        ("{money: invoiced, as: text}", "1234.56"),
        ("{money: invoiced, unit: minor}", 123456),
        ("{money: invoiced, unit: minor, as: text}", "123456"),
        ("{money: invoiced, sign: negate}", Decimal("-1234.56")),
        ("{money: paid, sign: negate, as: text}", "0.00"),
    ],
)
def test_money_goes_out_exact(rule: str, value: object) -> None:
    made = sent(f"a: {rule}", progress())["a"]
    assert (made, type(made)) == (value, type(value))


def test_money_has_the_minor_units_of_its_currency() -> None:
    yen = progress(currency="JPY", invoiced=Money(500, "JPY"), paid=Money(0, "JPY"))
    assert sent("{a: {money: invoiced}, b: {money: invoiced, unit: minor}}", yen) == {"a": Decimal(500), "b": 500}


def test_money_of_any_size_keeps_every_digit() -> None:
    huge = progress(invoiced=Money(10**27 + 1, "USD"))
    assert sent("a: {money: invoiced, unit: minor, sign: negate}", huge) == {"a": -(10**27) - 1}


def order() -> Order:
    line = OrderLine(
        id="L1", charge_code="MIN", quantity=Decimal("2.50"), unit_price=Decimal("0.0125"), amount=Money(3, "USD")
    )
    return Order(
        id="0061", name="Q", account=account(), currency="USD", closed_on=date(2026, 10, 1),
        start_on=date(2026, 10, 31), total=Money(3, "USD"), lines=(line,),
        changed_at=datetime(2026, 11, 1, 3, 30, 15, 250_000, tzinfo=UTC),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ('{quantity: "lines[0].quantity", missing: fail}', Decimal("2.50")),
        ('{quantity: "lines[0].quantity", missing: fail, as: text}', "2.50"),
        ('{quantity: "lines[0].unit_price", missing: fail, places: 2, round: half_up}', Decimal("0.01")),
        ("{date: start_on}", "2026-10-31"),
        ("{date: start_on, format: noon_instant, timezone: America/Los_Angeles}", "2026-10-31T12:00:00-07:00"),
        ("{date: changed_at, timezone: America/Los_Angeles}", "2026-10-31"),
        ("{date: changed_at, timezone: Europe/Berlin}", "2026-11-01"),
        ("{date: changed_at, format: noon_instant, timezone: America/Los_Angeles}", "2026-10-31T12:00:00-07:00"),
        ("{instant: changed_at}", "2026-11-01T03:30:15.250000Z"),
        ("{instant: changed_at, format: iso_ms}", "2026-11-01T03:30:15.250+0000"),
        ("{instant: changed_at, format: epoch_ms}", 1793503815250),
        ("{instant: changed_at, format: epoch_s, round: floor}", 1793503815),
    ],
)
def test_numbers_and_times_go_out_as_the_file_says(rule: str, value: object) -> None:
    made = out(f"a: {rule}", "order").out(order(), no_refs)["a"]
    assert (str(made), type(made)) == (str(value), type(value))


def test_a_lookup_finds_the_row_of_a_table() -> None:
    assert sent("a: {lookup: billing_address.country, table: countries}") == {"a": "840"}


def test_a_word_that_is_in_no_table_fails_unless_the_file_says_otherwise() -> None:
    mars = account(currency="EUR")
    with pytest.raises(MappingError, match="is not in the table countries, got 'EUR'"):
        sent("a: {lookup: currency, table: countries}", mars)
    assert sent("a: {lookup: currency, table: countries, unknown: skip}", mars) == {}
    assert sent('a: {lookup: currency, table: countries, unknown: default, default: "0"}', mars) == {"a": "0"}
    with pytest.raises(Parked) as parked:
        sent("a: {lookup: currency, table: countries, unknown: park}", mars)
    assert parked.value.waits_for == "erp:thing:EUR"


def test_an_enumeration_gives_their_word_of_any_kind() -> None:
    assert sent("{a: {enum: currency, values: {USD: 1}}, b: {enum: currency, values: {USD: true}}}") == {
        "a": 1,
        "b": True,
    }


def no_refs(_system: str, _resource: str, _key: str) -> str | None:
    return None


def test_a_ref_is_the_id_of_our_record_at_the_other_system() -> None:
    asked = []

    def refs(*asked_for: str) -> str:
        asked.append(asked_for)
        return "77"

    assert sent("a: {object: {internalId: {ref: id, resource: customer}}}", refs=refs) == {"a": {"internalId": "77"}}
    sent("a: {ref: id, system: crm, resource: Account}", refs=refs)
    assert asked == [("erp", "customer", "A-0001"), ("crm", "Account", "A-0001")]


def test_a_ref_that_is_not_known_yet_lets_the_record_wait_for_it() -> None:
    with pytest.raises(Parked, match=r"erp/one.yaml: a.internalId: id: is not known to erp as customer yet") as parked:
        sent("a: {object: {internalId: {ref: id, resource: customer}}}")
    assert parked.value.waits_for == "erp:customer:A-0001"


def test_a_ref_of_a_record_we_do_not_name_is_missing_and_not_asked_for() -> None:
    assert sent("a: {ref: parent_id, resource: customer, missing: skip}") == {}


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ('["Account {id}: {payment_terms_days} days"]', "Account A-0001: 30 days"),
        ('["{name}", "{billing_address.city}"], join: ", "', "Acme Ltd, Boston"),
        ('["{{literal}}"]', "{literal}"),
        ('["{name}"], max: 6, too_long: cut', "Acme L"),
    ],
)
def test_a_text_is_made_of_literals_and_paths(rule: str, text: str) -> None:
    assert sent(f"a: {{text: {rule}}}") == {"a": text}


def test_a_part_that_comes_out_empty_is_not_joined() -> None:
    berlin = account(billing_address=account().sites[1].address)
    assert sent('a: {text: ["{billing_address.city}", "{billing_address.region}", "DE"], join: ", "}', berlin) == {
        "a": "Berlin, DE"
    }


def test_a_list_of_texts_is_joined() -> None:
    assert sent('a: {text: ["{invoice_numbers}", "{status}"], join: ", "}', progress()) == {
        "a": "INV-1, INV-2, invoiced"
    }
    none = progress(invoice_numbers=())
    assert sent('a: {text: ["{invoice_numbers}"], join: ", ", empty: missing, missing: skip}', none) == {}


def test_each_makes_a_list_and_sees_what_is_around_it() -> None:
    fields = """
    a:
      each: sites
      fields:
        code: {path: id}
        of: {path: $.id}
        also: {text: ["{^.name}", "{name}"], join: " "}
    """
    assert sent(fields)["a"] == [
        {"code": "A-0001-S1", "of": "A-0001", "also": "Acme Ltd East"},
        {"code": "A-0001-S2", "of": "A-0001", "also": "Acme Ltd West"},
    ]


def test_an_error_inside_a_list_names_the_item() -> None:
    with pytest.raises(MappingError) as caught:
        sent("a: {object: {b: {each: sites, fields: {c: {enum: address.country, values: {US: x}}}}}}")
    assert caught.value.field == "a.b[1].c"
    assert caught.value.value == "DE"


def test_a_list_is_made_of_operators() -> None:
    assert sent("a: {list: [{const: 1}, {path: tax_exemption, missing: skip}, {object: {b: {path: id}}}]}") == {
        "a": [1, {"b": "A-0001"}]
    }


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("{path: currency, equals: USD}", "yes"),
        ("{path: currency, equals: EUR}", "no"),
        ("{path: currency, in: [EUR, USD]}", "yes"),
        ("{path: tax_exemption, present: true}", "no"),
        ("{path: tax_exemption, present: false}", "yes"),
        ("{path: payment_terms_days, equals: 30}", "yes"),
    ],
)
def test_a_condition_chooses(condition: str, value: str) -> None:
    rule = f"a: {{const: 'yes', when: {condition}, otherwise: {{const: 'no'}}}}"
    assert sent(rule) == {"a": value}


def test_conditions_chain_and_may_skip_or_fail() -> None:
    rule = """
    a:
      const: dollar
      when: {path: currency, equals: USD}
      otherwise: {const: euro, when: {path: currency, equals: EUR}, otherwise: %s}
    """
    assert sent(rule % "skip", account(currency="EUR")) == {"a": "euro"}
    assert sent(rule % "skip", account(currency="JPY")) == {}
    with pytest.raises(MappingError, match="currency: the condition does not hold"):
        sent(rule % "fail", account(currency="JPY"))


def test_a_constant_list_is_never_shared_between_payloads() -> None:
    """A connector may complete a payload in place; the next one must not see it."""
    mapping = out("a: {const: [1, {b: 2}]}")
    first: Any = mapping.out(account(), no_refs)
    first["a"].append(3)
    assert mapping.out(account(), no_refs) == {"a": [1, {"b": 2}]}


def test_the_key_is_our_key_in_their_field() -> None:
    assert out("a: {path: name}").key(account()) == ExternalKey("externalId", "A-0001")


def test_what_is_sent_once_and_who_owns_a_field_is_known() -> None:
    mapping = out(
        """
        a: {path: name, owner: them}
        b: {object: {c: {path: currency, only_create: true}}}
        d: {each: sites, owner: hub, fields: {e: {path: name}}}
        """
    )
    assert mapping.only_create_fields == {"b.c"}
    assert mapping.owners == {"a": "them", "d": "hub"}


@pytest.mark.parametrize("word", ["only_create: true", "owner: hub"])
def test_an_item_of_a_list_has_no_owner_of_its_own(word: str) -> None:
    with pytest.raises(MappingError, match="belongs on the list as a whole"):
        out(f"a: {{each: sites, fields: {{e: {{path: name, {word}}}}}}}")
    with pytest.raises(MappingError, match="belongs on the list as a whole"):
        out(f"a: {{list: [{{path: name, {word}}}]}}")


def test_only_its_own_noun_can_be_mapped() -> None:
    with pytest.raises(MappingError, match="maps Account, not OrderProgress"):
        out("a: {path: name}").out(progress(), no_refs)
    with pytest.raises(MappingError, match="goes out, not in"):
        out("a: {path: name}").into({})


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{path: nme}", "fields.a.path: there is no field nme; did you mean name?"),
        ("{path: billing_address.citty}", "fields.a.path: there is no field citty; did you mean city?"),
        ("{path: billing_address}", "fields.a.path: billing_address is an object: use `object:`"),
        ("{path: sites}", "fields.a.path: sites is a list: use `each:`"),
        ("{path: sites.name}", "fields.a.path: name is a field of one item, and this is a list"),
        ("{path: name.first}", "fields.a.path: there is no field first"),
        ("{path: ^.name}", "fields.a.path: the path goes 1 `each` out, but stands in 0"),
        ("{path: tax_exemption}", "fields.a: tax_exemption may be missing; state `missing:`"),
        ("{path: name, empty: missing}", "fields.a: name may be missing; state `missing:`"),
        ("{path: name, empty: 'null'}", "fields.a: name may be missing; state `missing:`"),
        ("{path: name, missing: skip}", "fields.a.missing: name is never missing"),
        ("{path: payment_terms_days, empty: missing, missing: skip}", "fields.a.empty: is for text"),
        ("{path: name, missing: default}", "fields.a: `default:` and an action `default`"),
        ("{path: name, default: x}", "fields.a: `default:` and an action `default`"),
        ("{path: name, max: 5}", "fields.a: `max:` and `too_long: cut|fail` belong together"),
        ("{path: name, null: skip}", "fields.a.null: a noun knows no difference"),
        ("{path: payment_terms_days, max: 5, too_long: cut}", "fields.a.max: only text can be too long"),
        ("{path: name, when: {path: id, present: true}}", "fields.a: `when:` and `otherwise:` belong together"),
        ("{path: name, when: {path: id}, otherwise: skip}", "fields.a.when: a condition asks one thing"),
        ("{path: name, colour: red}", "fields.a.colour: is not known here"),
        ("{path: a b.c..d}", "fields.a.path: 'a b.c..d' is not a path"),
        ("{path: __class__}", "fields.a.path: there is no field __class__"),
        ("{path: id.__class__.__mro__}", "fields.a.path: there is no field __class__"),
        ("{path: model_config}", "fields.a.path: there is no field model_config"),
        ("{path: site}", "fields.a.path: there is no field site; did you mean sites?"),
        ("{path: 'sites[].name'}", "fields.a.path: [] stands only in the path of `each`"),
        ("{const: 1, missing: skip}", "fields.a.missing: is not known here"),
        ("{path: name, const: 1}", "fields.a: needs ONE operator, and has path and const"),
        ("{pathh: name}", "fields.a: needs one operator: path, const"),
        ("name", "fields.a: needs one operator: path, const"),
        ("{money: name}", "fields.a.money: name is text: use `path:`"),
        ("{quantity: name}", "fields.a.quantity: name is text: use `path:`"),
        ("{date: name}", "fields.a.date: name is text: use `path:`"),
        ("{lookup: currency, table: xyz}", "fields.a.table: there is no such table; there is countries"),
        ("{lookup: currency, table: country}", "fields.a.table: there is no such table; did you mean countries?"),
        ("{enum: currency, values: {USD: [a, b]}}", "fields.a.values.USD: only direction `in` takes a list"),
        ("{each: name, fields: {b: {path: id}}}", "fields.a.each: name is not a list of objects, it is text"),
        (
            "{each: sites, fields: {b: {path: email}}}",
            "fields.a.fields.b.path: there is no field email; there is address",
        ),
        ("{each: sites, empty: missing, missing: skip, fields: {b: {path: id}}}", "fields.a.empty: is for text"),
        ("{text: ['{name']}", "fields.a.text[0]: a brace stands alone"),
        ("{text: ['{sites}']}", "fields.a.text[0]: {sites} is a list, which has no agreed spelling"),
        ("{text: ['{name.upper()}']}", "fields.a.text[0]: there is no field upper()"),
        ("{text: ['{id}'], join: 5}", "fields.a.join: Input should be a valid string"),
        ("{sum: sites, of: {money: id}}", "fields.a: `sum:` is for direction `in`"),
    ],
)
def test_a_rule_that_cannot_work_does_not_load(rule: str, message: str) -> None:
    assert any(problem.startswith(message) for problem in problems(f"a: {rule}")), problems(f"a: {rule}")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{path: total}", "fields.a.path: total is money: use `money:`"),
        ("{path: total.amount}", "fields.a.path: there is no field amount; there is currency"),
        ("{money: total, currency: currency}", "fields.a.currency: money carries its currency"),
        ("{money: total, round: half_up}", "fields.a.round: money is exact already"),
        ("{path: start_on}", "fields.a.path: start_on is a date: use `date:`"),
        ("{path: changed_at}", "fields.a.path: changed_at is an instant: use `instant:`"),
        ("{instant: start_on}", "fields.a.instant: start_on is a date: use `date:`"),
        ("{date: changed_at}", "fields.a: changed_at is an instant; state the `timezone:`"),
        ("{date: start_on, format: noon_instant}", "fields.a: a date has no zone, its noon has one"),
        ("{date: start_on, timezone: UTC}", "fields.a: a date has no zone, its noon has one"),
        (
            "{date: start_on, format: noon_instant, timezone: Mars/Base}",
            "fields.a.timezone: 'Mars/Base' is not an IANA",
        ),
        ("{text: ['{changed_at}']}", "fields.a.text[0]: {changed_at} is an instant, which has no agreed spelling"),
    ],
)
def test_money_and_times_go_only_through_their_own_operators(rule: str, message: str) -> None:
    found = problems(f"a: {rule}", "order")
    assert any(problem.startswith(message) for problem in found), found


def test_an_enumeration_of_ours_is_mapped_whole() -> None:
    """A word forgotten in a file is found when the file loads, not when the first such record comes."""
    rule = "a: {enum: status, values: {pending: P, failed: F}%s}"
    forgotten = "fields.a.values: succeeded is not mapped; map it or state `unknown:`"
    assert problems(rule % "", "payment") == [forgotten]
    assert problems(rule % ", unknown: fail", "payment") == []
    assert problems("a: {enum: status, values: {pending: P, failed: F, succeded: S}}", "payment") == [
        "fields.a.values.succeded: status is never that; did you mean succeeded?",
        forgotten,
    ]


def test_a_condition_asks_only_for_words_that_exist() -> None:
    rule = "a: {path: id, when: {path: status, equals: paid}, otherwise: skip}"
    assert problems(rule, "payment") == [
        "fields.a.when: 'paid' does not fit one of a few words; there is failed, pending, succeeded"
    ]


def test_every_problem_of_a_file_is_told_at_once() -> None:
    assert len(problems("a: {path: nme}\nb: {path: tax_exemption}\nc: {money: id}")) == 3


def test_the_key_must_be_text_that_is_always_there() -> None:
    text = file("a: {path: id}", "account", "out").replace("from: id", "from: parent_id")
    (problem,) = found_in(text)
    assert (problem.field, problem.line) == ("key.from", 7)
