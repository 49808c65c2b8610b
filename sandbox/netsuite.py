"""NetSuite on loopback: SuiteTalk SOAP 2023_2, the part of the contract that ``netsuite_schema`` lists, and SuiteQL.

Written from the vendor's published WSDL, XSDs and help pages (read 2026-11). It checks token-based authentication, the
message against the schema, and the business rules an accountant would meet: references, required fields, periods,
balanced journals, applications within what is due. Every posting transaction keeps its effect on the general ledger,
and the summary of posted transactions is computed from that alone.

The wording of refusals is our own where the vendor's was not seen; their codes are the vendor's.

Beside the vendor's routes: ``POST /_sandbox/periods/2026-10`` with ``{"closed": true}`` stands in for the page where an
accountant closes a period (``"allowNonGLChanges": true``: it takes what posts nothing else),
``DELETE /_sandbox/records/{kind}/{internal id}`` for the button that deletes a record, and
``POST /_sandbox/clock`` with ``{"now": "2026-11-02T09:00:00Z"}`` sets its clock.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from base64 import b64encode
from calendar import monthrange
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

from lxml import etree
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox import netsuite_customization as customization
from sandbox import netsuite_schema as soap
from sandbox import netsuite_suiteql as suiteql
from sandbox.administration import FieldChange, changes, door
from sandbox.emulator import Emulator, ExactJSONResponse, Fault, Json, Receive, Scope, Send, Shelf, read_json
from sandbox.netsuite_customization import Refused, missing

ACCOUNT = "TSTDRV1234567"
CONSUMER_KEY = "sandbox-consumer-key"
CONSUMER_SECRET = "sandbox-consumer-secret"
TOKEN = "sandbox-token"
TOKEN_SECRET = "sandbox-token-secret"

#: Requests that one account may have running at once (standard service tier).
CONCURRENCY = 5
#: Seconds by which the timestamp of a signature may differ from our clock.
WINDOW = 300
#: Most records of one list request.
MOST_RECORDS = 200
#: Most rows of one query of SuiteQL.
MOST_ROWS = 100_000
#: Records of one page of a job's result.
JOB_PAGE = 100
#: The company's time zone: a dateTime sent for a date is read in it.
ZONE = ZoneInfo("America/Los_Angeles")
#: The currencies and subsidiaries of new books: by internal id, the name, and the currency of the subsidiary's books.
CURRENCIES = {"1": "USD", "2": "EUR", "3": "GBP"}
SUBSIDIARIES = {"1": ("Northwind Meetings", "1"), "2": ("Northwind Meetings Europe", "2")}
#: The company's list of exchange rates, by which a transaction is valued that states none of its own.
RATES = {("EUR", "USD"): "1.10", ("GBP", "USD"): "1.25", ("USD", "EUR"): "0.90", ("GBP", "EUR"): "1.15"}
#: Accounts that NetSuite books by itself: name, type, and the number and external id that an accountant gave them.
REALISED, ROUNDING = "Realized Gain/Loss", "Rounding Gain/Loss"
SYSTEM_ACCOUNTS = {"7000": (REALISED, "_otherExpense"), "7090": (ROUNDING, "_otherExpense")}
#: The first month that is open when the books are new.
FIRST_OPEN = date(2026, 9, 1)

#: Kind on the shelf by record type, and the name of its counter of internal ids (transactions share one).
KINDS = {
    "rel:Customer": "customer",
    "acct:ServiceSaleItem": "serviceSaleItem",
    "acct:Account": "account",
    "acct:AccountingPeriod": "accountingPeriod",
    "acct:Subsidiary": "subsidiary",
    "sales:Invoice": "invoice",
    "cust:CustomerPayment": "customerPayment",
    "cust:CreditMemo": "creditMemo",
    "gen:JournalEntry": "journalEntry",
}
TYPE_OF = {kind: name for name, kind in KINDS.items()}
TRANSACTIONS = {
    "_invoice": "invoice",
    "_customerPayment": "customerPayment",
    "_creditMemo": "creditMemo",
    "_journal": "journalEntry",
}
SEARCHES: Mapping[str, tuple[str, ...]] = {
    "rel:CustomerSearch": ("customer",),
    "acct:ItemSearch": ("serviceSaleItem",),
    "acct:AccountSearch": ("account",),
    "acct:AccountingPeriodSearch": ("accountingPeriod",),
    "acct:SubsidiarySearch": ("subsidiary",),
    "sales:TransactionSearch": tuple(TRANSACTIONS.values()),
}
#: What a field of type RecordRef refers to, by kind and field; the name of the thing referred to is shown beside it.
REFERENCES: Mapping[str, Mapping[str, str]] = {
    "customer": {
        "subsidiary": "subsidiary",
        "currency": "currency",
        "parent": "customer",
        "receivablesAccount": "account",
    },
    "serviceSaleItem": {"incomeAccount": "account", "deferredRevenueAccount": "account"},
    "account": {"currency": "currency", "parent": "account"},
    "invoice": {
        "entity": "customer",
        "account": "account",
        "currency": "currency",
        "subsidiary": "subsidiary",
        "postingPeriod": "accountingPeriod",
    },
    "creditMemo": {
        "entity": "customer",
        "account": "account",
        "currency": "currency",
        "subsidiary": "subsidiary",
        "postingPeriod": "accountingPeriod",
    },
    "customerPayment": {
        "customer": "customer",
        "account": "account",
        "arAcct": "account",
        "currency": "currency",
        "subsidiary": "subsidiary",
        "postingPeriod": "accountingPeriod",
    },
    "journalEntry": {"subsidiary": "subsidiary", "currency": "currency", "postingPeriod": "accountingPeriod"},
}
SHOWN_AS = {
    "customer": "entityId",
    "serviceSaleItem": "itemId",
    "account": "acctName",
    "accountingPeriod": "periodName",
    "subsidiary": "name",
    "currency": "name",
}
#: Fields that must be there, with the name an accountant sees.
REQUIRED: Mapping[str, Mapping[str, str]] = {
    "customer": {"companyName": "Company Name", "subsidiary": "Primary Subsidiary"},
    "serviceSaleItem": {"itemId": "Item Name/Number", "incomeAccount": "Income Account"},
    "account": {"acctName": "Name", "acctType": "Type"},
    "invoice": {"entity": "Customer", "itemList": "Items"},
    "creditMemo": {"entity": "Customer", "itemList": "Items"},
    "customerPayment": {"customer": "Customer", "payment": "Payment Amount"},
    "journalEntry": {"subsidiary": "Subsidiary", "lineList": "Lines"},
}
#: Fields whose value no two records of a kind may share, and the code of the refusal.
UNIQUE = {
    "customer": ("entityId", "DUP_ENTITY"),
    "serviceSaleItem": ("itemId", "DUP_ITEM"),
    "account": ("acctNumber", "DUP_ACCT_NUM"),
}
#: The sublist of each kind and the name of its lines.
SUBLISTS = {"itemList": "item", "applyList": "apply", "lineList": "line", "addressbookList": "addressbook"}


class Faulted(Exception):
    """The whole request is refused with a SOAP fault; ``name`` of the fault's element, empty for none."""

    def __init__(self, name: str, code: str, message: str) -> None:
        super().__init__(message)
        self.name, self.code = name, code


def cents(amount: Decimal) -> Decimal:
    return Decimal(amount).quantize(Decimal("0.01"), ROUND_HALF_UP)


