"""Mapping files as a test writes them: only the fields and the examples, the header is always the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from core.accounts import Account, Address, Contact, Site
from core.mapping import Mapping, Problem, inspect_book, load_book
from core.mapping.site import Refs
from core.money import Money
from core.noun import Noun
from core.orders import OrderProgress

#: Their words for ours, as the tests use them.
COUNTRIES = 'name: countries\nvalues: {US: "840", DE: "276"}\n'


def book_folder(folder: Path, **files: str) -> Path:
    """``files``: text by name; ``erp_x`` is ``erp/x.yaml``."""
    for name, text in files.items():
        path = folder / f"{name.replace('_', '/', 1)}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def file(fields: str, record: str, direction: str, header: str = "", examples: str = "") -> str:
    key = "key: {to: externalId, from: id}\n" if direction == "out" else ""
    return (
        f"system: erp\nrecord: {record}\nresource: thing\ndirection: {direction}\napi: test\nsource: test\n"
        f"{key}{header}fields:\n{indent(dedent(fields), '  ')}\n"
        f"examples:\n{indent(dedent(examples), '  ') or '  - {name: none, in: {}, fails: id}'}\n"
    )


def out(fields: str, record: str = "account") -> Mapping:
    """A mapping of direction out with these fields."""
    return _one(file(fields, record, "out"))


def into(fields: str, record: str = "payment_request", **more: str) -> Mapping:
    """A mapping of direction in that makes a payment request; ``fields`` replace those of the same name."""
    return _one(file(_with_request(fields) if record == "payment_request" else fields, record, "in"))


def sent(fields: str, noun: Noun | None = None, refs: Refs = lambda *_: None) -> dict[str, Any]:
    """What these fields make of a noun (an account, unless given)."""
    record = {Account: "account", OrderProgress: "order_progress"}.get(type(noun or account()), "")
    return out(fields, record).out(noun or account(), refs)


def problems(fields: str, record: str = "account", direction: str = "out") -> list[str]:
    """Why these fields do not load: ``field: message``."""
    if direction == "in" and record == "payment_request":
        fields = _with_request(fields)
    return [f"{problem.field}: {problem.message}" for problem in found_in(file(fields, record, direction))]


def found_in(text: str) -> list[Problem]:
    with tempfile.TemporaryDirectory() as name:
        return inspect_book(book_folder(Path(name), erp_one=text, tables_countries=COUNTRIES))[1]


def _one(text: str) -> Mapping:
    with tempfile.TemporaryDirectory() as name:
        (mapping,) = load_book(book_folder(Path(name), erp_one=text, tables_countries=COUNTRIES))
        return mapping


_REQUEST = {
    "id": "{path: id, missing: fail}",
    "invoice_id": "{const: INV-1}",
    "account_id": "{const: A-1}",
    "currency": "{const: USD}",
    "amount": '{const: {amount: "1.00", currency: USD}}',
    "description": "{const: test}",
}


def _with_request(fields: str) -> str:
    """The fields of a payment request around the ones a test is about."""
    own = dedent(fields).strip()
    named = {line.split(":")[0] for line in own.splitlines() if line and not line[0].isspace()}
    return "\n".join([*(f"{name}: {rule}" for name, rule in _REQUEST.items() if name not in named), own])


def account(**changes: Any) -> Account:
    return Account(
        **{
            "id": "A-0001",
            "name": "Acme Ltd",
            "email": "ap@acme.example",
            "currency": "USD",
            "timezone": "America/New_York",
            "billing_address": Address(
                line1="1 Main St", city="Boston", region="MA", postal_code="02110", country="US"
            ),
            "sites": (
                Site(id="A-0001-S1", name="East", address=Address(line1="1 Main St", city="Boston", country="US")),
                Site(id="A-0001-S2", name="West", address=Address(line1="Allee 2", city="Berlin", country="DE")),
            ),
            "contacts": (Contact(id="C-1", name="Ann", email="ann@acme.example"),),
            **changes,
        }
    )


def progress(**changes: Any) -> OrderProgress:
    return OrderProgress(
        **{
            "id": "0061",
            "status": "invoiced",
            "currency": "USD",
            "subscription_id": "SUB-1",
            "invoice_numbers": ("INV-1", "INV-2"),
            "invoiced": Money(123456, "USD"),
            "credited": Money(0, "USD"),
            "paid": Money(0, "USD"),
            **changes,
        }
    )
