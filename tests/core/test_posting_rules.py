"""Posting rules load only when all of them is right, and book what they say."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from core.ledger import Via
from core.money import Money
from core.posting_file import DEFAULT, BrokenRules, inspect_posting_rules, load_posting_rules
from core.posting_rules import EVENTS, Fact, Part, PostingRules
from tests.books import RULES

TEXT = DEFAULT.read_text(encoding="utf-8")
DEFERRED = "{id: invoice deferred, event: invoice, via: journal, part: line, when: {deferred: true}"
TAX = "{id: invoice tax, event: invoice, via: journal, part: tax, debit: billing clearing"


def changed(*pairs: tuple[str, str]) -> bytes:
    text = TEXT
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text.encode()


def loaded(*pairs: tuple[str, str]) -> PostingRules:
    rules, problems = inspect_posting_rules(changed(*pairs), "rules.yaml")
    assert rules is not None
    assert [str(one) for one in problems] == []
    return rules


def fact(event: str, *parts: Part, entity: str = "main", via: Via | None = None) -> Fact:
    about = ("2026", "rule", "record", "R-1")
    return Fact(event, "R-1", entity, "USD", date(2026, 10, 31), "A-1", about[1], about[2], about[3], parts, via)


def part(name: str, amount: str, **known: str | bool) -> Part:
    accounts = {role: str(known.pop(role)) for role in ("revenue", "revalued") if role in known}
    return Part(name, Money.of(amount, "USD"), name, "line", name, known, accounts)


def test_every_event_is_booked_and_every_rule_has_an_example() -> None:
    """The rules that come with the product are their own proof: they load, so their examples come out as they say."""
    assert {rule.event for rule in RULES.rules} == set(EVENTS)
    assert {example.event for example in RULES.examples} == set(EVENTS)
    assert load_posting_rules().version == RULES.version
    assert len(RULES.version) == 12


def test_another_content_is_another_version() -> None:
    assert loaded(("name: Bank,", "name: Our bank,")).version != RULES.version


@pytest.mark.parametrize(
    ("old", "new", "line_of", "message"),
    [
        (TAX, TAX.replace("event: invoice", "event: invoise"), TAX, "no event 'invoise'; did you mean invoice?"),
        (TAX, TAX.replace("part: tax", "part: taxes"), TAX, "no part of invoice 'taxes'; did you mean tax?"),
        (TAX, TAX.replace("debit: billing", "debit: biling"), TAX, "did you mean billing clearing?"),
        (TAX, TAX.replace("part: tax,", "part: tax, when: {product: X},"), TAX, "thing that tax of invoice knows"),
        (TAX, TAX.replace("part: tax,", "part: tax, when: {country: DE},"), TAX, "takes what is left: no when"),
        ("part: whole, debit: bank,", "part: whole, debit: gateway balance,", "id: payout,", "the same account"),
        ("segments: [revalues]}\n  - {id: round", "segments: [branch]}\n  - {id: round", "id: fx unre", "no segment"),
        ("role: bank, monetary", "role: bank, colour: red, monetary", 'code: "1010"', "is not known here"),
        ('{code: "1050", name', '{code: "1010", name', 'code: "1050"', "1010 stands there twice"),
        ("- {id: payout, event: payout", "- {id: refund, event: payout", "id: payout", "refund stands there twice"),
        (DEFERRED, DEFERRED.replace("true", "maybe"), "id: invoice deferred", "deferred is true or false"),
        ('"2200": "105.60"}', '"2200": "105.61"}', "support is billed for a year", "the rules book"),
        ('{part: whole, amount: "12.00"}', "{part: whole, amount: twelve}", "left of an invoice", "is no amount"),
        (
            'revalues: EUR, revalued: "1100"}\n    document',
            "revalues: EUR}\n    document",
            "booked at 1.10",
            "names its",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, line_of: str, message: str) -> None:
    """Whatever is wrong is found when the file is loaded, at the line where it stands."""
    content = changed((old, new))
    _, problems = inspect_posting_rules(content, "rules.yaml")
    told = [one for one in problems if message in str(one)]
    assert told, [str(one) for one in problems]
    line = next(n for n, text in enumerate(TEXT.splitlines(), 1) if line_of in text)
    assert any(line <= one.line <= line + 12 for one in told), [str(one) for one in told]
    assert all(str(one).startswith(f"rules.yaml:{one.line}: ") for one in problems)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_bytes(
        changed(
            ("id: payout, event: payout", "id: payout, event: pay-out"),
            ("debit: processing fees,", "debit: fees,"),
            (DEFERRED, DEFERRED.replace("{deferred: true}", "{colour: red}")),
        )
    )
    with pytest.raises(BrokenRules) as broken:
        load_posting_rules(file)
    told = [str(one) for one in broken.value.problems]
    assert len(told) >= 4  # the three, and that nothing books payout now
    for word in ("pay-out", "'fees'", "colour", "nothing books payout"):
        assert any(word in one for one in told), told
    assert str(broken.value).count("\n") == len(told)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("id: settlement fee,", "fee of settlement is booked never as journal; book it once"),
        ("id: invoice document tax,", "tax of invoice is booked never as document; book it once"),
        ("id: credit earned,", "earned of credit note is booked never as journal; book it once"),
    ],
)
def test_a_part_that_no_rule_books_is_found(rule: str, message: str) -> None:
    """Money that no rule takes would be lost in silence, so the file does not load."""
    kept = "\n".join(line for line in TEXT.splitlines() if rule not in line)
    _, problems = inspect_posting_rules(kept.encode(), "rules.yaml")
    assert message in {one.message for one in problems}


def test_a_part_that_is_booked_twice_is_found() -> None:
    """Gross is net and fee, so a rule for it beside theirs would book both twice."""
    line = "  - {id: settlement fee,"
    more = "  - {id: gross, event: settlement, via: journal, part: gross, debit: bank, credit: gateway clearing}\n"
    _, problems = inspect_posting_rules(changed((line, more + line)), "rules.yaml")
    assert {"net of settlement is booked 2 times as journal; book it once"} <= {one.message for one in problems}


def test_a_rule_without_an_example_is_found() -> None:
    """A rule that nobody has seen working is not loaded."""
    line = "  - {id: invoice earned,"
    german = line.replace("invoice earned", "german") + line_end("invoice earned").replace(
        "part: line,", "part: line, when: {country: DE},"
    )
    _, problems = inspect_posting_rules(changed((line, german + "\n" + line)), "rules.yaml")
    assert [one.message for one in problems] == ["no example uses german; add one, so that it is known what it does"]


def line_end(ident: str) -> str:
    line = next(line for line in TEXT.splitlines() if f"id: {ident}," in line)
    return line.partition(f"id: {ident},")[2]


SALES_BY_COUNTRY = (
    "  - {id: invoice earned,",
    "  - {id: german sales, event: invoice, via: journal, part: line, when: {country: [DE, AT], entity: de}, debit: "
    "billing clearing, credit: revenue, total: debit, segments: [class, location]}\n  - {id: invoice earned,",
)
SEGMENTS = (
    "  revalues: {of: revalues}",
    "  revalues: {of: revalues}\n  class: {of: product, values: {VIDEO: Meetings}, otherwise: Other}\n"
    "  location: {of: country}",
)
EXAMPLE = (
    "examples:\n",
    "examples:\n  - name: sold in Germany\n    event: invoice\n    entity: de\n    parts:\n"
    '      - {part: line, amount: "10.00", country: DE, product: VIDEO, revenue: "4010"}\n'
    '    document: {debit: {"1100": "10.00"}, credit: {"1190": "10.00"}}\n'
    '    journal: {debit: {"1190": "10.00"}, credit: {"4010": "10.00"}}\n'
    '    segments: {"4010": {class: Meetings, location: DE}}\n',
)


def test_the_first_rule_whose_conditions_hold_is_taken() -> None:
    """By country and entity, product and the rest: the rule higher up wins, and puts its segments on the line."""
    rules = loaded(SALES_BY_COUNTRY, SEGMENTS, EXAMPLE)
    at = Part("line", Money.of("10", "USD"), "l", "line", "L", {"country": "AT", "product": "X"}, {"revenue": "4010"})
    _, journal = rules.book(fact("invoice", at, entity="de"))
    (revenue,) = [line for line in journal.lines if line.ledger_account == "4010"]
    assert (revenue.rule, revenue.segments) == ("german sales", {"class": "Other", "location": "AT"})
    _, journal = rules.book(fact("invoice", at))
    (revenue,) = [line for line in journal.lines if line.ledger_account == "4010"]
    assert (revenue.rule, revenue.segments) == ("invoice earned", {})


def test_the_total_line_carries_what_all_its_parts_share_and_names_their_rules() -> None:
    rules = loaded(SALES_BY_COUNTRY, SEGMENTS, EXAMPLE)
    lines = [
        Part("line", Money.of("10", "USD"), "l", "line", code, {"country": "DE", "product": code}, {"revenue": "4010"})
        for code in ("VIDEO", "VOICE")
    ]
    _, journal = rules.book(fact("invoice", *lines, entity="de"))
    first = journal.lines[0]
    assert (first.ledger_account, first.amount) == ("1190", Money.of("20", "USD"))
    assert (first.segments, first.rule, first.source_id) == ({"location": "DE"}, "german sales", "R-1")


def test_debits_come_first_and_totals_stand_at_the_ends() -> None:
    _, journal = RULES.book(fact("invoice", part("line", "5", deferred=True, revenue="4000"), part("tax", "1")))
    assert [line.ledger_account for line in journal.lines] == ["1190", "2400", "2200"]
    (settled,) = RULES.book(fact("settlement", part("net", "9"), part("fee", "1"), part("gross", "10")))
    assert [line.ledger_account for line in settled.lines] == ["1060", "6100", "1050"]


def test_a_negative_amount_goes_to_the_other_side_and_zero_is_not_booked() -> None:
    (entry,) = RULES.book(fact("recovery", part("whole", "-5")))
    assert {line.ledger_account: line.amount.minor for line in entry.lines} == {"2310": -500, "6200": 500}
    assert RULES.book(fact("recovery", part("whole", "0"))) == []


def test_the_fact_decides_the_way_of_an_event_that_may_go_either() -> None:
    """Where the ERP has a document for a refund it books it itself; elsewhere we push a journal."""
    for via, ident in ((Via.DOCUMENT, "DOC-R-1"), (Via.JOURNAL, "JE-R-1")):
        (entry,) = RULES.book(fact("refund", part("whole", "5"), via=via))
        assert (entry.id, entry.via) == (ident, via)


def test_the_documentation_shows_every_rule_and_account() -> None:
    """An accountant reads docs/ledger.md instead of the file, so it says the same."""
    told = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text(encoding="utf-8")
    rows = [f"| {one.code} | {one.name} | {one.kind} | {one.role} |" for one in RULES.chart]
    for rule in RULES.rules:
        sides = [
            f"{role} (one line)" if rule.total == side else role
            for side, role in (("debit", rule.debit), ("credit", rule.credit))
        ]
        part = rule.part + ", where deferred is true" * bool(rule.when)
        rows.append(f"| {rule.event} | {part} | {rule.via} | {sides[0]} | {sides[1]} |")
    missing = [row for row in rows if row not in told]
    assert not missing, "docs/ledger.md lacks the rows\n" + "\n".join(missing)