class Company:
    """The records of one account and the rules they keep. Not thread-safe by itself: hold ``lock``."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.lock = threading.RLock()
        self.offset = timedelta()
        self._by_external: dict[tuple[str, str], str] = {}
        self._by_unique: dict[tuple[str, str], str] = {}
        self._restored = shelf.restored
        self._tables = suiteql.Tables()
        self.open_books()

    def now(self) -> datetime:
        return self.shelf.now() + self.offset

    def open_books(self) -> None:
        """Periods, subsidiaries, currencies and NetSuite's own accounts, when the shelf is new or was just emptied."""
        if self.shelf.get("subsidiary", "1") is None:
            self._by_external.clear()
            self._by_unique.clear()
            for ident, name in CURRENCIES.items():
                self.shelf.keep("currency", ident, {"internalId": ident, "name": name})
            for ident, (name, currency) in SUBSIDIARIES.items():
                of = {"internalId": currency, "name": CURRENCIES[currency]}
                self.shelf.keep("subsidiary", ident, {"internalId": ident, "name": name, "currency": of})
            for number, (name, kind) in SYSTEM_ACCOUNTS.items():
                ident = str(self.shelf.next("account"))
                record = {"internalId": ident, "externalId": number, "acctNumber": number, "acctName": name}
                stamps = dict.fromkeys(("createdDate", "lastModifiedDate"), self._stamp(None))
                self.shelf.keep("account", ident, {**record, **stamps, "acctType": kind, "_system": name})
                self._index("account", record)
            for year in (2025, 2026, 2027):
                for month in range(1, 13):
                    self._open_period(date(year, month, 1))
        elif not self._by_external or self._restored != self.shelf.restored:
            self._restored = self.shelf.restored
            self._by_external.clear()
            self._by_unique.clear()
            for kind in KINDS.values():
                for record in self.shelf.all(kind):
                    self._index(kind, record)

    def _open_period(self, first: date) -> None:
        last = first.replace(day=monthrange(first.year, first.month)[1])
        closed = first < FIRST_OPEN
        flags = dict.fromkeys(("closed", "apLocked", "arLocked", "payrollLocked", "allLocked"), closed)
        ident = str(self.shelf.next("accountingPeriod"))
        period = {
            "internalId": ident,
            "periodName": first.strftime("%b %Y"),
            "startDate": midnight(first),
            "endDate": midnight(last),
            **dict.fromkeys(("isAdjust", "isQuarter", "isYear", "allowNonGLChanges"), False),
            **flags,
        }
        self.shelf.keep("accountingPeriod", ident, period)

    def close_period(self, month: str, closed: bool, lenient: bool) -> Json:
        """``lenient``: closed, it still takes what changes nothing of the general ledger."""
        period = next((one for one in self.shelf.all("accountingPeriod") if one["startDate"][:7] == month), None)
        if period is None:
            raise KeyError(month)
        flags = dict.fromkeys(("closed", "apLocked", "arLocked", "payrollLocked", "allLocked"), closed)
        flags["allowNonGLChanges"] = lenient
        self.shelf.keep("accountingPeriod", period["internalId"], {**period, **flags})
        return {**period, **flags}

    # Finding records

    def _index(self, kind: str, record: Json) -> None:
        if record.get("externalId"):
            self._by_external[kind, record["externalId"]] = record["internalId"]
        if kind in UNIQUE and (value := record.get(UNIQUE[kind][0])):
            self._by_unique[kind, value] = record["internalId"]

    def held(self, kind: str, reference: Json) -> Json | None:
        """The record a reference means, by internal id or else by external id."""
        ident = reference.get("internalId") or self._by_external.get((kind, reference.get("externalId", "")))
        return self.shelf.get(kind, ident) if ident else None

    def refer(self, kind: str, field: str, reference: Json) -> Json:
        """The record a field refers to. Refused when there is none."""
        found = self.held(kind, reference)
        if found is None:
            value = reference.get("internalId") or reference.get("externalId") or ""
            raise Refused("INVALID_KEY_OR_REF", f"Invalid {field} reference key {value}.")
        return found

    def shown(self, kind: str, record: Json) -> Json:
        """A reference as the vendor answers it: internal id and name, no external id."""
        return {"internalId": record["internalId"], "name": record[SHOWN_AS[kind]]}

    # Writing records

    def write(self, given: Json, *, adding: bool = False) -> Json:
        """``add`` or ``upsert`` of one record; the reference to it."""
        kind = KINDS.get(given["@type"], "")
        if kind not in REQUIRED:
            raise Refused("INVALID_RCRD_TYPE", f"{given['@type']} does not support external ID")
        external = given.get("externalId")
        known = self.held(kind, {"externalId": external}) if external else None
        if adding and known:
            raise Refused("DUP_RCRD", "This record already exists")
        if not adding and given.get("internalId"):
            raise Refused("USER_ERROR", "You cannot set internalId with upsert.")
        if not adding and not external:
            raise Refused("USER_ERROR", "This operation requires a value for externalId.")
        customization.measure(given["@type"], given)
        given = customization.checked(given["@type"].partition(":")[2], given, known or {}, self.custom_fields())
        record = self._checked(kind, merged(known or {}, given), known)
        stamp = self._stamp(known)
        record["lastModifiedDate"] = stamp
        created = "dateCreated" if kind == "customer" else "createdDate"
        record[created] = known[created] if known else stamp
        self.shelf.keep(kind, record["internalId"], record)
        self._index(kind, record)
        self._apply(kind, record, known)
        return {"@type": "core:RecordRef", "internalId": record["internalId"], "externalId": external, "type": kind}

    def _stamp(self, known: Json | None) -> str:
        now = self.now()
        if known:
            now = max(now, datetime.fromisoformat(known["lastModifiedDate"]) + timedelta(milliseconds=1))
        return now.astimezone(ZONE).isoformat(timespec="milliseconds")

    def _checked(self, kind: str, record: Json, known: Json | None) -> Json:
        """The record as it will be kept: references resolved, rules of its kind kept, totals and postings computed."""
        for field, label in REQUIRED[kind].items():
            if record.get(field) in (None, "", {}):
                raise missing(label)
        for field, target in REFERENCES[kind].items():
            if record.get(field):
                record[field] = self.shown(target, self.refer(target, field, record[field]))
        if kind == "customer":
            record.setdefault("entityId", record["companyName"])
        if kind in UNIQUE:
            field, code = UNIQUE[kind]
            holder = self._by_unique.get((kind, record.get(field, "")))
            if holder and holder != (known or {}).get("internalId"):
                raise Refused(code, f"A {kind} with {field} {record[field]} already exists.")
        if kind in RULES:
            periods = self._dated(record, known)
            party = record.get("entity") or record.get("customer")
            self._valued(record, self.refer("customer", "entity", party) if party else None)
            RULES[kind](self, record, known or {})
            for one in periods:
                if not (known and one["allowNonGLChanges"] and _posted(record) == _posted(known)):
                    takes_postings(one)
        counter = "transaction" if kind in RULES else kind
        record["internalId"] = known["internalId"] if known else str(self.shelf.next(counter))
        return record

    def _dated(self, record: Json, known: Json | None) -> list[Json]:
        """Its date and period; the periods that it changes, the one it leaves among them."""
        day = local_day(record["tranDate"]) if record.get("tranDate") else self.now().astimezone(ZONE).date()
        record["tranDate"] = midnight(day)
        if known and known["tranDate"] != record["tranDate"]:
            record.pop("postingPeriod", None)
        period = self.held("accountingPeriod", record["postingPeriod"]) if record.get("postingPeriod") else None
        period = period or self._period(day)
        record["postingPeriod"] = self.shown("accountingPeriod", period)
        return [period, self.refer("accountingPeriod", "postingPeriod", known["postingPeriod"])] if known else [period]

    def _valued(self, record: Json, customer: Json | None) -> None:
        """Its subsidiary, currency and exchange rate. Refused when they are not the customer's, or no rate is known."""
        if customer:
            for field in ("subsidiary", "currency"):
                own = customer.get(field) or {"internalId": "1", "name": CURRENCIES["1"]}
                stated = record.setdefault(field, own)
                if stated["internalId"] != own["internalId"]:
                    value, name = stated["internalId"], customer["entityId"]
                    raise Refused("INVALID_KEY_OR_REF", f"Invalid {field} reference key {value} for entity {name}.")
        base: Json = self.refer("subsidiary", "subsidiary", record["subsidiary"])["currency"]
        record.setdefault("currency", base)
        if record["currency"] == base:
            record["exchangeRate"] = Decimal(1)
        elif not record.get("exchangeRate"):
            record["exchangeRate"] = Decimal(RATES[record["currency"]["name"], base["name"]])
        record["currencyName"] = record["currency"]["name"]

    def system_account(self, name: str) -> str:
        """Internal id of an account that NetSuite books by itself."""
        return next(str(one["internalId"]) for one in self.shelf.all("account") if one.get("_system") == name)

    def impact(self, record: Json, foreign: Iterable[tuple[str, Decimal]]) -> None:
        """Keep what a transaction posts, each line valued by itself; what that leaves over goes to rounding."""
        rate = Decimal(record["exchangeRate"])
        impact = [[account, cents(amount * rate)] for account, amount in foreign]
        if left := sum((amount for _, amount in impact), Decimal(0)):
            impact.append([self.system_account(ROUNDING), -left])
        record["_impact"] = impact

    def _period(self, day: date) -> Json:
        for period in self.shelf.all("accountingPeriod"):
            if period["startDate"][:10] <= day.isoformat() <= period["endDate"][:10]:
                return period
        raise Refused("UNDEFINED_ACCTNG_PRD", f"There is no accounting period for {day}.")

    def receivables(self, record: Json, field: str) -> str:
        """Internal id of the receivables account of a transaction: the stated one, or the company's first."""
        if stated := record.get(field):
            if self.refer("account", field, stated)["acctType"] != "_accountsReceivable":
                raise Refused("INVALID_KEY_OR_REF", f"Invalid {field} reference key {stated['internalId']}.")
        else:
            first = next((one for one in self.shelf.all("account") if one["acctType"] == "_accountsReceivable"), None)
            if first is None:
                raise missing("Account")
            record[field] = self.shown("account", first)
        return str(record[field]["internalId"])

    def priced(self, record: Json) -> list[tuple[str, Decimal]]:
        """Income account and amount of each item line; the stated amount counts, else quantity times rate."""
        postings = []
        for number, line in enumerate(record["itemList"].get("item", []), 1):
            if not line.get("item"):
                raise missing("Item")
            item = self.refer("serviceSaleItem", "item", line["item"])
            line["item"], line["line"] = self.shown("serviceSaleItem", item), number
            if line.get("amount") is None:
                try:
                    line["amount"] = Decimal(line.get("quantity", 1)) * Decimal(line["rate"])
                except (KeyError, ArithmeticError):
                    raise missing("Amount") from None
            line["amount"] = cents(line["amount"])
            postings.append((item["incomeAccount"]["internalId"], line["amount"]))
        if not postings:
            raise Refused("USER_ERROR", "You must enter at least one line item for this transaction.")
        record["subTotal"] = record["total"] = sum((amount for _, amount in postings), Decimal(0))
        return postings

    def applied(self, record: Json, customer: str, own: str, most: Decimal) -> dict[str, Decimal]:
        """Amount by invoice that a payment or credit memo applies; ``own`` is its internal id if it has one.

        Refused when an invoice is not the customer's, when more is applied than is due, or more than ``most``.
        """
        amounts: dict[str, Decimal] = {}
        for line in (record.get("applyList") or {}).get("apply", []):
            if line.get("apply") is False:
                continue
            document = str(line.get("doc", ""))
            invoice = self.shelf.get("invoice", document)
            if (
                invoice is None
                or invoice["entity"]["internalId"] != customer
                or invoice["currency"] != record["currency"]
            ):
                raise Refused("INVALID_KEY_OR_REF", f"Invalid doc reference key {document}.")
            due = Decimal(invoice["total"]) - sum(
                (Decimal(amount) for by, amount in invoice["_applied"].items() if by != own), Decimal(0)
            )
            amount = cents(line["amount"]) if line.get("amount") is not None else min(due, most)
            if amount <= 0 or amount > due:
                raise Refused("CANT_APPLY_PMT", f"{amount} cannot be applied to {document}: {due} is due on it.")
            line |= {"apply": True, "amount": amount, "total": invoice["total"], "due": due, "type": "Invoice"}
            amounts[document] = amount
        whole = sum(amounts.values(), Decimal(0))
        if whole > most:
            raise Refused("TRANS_APPLIED_AMTS_UNBALNCD", f"{whole} is applied, {most} is there to apply.")
        record["applied"], record["unapplied"] = whole, most - whole
        record["_applies"] = amounts
        return amounts

    def worth(self, applied: Mapping[str, Decimal], own: str) -> Decimal:
        """What is applied to invoices, at the rate of each; parts of one come to the whole of it."""
        whole = Decimal(0)
        for document, amount in applied.items():
            invoice = self.shelf.get("invoice", document)
            assert invoice is not None
            others = (Decimal(part) for by, part in invoice["_applied"].items() if by != own)
            rate, before = Decimal(invoice["exchangeRate"]), sum(others, Decimal(0))
            whole += cents((before + amount) * rate) - cents(before * rate)
        return whole

    def _apply(self, kind: str, record: Json, known: Json | None) -> None:
        """Bring the invoices that a payment or credit memo touches, now or before, up to date."""
        if kind not in ("customerPayment", "creditMemo"):
            return
        for document in {**(known or {}).get("_applies", {}), **record["_applies"]}:
            invoice = self.shelf.get("invoice", document)
            assert invoice is not None
            invoice["_applied"].pop(record["internalId"], None)
            if document in record["_applies"]:
                invoice["_applied"][record["internalId"]] = record["_applies"][document]
            settle(invoice)
            invoice["lastModifiedDate"] = self._stamp(invoice)
            self.shelf.keep("invoice", document, invoice)

    def delete(self, kind: str, ident: str) -> None:
        """Delete a record that nothing is applied to; what it was applied to is open again. KeyError for none.

        Refused for a transaction of a period that takes no postings, and when something is applied to it.
        """
        record = self.shelf.get(kind, ident)
        if kind not in TYPE_OF or record is None:
            raise KeyError(ident)
        if kind in RULES:
            takes_postings(self.refer("accountingPeriod", "postingPeriod", record["postingPeriod"]))
        if any(record.get("_applied", {}).values()):
            raise Refused("CANT_DELETE_TRANS", "This transaction cannot be deleted: another one is applied to it.")
        self._apply(kind, {**record, "_applies": {}}, record)
        self.shelf.drop(kind, ident)
        self._by_external.pop((kind, record.get("externalId", "")), None)
        number = str(self.shelf.next("deletedRecord"))
        self.shelf.keep("deletedRecord", number, {"type": kind, "recordId": ident, "deletedDate": self._stamp(None)})

    # Reading records

    def query(self, text: str) -> list[Json]:
        """The answer to a query of SuiteQL. ``suiteql.Invalid`` when it is none."""
        return self._tables.ask(text, self.shelf.revision, tables(self.shelf), self.now().astimezone(ZONE))

    def custom_fields(self) -> dict[str, customization.CustomField]:
        return customization.custom_fields(changes(self.shelf))

    def customizations(self, kind: str) -> list[Json]:
        """The records of a type of ``GetCustomizationType``."""
        return [one for one in customization.records(self.custom_fields()) if customization.kind_of(one) == kind]

    def read(self, reference: Json) -> Json:
        kind = reference.get("type", "")
        if reference["@type"] == "core:CustomizationRef":
            for one in self.customizations(kind):
                if reference.get("internalId", one["internalId"]) == one["internalId"]:
                    return one
            raise Refused("RCRD_DSNT_EXIST", "That record does not exist.")
        if kind not in TYPE_OF:
            raise Refused("INVALID_RCRD_TYPE", f"{kind or 'The record type'} cannot be read.")
        record = self.held(kind, reference)
        if record is None:
            raise Refused("RCRD_DSNT_EXIST", "That record does not exist.")
        return {**record, "@type": TYPE_OF[kind]}

    def search(self, name: str, basic: Json) -> list[tuple[str, str]]:
        """Kind and internal id of the records that meet the criteria, in the order of their ids."""
        kinds = SEARCHES[name]
        if name == "sales:TransactionSearch" and (wanted := basic.pop("type", None)):
            kinds = tuple(TRANSACTIONS[value] for value in wanted.get("searchValue", []) if value in TRANSACTIONS)
        elif name == "acct:ItemSearch" and (wanted := basic.pop("type", None)):
            kinds = kinds if "_service" in wanted.get("searchValue", []) else ()
        return [
            (kind, record["internalId"])
            for kind in kinds
            for record in self.shelf.all(kind)
            if all(meets(record, field, criterion) for field, criterion in basic.items())
        ]

    def summary(self, by: Iterable[str], only: Mapping[str, set[str]]) -> list[Json]:
        """Posted amounts (debits less credits), grouped by ``account`` and ``period`` as asked."""
        sums: dict[tuple[str, ...], Decimal] = defaultdict(Decimal)
        groups = [name for name in ("period", "account") if name in by]
        for kind in RULES:
            for record in self.shelf.all(kind):
                for account, amount in record["_impact"]:
                    place = {"period": record["postingPeriod"]["internalId"], "account": account}
                    if all(place[name] in wanted for name, wanted in only.items()):
                        sums[tuple(place[name] for name in groups)] += Decimal(amount)
        return [
            {**{name: {"internalId": ident} for name, ident in zip(groups, key, strict=True)}, "amount": amount}
            for key, amount in sorted(sums.items())
        ]


