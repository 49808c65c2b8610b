"""The books of the emulated QuickBooks Online company: what is kept, and the rules a write must keep to.

Every transaction keeps what it posts (``_postings``: account id and amount in the home currency, debit positive), so
that reports are sums:

===============  =============================================  =========================================
transaction      debit                                          credit
===============  =============================================  =========================================
Invoice          receivables                                    income account of each line's item
CreditMemo       income account of each line's item             receivables
Payment          deposit account, or Undeposited Funds          receivables, at the rates of what it is applied to
JournalEntry     lines of PostingType Debit                     lines of PostingType Credit
===============  =============================================  =========================================

Receivables are the company's first account of type Accounts Receivable in the currency of the transaction; the company
makes one when it has none. What the rates of a payment and of what it pays differ by is posted to the first account of
subtype ExchangeGainOrLoss, likewise.

Assumed, for want of a published word: a foreign amount without ExchangeRate is taken one to one; the amounts of a
transaction are converted each, and the last one takes what is left of the total.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.emulator import Json, Shelf
from sandbox.quickbooks_query import Condition, Query, chosen, field_of
from sandbox.quickbooks_schema import (
    CLASSIFICATIONS,
    ENTITIES,
    KINDS,
    NAME_LISTS,
    SUBTYPES,
    Refused,
    business,
    check,
    required,
)

ZONE = ZoneInfo("America/Los_Angeles")
HOME = {"value": "USD", "name": "United States Dollar"}
CURRENCIES = {HOME["value"]: HOME["name"], "CAD": "Canadian Dollar", "EUR": "Euro", "GBP": "British Pound Sterling"}
#: Types of accounts that may be in another currency; all others are in the home currency.
FOREIGN = {"Bank", "Credit Card", "Accounts Receivable", "Accounts Payable"}
#: Settings of the company and of the sandbox, as ``/_sandbox/quickbooks`` shows and takes them.
DEFAULTS: Json = {
    "closed_through": None,
    "duplicate_numbers": "allowed",
    "custom_numbers": True,
    "webhook_form": "cloudevents",
    "multicurrency": False,
    "report_cells": 400_000,
    "lifetime": 3600,
}
#: The field of each entity that is looked up by equality, and so has an index.
INDEXED = {
    "Customer": "DisplayName",
    "Item": "Name",
    "Account": "AcctNum",
    "Class": "Name",
    "Invoice": "DocNumber",
    "CreditMemo": "DocNumber",
    "Payment": "PaymentRefNum",
    "JournalEntry": "DocNumber",
}
#: Plural by which error texts name what a reference should have led to.
NAMED_IN_ERRORS = {"Customer": "Names", "Item": "Items", "Account": "Accounts", "Class": "Classes"}
READ_ONLY = {
    *("Id", "MetaData", "domain", "sparse", "status", "Balance", "UnappliedAmt", "RemainingCredit"),
    *("HomeTotalAmt", "HomeBalance"),
}

Posting = tuple[str, Decimal]


def cents(amount: Any) -> Decimal:
    return Decimal(amount).quantize(Decimal("0.01"), ROUND_HALF_UP)


def converted(record: Json, amounts: Sequence[Decimal]) -> list[Decimal]:
    """Amounts of a transaction in the home currency."""
    rate = Decimal(record.get("ExchangeRate", 1))
    each = [cents(amount * rate) for amount in amounts]
    rest = cents(sum(amounts, Decimal(0)) * rate) - sum(each, Decimal(0))
    return [*each[:-1], each[-1] + rest] if each else []


def shown(record: Json) -> Json:
    """A record as the vendor answers it."""
    return {name: value for name, value in record.items() if not name.startswith("_")}


class Company:
    """Not thread-safe: requests are answered one after the other."""

    def __init__(self, shelf: Shelf, changed: Callable[[str, str, str, str], None]) -> None:
        """``changed`` is told of every change: entity, id, operation, time."""
        self.shelf, self.changed = shelf, changed
        self._index: dict[tuple[str, str], set[str]] = defaultdict(set)
        for entity in ENTITIES:
            for record in self.all(entity):
                self._remember(entity, record)

    def now(self) -> datetime:
        return self.shelf.now()

    @property
    def settings(self) -> Json:
        return DEFAULTS | (self.shelf.get("_company", "settings") or {})

    def configure(self, changes: Json) -> Json:
        self.shelf.keep("_company", "settings", self.settings | changes)
        return self.settings

    # Finding records

    def _remember(self, entity: str, record: Json) -> None:
        self._index[entity, str(record.get(INDEXED[entity], "")).lower()].add(record["Id"])

    def get(self, entity: str, ident: str) -> Json | None:
        return self.shelf.get(KINDS[entity], ident)

    def all(self, entity: str) -> list[Json]:
        return self.shelf.all(KINDS[entity])

    def _among(self, query: Query) -> Iterable[Json]:
        """Records that may meet the conditions: by id or by the indexed field where one asks for equality."""
        for one in query.conditions:
            if one.operator not in ("=", "in") or one.name not in ("Id", INDEXED[query.entity]):
                continue
            idents = (
                set(one.values)
                if one.name == "Id"
                else set().union(*(self._index[query.entity, value.lower()] for value in one.values))
            )
            return [record for ident in idents if (record := self.get(query.entity, ident))]
        return self.all(query.entity)

    def select(self, query: Query) -> list[Json]:
        return [shown(record) for record in chosen(query, self._among(query))]

    def refer(self, entity: str, reference: Any, name: str) -> Json:
        """The record a reference means. Refused when there is none, or when it is inactive."""
        ident = (reference or {}).get("value")
        if not ident:
            raise required(name)
        record = self.get(entity, ident)
        if record is None:
            noun = NAMED_IN_ERRORS.get(entity, "Transactions")
            raise Refused("2500", "Invalid Reference Id", f"Invalid Reference Id : {noun} element id {ident} not found")
        if record.get("Active") is False:
            detail = "Object Not Found : Something you're trying to use has been made inactive. Check the fields with"
            raise Refused("610", "Object Not Found", f"{detail} accounts, customers, items, vendors or employees.")
        shown_as = record.get("DisplayName") or record.get("Name") or ident
        reference["name"] = shown_as
        return record

    # Writing records

    def save(self, entity: str, given: Json) -> Json:
        """Creates, or updates where ``Id`` is given. ``sparse`` keeps the fields that are not given."""
        check(ENTITIES[entity], given, "")
        known: Json | None = None
        if given.get("Id"):
            known = self._current(entity, given)
        base = {name: known[name] for name in known if name.startswith("_") or given.get("sparse")} if known else {}
        computed = READ_ONLY if entity == "Payment" else READ_ONLY | {"TotalAmt"}
        fresh = {name: value for name, value in given.items() if name not in computed and value not in (None, "")}
        record = base | fresh
        ident = known["Id"] if known else str(self.shelf.next("name" if entity in NAME_LISTS else "transaction"))
        record |= {"Id": ident, "domain": "QBO", "sparse": False}
        record["SyncToken"] = str(int(known["SyncToken"]) + 1) if known else "0"
        RULES[entity](self, record, known or {})
        stamp = self._stamp(known)
        record["MetaData"] = {
            "CreateTime": known["MetaData"]["CreateTime"] if known else stamp,
            "LastUpdatedTime": stamp,
        }
        if known:
            self._index[entity, str(known.get(INDEXED[entity], "")).lower()].discard(ident)
        self.shelf.keep(KINDS[entity], ident, record)
        self._remember(entity, record)
        if entity == "Payment":
            self._settle(record, known or {})
        self.changed(entity, ident, "Update" if known else "Create", stamp)
        return shown(record)

    def _current(self, entity: str, given: Json) -> Json:
        """The record to be changed. Refused when it is gone, or was changed since its SyncToken was read."""
        known = self.get(entity, given["Id"])
        if known is None:
            detail = "Object Not Found : Another user has deleted this transaction."
            raise Refused("610", "Object Not Found", detail)
        if "SyncToken" not in given:
            raise required("SyncToken")
        if str(given["SyncToken"]) != known["SyncToken"]:
            detail = "Stale Object Error : You and another user were working on this at the same time."
            raise Refused("5010", "Stale Object Error", f"{detail} The other finished before you did.")
        return known

    def delete(self, entity: str, given: Json) -> Json:
        """Removes a transaction; change data capture shows it as deleted from now on."""
        if entity in NAME_LISTS:
            raise Refused("500", "Unsupported Operation", "Operation delete is not supported.")
        if not given.get("Id"):
            raise required("Id")
        known = self._current(entity, given)
        self._open(known["TxnDate"])
        if known.get("_applied"):
            raise business("A payment is applied to this transaction; delete the payment first.")
        stamp = self._stamp(known)
        self.shelf.drop(KINDS[entity], known["Id"])
        self._index[entity, str(known.get(INDEXED[entity], "")).lower()].discard(known["Id"])
        if entity == "Payment":
            self._settle({"Id": known["Id"], "_applies": {}}, known)
        stub = {"domain": "QBO", "status": "Deleted", "Id": known["Id"], "MetaData": {"LastUpdatedTime": stamp}}
        self.shelf.keep("_deleted", f"{entity}/{known['Id']}", {"entity": entity, **stub})
        self.changed(entity, known["Id"], "Delete", stamp)
        return {"domain": "QBO", "status": "Deleted", "Id": known["Id"]}

    def void(self, entity: str, given: Json) -> Json:
        """Leaves a payment with an amount of zero, applied to nothing; what it paid is open again."""
        if entity != "Payment":
            raise Refused("500", "Unsupported Operation", f"Voiding of {entity} is not supported here.")
        if not given.get("Id"):
            raise required("Id")
        if given.get("sparse") is not True:
            raise required("sparse")
        known = self._current(entity, given)
        note = " - ".join(filter(None, ("Voided", known.get("PrivateNote"))))
        return self.save(entity, {**given, "TotalAmt": 0, "Line": [], "PrivateNote": note})

    def _stamp(self, known: Json | None) -> str:
        """The present in the company's zone; a change is never before the one it follows."""
        now = self.now().astimezone(ZONE).replace(microsecond=0)
        if known:
            now = max(now, datetime.fromisoformat(known["MetaData"]["LastUpdatedTime"]))
        return now.isoformat()

    def changes(self, entity: str, since: datetime) -> list[Json]:
        """What change data capture shows: living records and stubs of deleted ones."""
        stubs = [
            {name: value for name, value in stub.items() if name != "entity"}
            for stub in self.shelf.where("_deleted", entity=entity)
        ]
        living = [shown(record) for record in self.all(entity)]
        return [
            one
            for one in [*living, *stubs]
            if datetime.fromisoformat(field_of(one, "MetaData.LastUpdatedTime")) >= since
        ]

    # Rules

    def _unique(self, entity: str, record: Json, name: str) -> None:
        query = Query(
            entity, conditions=[Condition(name, "=", (record[name],)), Condition("Active", "in", ("true", "false"))]
        )
        if any(one["Id"] != record["Id"] for one in self.select(query)):
            detail = f"The name supplied already exists. : Another {entity.lower()} is already using this {name}."
            raise Refused("6240", "Duplicate Name Exists Error", detail)

    def _named(self, entity: str, record: Json, name: str) -> None:
        """What name lists have in common: a name without colon, unique; a parent; being active."""
        if not record.get(name):
            raise required(name)
        if any(mark in record[name] for mark in ":\t\n"):
            detail = f"Property {name} must not have a colon, tab or new line"
            raise Refused("2040", "Invalid String", detail, element=name)
        record.setdefault("Active", True)
        self._unique(entity, record, name)
        parent = self.refer(entity, record["ParentRef"], "ParentRef") if record.get("ParentRef") else None
        record["FullyQualifiedName"] = f"{parent['FullyQualifiedName']}:{record[name]}" if parent else record[name]
        if parent and entity != "Customer":
            record["SubClass" if entity == "Class" else "SubItem" if entity == "Item" else "SubAccount"] = True

    def customer(self, record: Json, known: Json) -> None:
        if not record.get("DisplayName"):
            parts = [record.get(part) for part in ("Title", "GivenName", "MiddleName", "FamilyName", "Suffix")]
            record["DisplayName"] = " ".join(part for part in parts if part)
        self._named("Customer", record, "DisplayName")
        if address := (record.get("PrimaryEmailAddr") or {}).get("Address"):
            before, at, after = address.rpartition("@")
            if not (before and at and "." in after):
                detail = "Email Address does not conform to the syntax rules of RFC 822."
                raise Refused("2210", "Email Address does not conform to the syntax rules", detail, element="Address")
        self._in_currency(record, known)
        record.setdefault("Job", False)

    def item(self, record: Json, known: Json) -> None:
        self._named("Item", record, "Name")
        if record.setdefault("Type", "Service") not in ("Service", "NonInventory"):
            raise Refused("2170", "Invalid Enumeration", f"Invalid Enumeration : {record['Type']}", element="Type")
        account = self.refer("Account", record.get("IncomeAccountRef"), "IncomeAccountRef")
        if account["AccountType"] in ("Accounts Receivable", "Accounts Payable"):
            raise business("An item cannot post its sales to receivables or payables.")
        record.setdefault("Taxable", False)
        record.setdefault("UnitPrice", Decimal(0))

    def account(self, record: Json, known: Json) -> None:
        self._named("Account", record, "Name")
        if record.get("AccountType") is None and not record.get("AccountSubType"):
            raise Refused("6010", "Invalid Account.AccountType", "Either an AccountType or an AccountSubType is needed")
        if record.setdefault("AccountType", known.get("AccountType")) not in CLASSIFICATIONS:
            wrong = record["AccountType"]
            raise Refused("2170", "Invalid Enumeration", f"Invalid Enumeration : {wrong}", element="AccountType")
        if ":" in record.get("AcctNum", ""):
            raise Refused("2040", "Invalid String", "Property AcctNum must not have a colon", element="AcctNum")
        if record.get("AcctNum"):
            self._unique("Account", record, "AcctNum")
        record["Classification"] = CLASSIFICATIONS[record["AccountType"]]
        record.setdefault("AccountSubType", SUBTYPES[record["AccountType"]])
        record.setdefault("SubAccount", False)
        if record["AccountType"] not in FOREIGN:
            record["CurrencyRef"] = dict(HOME)
        self._in_currency(record, known)

    def class_(self, record: Json, known: Json) -> None:
        self._named("Class", record, "Name")
        record.setdefault("SubClass", False)

    def _in_currency(self, record: Json, known: Json) -> str:
        """The currency of a record, the home currency where it says none; that of a name or account never changes."""
        before = known.get("CurrencyRef") or HOME
        currency = str((record.get("CurrencyRef") or before).get("value"))
        if currency != HOME["value"] and not self.settings["multicurrency"]:
            raise business("Multi Currency should be enabled to perform this operation.")
        if currency not in CURRENCIES:
            raise Refused(
                "2500", "Invalid Reference Id", f"Invalid Reference Id : Currency element id {currency} not found"
            )
        if known and currency != before["value"]:
            raise business("The currency of a name or an account cannot be changed.")
        record["CurrencyRef"] = {"value": currency, "name": CURRENCIES[currency]}
        return currency

    def _spends(self, record: Json, other: Json, *, home: bool = False) -> None:
        """Refused unless a customer or an account is in the currency of the transaction (``home``: or the home's)."""
        allowed = {record["CurrencyRef"]["value"], *([HOME["value"]] if home else [])}
        if other["CurrencyRef"]["value"] not in allowed:
            raise business("The currency of the transaction is invalid for customer / vendor / account.")

    def _open(self, *days: str) -> None:
        closed = self.settings["closed_through"]
        if closed and min(days) <= closed:
            detail = (
                "The account period has closed and the account books cannot be updated through the QBO Services API."
            )
            raise Refused("6210", "Account Period Closed, Cannot Update Through Services API", detail)

    def _transaction(self, entity: str, record: Json, known: Json) -> None:
        """What transactions have in common: a date in open books, a currency with its rate, a number."""
        day = record.setdefault("TxnDate", self.now().astimezone(ZONE).date().isoformat())
        self._open(day, known["TxnDate"] if known else day)
        if self.settings["multicurrency"]:
            if not record.get("CurrencyRef"):
                raise required("CurrencyRef")
            rate = Decimal(record.get("ExchangeRate") or 1)
            if rate <= 0:
                raise business("The exchange rate must be greater than zero.")
            record["ExchangeRate"] = rate if self._in_currency(record, {}) != HOME["value"] else Decimal(1)
        self._in_currency(record, {})
        if INDEXED[entity] != "DocNumber":
            return
        if not record.get("DocNumber") and not self.settings["custom_numbers"]:
            record["DocNumber"] = str(1000 + self.shelf.next(f"number of {entity}"))
        if record.get("DocNumber") and self.settings["duplicate_numbers"] == "refused":
            self._other_number(entity, record)

    def _other_number(self, entity: str, record: Json) -> None:
        number = record["DocNumber"]
        for other in self.select(Query(entity, conditions=[Condition("DocNumber", "=", (number,))])):
            if other["Id"] != record["Id"]:
                detail = (
                    "Duplicate Document Number Error : You must specify a different number. This number has already"
                    f" been used. DocNumber={number} is assigned to TxnType={entity} with TxnId={other['Id']}"
                )
                raise Refused("6140", "Duplicate Document Number Error", detail)

    def _receivables(self, record: Json) -> str:
        """Id of the receivables account that the company posts a transaction to."""
        kind, currency = "Accounts Receivable", dict(record["CurrencyRef"])
        name = "Accounts Receivable (A/R)" + ("" if currency == HOME else f" - {currency['value']}")
        return self._own_account("AccountType", kind, {"Name": name, "AccountType": kind, "CurrencyRef": currency})

    def _gains(self) -> str:
        kind = "ExchangeGainOrLoss"
        given = {"Name": "Exchange Gain or Loss", "AccountType": "Other Expense", "AccountSubType": kind}
        return self._own_account("AccountSubType", kind, given)

    def _undeposited(self) -> str:
        kind = "UndepositedFunds"
        given = {"Name": "Undeposited Funds", "AccountType": "Other Current Asset", "AccountSubType": kind}
        return self._own_account("AccountSubType", kind, given)

    def _own_account(self, name: str, value: str, given: Json) -> str:
        """Id of the first account with that value in its currency; made as ``given`` when there is none."""
        currency = given.get("CurrencyRef", HOME)
        held = self.select(Query("Account", conditions=[Condition(name, "=", (value,))]))
        held = [one for one in held if one["CurrencyRef"] == currency]
        return str((held[0] if held else self.save("Account", given))["Id"])

    def _sales_lines(self, record: Json) -> Iterator[Posting]:
        """Income account and amount of each line; the record's lines are completed and a subtotal is put after them."""
        lines = [line for line in record.get("Line") or () if line.get("DetailType") != "SubTotalLineDetail"]
        if not lines:
            raise required("Line")
        subtotal = Decimal(0)
        for number, line in enumerate(lines, 1):
            line |= {"Id": str(number), "LineNum": number}
            if line.get("DetailType") == "DescriptionOnly":
                continue
            if line.get("DetailType") != "SalesItemLineDetail":
                raise (
                    required("DetailType")
                    if not line.get("DetailType")
                    else business("Line type is not supported here.")
                )
            detail = line.setdefault("SalesItemLineDetail", {})
            if line.get("Amount") is None:
                raise required("Line.Amount")
            item = self.refer("Item", detail.get("ItemRef"), "ItemRef")
            if detail.get("ClassRef"):
                self.refer("Class", detail["ClassRef"], "ClassRef")
            if (detail.setdefault("TaxCodeRef", {"value": "NON"})).get("value") not in ("TAX", "NON"):
                code = detail["TaxCodeRef"].get("value")
                text = f"Valid Line TaxCodes for US should be TAX or NON. Supplied value:{code}"
                raise Refused("6100", "Invalid Line TaxCode in the request", text)
            amount = cents(line["Amount"])
            if amount != Decimal(line["Amount"]):
                raise business("An amount has more decimals than the currency.")
            # Zero counts as not given: the widely used python-quickbooks sends it where it says nothing.
            if detail.get("Qty") and detail.get("UnitPrice"):
                if cents(Decimal(detail["Qty"]) * Decimal(detail["UnitPrice"])) != amount:
                    text = f"Amount is not equal to UnitPrice * Qty. Supplied value:{line['Amount']}"
                    raise Refused("6070", "Amount calculation incorrect in the request", text)
            else:
                quantity = Decimal(detail.get("Qty") or 1)
                detail |= {"Qty": detail.get("Qty") or 1, "UnitPrice": detail.get("UnitPrice") or amount / quantity}
            subtotal += amount
            yield item["IncomeAccountRef"]["value"], amount
        if subtotal < 0:
            raise business("Transaction amount must be 0 or greater.")
        record["Line"] = [*lines, {"Amount": subtotal, "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}}]
        record["TotalAmt"] = subtotal
        record["TxnTaxDetail"] = {"TotalTax": Decimal(0)}

    def _sale(self, entity: str, record: Json, known: Json, sign: int) -> None:
        self._transaction(entity, record, known)
        self._spends(record, self.refer("Customer", record.get("CustomerRef"), "CustomerRef"))
        income = list(self._sales_lines(record))
        record["_applied"] = known.get("_applied", {})
        open_amount = record["TotalAmt"] - sum(map(Decimal, record["_applied"].values()))
        if open_amount < 0:
            raise business("The total cannot be less than what is applied to it.")
        record["Balance"] = open_amount
        self._in_home(record)
        worth = converted(record, [amount for _, amount in income])
        earned = [[account, -sign * amount] for (account, _), amount in zip(income, worth, strict=True)]
        record["_postings"] = [[self._receivables(record), sign * sum(worth, Decimal(0))], *earned]

    def _in_home(self, record: Json) -> None:
        """What a company with several currencies also shows of a sale."""
        if self.settings["multicurrency"]:
            for name in ("TotalAmt", "Balance"):
                (record[f"Home{name}"],) = converted(record, [record[name]])

    def invoice(self, record: Json, known: Json) -> None:
        record.setdefault("LinkedTxn", [])
        self._sale("Invoice", record, known, 1)
        record.setdefault("DueDate", record["TxnDate"])

    def credit_memo(self, record: Json, known: Json) -> None:
        self._sale("CreditMemo", record, known, -1)
        record["RemainingCredit"] = record["Balance"]

    def payment(self, record: Json, known: Json) -> None:
        """Invoices it pays count against its amount, credit memos it uses for it; the rest stays unapplied."""
        self._transaction("Payment", record, known)
        customer = self.refer("Customer", record.get("CustomerRef"), "CustomerRef")
        self._spends(record, customer)
        if record.get("TotalAmt") is None:
            raise required("TotalAmt")
        whole = cents(record["TotalAmt"])
        applies: dict[str, Decimal] = {}
        left, worth = whole, Decimal(0)
        for line in record.get("Line") or ():
            for link in line.get("LinkedTxn") or ():
                entity = link.get("TxnType")
                if entity not in ("Invoice", "CreditMemo"):
                    raise Refused("2170", "Invalid Enumeration", f"Invalid Enumeration : {entity}", element="TxnType")
                document = self.get(entity, link.get("TxnId", ""))
                if document is None or document["CustomerRef"]["value"] != customer["Id"]:
                    detail = f"Txn ID {link.get('TxnId')} cannot be linked"
                    raise Refused("620", "TxnId cannot be linked", detail, element="TxnId")
                amount = cents(line.get("Amount") or 0)
                mine = Decimal(document["_applied"].get(record["Id"], 0))
                if amount <= 0 or amount > document["Balance"] + mine:
                    raise business("You can't apply more than the open balance of a transaction.")
                applies[f"{entity}/{document['Id']}"] = amount
                sign = -1 if entity == "CreditMemo" else 1
                left -= sign * amount
                worth += sign * converted(document, [amount])[0]
        if left < 0:
            raise business("You can't apply more than the amount of the payment.")
        deposit = record.get("DepositToAccountRef") or {"value": self._undeposited()}
        record["DepositToAccountRef"] = deposit
        self._spends(record, self.refer("Account", deposit, "DepositToAccountRef"), home=True)
        if record.get("ARAccountRef"):
            self._spends(record, self.refer("Account", record["ARAccountRef"], "ARAccountRef"))
        receivables = (record.get("ARAccountRef") or {}).get("value") or self._receivables(record)
        record |= {"TotalAmt": whole, "UnappliedAmt": left, "_applies": applies}
        (received,), (unapplied,) = converted(record, [whole]), converted(record, [left])
        record["_postings"] = [[deposit["value"], received], [receivables, -worth - unapplied]]
        if gain := received - worth - unapplied:
            record["_postings"].append([self._gains(), -gain])

    def _settle(self, payment: Json, known: Json) -> None:
        """Brings the documents a payment touches, now or before, up to date."""
        for place in {**known.get("_applies", {}), **payment["_applies"]}:
            entity, ident = place.split("/")
            document = self.get(entity, ident)
            assert document is not None
            document["_applied"].pop(payment["Id"], None)
            if place in payment["_applies"]:
                document["_applied"][payment["Id"]] = payment["_applies"][place]
            document["Balance"] = document["TotalAmt"] - sum(map(Decimal, document["_applied"].values()))
            self._in_home(document)
            if entity == "CreditMemo":
                document["RemainingCredit"] = document["Balance"]
            document["LinkedTxn"] = [{"TxnId": one, "TxnType": "Payment"} for one in document["_applied"]]
            document["SyncToken"] = str(int(document["SyncToken"]) + 1)
            document["MetaData"]["LastUpdatedTime"] = self._stamp(document)
            self.shelf.keep(KINDS[entity], ident, document)

    def journal_entry(self, record: Json, known: Json) -> None:
        self._transaction("JournalEntry", record, known)
        postings: list[list[Any]] = []
        if len(record.get("Line") or ()) < 2:
            raise required("Line")
        for number, line in enumerate(record["Line"]):
            line["Id"] = str(number)
            detail = line.get("JournalEntryLineDetail") or {}
            if line.get("DetailType") != "JournalEntryLineDetail" or not detail.get("PostingType"):
                raise required("JournalEntryLineDetail.PostingType")
            amount = cents(line.get("Amount") or 0)
            if amount <= 0 or amount != Decimal(line["Amount"]):
                raise business("You must enter a positive amount with two decimals on each line.")
            account = self.refer("Account", detail.get("AccountRef"), "AccountRef")
            owed = account["AccountType"] in ("Accounts Receivable", "Accounts Payable")
            if owed:
                if account["CurrencyRef"]["value"] != record["CurrencyRef"]["value"]:
                    raise business(
                        "The transaction needs to be in the same currency as the A/R and A/P accounts you use."
                    )
                if not (detail.get("Entity") or {}).get("EntityRef"):
                    raise business("When you use Accounts Receivable, you must choose a customer in the Name field.")
                self._spends(record, self.refer("Customer", detail["Entity"]["EntityRef"], "EntityRef"))
            self._spends(record, account, home=not owed)
            if detail.get("ClassRef"):
                self.refer("Class", detail["ClassRef"], "ClassRef")
            postings.append([account["Id"], amount if detail["PostingType"] == "Debit" else -amount])
        if sum(amount for _, amount in postings):
            raise business("Debits must equal credits.")
        worth = converted(record, [amount for _, amount in postings])
        record["_postings"] = [[account, amount] for (account, _), amount in zip(postings, worth, strict=True)]
        record.setdefault("Adjustment", False)

    # What was posted

    def postings(self, first: str, last: str) -> Iterator[tuple[str, Json, Decimal]]:
        """Account id, transaction and amount in the home currency (debit positive) of what is dated ``first`` to
        ``last`` inclusive."""
        for entity in ("Invoice", "CreditMemo", "Payment", "JournalEntry"):
            for record in self.all(entity):
                if first <= record["TxnDate"] <= last:
                    for account, amount in record["_postings"]:
                        yield account, record | {"_entity": entity}, Decimal(amount)


RULES: dict[str, Callable[[Company, Json, Json], None]] = {
    "Customer": Company.customer,
    "Item": Company.item,
    "Account": Company.account,
    "Class": Company.class_,
    "Invoice": Company.invoice,
    "CreditMemo": Company.credit_memo,
    "Payment": Company.payment,
    "JournalEntry": Company.journal_entry,
}
