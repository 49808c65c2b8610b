"""The records of a BillingPlatform organisation, and the bills it makes of them by a simple rater of our own.

The vendor's articles say that invoices build dynamically: an activity is rated when it arrives and stands on the
current invoice of its billing profile, until that is closed. How the vendor computes is not published; this rater:

- usage: quantity times rate, the rate of the account product or else of the product; half up to the cent, per activity;
- subscription, monthly: in advance, from the first day of service in the cycle, by days where its rating method
  prorates; yearly: whole, in the cycle with its first day or an anniversary of it;
- one-time charge: whole, in the cycle of its first day;
- what has no rate is an activity with ``ProcessStatus`` ERROR on no invoice.

A cycle is a calendar month. What is on a closed invoice does not change any more.
"""

from __future__ import annotations

import threading
from calendar import monthrange
from collections.abc import Iterator, Mapping
from datetime import UTC, date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sandbox.billingplatform_schema import FIELDS, Field, stamp
from sandbox.emulator import Shelf

Row = dict[str, str]
Given = Mapping[str, Any]
DONE, FAILED = "PROCESSED", "ERROR"


class Refused(Exception):
    """A record is refused; the others of the call go on. ``field``: the element at fault."""

    def __init__(self, code: str, text: str, field: str = "") -> None:
        super().__init__(text)
        self.code, self.field = code, field


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