# The rules of each kind of posting transaction: check the record, compute its totals and its ``_impact`` -----------


def _invoice(company: Company, record: Json, known: Json) -> None:
    postings = company.priced(record)
    receivable = company.receivables(record, "account")
    record["_applied"] = known.get("_applied", {})
    if sum(map(Decimal, record["_applied"].values()), Decimal(0)) > record["total"]:
        raise Refused("USER_ERROR", "The total cannot be less than what is already applied to this invoice.")
    company.impact(record, [(receivable, record["total"]), *((account, -amount) for account, amount in postings)])
    record.setdefault("tranId", record.get("externalId"))
    settle(record)


def _credit_memo(company: Company, record: Json, known: Json) -> None:
    postings = company.priced(record)
    receivable = company.receivables(record, "account")
    applied = company.applied(record, record["entity"]["internalId"], known.get("internalId", ""), record["total"])
    record["amountRemaining"] = record["unapplied"]
    record["status"] = "Open" if record["unapplied"] else "Fully Applied"
    company.impact(record, [(receivable, -record["total"]), *postings])
    rate, gain = Decimal(record["exchangeRate"]), Decimal(0)
    for document, amount in applied.items():
        invoice = company.shelf.get("invoice", document)
        assert invoice is not None
        gain += cents(amount * rate) - cents(amount * Decimal(invoice["exchangeRate"]))
    if gain:
        record["_impact"] += [[receivable, gain], [company.system_account(REALISED), -gain]]


