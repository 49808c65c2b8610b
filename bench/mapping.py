"""What a mapping file costs beside the same mapping written by hand: ``uv run python -m bench.mapping``.

Both sides make equal results from the same records, in the same process, in turns; the figures are CPU time, the best
of the rounds. The target is 3x.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from time import process_time_ns
from typing import Any

from core.ledger import JournalEntry, JournalLine, Via
from core.mapping import Mapping, load_book
from core.money import Money
from core.noun import Noun
from core.tax import TaxDocument, TaxStatus

LINES = 10
ROUNDS, CALLS = 15, 200

OUT = """
system: erp
record: journal_entry
resource: journalEntry
direction: out
api: bench
source: bench
key: {to: externalId, from: id}
fields:
  tranDate: {date: posted_on}
  memo: {path: memo, max: 40, too_long: cut}
  currency: {object: {internalId: {enum: currency, values: {USD: "1", EUR: "2"}}}}
  entity: {object: {internalId: {ref: account_id, resource: customer, missing: skip}}}
  line:
    each: lines
    fields:
      account: {object: {internalId: {lookup: ledger_account, table: gl_accounts}}}
      debit: {money: debit, missing: skip}
      credit: {money: credit, missing: skip}
      memo: {text: ["{^.id}", "{memo}"], join: " "}
examples:
  - {name: bench, in: {}, fails: id}
"""

IN = """
system: erp
record: tax_document
resource: transactions
direction: in
api: bench
source: bench
fields:
  id: {path: code, missing: fail}
  invoice_id: {path: code, missing: fail}
  vendor_id: {text: ["{id}"], missing: fail}
  status: {enum: status, values: {uncommitted: Saved, committed: Committed, voided: Cancelled}, missing: fail}
  currency: {path: currencyCode, missing: fail}
  document_date: {date: date, missing: fail}
  base: {money: totalAmount, currency: currencyCode, missing: fail}
  tax: {money: totalTax, currency: currencyCode, missing: fail}
  lines:
    each: lines[].details
    missing: fail
    fields:
      id: {text: ["{id}"], missing: fail}
      invoice_line_id: {path: ^.lineNumber, missing: fail}
      jurisdiction: {path: jurisName, missing: fail}
      jurisdiction_type: {path: jurisType, missing: fail}
      region: {path: region, missing: default, default: ""}
      country: {path: country, missing: fail}
      tax_name: {path: taxName, missing: fail}
      rate: {quantity: rate, missing: fail}
      taxable: {money: taxableAmount, currency: $.currencyCode, missing: fail}
      tax: {money: tax, currency: $.currencyCode, missing: fail}
examples:
  - {name: bench, in: {}, fails: id}
