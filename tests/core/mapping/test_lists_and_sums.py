"""Lists made of several parts, and amounts added over the items of a list."""

from pathlib import Path

import pytest

from core.errors import MappingError
from core.mapping import load_book
from core.money import Money

HEAD = """
system: ledger
record: {record}
resource: thing
direction: {direction}
api: test
source: test
"""
FIGURE = """
fields:
  record: {const: journal_entry}
  key: {path: id, missing: fail}
  vendor_id: {path: id, missing: fail}
  currency: {path: currency, missing: fail}
  amount: {sum: lines, of: {money: debit, currency: ^.currency, missing: skip}}
examples:
  - name: two debits and a credit
    in: {id: J1, currency: USD, lines: [{debit: 1.10}, {debit: 2.05}, {credit: 3.15}]}
    out: {record: journal_entry, key: J1, vendor_id: J1, currency: USD, amount: {amount: "3.15", currency: USD}}
"""
LIST = """
key: {to: key, from: id}
fields:
  items:
    list:
      - {each: lines, fields: {code: {path: source}}}
      - {object: {code: {const: LAST}}}
examples:
  - name: one line and one more
    in:
      id: J1
      event: invoice
      via: journal
      currency: USD
      posted_on: 2026-10-31
      memo: ""
      lines:
        - {id: a, position: 1, ledger_account: "1", debit: {amount: "1.00", currency: USD}, source: s, source_id: x}
        - {id: b, position: 2, ledger_account: "2", credit: {amount: "1.00", currency: USD}, source: t, source_id: x}
    out: {items: [{code: s}, {code: t}, {code: LAST}]}
"""


def book(folder: Path, record: str, direction: str, body: str):
    (folder / "ledger").mkdir()
    (folder / "ledger" / "thing.yaml").write_text(HEAD.format(record=record, direction=direction) + body)
    return load_book(folder)


def test_the_money_of_all_items_is_added_and_items_without_it_add_nothing(tmp_path):
    mapping = book(tmp_path, "figure", "in", FIGURE).find("ledger", "figure", "in")
    assert mapping.run_examples() == []


def test_a_list_with_nothing_to_add_is_refused_rather_than_zero(tmp_path):
    mapping = book(tmp_path, "figure", "in", FIGURE).find("ledger", "figure", "in")
    with pytest.raises(MappingError, match="nothing to add up"):
        mapping.into({"id": "J1", "currency": "USD", "lines": [{"credit": 1}]})


def test_a_sum_keeps_its_currency(tmp_path):
    mapping = book(tmp_path, "figure", "in", FIGURE).find("ledger", "figure", "in")
    figure = mapping.into({"id": "J1", "currency": "JPY", "lines": [{"debit": 7}]})
    assert figure.amount == Money(7, "JPY")


def test_a_list_takes_the_items_of_an_each_and_goes_on(tmp_path):
    mapping = book(tmp_path, "journal_entry", "out", LIST).find("ledger", "journal_entry", "out")
    assert mapping.run_examples() == []