def _customer_payment(company: Company, record: Json, known: Json) -> None:
    record["payment"] = record["total"] = cents(record["payment"])
    if record["payment"] <= 0:
        raise Refused("NEGATIVE_PAYMENT_DISALLWD", "The payment amount must be greater than zero.")
    if record.get("undepFunds") is not False or not record.get("account"):
        raise missing("Account (undepFunds false)")
    receivable = company.receivables(record, "arAcct")
    own = known.get("internalId", "")
    applied = company.applied(record, record["customer"]["internalId"], own, record["payment"])
    record["status"] = "Deposited"
    received = cents(record["payment"] * Decimal(record["exchangeRate"]))
    worth = company.worth(applied, own) + cents(record["unapplied"] * Decimal(record["exchangeRate"]))
    record["_impact"] = [[record["account"]["internalId"], received], [receivable, -worth]]
    if gain := received - worth:
        record["_impact"].append([company.system_account(REALISED), -gain])


def _journal_entry(company: Company, record: Json, _known: Json) -> None:
    impact = []
    for number, line in enumerate(record["lineList"].get("line", []), 1):
        debit, credit = cents(line.get("debit") or 0), cents(line.get("credit") or 0)
        if not line.get("account") or (debit == 0) == (credit == 0):
            raise Refused(
                "JE_LINE_MISSING_REQD_DATA", f"Line {number} needs an account and either a debit or a credit."
            )
        account = company.refer("account", "account", line["account"])
        line |= {"account": company.shown("account", account), "line": number}
        impact.append((account["internalId"], debit - credit))
    if len(impact) < 2:
        raise Refused("JE_LINE_MISSING_REQD_DATA", "A journal entry needs at least two lines.")
    if sum(amount for _, amount in impact) != 0:
        raise Refused("JE_AMOUNTS_MUST_BALANCE", "The amounts in a journal entry must balance.")
    record["approved"] = record.get("approved", True)
    company.impact(record, impact)


RULES: Mapping[str, Callable[[Company, Json, Json], None]] = {
    "invoice": _invoice,
    "creditMemo": _credit_memo,
    "customerPayment": _customer_payment,
    "journalEntry": _journal_entry,
}


# The records as tables of SuiteQL ---------------------------------------------------------------------------------

#: Kind of transaction to its type there, what its status begins with, and the sign of its total.
TYPES = {
    "invoice": ("CustInvc", "Invoice", 1),
    "creditMemo": ("CustCred", "Credit Memo", -1),
    "customerPayment": ("CustPymt", "Customer Payment", -1),
    "journalEntry": ("Journal", "Journal", 1),
}