"""

ACCOUNTS = {"receivable": "119", "revenue": "54"}
CURRENCIES = {"USD": "1", "EUR": "2"}
STATUSES = {"Saved": TaxStatus.UNCOMMITTED, "Committed": TaxStatus.COMMITTED, "Cancelled": TaxStatus.VOIDED}

Refs = Callable[[str, str, str], str | None]


def refs(_system: str, _resource: str, _key: str) -> str | None:
    return "77"


def out_by_hand(entry: JournalEntry, refs: Refs) -> dict[str, Any]:
    lines = []
    for line in entry.lines:
        row: dict[str, Any] = {"account": {"internalId": ACCOUNTS[line.ledger_account]}}
        if line.debit is not None:
            row["debit"] = line.debit.amount
        if line.credit is not None:
            row["credit"] = line.credit.amount
        row["memo"] = " ".join(filter(None, (entry.id, line.memo)))
        lines.append(row)
    made: dict[str, Any] = {
        "tranDate": entry.posted_on.isoformat(),
        "memo": entry.memo if len(entry.memo) <= 40 else entry.memo[:40].rstrip(),
        "currency": {"internalId": CURRENCIES[entry.currency]},
        "entity": {},
        "line": lines,
    }
    if entry.account_id is not None:
        made["entity"]["internalId"] = refs("erp", "customer", entry.account_id)
    return made


def in_by_hand(answer: dict[str, Any]) -> Noun:
    currency = answer["currencyCode"]
    return TaxDocument.model_validate(
        {
            "id": answer["code"],
            "invoice_id": answer["code"],
            "vendor_id": str(answer["id"]),
            "status": STATUSES[answer["status"]],
            "currency": currency,
            "document_date": date.fromisoformat(answer["date"]),
            "base": Money.of(answer["totalAmount"], currency),
            "tax": Money.of(answer["totalTax"], currency),
            "lines": tuple(
                {
                    "id": str(detail["id"]),
                    "invoice_line_id": line["lineNumber"],
                    "jurisdiction": detail["jurisName"],
                    "jurisdiction_type": detail["jurisType"],
                    "region": detail.get("region", ""),
                    "country": detail["country"],
                    "tax_name": detail["taxName"],
                    "rate": Decimal(detail["rate"]),
                    "taxable": Money.of(detail["taxableAmount"], currency),
                    "tax": Money.of(detail["tax"], currency),
                }
                for line in answer["lines"]
                for detail in line["details"]
            ),
        }
    )


def load() -> tuple[Mapping, Mapping]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in {
            "erp/journal_entry.yaml": OUT,
            "erp/tax_document.yaml": IN,
            "tables/gl_accounts.yaml": 'name: gl_accounts\nvalues: {receivable: "119", revenue: "54"}\n',
        }.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text)
        book = load_book(folder)
        return book.find("erp", "journal_entry", "out"), book.find("erp", "tax_document", "in")


def journal_entry() -> JournalEntry:
    amount = Money(1230, "USD")
    return JournalEntry(
        id="JE-INV-2026-10-A-0001",
        event="invoice",
        via=Via.JOURNAL,
        currency="USD",
        posted_on=date(2026, 10, 31),
        account_id="A-0001",
        memo="Invoice INV-2026-10-A-0001 of October 2026",
        lines=tuple(
            JournalLine(
                id=str(i),
                position=i,
                ledger_account=("receivable", "revenue")[i % 2],
                debit=None if i % 2 else amount,
                credit=amount if i % 2 else None,
                source="invoice_line",
                source_id=str(i),
            )
            for i in range(LINES)
        ),
    )


def tax_answer() -> dict[str, Any]:
    detail = {
        "id": 1, "jurisName": "MASSACHUSETTS", "jurisType": "State", "region": "MA", "country": "US",
        "taxName": "MA STATE TAX", "rate": Decimal("0.0625"), "taxableAmount": Decimal("100.0"), "tax": Decimal("6.25"),
    }  # fmt: skip
    return {
        "id": 123, "code": "INV-2026-10-A-0001", "status": "Saved", "currencyCode": "USD", "date": "2026-10-31",
        "totalAmount": Decimal("1000.0"), "totalTax": Decimal("62.5"),
        "lines": [{"lineNumber": str(i), "details": [detail]} for i in range(LINES)],
    }  # fmt: skip


def compare(name: str, mapped: Callable[[], Any], by_hand: Callable[[], Any]) -> None:
    assert mapped() == by_hand()
    best = {mapped: float("inf"), by_hand: float("inf")}
    for _ in range(ROUNDS):
        for call in (mapped, by_hand):
            start = process_time_ns()
            for _ in range(CALLS):
                call()
            best[call] = min(best[call], (process_time_ns() - start) / CALLS / 1000)
    print(f"{name}: mapping {best[mapped]:.1f} us, by hand {best[by_hand]:.1f} us, {best[mapped] / best[by_hand]:.2f}x")


def main() -> None:
    out, into = load()
    entry, answer = journal_entry(), tax_answer()
    compare(f"journal entry of {LINES} lines, out", lambda: out.out(entry, refs), lambda: out_by_hand(entry, refs))
    compare(f"tax document of {LINES} lines, in", lambda: into.into(answer), lambda: in_by_hand(answer))


if __name__ == "__main__":
    main()
