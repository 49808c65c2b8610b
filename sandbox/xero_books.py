"""The books of the emulated Xero organisation: what is kept, the rules a write must keep to, and its journals.

Everything that is posted makes a journal in the feed, in the base currency, which is never changed: a change reverses
what was posted and posts anew.

================  ========================================  =============================================
posted            debit                                     credit
================  ========================================  =============================================
invoice           Accounts Receivable                       account of each line; sales tax
credit note       account of each line; sales tax           Accounts Receivable
payment           the account it goes to                    Accounts Receivable
refund            Accounts Receivable                       the account it comes from
manual journal    lines of a positive amount                lines of a negative one
================  ========================================  =============================================

An amount in another currency is its quotient by ``CurrencyRate``, which has 6 decimals. Payments and refunds post to
Accounts Receivable at the rate of what they pay, and what the rates differ by to Realised Currency Gains; so do
allocations of credit notes. Nothing is posted of gains that are not realised: Xero works them out in its reports.

Assumed, for want of a published word: the sentences about lengths, missing parts and payment accounts; that Xero's own
accounts cannot be written; that PUT of a contact with a number in use is refused; that amounts are converted each, and
the last one takes what is left of the total; that a document without CurrencyRate is taken one to one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from uuid import UUID, uuid5

from sandbox.emulator import Json, Shelf
from sandbox.xero_schema import Invalid, too_long

SPACE = UUID("6f1c7b0a-6a52-4d0e-9c1b-5a0f6c3f9d21")
BASE_CURRENCY = "USD"
CENT, QUANTITY, RATE = Decimal("0.01"), Decimal("0.0001"), Decimal("0.000001")
#: Settings of the organisation and of the sandbox, as ``/_sandbox/xero`` shows and takes them.
DEFAULTS: Json = {
    "period_lock": None,
    "end_of_year_lock": None,
    "currencies": [BASE_CURRENCY],
    "lifetime": 1800,
    "minute_limit": 6000,
    "day_limit": 500_000,
    "app_minute_limit": 100_000,
    "concurrent_limit": 5,
    "latency": 0,
}
#: Accounts that Xero makes itself: code, name, type, class, system account.
OWN_ACCOUNTS = (
    ("090", "Business Bank Account", "BANK", None),
    ("800", "Accounts Payable", "CURRLIAB", "CREDITORS"),
    ("820", "Sales Tax", "CURRLIAB", "GST"),
    ("860", "Rounding", "EXPENSE", "ROUNDING"),
    ("960", "Retained Earnings", "EQUITY", "RETAINEDEARNINGS"),
    ("1100", "Accounts Receivable", "CURRENT", "DEBTORS"),
)
#: Those that it makes when a second currency is added.
CURRENCY_ACCOUNTS = (
    ("497", "Bank Revaluations", "EXPENSE", "BANKCURRENCYGAIN"),
    ("498", "Unrealised Currency Gains", "EXPENSE", "UNREALISEDCURRENCYGAIN"),
    ("7000", "Realised Currency Gains", "EXPENSE", "REALISEDCURRENCYGAIN"),
)
CLASSES = {
    **dict.fromkeys(("BANK", "CURRENT", "FIXED", "INVENTORY", "NONCURRENT", "PREPAYMENT"), "ASSET"),
    **dict.fromkeys(("CURRLIAB", "LIABILITY", "TERMLIAB", "PAYG"), "LIABILITY"),
    **dict.fromkeys(("DEPRECIATN", "DIRECTCOSTS", "EXPENSE", "OVERHEADS"), "EXPENSE"),
    **dict.fromkeys(("OTHERINCOME", "REVENUE", "SALES"), "REVENUE"),
    "EQUITY": "EQUITY",
}
#: Object to the kind it is kept under, its id field, and the field that is looked up by equality.
KINDS = {
    "Contact": ("contact", "ContactID", "ContactNumber"),
    "Account": ("account", "AccountID", "Code"),
    "Item": ("item", "ItemID", "Code"),
    "Invoice": ("invoice", "InvoiceID", "InvoiceNumber"),
    "CreditNote": ("credit_note", "CreditNoteID", "CreditNoteNumber"),
    "Payment": ("payment", "PaymentID", "Reference"),
    "ManualJournal": ("manual_journal", "ManualJournalID", "Narration"),
    "TrackingCategory": ("tracking_category", "TrackingCategoryID", "Name"),
}
#: Accounts that take no manual journal (page Locked and system accounts, read 2026-11).
NO_JOURNAL = ("BANK", "DEBTORS", "CREDITORS", "BANKCURRENCYGAIN", "UNREALISEDCURRENCYGAIN")
#: What is still to be paid of a document, and what its payments are called.
OWED = {"Invoice": "AmountDue", "CreditNote": "RemainingCredit"}
PAYMENT_TYPES = {"Invoice": "ACCRECPAYMENT", "CreditNote": "ARCREDITPAYMENT"}

Posting = tuple[str, Decimal, str]
"""Account code, amount (debit positive), description."""


def cents(amount: Decimal) -> Decimal:
    return Decimal(amount).quantize(CENT, ROUND_HALF_UP)


def in_base(document: Json, amounts: Sequence[Decimal]) -> list[Decimal]:
    """Amounts of a document or payment in the base currency."""
    rate = Decimal(document["CurrencyRate"])
    each = [cents(amount / rate) for amount in amounts]
    rest = cents(sum(amounts, Decimal(0)) / rate) - sum(each, Decimal(0))
    return [*each[:-1], each[-1] + rest] if each else []


class Books:
    """Not thread-safe: requests are answered one after the other."""

    def __init__(self, shelf: Shelf, changed: Callable[[str, Json, str], None]) -> None:
        """``changed`` is told of every change that stands: object, record, ``CREATE`` or ``UPDATE``."""
        self.shelf, self.changed = shelf, changed
        self._index: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        self._undo: list[tuple[str, str, Json | None]] = []
        self._told: list[tuple[str, Json, str]] = []
        self._own = 0
        for name in KINDS:
            for record in self.all(name):
                self._remember(name, record)

    def open(self) -> None:
        """Makes the accounts that every organisation has, or one with several currencies, where they are not there."""
        own = OWN_ACCOUNTS + (CURRENCY_ACCOUNTS if len(self.settings["currencies"]) > 1 else ())
        if self.shelf.counts().get("account") and len(own) == self._own:
            return
        self._own, held = len(own), {one["Name"] for one in self.all("Account")}
        for code, name, kind, system in (one for one in own if one[1] not in held):
            code = code if not self.by_key("Account", code) else "499"
            account: Json = {"Code": code, "Name": name, "Type": kind, "TaxType": "NONE", "Status": "ACTIVE"}
            account |= {"Class": CLASSES[kind], "EnablePaymentsToAccount": False}
            account |= {"BankAccountNumber": "090-1"} if kind == "BANK" else {}
            self._keep("Account", account | ({"SystemAccount": system} if system else {}))
        self._undo.clear()
        self._told.clear()

    @property
    def settings(self) -> Json:
        return DEFAULTS | (self.shelf.get("_organisation", "settings") or {})

    def configure(self, changes: Json) -> None:
        self.shelf.keep("_organisation", "settings", self.settings | changes)

    # Keeping, and taking back

    def commit(self) -> None:
        """What was done since the last time stands; webhooks go out."""
        self._undo.clear()
        told, self._told = self._told, []
        for event in told:
            self.changed(*event)

    def roll_back(self) -> None:
        """Nothing was done since the last commit."""
        for kind, ident, before in reversed(self._undo):
            if before is None:
                self.shelf.drop(kind, ident)
            else:
                self.shelf.keep(kind, ident, before)
        self._undo.clear()
        self._told.clear()

    def _put(self, kind: str, ident: str, record: Json) -> None:
        self._undo.append((kind, ident, self.shelf.get(kind, ident)))
        self.shelf.keep(kind, ident, record)

    def _keep(self, name: str, record: Json) -> Json:
        kind, id_field, _ = KINDS[name]
        ident = record.setdefault(id_field, str(uuid5(SPACE, f"{kind}/{self.shelf.next(kind)}")))
        known = self.shelf.get(kind, ident)
        now = self.shelf.now()
        if known and "UpdatedDateUTC" in known:
            now = max(now, datetime.fromisoformat(known["UpdatedDateUTC"]))
        if name != "TrackingCategory":
            record["UpdatedDateUTC"] = now.isoformat(timespec="milliseconds")
        self._put(kind, ident, record)
        self._remember(name, record)
        self._told.append((name, record, "UPDATE" if known else "CREATE"))
        return record

    def _remember(self, name: str, record: Json) -> None:
        _, id_field, key_field = KINDS[name]
        for field in {key_field, "Name"}:
            self._index[name, field, str(record.get(field, "")).lower()].add(record[id_field])

    # Finding

    def get(self, name: str, ident: str) -> Json | None:
        return self.shelf.get(KINDS[name][0], ident)

    def all(self, name: str) -> list[Json]:
        return self.shelf.all(KINDS[name][0])

    def by_key(self, name: str, key: str, field: str = "") -> list[Json]:
        """The records whose looked-up field (or ``Name``) is ``key``, whatever its case."""
        field, low = field or KINDS[name][2], key.lower()
        found = (self.get(name, ident) for ident in sorted(self._index.get((name, field, low), ())))
        return [one for one in found if one and str(one.get(field, "")).lower() == low]

    def _account(self, code: str | None, *, beside: Sequence[str] = ()) -> Json:
        """An active account by code. Invalid for none, an archived one, and one of the types or system accounts."""
        found = self.by_key("Account", code or "")
        if not found or found[0]["Type"] in beside or found[0].get("SystemAccount") in beside:
            raise Invalid(f"Account code '{code}' is not a valid code for this document.")
        if found[0]["Status"] != "ACTIVE":
            raise Invalid(f"Account code '{code}' has been archived, or deleted.")
        return found[0]

    def _system(self, kind: str) -> str:
        return str(next(one["Code"] for one in self.all("Account") if one.get("SystemAccount") == kind))

    def _unlocked(self, day: str) -> None:
        for name, text in (("period_lock", "period lock date"), ("end_of_year_lock", "end of year lock date")):
            through = self.settings[name]
            if through and day <= through:
                shown = date.fromisoformat(through).strftime("%d-%b-%Y")
                raise Invalid(f"The document date cannot be before the {text}, currently set at {shown}")

    def _subscribed(self, currency: str) -> None:
        if currency not in self.settings["currencies"]:
            raise Invalid(f"Organisation is not subscribed to currency {currency}")

    def _rate(self, given: Json, currency: str) -> Decimal:
        """The rate that a document or payment in a currency states: units of it for one of the base currency."""
        rate = Decimal(given.get("CurrencyRate") or 1).quantize(RATE, ROUND_HALF_UP)
        if rate <= 0:
            raise Invalid("Currency rate must be greater than zero")
        return rate if currency != BASE_CURRENCY else Decimal(1)

    def _today(self) -> str:
        return self.shelf.now().date().isoformat()

    # Writing

    def save(self, name: str, given: Json, *, creates: bool, decimals: int) -> Json:
        """Creates, or (unless ``creates``) updates the record that the id or the key names. Invalid with sentences."""
        if creates:
            known, given = None, {field: value for field, value in given.items() if field != KINDS[name][1]}
        else:
            known = self._known(name, given)
        if lengths := too_long(name, given):
            raise Invalid(*lengths)
        return RULES[name](self, {**(known or {}), **given}, known, decimals)

    def _known(self, name: str, given: Json) -> Json | None:
        _, id_field, key_field = KINDS[name]
        if ident := given.get(id_field):
            known = self.get(name, ident)
            if known is None:
                raise Invalid(f"{name} with {id_field} {ident} could not be found")
            return known
        if name in ("Payment", "ManualJournal") or not given.get(key_field):
            return None
        return next(iter(self.by_key(name, given[key_field])), None)

    def _unique(self, name: str, record: Json, sentence: str) -> None:
        _, id_field, key_field = KINDS[name]
        others = (one for one in self.by_key(name, record[key_field]) if one[id_field] != record.get(id_field))
        if any(one.get("Status") != "DELETED" and one.get("Type") == record.get("Type") for one in others):
            raise Invalid(sentence)

    def contact(self, record: Json, known: Json | None, _decimals: int) -> Json:
        if not record.get("Name"):
            raise Invalid("The contact name must be specified")
        named, numbered = self.by_key("Contact", record["Name"], "Name"), self.by_key("Contact", _number(record))
        others = [one for one in named if one["ContactStatus"] == "ACTIVE"]
        if any(one["ContactID"] != record.get("ContactID") for one in others):
            sentence = f"The contact name {record['Name']} is already assigned to another contact."
            raise Invalid(f"{sentence} The contact name must be unique across all active contacts.")
        if _number(record) and any(one["ContactID"] != record.get("ContactID") for one in numbered):
            raise Invalid(f"The contact number {_number(record)} is already assigned to another contact.")
        before, at, after = record.get("EmailAddress", "a@b.c").rpartition("@")
        if record.get("EmailAddress") and not (before and at and "." in after):
            raise Invalid("Email address must be valid.")
        self._subscribed(record.get("DefaultCurrency", BASE_CURRENCY))
        addresses = {one.get("AddressType", "POBOX"): one for one in record.get("Addresses", [])}
        record["Addresses"] = [addresses.get(kind, {"AddressType": kind}) for kind in ("STREET", "POBOX")]
        record.setdefault("ContactStatus", "ACTIVE")
        record |= {"IsSupplier": False, "IsCustomer": bool((known or {}).get("IsCustomer"))}
        return self._keep("Contact", record)

    def account(self, record: Json, known: Json | None, _decimals: int) -> Json:
        if known and known.get("SystemAccount"):
            raise Invalid("System accounts cannot be updated.")
        if missing := [name for name in ("Name", "Type") if not record.get(name)]:
            raise Invalid(*(f"Account {name} must be specified" for name in missing))
        if not record.get("Code") and record["Type"] != "BANK":
            raise Invalid("Account Code must be specified")
        if record["Type"] == "BANK":
            if not record.get("BankAccountNumber"):
                raise Invalid("Bank account number must be specified")
            self._subscribed(record.setdefault("CurrencyCode", BASE_CURRENCY))
        else:
            record.pop("CurrencyCode", None)
        for name in ("Code", "Name"):
            others = self.by_key("Account", record.get(name, ""), name)
            if record.get(name) and any(one["AccountID"] != record.get("AccountID") for one in others):
                raise Invalid(f"Please enter a unique {name}.")
        record = {"Status": "ACTIVE", "TaxType": "NONE", "EnablePaymentsToAccount": False, **record}
        return self._keep("Account", record | {"Class": CLASSES[record["Type"]]})

    def item(self, record: Json, known: Json | None, decimals: int) -> Json:
        if not record.get("Code"):
            raise Invalid("Item Code must be specified")
        self._unique("Item", record, f"Price List Item with Code '{record['Code']}' already exists")
        for side in ("SalesDetails", "PurchaseDetails"):
            if code := record.get(side, {}).get("AccountCode"):
                self._account(code, beside=("BANK", "DEBTORS", "CREDITORS"))
            if "UnitPrice" in record.get(side, {}):
                record[side]["UnitPrice"] = rounded(record[side]["UnitPrice"], decimals)
        return self._keep("Item", {"IsSold": True, "IsPurchased": True, "IsTrackedAsInventory": False, **record})

    def tracking_category(self, record: Json, known: Json | None, _decimals: int) -> Json:
        if not record.get("Name"):
            raise Invalid("Tracking category Name must be specified")
        self._unique("TrackingCategory", record, f"A Tracking Category with Name '{record['Name']}' already exists")
        active = [one for one in self.all("TrackingCategory") if one["Status"] == "ACTIVE"]
        if not known and len(active) >= 2:
            raise Invalid("Maximum number of active tracking categories reached")
        return self._keep("TrackingCategory", {"Status": "ACTIVE", "Options": [], **record})

    def option(self, category: Json, given: Json) -> Json:
        """Adds an option to a tracking category."""
        name = given.get("Name")
        if not name or any(one["Name"].lower() == name.lower() for one in category["Options"]):
            raise Invalid(f"A Tracking Option with Name '{name}' already exists" if name else "Name must be specified")
        ident = str(uuid5(SPACE, f"option/{self.shelf.next('option')}"))
        option = {"TrackingOptionID": ident, "Name": name, "Status": "ACTIVE"}
        self._keep("TrackingCategory", {**category, "Options": [*category["Options"], option]})
        return option

    # Documents

    def sale(self, name: str, record: Json, known: Json | None, decimals: int) -> Json:
        """An invoice or a credit note."""
        number = KINDS[name][2]
        if known and (refusal := _unchangeable(known)):
            raise Invalid(refusal)
        if not record.get("Type"):
            raise Invalid(f"{name} type must be specified")
        record.setdefault("Status", "DRAFT")
        if record["Status"] in ("DELETED", "VOIDED") and known:
            self._unlocked(known["Date"])
            owed = {"AmountDue" if name == "Invoice" else "RemainingCredit": Decimal(0)}
            return self._post(name, {**known, "Status": record["Status"], **owed}, [])
        if record["Status"] not in ("DRAFT", "SUBMITTED", "AUTHORISED"):
            raise Invalid(f"{name} not of valid status for creation")
        record["Contact"] = self._contact_of(record.get("Contact"))
        record.setdefault("Date", self._today())
        self._unlocked(record["Date"])
        if known:
            self._unlocked(known["Date"])
        if record["Status"] == "AUTHORISED" and name == "Invoice" and not record.get("DueDate"):
            raise Invalid("Due Date cannot be empty")
        kind = "INV" if name == "Invoice" else "CN"
        record[number] = record.get(number) or f"{kind}-{self.shelf.next(kind):04d}"
        if record["Type"] in ("ACCREC", "ACCRECCREDIT"):
            self._unique(name, record, f"{'Invoice' if name == 'Invoice' else 'Credit Note'} # must be unique.")
        record = {"LineAmountTypes": "Exclusive", "CurrencyCode": BASE_CURRENCY, **record}
        self._subscribed(record["CurrencyCode"])
        record["CurrencyRate"] = self._rate(record, record["CurrencyCode"])
        if known is None or record["LineItems"] is not known["LineItems"]:
            record["LineItems"] = [self._line(record, line, decimals) for line in record.get("LineItems", [])]
        if record["Status"] == "AUTHORISED" and not record["LineItems"]:
            raise Invalid("One or more line items must be specified")
        whole = sum((Decimal(one["LineAmount"]) for one in record["LineItems"]), Decimal(0))
        tax = sum((Decimal(one["TaxAmount"]) for one in record["LineItems"]), Decimal(0))
        net = whole - tax if record["LineAmountTypes"] == "Inclusive" else whole
        if net + tax < 0:
            raise Invalid(f"The {'invoice' if name == 'Invoice' else 'credit note'} total must not be negative")
        record |= {"SubTotal": net, "TotalTax": tax, "Total": net + tax}
        if name == "Invoice":
            record |= {"AmountDue": net + tax, "AmountPaid": Decimal(0), "AmountCredited": Decimal(0), "Payments": []}
        else:
            record |= {"RemainingCredit": net + tax, "Allocations": [], "Payments": []}
        postings = list(self._postings(record)) if record["Status"] == "AUTHORISED" else []
        return self._post(name, record, postings)

    def _contact_of(self, given: Json | None) -> Json:
        """The contact that is meant, by id, number or name; an unknown name makes a new contact, as in Xero."""
        given = given or {}
        if ident := given.get("ContactID"):
            found = self.get("Contact", ident)
        elif number := given.get("ContactNumber"):
            found = next(iter(self.by_key("Contact", number)), None)
        elif name := given.get("Name"):
            found = next(iter(self.by_key("Contact", name, "Name")), None) or self.contact({"Name": name}, None, 2)
        else:
            raise Invalid("A Contact must be specified for this type of transaction")
        if found is None:
            raise Invalid("The Contact could not be found")
        if found["ContactStatus"] != "ACTIVE":
            raise Invalid("The contact is archived and cannot be used.")
        if not found["IsCustomer"]:
            found = self._keep("Contact", {**found, "IsCustomer": True})
        return {name: found[name] for name in ("ContactID", "ContactNumber", "Name") if name in found}

    def _line(self, document: Json, line: Json, decimals: int) -> Json:
        """A line with its amounts: quantity and unit amount rounded, their product to 2 decimals, half up."""
        if not line.get("Description") and not line.get("ItemCode"):
            raise Invalid("Description needs to be at least 1 character long")
        item = None
        if code := line.get("ItemCode"):
            item = next(iter(self.by_key("Item", code)), None)
            if item is None:
                raise Invalid(f"Item code '{code}' is not valid")
        details = (item or {}).get("SalesDetails", {})
        line = {"Description": (item or {}).get("Description", ""), **line}
        line["AccountCode"] = line.get("AccountCode") or details.get("AccountCode")
        self._account(line["AccountCode"], beside=("BANK", "DEBTORS", "CREDITORS"))
        unit, amount = line.get("UnitAmount", details.get("UnitPrice")), line.get("LineAmount")
        if "LineAmount" in line and "UnitAmount" not in line:
            unit = None
        quantity = line.get("Quantity")
        if unit is not None:
            unit = rounded(unit, decimals)
        if quantity is None:
            quantity = amount / unit if amount is not None and unit else Decimal(1)
        quantity = quantity.quantize(QUANTITY, ROUND_HALF_UP)
        if unit is None:
            unit = rounded((amount or Decimal(0)) / quantity, decimals) if quantity else Decimal(0)
            made = cents(amount or Decimal(0))
        else:
            made = cents(quantity * unit)
            if "Quantity" in line and amount is not None and cents(amount) != made:
                raise Invalid(f"The line total {cents(amount)} does not match the expected line total {made}")
        line |= {"Quantity": quantity, "UnitAmount": unit, "LineAmount": made}
        line["TaxType"] = "NONE" if document["LineAmountTypes"] == "NoTax" else line.get("TaxType", "NONE")
        taxed = line["TaxType"] != "NONE"
        line["TaxAmount"] = cents(line.get("TaxAmount", Decimal(0))) if taxed else Decimal("0.00")
        line.setdefault("LineItemID", str(uuid5(SPACE, f"line/{self.shelf.next('line')}")))
        line["Tracking"] = [self._tracking(one) for one in line.get("Tracking", [])]
        return line

    def _tracking(self, given: Json) -> Json:
        category_id, option_id = given.get("TrackingCategoryID"), given.get("TrackingOptionID")
        for category in self.all("TrackingCategory"):
            if category["Name"] != given.get("Name") and category["TrackingCategoryID"] != category_id:
                continue
            for option in category["Options"]:
                if option["Name"] == given.get("Option") or option["TrackingOptionID"] == option_id:
                    ids = {name: one[name] for one in (category, option) for name in one if name.endswith("ID")}
                    return {**ids, "Name": category["Name"], "Option": option["Name"]}
        raise Invalid("The tracking category or option could not be found")

    def _postings(self, document: Json) -> Iterator[Posting]:
        """What a document of Accounts Receivable posts; a bill is turned round."""
        sign = 1 if document["Type"] in ("ACCREC", "ACCPAYCREDIT") else -1
        control = self._system("DEBTORS" if document["Type"].startswith("ACCREC") else "CREDITORS")
        sides = []
        for line in document["LineItems"]:
            net = line["LineAmount"] - (line["TaxAmount"] if document["LineAmountTypes"] == "Inclusive" else 0)
            sides.append((line["AccountCode"], net, line["Description"]))
        if document["TotalTax"]:
            sides.append((self._system("GST"), document["TotalTax"], "Sales tax"))
        worth = in_base(document, [amount for _, amount, _ in sides])
        yield control, sign * sum(worth, Decimal(0)), ""
        for (code, _, text), amount in zip(sides, worth, strict=True):
            yield code, -sign * amount, text

    def allocate(self, note: Json, given: Json) -> Json:
        """Applies a part of a credit note to an invoice: both are in Accounts Receivable, so that only what their rates
        differ by is posted."""
        invoice = self.get("Invoice", given.get("Invoice", {}).get("InvoiceID", ""))
        amount = given.get("Amount", Decimal(0))
        if invoice is None or invoice["Status"] != "AUTHORISED" or note["Status"] != "AUTHORISED":
            raise Invalid("Allocations can only be made between Authorised documents")
        if amount <= 0 or "Date" not in given:
            raise Invalid("An allocation needs an Amount above zero and a Date")
        if amount > note["RemainingCredit"] or amount > invoice["AmountDue"]:
            raise Invalid("Allocation amount exceeds the amount outstanding on this document")
        if note["CurrencyCode"] != invoice["CurrencyCode"]:
            raise Invalid("Allocations can only be made between documents in the same currency")
        self._unlocked(given["Date"])
        ident = str(uuid5(SPACE, f"allocation/{self.shelf.next('allocation')}"))
        to = {name: invoice[name] for name in ("InvoiceID", "InvoiceNumber")}
        allocation = {"AllocationID": ident, "Invoice": to, "Amount": cents(amount), "Date": given["Date"]}
        left, due = note["RemainingCredit"] - amount, invoice["AmountDue"] - amount
        allocations = [*note["Allocations"], allocation]
        note |= {"RemainingCredit": left, "Allocations": allocations, "Status": "AUTHORISED" if left else "PAID"}
        invoice |= {"AmountDue": due, "AmountCredited": invoice["AmountCredited"] + amount}
        invoice |= {"Status": "AUTHORISED"} if due else {"Status": "PAID", "FullyPaidOnDate": given["Date"]}
        note = self._keep("CreditNote", note)
        self._keep("Invoice", invoice)
        if gain := in_base(note, [amount])[0] - in_base(invoice, [amount])[0]:
            sides = [(self._system("DEBTORS"), gain, ""), (self._system("REALISEDCURRENCYGAIN"), -gain, "")]
            self._journal("CreditNote", note, given["Date"], sides)
        return allocation

    def payment(self, record: Json, known: Json | None, _decimals: int) -> Json:
        if known:
            return self._deleted_payment(record, known)
        name = "CreditNote" if "CreditNote" in record else "Invoice"
        document = self._paid(name, record.get(name) or {})
        account = self._paid_into(record.get("Account") or {})
        amount = record.get("Amount", Decimal(0))
        if amount <= 0:
            raise Invalid("Payment amount must be greater than zero")
        if amount > document[OWED[name]]:
            raise Invalid("Payment amount exceeds the amount outstanding on this document")
        record.setdefault("Date", self._today())
        self._unlocked(record["Date"])
        names = ("Type", f"{name}ID", f"{name}Number", "CurrencyCode", "Contact")
        record |= {
            name: {shown: document[shown] for shown in names},
            "Account": {shown: account[shown] for shown in ("AccountID", "Code") if shown in account},
            "Amount": cents(amount),
            "Status": "AUTHORISED",
            "PaymentType": PAYMENT_TYPES[name],
            "CurrencyRate": self._rate(record, document["CurrencyCode"]),
            "IsReconciled": record.get("IsReconciled", False),
        }
        if account.get("CurrencyCode", BASE_CURRENCY) not in (BASE_CURRENCY, document["CurrencyCode"]):
            raise Invalid("The account is in another currency than the document and the organisation")
        sign = 1 if name == "Invoice" else -1
        (moved,), (owed,) = in_base(record, [sign * amount]), in_base(document, [sign * amount])
        sides = [(account["Code"], moved, ""), (self._system("DEBTORS"), -owed, "")]
        if gain := moved - owed:
            sides.append((self._system("REALISEDCURRENCYGAIN"), -gain, ""))
        kept = self._post("Payment", record, sides)
        self._settle(name, document, kept, amount)
        return kept

    def _paid(self, name: str, wanted: Json) -> Json:
        """The invoice that is paid, or the credit note that is paid out."""
        document = self.get(name, wanted.get(f"{name}ID", "")) or next(
            iter(self.by_key(name, wanted.get(f"{name}Number", "-"))), None
        )
        if document is None:
            raise Invalid(f"The {name} could not be found")
        if document["Status"] != "AUTHORISED":
            raise Invalid("Payments can only be made against Authorised documents")
        return document

    def _paid_into(self, given: Json) -> Json:
        account = self.get("Account", given["AccountID"]) if "AccountID" in given else self._account(given.get("Code"))
        if account is None or (account["Type"] != "BANK" and not account["EnablePaymentsToAccount"]):
            raise Invalid("The Account must be a bank account, or one that payments are enabled for")
        return account

    def _settle(self, name: str, document: Json, payment: Json, amount: Decimal) -> None:
        """Applies a payment to its invoice or credit note; a negative amount takes it off again."""
        due = document[OWED[name]] - amount
        document |= {OWED[name]: due, "Status": "AUTHORISED" if due else "PAID"}
        document |= {"AmountPaid": document["AmountPaid"] + amount} if name == "Invoice" else {}
        document.pop("FullyPaidOnDate", None)
        document |= {} if due else {"FullyPaidOnDate": payment["Date"]}
        ident = {"PaymentID": payment["PaymentID"]}
        others = [one for one in document["Payments"] if one["PaymentID"] != payment["PaymentID"]]
        shown = {**ident, "Date": payment["Date"], "Amount": amount, "Reference": payment.get("Reference", "")}
        self._keep(name, document | {"Payments": [*others, shown] if amount > 0 else others})

    def _deleted_payment(self, record: Json, known: Json) -> Json:
        if record.get("Status") != "DELETED" or known["Status"] == "DELETED":
            raise Invalid("Payment not of valid status for modification")
        self._unlocked(known["Date"])
        name = "CreditNote" if "CreditNote" in known else "Invoice"
        document = self.get(name, known[name][f"{name}ID"])
        assert document is not None
        self._settle(name, document, known, -known["Amount"])
        return self._post("Payment", {**known, "Status": "DELETED"}, [])

    def manual_journal(self, record: Json, known: Json | None, _decimals: int) -> Json:
        record = {"Status": "DRAFT", "LineAmountTypes": "NoTax", "ShowOnCashBasisReports": True, **record}
        record.setdefault("Date", self._today())
        for day in {record["Date"], (known or record)["Date"]}:
            self._unlocked(day)
        if record["Status"] in ("VOIDED", "DELETED") and known:
            return self._post("ManualJournal", {**known, "Status": record["Status"]}, [])
        if known and known["Status"] in ("VOIDED", "DELETED"):
            raise Invalid("Manual Journal not of valid status for modification")
        if not record.get("Narration"):
            raise Invalid("Narration must be specified")
        lines = record.get("JournalLines", [])
        if len(lines) < 2:
            raise Invalid("The manual journal must have at least two lines")
        for line in lines:
            self._account(line.get("AccountCode"), beside=NO_JOURNAL)
            line["LineAmount"] = cents(line.get("LineAmount", Decimal(0)))
            line |= {"TaxType": line.get("TaxType", "NONE"), "TaxAmount": Decimal("0.00"), "IsBlank": False}
            line["Tracking"] = [self._tracking(one) for one in line.get("Tracking", [])]
        amounts = [line["LineAmount"] for line in lines]
        debits, credits = (abs(sum((one for one in amounts if one * side > 0), Decimal(0))) for side in (1, -1))
        if debits != credits:
            raise Invalid(f"The total debits ({debits}) must equal total credits ({credits})")
        sides = [(line["AccountCode"], line["LineAmount"], line.get("Description", "")) for line in lines]
        return self._post("ManualJournal", record, sides if record["Status"] == "POSTED" else [])

    # The feed of journals

    def _post(self, name: str, record: Json, postings: list[Posting]) -> Json:
        """Keeps a record, reverses what it posted before, and posts what it posts now."""
        before = [tuple(one) for one in record.pop("_posted", [])]
        day = record.pop("_posted_on", record["Date"])
        record = self._keep(name, record | {"_posted": postings, "_posted_on": record["Date"]})
        if before:
            self._journal(name, record, day, [(code, -Decimal(amount), text) for code, amount, text in before])
        if postings:
            self._journal(name, record, record["Date"], postings)
        return record

    def _journal(self, name: str, record: Json, day: str, postings: Sequence[Posting]) -> None:
        number = self.shelf.next("journal")
        lines = []
        for place, (code, amount, text) in enumerate(postings):
            (account,) = self.by_key("Account", code)
            about = {"AccountID": account["AccountID"], "AccountCode": code, "AccountType": account["Type"]}
            about |= {"JournalLineID": str(uuid5(SPACE, f"journal/{number}/{place}")), "AccountName": account["Name"]}
            sums = {"NetAmount": amount, "GrossAmount": amount, "TaxAmount": Decimal("0.00")}
            lines.append({**about, **sums, **({"Description": text} if text else {})})
        journal = {
            "JournalID": str(uuid5(SPACE, f"journal/{number}")),
            "JournalDate": day,
            "JournalNumber": number,
            "CreatedDateUTC": self.shelf.now().isoformat(timespec="milliseconds"),
            "Reference": str(record.get("Reference", "")),
            "SourceID": record[KINDS[name][1]],
            "SourceType": "MANJOURNAL" if name == "ManualJournal" else record.get("PaymentType") or record["Type"],
            "JournalLines": lines,
        }
        self._put("journal", str(number), journal)

    def journals(self, offset: int) -> list[Json]:
        """The next 100 journals with a number above ``offset``."""
        return [one for one in self.shelf.all("journal") if one["JournalNumber"] > offset][:100]


def rounded(amount: Decimal, decimals: int) -> Decimal:
    return Decimal(amount).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)


def _number(contact: Json) -> str:
    return str(contact.get("ContactNumber", ""))


def _unchangeable(known: Json) -> str:
    """Why a document cannot be changed; empty when it can."""
    if known.get("Payments") or known.get("Allocations") or known.get("AmountCredited"):
        return "This document cannot be edited as it has a payment or credit note allocated to it."
    if known["Status"] in ("DELETED", "VOIDED", "PAID"):
        return "Invoice not of valid status for modification"
    return ""


Rule = Callable[[Books, Json, "Json | None", int], Json]
RULES: dict[str, Rule] = {
    "Contact": Books.contact,
    "Account": Books.account,
    "Item": Books.item,
    "TrackingCategory": Books.tracking_category,
    "Invoice": lambda books, record, known, decimals: books.sale("Invoice", record, known, decimals),
    "CreditNote": lambda books, record, known, decimals: books.sale("CreditNote", record, known, decimals),
    "Payment": Books.payment,
    "ManualJournal": Books.manual_journal,
}