def tables(shelf: Shelf) -> Iterator[tuple[str, Json]]:
    """Every row of every table: its name and the values by column; a name with `` shown`` is what a person sees."""
    for one in shelf.all("currency"):
        yield "currency", {"id": int(one["internalId"]), "name": one["name"]}
    for one in shelf.all("subsidiary"):
        yield "subsidiary", {"id": int(one["internalId"]), "name": one["name"], **_pointed("currency", one)}
    for one in shelf.all("accountingPeriod"):
        days = {name.lower(): suiteql.moment(one[name]) for name in ("startDate", "endDate")}
        names = ("periodName", "closed", "allLocked", "arLocked", "apLocked", "isQuarter", "isYear")
        yield "accountingperiod", {"id": int(one["internalId"]), **days, **{name.lower(): one[name] for name in names}}
    for one in shelf.all("account"):
        kind = one["acctType"].removeprefix("_")
        yield (
            "account",
            {**_named(one), "acctnumber": one.get("acctNumber"), "fullname": one["acctName"], "accttype": kind},
        )
    for one in shelf.all("serviceSaleItem"):
        yield "item", {**_named(one), **_stamps(one, "createdDate"), "itemid": one["itemId"], "itemtype": "Service"}
    for one in shelf.all("customer"):
        row = {name.lower(): one.get(name) for name in ("entityId", "companyName", "email")}
        refers = {**_pointed("currency", one), **_pointed("subsidiary", one)}
        yield "customer", {
            **_named(one), **row, **refers, **_stamps(one, "dateCreated"), "isinactive": one.get("isInactive", False)
        }  # fmt: skip
    for one in shelf.all("deletedRecord"):
        day = suiteql.moment(one["deletedDate"])
        yield "deletedrecord", {"recordid": int(one["recordId"]), "type": one["type"].lower(), "deleteddate": day}
    for kind in TYPES:
        for one in shelf.all(kind):
            yield from _transaction_rows(kind, one)


def _transaction_rows(kind: str, one: Json) -> Iterator[tuple[str, Json]]:
    code, label, sign = TYPES[kind]
    ident, status = int(one["internalId"]), one.get("status", "Approved for Posting")
    party = {"entity": one.get("entity") or one.get("customer") or {}}
    total = one.get("payment", one.get("total"))
    yield "transaction", {
        **_named(one), **_stamps(one, "createdDate"), **_pointed("currency", one), **_pointed("entity", party),
        **_pointed("postingPeriod", one), "type": code, "tranid": one.get("tranId"), "memo": one.get("memo"),
        "trandate": suiteql.moment(one["tranDate"]), "exchangerate": str(one["exchangeRate"]),
        "foreigntotal": None if total is None else str(sign * Decimal(total)), "status": status[:1],
        "status shown": f"{label} : {status}", "voided": status == "Voided", "posting": True,
    }  # fmt: skip
    lines = _line_rows(kind, one)
    for number in range(max(len(lines), len(one["_impact"]))):
        line = lines[number] if number < len(lines) else {}
        place = {"transaction": ident, "linesequencenumber": number, "mainline": number == 0, "taxline": False}
        yield "transactionline", {
            **place, "id": number, "uniquekey": ident * 10_000 + number, **_pointed("subsidiary", one), **line
        }  # fmt: skip
    for number, (account, amount) in enumerate(one["_impact"]):
        side = {"debit" if Decimal(amount) >= 0 else "credit": str(abs(Decimal(amount)))}
        yield "transactionaccountingline", {
            "transaction": ident, "transactionline": number, "accountingbook": 1, "account": int(account),
            "amount": str(amount), **side, "exchangerate": str(one["exchangeRate"]), "posting": True,
        }  # fmt: skip


def _line_rows(kind: str, one: Json) -> list[Json]:
    """The lines as people enter them, the main one first: amounts in their currency, debits above zero."""
    if kind == "journalEntry":
        amounts = [Decimal(li.get("debit") or 0) - Decimal(li.get("credit") or 0) for li in one["lineList"]["line"]]
        return [{"foreignamount": str(amount)} for amount in amounts]
    if kind == "customerPayment":
        return [{"foreignamount": str(one["payment"])}, {"foreignamount": str(-Decimal(one["payment"]))}]
    sign = 1 if kind == "invoice" else -1
    items = [
        {
            **_pointed("item", line),
            "foreignamount": str(-sign * Decimal(line["amount"])),
            "memo": line.get("description"),
        }
        for line in one["itemList"]["item"]
    ]
    return [{"foreignamount": str(sign * Decimal(one["total"]))}, *items]


def _named(one: Json) -> Json:
    return {"id": int(one["internalId"]), "externalid": one.get("externalId")}


def _stamps(one: Json, created: str) -> Json:
    """When it was made and changed, to the second."""
    made, changed = (suiteql.moment(one[name][:19]) for name in (created, "lastModifiedDate"))
    return {created.lower(): made, "lastmodifieddate": changed}


def _pointed(field: str, one: Json) -> Json:
    """A reference: the id, and what a person sees."""
    reference = one.get(field)
    if not reference:
        return {}
    name = field.lower()
    return {name: int(reference["internalId"]), f"{name} shown": reference.get("name")}


def settle(invoice: Json) -> None:
    """What is paid, what is left and the status of an invoice, from what is applied to it."""
    paid = sum(map(Decimal, invoice["_applied"].values()), Decimal(0))
    invoice["amountPaid"], invoice["amountRemaining"] = paid, Decimal(invoice["total"]) - paid
    invoice["status"] = "Open" if invoice["amountRemaining"] else "Paid In Full"


def merged(known: Json, given: Json) -> Json:
    """What is sent over what is kept: named null fields go, a sublist is replaced unless it says otherwise."""
    record = {**known, **{name: value for name, value in given.items() if name not in ("@type", "nullFieldList")}}
    for name in (given.get("nullFieldList") or {}).get("name", []):
        record.pop(name, None)
    for sublist, line in SUBLISTS.items():
        if (given.get(sublist) or {}).get("replaceAll", True) is False:
            record[sublist] = {line: [*(known.get(sublist) or {}).get(line, []), *given[sublist].get(line, [])]}
    return record


def _posted(record: Json) -> Any:
    """What the general ledger has of a transaction."""
    impact = [(account, Decimal(amount)) for account, amount in record["_impact"]]
    return record["tranDate"], record["postingPeriod"]["internalId"], impact


def takes_postings(period: Json) -> None:
    """Refused when a period is closed."""
    if period["closed"] or period["arLocked"]:
        name = period["periodName"]
        raise Refused("CLOSED_TRAN_PRD", f"You cannot post to {name}: the accounting period is closed.")


def midnight(day: date) -> str:
    return datetime.combine(day, time(), ZONE).isoformat(timespec="milliseconds")


def local_day(text: str) -> date:
    """The calendar day of a dateTime in the company's zone; one without an offset is taken as it stands."""
    instant = datetime.fromisoformat(text)
    return (instant.astimezone(ZONE) if instant.tzinfo else instant).date()


def meets(record: Json, field: str, criterion: Json) -> bool:
    """Whether a record meets one criterion of a search."""
    value, wanted, operator = record.get(field), criterion.get("searchValue"), criterion.get("operator")
    if field in ("isQuarter", "isYear"):
        return value is wanted
    if field in ("internalId", "externalId"):
        listed = value in {reference.get("internalId") or reference.get("externalId") for reference in wanted or []}
        return listed is (operator == "anyOf")
    if field in ("lastModifiedDate", "startDate"):
        at, bound = datetime.fromisoformat(str(value)), datetime.fromisoformat(wanted)
        tests = {"onOrAfter": at >= bound, "after": at > bound, "onOrBefore": at <= bound, "before": at < bound}
        if operator not in tests:
            raise Refused("INVALID_SEARCH", f"The emulator does not know the date operator {operator}.")
        return tests[operator]
    value = record.get({"number": "acctNumber"}.get(field, field), "")
    tests = {
        "is": value == wanted,
        "startsWith": str(value).startswith(wanted or ""),
        "contains": (wanted or "") in value,
    }
    if operator not in tests:
        raise Refused("INVALID_SEARCH", f"The emulator does not know the text operator {operator}.")
    return tests[operator]