class Organisation:
    """Everything one organisation holds. Not thread-safe by itself: hold ``lock``."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.lock = threading.RLock()
        self._keys: dict[tuple[str, str, str], str] = {}

    # Records

    def all(self, entity: str) -> list[Row]:
        return self.shelf.all(entity)

    def held(self, entity: str, ident: str | None) -> Row | None:
        return self.shelf.get(entity, ident) if ident else None

    def by_key(self, entity: str, field: str, value: str) -> Row | None:
        """The record that carries a value of an external key."""
        found = self.held(entity, self._keys.get((entity, field, value)))
        if found is not None and found.get(field) == value:
            return found
        return next((one for one in self.all(entity) if one.get(field) == value), None)

    def upsert(self, entity: str, given: Given, key: str) -> tuple[str, bool]:
        """The id of the one record with that key, and whether it is new."""
        value = given.get(key)
        if value in (None, ""):
            raise Refused("MISSING_KEY", f"{key} is the external key of this upsert and has no value", key)
        return self.write(entity, given, self.by_key(entity, key, str(value)))

    def write(self, entity: str, given: Given, known: Row | None = None) -> tuple[str, bool]:
        merged = {**(known or {}), **self._read(entity, given)}
        record = {name: value for name, value in merged.items() if value is not None}
        for field in FIELDS[entity].values():
            if field.required and field.name not in record:
                raise Refused("REQUIRED_FIELD", f"{field.name} is required", field.name)
            if field.is_key and (value := record.get(field.name)):
                holder = self.by_key(entity, field.name, value)
                if holder is not None and holder["Id"] != (known or {}).get("Id"):
                    raise Refused("DUPLICATE_KEY", f"another {entity} has this {field.name}", field.name)
        if entity == "ACTIVITY":
            record = self._rated(record, known)
        return self._keep(entity, record), known is None

    def _read(self, entity: str, given: Given) -> dict[str, str | None]:
        """What is given, as text. A null empties a field; a reference may be an object with an external key."""
        read: dict[str, str | None] = {}
        for name, value in given.items():
            field = FIELDS[entity].get(f"{name.removesuffix('Obj')}Id" if isinstance(value, Mapping) else name)
            if name == "Id":
                continue
            if field is None:
                raise Refused("INVALID_FIELD", f"{entity} has no field {name}", name)
            if isinstance(value, Mapping):
                read[field.name] = self._looked_up(field, name, value)
            elif value is None or value == "":
                read[field.name] = None
            else:
                text = _text(value)
                if why := field.wrong(text):
                    raise Refused("INVALID_VALUE", f"{name} {why}", name)
                if field.refers_to and self.held(field.refers_to, text) is None:
                    raise Refused("INVALID_REFERENCE", f"there is no {field.refers_to} {text}", name)
                read[field.name] = text
        return read

    def _looked_up(self, field: Field, name: str, value: Given) -> str:
        ((key, wanted),) = value.items() if len(value) == 1 else (("", ""),)
        target = FIELDS.get(field.refers_to, {}).get(key)
        if target is None or not target.is_key:
            raise Refused("INVALID_REFERENCE", f"{name} is looked up by one external key of {field.refers_to}", name)
        found = self.by_key(field.refers_to, key, str(wanted))
        if found is None:
            raise Refused("INVALID_REFERENCE", f"there is no {field.refers_to} with {key} {wanted}", name)
        return found["Id"]

    def _keep(self, entity: str, record: Row) -> str:
        now = stamp(self.shelf.now().astimezone(UTC))
        if "Id" not in record:
            record["Id"] = str(10_000 + self.shelf.next("id"))
        record.setdefault("Created", now)
        record["Updated"] = now
        self.shelf.keep(entity, record["Id"], record)
        for field in FIELDS[entity].values():
            if field.is_key and field.name in record:
                self._keys[entity, field.name, record[field.name]] = record["Id"]
        return record["Id"]

    # Bills

    def _rated(self, activity: Row, known: Row | None) -> Row:
        """An activity with its amount, on the current invoice of its cycle. Refused where that is closed."""
        if known is not None and known.get("InvoiceId"):
            invoice = self.held("INVOICE", known["InvoiceId"])
            if invoice is not None and invoice["Status"] != "CURRENT":
                raise Refused("INVOICE_CLOSED", f"it is on invoice {invoice['Id']}, which is closed", "InvoiceId")
        rate = self._rate(activity)
        if rate is None:
            return activity | {"ProcessStatus": FAILED, "ProcessDescription": "no rate was found"}
        exact = Decimal(activity["Quantity"]) * rate * Decimal(activity.get("ProrateFactor", "1"))
        invoice = self._current(activity["AccountId"], date.fromisoformat(activity["ActivityDate"]))
        return activity | {
            "StandardCostUnrounded": format(exact, "f"),
            "RatedAmount": format(cents(exact), "f"),
            "RateDate": activity["ActivityDate"],
            "CurrencyCode": self._profile(activity["AccountId"]).get("CurrencyCode", "USD"),
            "InvoiceId": invoice["Id"],
            "ProcessStatus": DONE,
        }

    def _rate(self, activity: Row) -> Decimal | None:
        bought = self.held("ACCOUNT_PRODUCT", activity.get("AccountProductId")) or {}
        product = self.held("PRODUCT", activity["ProductId"]) or {}
        rate = bought.get("RateOverride") or product.get("Rate")
        return Decimal(rate) if rate else None

    def _profile(self, account_id: str) -> Row:
        profile = next((one for one in self.all("BILLING_PROFILE") if one["AccountId"] == account_id), None)
        if profile is None:
            raise Refused("NO_BILLING_PROFILE", f"account {account_id} has no billing profile", "AccountId")
        return profile

    def _current(self, account_id: str, day: date) -> Row:
        """The current invoice of an account for the cycle of a day; a new one where there is none."""
        profile, (first, last) = self._profile(account_id), cycle(day)
        for invoice in self.all("INVOICE"):
            same = (invoice["BillingProfileId"], invoice["BillingCycleStartDate"]) == (profile["Id"], str(first))
            if same and invoice["Status"] == "CURRENT":
                return invoice
            if same:
                raise Refused("INVOICE_CLOSED", f"invoice {invoice['Id']} of this cycle is closed", "ActivityDate")
        due = last + timedelta(days=int(profile.get("PaymentTermDays", "30")))
        invoice = {
            "BillingProfileId": profile["Id"],
            "BillingCycleStartDate": str(first),
            "BillingCycleEndDate": str(last),
            "DueDate": str(due),
            "Status": "CURRENT",
            "VoidFlag": "0",
            "GrandTotalAmount": "0.00",
        }
        self._keep("INVOICE", invoice)
        return invoice

    def close(self, month: str) -> list[str]:
        """What the nightly job does at the end of a cycle: recurring and one-time charges, totals, closed invoices."""
        first, last = cycle(date.fromisoformat(f"{month}-01"))
        for bought in self.all("ACCOUNT_PRODUCT"):
            if bought.get("Status", "ACTIVE") == "ACTIVE":
                self._charge(bought, first, last)
        closed = []
        for invoice in self.all("INVOICE"):
            if invoice["Status"] == "CURRENT" and invoice["BillingCycleStartDate"] == str(first):
                lines = [one for one in self.all("ACTIVITY") if one.get("InvoiceId") == invoice["Id"]]
                whole = sum((Decimal(line["RatedAmount"]) for line in lines), Decimal(0))
                now = stamp(self.shelf.now().astimezone(UTC))
                invoice |= {"Status": "CLOSED", "ClosedDate": now, "PaymentStatus": "UNPAID"}
                invoice["GrandTotalAmount"] = format(cents(whole), "f")
                closed.append(self._keep("INVOICE", invoice))
        return closed

    def _charge(self, bought: Row, first: date, last: date) -> None:
        """The activity of a recurring or one-time charge in a cycle, where there is one and it is not there yet."""
        served = self._served(bought, first, last)
        if served is None:
            return
        begins, ends, factor = served
        for one in self.all("ACTIVITY"):
            if one.get("AccountProductId") == bought["Id"] and one.get("SubscriptionFromDate") == str(begins):
                return
        activity = {
            "AccountId": bought["AccountId"],
            "ProductId": bought["ProductId"],
            "AccountProductId": bought["Id"],
            "ActivityDate": str(max(begins, first)),
            "Quantity": bought["Quantity"],
            "SubscriptionFromDate": str(begins),
            "SubscriptionToDate": str(ends),
            "ProrateFactor": format(factor, "f"),
        }
        self._keep("ACTIVITY", self._rated(activity, None))

    def _served(self, bought: Row, first: date, last: date) -> tuple[date, date, Decimal] | None:
        """First and last day, and the part of the rate, of what falls due in a cycle; None for nothing."""
        product = self.held("PRODUCT", bought["ProductId"]) or {}
        method = self.held("RATING_METHOD", product.get("RatingMethodId")) or {}
        starts = date.fromisoformat(bought["StartDate"])
        ends = date.fromisoformat(bought.get("EndDate", "9999-12-31"))
        if starts > last or ends < first:
            return None
        match method.get("RatingMethodType"), method.get("SubscriptionCycle"):
            case "One Time Charge", _:
                return (starts, starts, Decimal(1)) if first <= starts else None
            case "Subscription", "YEARLY":
                begins = next((day for day in _anniversaries(starts) if first <= day <= last), None)
                return None if begins is None else (begins, _years_on(begins, 1) - timedelta(days=1), Decimal(1))
            case "Subscription", _:
                begins, until = max(starts, first), min(ends, last)
                days, whole = (until - begins).days + 1, (last - first).days + 1
                part = Decimal(days) / whole if method.get("ProrateSubscription") == "1" else Decimal(1)
                return begins, until, part
        return None


def cycle(day: date) -> tuple[date, date]:
    """First and last day of the calendar month of a day."""
    return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])


def _anniversaries(day: date) -> Iterator[date]:
    return (_years_on(day, years) for years in range(100))


def _years_on(day: date, years: int) -> date:
    last = monthrange(day.year + years, day.month)[1]
    return day.replace(year=day.year + years, day=min(day.day, last))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return format(value, "f") if isinstance(value, Decimal) else str(value)