# The service ------------------------------------------------------------------------------------------------------

OK: Json = {"isSuccess": True}


def refusal(error: Refused) -> Json:
    return {"isSuccess": False, "statusDetail": [{"code": error.code, "message": str(error), "type": "ERROR"}]}


class Service:
    """Takes envelopes apart, checks who sends them, and lets the company answer."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self._documents: tuple[list[FieldChange], soap.Documents] = [], soap.Documents()
        self.running = 0
        self._nonces: OrderedDict[str, datetime] = OrderedDict()
        self._searches: OrderedDict[str, list[tuple[str, str]]] = OrderedDict()
        self._jobs: dict[str, Json] = {}

    async def queries(self, request: Request) -> Response:
        """``POST /services/rest/query/v1/suiteql``."""
        body = await request.body()
        if self.running >= CONCURRENCY:
            return rest_error(429, "CONCURRENCY_LIMIT_EXCEEDED", "Concurrent request limit exceeded. Request blocked.")
        self.running += 1
        try:
            return await run_in_threadpool(self.queried, request, body)
        finally:
            self.running -= 1

    def queried(self, request: Request, body: bytes) -> Response:
        try:
            self._admit_rest(request)
        except Faulted as fault:
            return rest_error(401, "INVALID_LOGIN", str(fault))
        wants = [one.strip() for one in request.headers.get("prefer", "").split(",")]
        if "transient" not in wants:
            return rest_error(400, "INVALID_HEADER", "The required request header 'Prefer' is missing: 'transient'.")
        try:
            limit, offset = (int(request.query_params.get(name, of)) for name, of in (("limit", 1000), ("offset", 0)))
            query = read_json(body)["q"]
        except (ValueError, KeyError, TypeError):
            return rest_error(400, "INVALID_CONTENT", "The request is not valid: it needs a query under 'q'.")
        if not 1 <= limit <= 1000 or offset < 0 or offset % limit:
            return rest_error(
                400, "INVALID_PARAMETER", "Invalid limit or offset: an offset is a multiple of the limit."
            )
        with self.company.lock:
            self.company.open_books()
            try:
                found = self.company.query(query)[:MOST_ROWS]
            except suiteql.Invalid as error:
                return rest_error(400, "INVALID_PARAMETER", f"Invalid search query. {error}.")
        page = found[offset : offset + limit]
        answer = {
            "links": [{"rel": "self", "href": str(request.url)}],
            "count": len(page),
            "hasMore": offset + limit < len(found),
            "items": page,
            "offset": offset,
            "totalResults": len(found),
        }
        return ExactJSONResponse(answer, media_type=RESOURCE)

    def _admit_rest(self, request: Request) -> None:
        """Faulted unless the request is signed by OAuth 1.0 (RFC 5849, HMAC-SHA256) as our one integration."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        parts = {
            unquote(name): unquote(value.strip('"'))
            for name, _, value in (one.strip().partition("=") for one in given.split(","))
        }
        signed = {
            name: value for name, value in parts.items() if name.startswith("oauth_") and name != "oauth_signature"
        }
        pairs = sorted((_escaped(k), _escaped(v)) for k, v in [*signed.items(), *request.query_params.multi_items()])
        query = "&".join("=".join(pair) for pair in pairs)
        address = str(request.url.replace(query=""))
        text = "&".join(map(_escaped, (request.method, address.rstrip("?"), query)))
        digest = hmac.new(f"{CONSUMER_SECRET}&{TOKEN_SECRET}".encode(), text.encode(), hashlib.sha256).digest()
        good = (
            scheme == "OAuth"
            and parts.get("realm") == ACCOUNT
            and (parts.get("oauth_consumer_key"), parts.get("oauth_token")) == (CONSUMER_KEY, TOKEN)
            and parts.get("oauth_signature_method") == "HMAC-SHA256"
            and hmac.compare_digest(b64encode(digest).decode(), parts.get("oauth_signature", ""))
            and parts.get("oauth_timestamp", "").isdecimal()
        )
        self._fresh(parts.get("oauth_nonce", ""), int(parts["oauth_timestamp"]) if good else 0)

    def own_types(self) -> AbstractContextManager[None]:
        """Inside, the types are those of the account's own endpoint."""
        return soap.TYPES.of(self.company.shelf, _as_changed)

    @property
    def documents(self) -> soap.Documents:
        """Those of the account that answers now; made anew when its types changed."""
        wanted = changes(self.company.shelf)
        if self._documents[0] != wanted:
            with self.own_types():
                self._documents = wanted, soap.Documents()
        return self._documents[1]

    async def endpoint(self, request: Request) -> Response:
        body = await request.body()
        if self.running >= CONCURRENCY:
            return fault_response(BLOCKED)
        self.running += 1
        try:
            return await run_in_threadpool(self.answer, body, str(request.base_url).rstrip("/"))
        finally:
            self.running -= 1

    def answer(self, body: bytes, base_url: str) -> Response:
        with self.company.lock, self.own_types():
            self.company.open_books()
            try:
                header, message = self._opened(body)
                operation = etree.QName(message).localname
                if operation != "getDataCenterUrls":
                    self._admit(header.get("tokenPassport"), "applicationInfo" in header)
                request = soap.read(message, soap.ELEMENTS[f"msgs:{operation}"])
                return enveloped(operation, self._done(operation, request, header, base_url))
            except Faulted as fault:
                return fault_response(fault)

    def _opened(self, body: bytes) -> tuple[Json, Any]:
        """The header parts and the message, valid by the schema. Faulted when they are not."""
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
        try:
            root = etree.fromstring(body, parser)
        except etree.XMLSyntaxError as error:
            raise Faulted("", "", f"org.xml.sax.SAXParseException: {error.msg}") from None
        if root.getroottree().docinfo.doctype:
            raise Faulted("", "", "org.xml.sax.SAXParseException: DOCTYPE is disallowed")
        parts = root.find(f"{{{soap.SOAP}}}Header")
        messages = root.findall(f"{{{soap.SOAP}}}Body/*")
        if len(messages) != 1 or etree.QName(messages[0]).localname not in soap.OPERATIONS:
            raise Faulted("", "", "org.xml.sax.SAXException: the operation is not known")
        header = {}
        for element in [*(parts if parts is not None else []), messages[0]]:
            if not self.documents.schema.validate(element):
                raise Faulted("", "", f"org.xml.sax.SAXException: {self.documents.schema.error_log.last_error.message}")
            name = f"msgs:{etree.QName(element).localname}"
            if element is not messages[0]:
                header[name.removeprefix("msgs:")] = soap.read(element, soap.ELEMENTS[name])
        return header, messages[0]

    def _admit(self, passport: Json | None, with_application: bool) -> None:
        """Faulted unless the token passport is signed by our one integration, fresh, and used the first time."""
        refused = Faulted("invalidCredentialsFault", "INVALID_LOGIN_CREDENTIALS", "Invalid login attempt.")
        if passport is None:
            raise refused
        if with_application:
            raise Faulted("invalidCredentialsFault", "USER_ERROR", "Ambiguous authentication")
        identity = (passport["account"], passport["consumerKey"], passport["token"])
        text = "&".join((*identity, passport["nonce"], str(passport["timestamp"])))
        digest = hmac.new(f"{CONSUMER_SECRET}&{TOKEN_SECRET}".encode(), text.encode(), hashlib.sha256).digest()
        good = (
            identity == (ACCOUNT, CONSUMER_KEY, TOKEN)
            and passport["signature"]["algorithm"] == "HMAC-SHA256"
            and hmac.compare_digest(b64encode(digest).decode(), passport["signature"]["text"])
        )
        self._fresh(passport["nonce"], passport["timestamp"] if good else 0)

    def _fresh(self, nonce: str, timestamp: int) -> None:
        """Keep a nonce. Faulted when it was used before, or when its timestamp is too far from our clock."""
        now = self.company.now()
        if abs(now.timestamp() - timestamp) > WINDOW or nonce in self._nonces:
            raise Faulted("invalidCredentialsFault", "INVALID_LOGIN_CREDENTIALS", "Invalid login attempt.")
        self._nonces[nonce] = now
        while self._nonces and next(iter(self._nonces.values())) < now - timedelta(seconds=2 * WINDOW):
            self._nonces.popitem(last=False)

    def _done(self, operation: str, request: Json, header: Json, base_url: str) -> Json:
        """The body of the answer to one operation."""
        company = self.company
        match operation:
            case "add" | "upsert":
                return {"writeResponse": self._written(request["record"], adding=operation == "add")}
            case "delete":
                return {"writeResponse": self._deleted(request["baseRef"])}
            case "upsertList":
                within_limit(request["record"])
                return {
                    "writeResponseList": {"status": OK, "writeResponse": list(map(self._written, request["record"]))}
                }
            case "asyncUpsertList":
                within_limit(request["record"])
                ident = f"ASYNCWEBSERVICES_{ACCOUNT}_{company.shelf.next('job')}"
                self._jobs[ident] = {"state": "pending", "records": request["record"]}
                return {"asyncStatusResult": job_status(ident, "pending")}
            case "checkAsyncStatus":
                return {"asyncStatusResult": job_status(request["jobId"], self._worked_on(request["jobId"]))}
            case "getAsyncResult":
                return {"asyncResult": self._job_result(request["jobId"], request["pageIndex"])}
            case "get":
                return {"readResponse": self._read(request["baseRef"])}
            case "getList":
                within_limit(request["baseRef"])
                return {"readResponseList": {"status": OK, "readResponse": list(map(self._read, request["baseRef"]))}}
            case "search":
                return {"searchResult": self._searched(request["searchRecord"], header)}
            case "searchMoreWithId":
                return {"searchResult": self._page(request["searchId"], request["pageIndex"], header)}
            case "getCustomizationId":
                kind = request["customizationType"]["getCustomizationType"]
                found = [
                    {"type": kind, **{name: one[name] for name in ("internalId", "scriptId")}}
                    for one in company.customizations(kind)
                ]
                listed = {"customizationRefList": {"customizationRef": found}} if found else {}
                return {"getCustomizationIdResult": {"status": OK, "totalRecords": len(found), **listed}}
            case "getServerTime":
                now = company.now().astimezone(ZONE).isoformat(timespec="milliseconds")
                return {"getServerTimeResult": {"status": OK, "serverTime": now}}
            case "getDataCenterUrls":
                urls = dict.fromkeys(("restDomain", "webservicesDomain", "systemDomain"), base_url)
                return {"getDataCenterUrlsResult": {"status": OK, "dataCenterUrls": urls}}
            case _:
                return {"getPostingTransactionSummaryResult": self._summary(request)}

    def _written(self, record: Json, *, adding: bool = False) -> Json:
        try:
            return {"status": OK, "baseRef": self.company.write(record, adding=adding)}
        except Refused as error:
            return {"status": refusal(error)}

    def _deleted(self, reference: Json) -> Json:
        kind, ident = reference.get("type", ""), reference.get("internalId") or reference.get("externalId") or ""
        try:
            if kind not in RULES:
                raise Refused("INVALID_RCRD_TYPE", f"The emulator deletes transactions only, and no {kind}.")
            found = self.company.held(kind, reference)
            if found is None:
                raise Refused("INVALID_KEY_OR_REF", f"Invalid {kind} reference key {ident}.")
            self.company.delete(kind, found["internalId"])
        except Refused as error:
            return {"status": refusal(error)}
        return {"status": OK, "baseRef": {"@type": "core:RecordRef", "internalId": found["internalId"], "type": kind}}

    def _job(self, ident: str) -> Json:
        if ident not in self._jobs:
            raise Faulted("asyncFault", "INVALID_JOB_ID", f"The job id {ident} is not valid.")
        return self._jobs[ident]

    def _worked_on(self, ident: str) -> str:
        """The state of a job, which goes on one step with each look: pending, processing, finished."""
        job = self._job(ident)
        if job["state"] == "processing":
            job["answers"] = list(map(self._written, job["records"]))
            failed = any(not one["status"]["isSuccess"] for one in job["answers"])
            job["state"] = "finishedWithErrors" if failed else "finished"
        elif job["state"] == "pending":
            job["state"] = "processing"
        return str(job["state"])

    def _job_result(self, ident: str, page: int) -> Json:
        answers = self._job(ident).get("answers")
        if answers is None:
            raise Faulted("asyncFault", "JOB_NOT_COMPLETE", f"The job {ident} is not complete.")
        shown = answers[(page - 1) * JOB_PAGE : page * JOB_PAGE]
        if not shown:
            raise Faulted("asyncFault", "INVALID_PAGE_INDEX", f"There is no page {page}.")
        return {"@type": "msgs:AsyncUpsertListResult", "writeResponseList": {"status": OK, "writeResponse": shown}}

    def _read(self, reference: Json) -> Json:
        try:
            return {"status": OK, "record": self.company.read(reference)}
        except Refused as error:
            return {"status": refusal(error)}

    def _searched(self, search: Json, header: Json) -> Json:
        try:
            found = self.company.search(search["@type"], search.get("basic", {}))
        except Refused as error:
            return {"status": refusal(error)}
        ident = f"WEBSERVICES_{ACCOUNT}_{self.company.shelf.next('search')}"
        self._searches[ident] = found
        while len(self._searches) > 100:
            self._searches.popitem(last=False)
        return self._page(ident, 1, header)

    def _page(self, ident: str, index: int, header: Json) -> Json:
        preferences = header.get("searchPreferences", {})
        size = min(max(preferences.get("pageSize", 1000), 5), 1000)
        found = self._searches.get(ident)
        if found is None:
            return {"status": refusal(Refused("INVALID_SEARCH", f"There is no search {ident}."))}
        pages = -(-len(found) // size)
        if not 1 <= index <= max(pages, 1):
            return {"status": refusal(Refused("INVALID_PAGE_INDEX", f"There is no page {index}."))}
        records = []
        for kind, record_id in found[(index - 1) * size : index * size]:
            with suppress(Refused):
                records.append(self.company.read({"@type": "core:RecordRef", "type": kind, "internalId": record_id}))
        if preferences.get("bodyFieldsOnly", True):
            records = [{name: value for name, value in one.items() if name not in SUBLISTS} for one in records]
        return {
            "status": OK,
            "totalRecords": len(found),
            "pageSize": size,
            "totalPages": pages,
            "pageIndex": index,
            "searchId": ident,
            "recordList": {"record": records},
        }

    def _summary(self, request: Json) -> Json:
        size = 1000
        by = [name for name, wanted in request.get("fields", {}).items() if wanted]
        only = {
            name: {(self.company.held(kind, one) or {}).get("internalId", "") for one in listed.get("recordRef", [])}
            for name, kind in (("period", "accountingPeriod"), ("account", "account"))
            if (listed := request.get("filters", {}).get(name))
        }
        rows, index = self.company.summary(by, only), request["pageIndex"]
        pages = -(-len(rows) // size)
        page = rows[(index - 1) * size : index * size]
        return {
            "status": OK,
            "totalRecords": len(rows),
            "pageSize": size,
            "totalPages": pages,
            "pageIndex": index,
            "operationId": f"SUMMARY_{ACCOUNT}",
            "postingTransactionSummaryList": {"postingTransactionSummary": page} if page else None,
        }


def _as_changed(kind: soap.Type, wanted: Sequence[FieldChange]) -> soap.Type:
    """A custom field is no matter of the endpoint's types."""
    return soap.as_changed(kind, [one for one in wanted if not customization.is_custom(one)])


def job_status(ident: str, state: str) -> Json:
    done = Decimal(100 if state.startswith("finished") else 0)
    return {"jobId": ident, "status": state, "percentCompleted": done, "estRemainingDuration": Decimal(0)}


def within_limit(records: list[Json]) -> None:
    if len(records) > MOST_RECORDS:
        text = f"{len(records)} records are more than the {MOST_RECORDS} that one request may carry."
        raise Faulted("exceededRecordCountFault", "MAX_RCRDS_EXCEEDED", text)


BLOCKED = Faulted(
    "exceededConcurrentRequestLimitFault",
    "WS_REQUEST_BLOCKED",
    "SuiteTalk concurrent request limit exceeded. Request blocked.",
)


def enveloped(operation: str, body: Json) -> Response:
    root = etree.Element(f"{{{soap.SOAP}}}Envelope", nsmap=soap.NSMAP)
    header = etree.SubElement(root, f"{{{soap.SOAP}}}Header")
    soap.write(header, "msgs", "documentInfo", "msgs:DocumentInfo", {"nsId": f"WEBSERVICES_{ACCOUNT}"})
    response = f"{operation}Response"
    soap.write(
        etree.SubElement(root, f"{{{soap.SOAP}}}Body"), "msgs", response, soap.ELEMENTS[f"msgs:{response}"], body
    )
    return xml_response(root, 200)


def fault_response(fault: Faulted) -> Response:
    """The fault in an HTTP 500, its typed detail when it has one."""
    root = etree.Element(f"{{{soap.SOAP}}}Envelope", nsmap=soap.NSMAP)
    element = etree.SubElement(etree.SubElement(root, f"{{{soap.SOAP}}}Body"), f"{{{soap.SOAP}}}Fault")
    etree.SubElement(element, "faultcode").text = "soapenv:Server.userException"
    etree.SubElement(element, "faultstring").text = str(fault)
    detail = etree.SubElement(element, "detail")
    if fault.name:
        kind = soap.ELEMENTS[f"faults:{fault.name}"]
        soap.write(detail, "faults", fault.name, kind, {"code": fault.code, "message": str(fault)})
    host = etree.SubElement(detail, "{http://xml.apache.org/axis/}hostname")
    host.text = "sandbox"
    return xml_response(root, 500)


def xml_response(root: Any, status: int) -> Response:
    body = etree.tostring(root, xml_declaration=True, encoding="utf-8")
    return Response(body, status, media_type="text/xml")


RESOURCE = "application/vnd.oracle.resource+json"


def _escaped(text: str) -> str:
    return quote(text, safe="-._~")


def rest_error(status: int, code: str, detail: str) -> Response:
    """An error of the REST services (SuiteTalk REST guide, Error handling)."""
    kind = "https://www.rfc-editor.org/rfc/rfc9110.html#section-15"
    told = {"type": kind, "title": code, "status": status, "o:errorDetails": [{"detail": detail, "o:errorCode": code}]}
    return ExactJSONResponse(told, status, media_type=f"{RESOURCE}; type=error")


class AsAsked(Response):
    """An error in the form of the service that was asked."""

    def __init__(self, rest: Response, soap: Response) -> None:
        super().__init__()
        self.forms = {True: rest, False: soap}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.forms[scope["path"].startswith("/services/rest/")](scope, receive, send)


def fault_answer(fault: Fault) -> Response:
    """Planted faults in the vendor's form, that of REST or of SOAP."""
    limit = fault.kind == "rate_limit"
    status, code = (429, "CONCURRENCY_LIMIT_EXCEEDED") if limit else (fault.status, "UNEXPECTED_ERROR")
    return AsAsked(rest_error(status, code, "The request was not carried out."), soap_fault_answer(fault))


def soap_fault_answer(fault: Fault) -> Response:
    """A SOAP fault for the limit and for 500, a bare page for other statuses."""
    if fault.kind == "rate_limit":
        return fault_response(BLOCKED)
    if fault.status == 500:
        return fault_response(Faulted("unexpectedErrorFault", "UNEXPECTED_ERROR", "An unexpected error occurred."))
    return Response("<html><body>Service unavailable</body></html>", fault.status, media_type="text/html")


def emulator(shelf: Shelf) -> Emulator:
    company = Company(shelf)
    service = Service(company)

    async def wsdl(request: Request) -> Response:
        address = f"{str(request.base_url).rstrip('/')}/services/NetSuitePort_{soap.VERSION}"
        return Response(service.documents.wsdl(address), media_type="text/xml")

    async def xsd(request: Request) -> Response:
        document = service.documents.files.get(request.path_params["name"])
        return Response(document or b"", 200 if document else 404, media_type="text/xml")

    async def periods(request: Request) -> Response:
        wanted = read_json(await request.body())
        with company.lock:
            try:
                lenient = bool(wanted.get("allowNonGLChanges"))
                return JSONResponse(company.close_period(request.path_params["month"], bool(wanted["closed"]), lenient))
            except KeyError:
                return JSONResponse({"error": f"there is no period {request.path_params['month']}"}, 404)

    async def records(request: Request) -> Response:
        with company.lock:
            try:
                company.delete(request.path_params["kind"], request.path_params["ident"])
            except KeyError:
                return JSONResponse({"error": "there is no such record"}, 404)
            except Refused as error:
                return JSONResponse({"error": str(error)}, 409)
        return JSONResponse({})

    async def clock(request: Request) -> Response:
        wanted = read_json(await request.body())
        company.offset = datetime.fromisoformat(wanted["now"]) - shelf.now()
        return JSONResponse({"now": company.now().isoformat()})

    folder = f"/wsdl/v{soap.VERSION}_0"
    made = Emulator(
        "netsuite",
        [
            Route(f"{folder}/netsuite.wsdl", wsdl),
            Route(f"{folder}/xsd/{{name}}", xsd),
            Route(f"/services/NetSuitePort_{soap.VERSION}", service.endpoint, methods=["POST"]),
            Route("/services/rest/query/v1/suiteql", service.queries, methods=["POST"]),
            Route("/_sandbox/periods/{month}", periods, methods=["POST"]),
            Route("/_sandbox/records/{kind}/{ident}", records, methods=["DELETE"]),
            Route("/_sandbox/clock", clock, methods=["POST"]),
            door(shelf),
        ],
        shelf,
        fault_answer=fault_answer,
    )
    made.service = service  # type: ignore[attr-defined]
    return made
