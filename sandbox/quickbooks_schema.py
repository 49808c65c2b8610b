"""The entities of the emulated QuickBooks Online company: their fields, lengths and words.

Stated from the Accounting API's reference pages and the published v3 XSDs (read 2026-11), for what the sandbox knows;
a field outside these tables is answered with code 2010, as the vendor answers a property that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

#: A field is a scalar kind ("text", "number", "whole", "flag", "date", "token"), an object, or a list of objects.
Shape = Any
Fields = dict[str, Shape]


def fields(
    text: str = "", number: str = "", flag: str = "", date: str = "", whole: str = "", **objects: Shape
) -> Fields:
    """The fields of an object: names by scalar kind, then those that are objects (a dict) or lists of one ([dict])."""
    scalars = {"text": text, "number": number, "flag": flag, "date": date, "whole": whole}
    return {name: kind for kind, names in scalars.items() for name in names.split()} | objects


REF = fields("value name type")
ADDRESS = fields(
    "Id Line1 Line2 Line3 Line4 Line5 City Country CountryCode County CountrySubDivisionCode PostalCode Lat Long Note"
)
EMAIL = fields("Id Address")
PHONE = fields("Id FreeFormNumber")
COMMON: Fields = {
    **fields("Id domain status", flag="sparse"),
    "SyncToken": "token",
    "MetaData": fields("CreateTime LastUpdatedTime", CreatedByRef=REF, LastModifiedByRef=REF),
}
CUSTOM = [fields("DefinitionId Name Type StringValue")]
LINKED = [fields("TxnId TxnType TxnLineId")]

SALES_DETAIL = fields(
    number="UnitPrice Qty TaxInclusiveAmt DiscountRate DiscountAmt",
    date="ServiceDate",
    ItemRef=REF,
    ClassRef=REF,
    TaxCodeRef=REF,
    ItemAccountRef=REF,
)
JOURNAL_DETAIL = fields(
    "PostingType BillableStatus TaxApplicableOn",
    "TaxAmount",
    AccountRef=REF,
    ClassRef=REF,
    DepartmentRef=REF,
    TaxCodeRef=REF,
    Entity=fields("Type", EntityRef=REF),
)
LINES = [
    fields(
        "Id Description DetailType",
        "Amount",
        whole="LineNum",
        LinkedTxn=LINKED,
        CustomField=CUSTOM,
        SalesItemLineDetail=SALES_DETAIL,
        JournalEntryLineDetail=JOURNAL_DETAIL,
        DescriptionLineDetail=fields(date="ServiceDate", TaxCodeRef=REF),
        SubTotalLineDetail=fields(ItemRef=REF),
    )
]
TRANSACTION: Fields = COMMON | fields(
    "DocNumber PrivateNote TxnStatus TxnSource TransactionLocationType GlobalTaxCalculation",
    "ExchangeRate TotalAmt HomeTotalAmt",
    date="TxnDate",
    DepartmentRef=REF,
    CurrencyRef=REF,
    LinkedTxn=LINKED,
    Line=LINES,
    TxnTaxDetail=fields(number="TotalTax", TxnTaxCodeRef=REF),
    RecurDataRef=REF,
    CustomField=CUSTOM,
)
SALES: Fields = TRANSACTION | fields(
    "PrintStatus EmailStatus",
    "Balance HomeBalance",
    "ApplyTaxAfterDiscount FreeFormAddress",
    CustomerRef=REF,
    CustomerMemo=fields("value"),
    BillAddr=ADDRESS,
    ShipAddr=ADDRESS,
    ShipFromAddr=ADDRESS,
    ClassRef=REF,
    SalesTermRef=REF,
    BillEmail=EMAIL,
    BillEmailCc=EMAIL,
    BillEmailBcc=EMAIL,
    PaymentMethodRef=REF,
    DepositToAccountRef=REF,
)

ENTITIES: Mapping[str, Fields] = {
    "Customer": COMMON
    | fields(
        "Title GivenName MiddleName FamilyName Suffix FullyQualifiedName CompanyName DisplayName PrintOnCheckName Notes"
        " PreferredDeliveryMethod ResaleNum TaxExemptionReasonId PrimaryTaxIdentifier SecondaryTaxIdentifier",
        "Balance BalanceWithJobs",
        "Active Taxable Job BillWithParent IsProject",
        "OpenBalanceDate",
        "Level",
        PrimaryPhone=PHONE,
        AlternatePhone=PHONE,
        Mobile=PHONE,
        Fax=PHONE,
        PrimaryEmailAddr=EMAIL,
        WebAddr=fields("Id URI"),
        BillAddr=ADDRESS,
        ShipAddr=ADDRESS,
        ParentRef=REF,
        CustomerTypeRef=REF,
        SalesTermRef=REF,
        PaymentMethodRef=REF,
        CurrencyRef=REF,
        DefaultTaxCodeRef=REF,
    ),
    "Item": COMMON
    | fields(
        "Name Sku Description FullyQualifiedName Type PurchaseDesc",
        "UnitPrice PurchaseCost QtyOnHand",
        "Active SubItem Taxable SalesTaxIncluded PurchaseTaxIncluded TrackQtyOnHand",
        "InvStartDate",
        "Level",
        ParentRef=REF,
        IncomeAccountRef=REF,
        ExpenseAccountRef=REF,
        AssetAccountRef=REF,
        SalesTaxCodeRef=REF,
        PurchaseTaxCodeRef=REF,
        PrefVendorRef=REF,
        ClassRef=REF,
    ),
    "Account": COMMON
    | fields(
        "Name Description FullyQualifiedName AcctNum AccountType AccountSubType Classification",
        "CurrentBalance CurrentBalanceWithSubAccounts",
        "Active SubAccount",
        ParentRef=REF,
        CurrencyRef=REF,
        TaxCodeRef=REF,
    ),
    "Class": COMMON | fields("Name FullyQualifiedName", flag="Active SubClass", ParentRef=REF),
    "Invoice": SALES
    | fields(
        "TrackingNum InvoiceLink",
        "Deposit",
        "AllowIPNPayment AllowOnlinePayment AllowOnlineCreditCardPayment AllowOnlineACHPayment AutoDocNumber",
        "DueDate ShipDate",
        ShipMethodRef=REF,
    ),
    "CreditMemo": SALES | fields(number="RemainingCredit", InvoiceRef=REF),
    "Payment": TRANSACTION
    | fields(
        "PaymentRefNum",
        "UnappliedAmt",
        "ProcessPayment",
        CustomerRef=REF,
        ARAccountRef=REF,
        DepositToAccountRef=REF,
        PaymentMethodRef=REF,
    ),
    "JournalEntry": TRANSACTION | fields(flag="Adjustment"),
}

#: Entity to the plain name under which its objects are kept.
KINDS = {
    "Customer": "customer",
    "Item": "item",
    "Account": "account",
    "Class": "class",
    "Invoice": "invoice",
    "CreditMemo": "credit_memo",
    "Payment": "payment",
    "JournalEntry": "journal_entry",
}
NAME_LISTS = ("Customer", "Item", "Account", "Class")
#: Most characters of a field; others take 4,000.
LONGEST = {
    "DocNumber": 21,
    "PaymentRefNum": 21,
    "AcctNum": 7,
    "CompanyName": 100,
    "DisplayName": 500,
    "Name": 100,
    "Sku": 100,
    "Notes": 2000,
}
WORDS = {
    "PostingType": {"Debit", "Credit"},
    "DetailType": {
        "SalesItemLineDetail",
        "JournalEntryLineDetail",
        "DescriptionOnly",
        "SubTotalLineDetail",
        "PaymentLineDetail",
    },
    "GlobalTaxCalculation": {"TaxExcluded", "TaxInclusive", "NotApplicable"},
}
#: Account types by classification.
CLASSIFICATIONS = {
    "Bank": "Asset",
    "Accounts Receivable": "Asset",
    "Other Current Asset": "Asset",
    "Fixed Asset": "Asset",
    "Other Asset": "Asset",
    "Accounts Payable": "Liability",
    "Credit Card": "Liability",
    "Other Current Liability": "Liability",
    "Long Term Liability": "Liability",
    "Equity": "Equity",
    "Income": "Revenue",
    "Other Income": "Revenue",
    "Cost of Goods Sold": "Expense",
    "Expense": "Expense",
    "Other Expense": "Expense",
}
#: What an account of a type is when nothing finer is said.
SUBTYPES = {
    "Bank": "Checking",
    "Accounts Receivable": "AccountsReceivable",
    "Other Current Asset": "OtherCurrentAssets",
    "Fixed Asset": "OtherFixedAssets",
    "Other Asset": "OtherLongTermAssets",
    "Accounts Payable": "AccountsPayable",
    "Credit Card": "CreditCard",
    "Other Current Liability": "OtherCurrentLiabilities",
    "Long Term Liability": "OtherLongTermLiabilities",
    "Equity": "OpeningBalanceEquity",
    "Income": "ServiceFeeIncome",
    "Other Income": "OtherMiscellaneousIncome",
    "Cost of Goods Sold": "OtherCostsOfServiceCos",
    "Expense": "OtherMiscellaneousServiceCost",
    "Other Expense": "OtherMiscellaneousExpense",
}
#: Fields that a query may filter and sort by.
FILTERABLE: Mapping[str, frozenset[str]] = {
    entity: frozenset(names.split())
    for entity, names in {
        "Customer": "DisplayName CompanyName GivenName FamilyName PrimaryEmailAddr Active FullyQualifiedName",
        "Item": "Name Sku Type Active FullyQualifiedName",
        "Account": "Name AcctNum AccountType AccountSubType Classification Active FullyQualifiedName",
        "Class": "Name Active FullyQualifiedName",
        "Invoice": "DocNumber TxnDate CustomerRef Balance TotalAmt DueDate",
        "CreditMemo": "DocNumber TxnDate CustomerRef Balance TotalAmt",
        "Payment": "PaymentRefNum TxnDate CustomerRef TotalAmt",
        "JournalEntry": "DocNumber TxnDate",
    }.items()
}
ALWAYS_FILTERABLE = {"Id", "MetaData.CreateTime", "MetaData.LastUpdatedTime"}


class Refused(Exception):
    """A fault of the vendor: ``code``, ``message`` and ``detail`` of its Error, under the HTTP ``status``."""

    def __init__(
        self,
        code: str,
        message: str,
        detail: str,
        *,
        element: str = "",
        kind: str = "ValidationFault",
        status: int = 400,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.message, self.detail = code, message, detail
        self.element, self.kind, self.status = element, kind, status

    def fault(self) -> dict[str, Any]:
        error = {"Message": self.message, "Detail": self.detail, "code": self.code, "element": self.element}
        return {"Error": [error], "type": self.kind}


def unsupported(path: str) -> Refused:
    return Refused(
        "2010",
        "Request has invalid or unsupported property",
        f"Property Name:{path} specified is unsupported or invalid",
    )


def required(name: str) -> Refused:
    return Refused(
        "2020",
        "Required param missing, need to supply the required value for the API",
        f"Required parameter {name} is missing in the request",
        element=name,
    )


def business(detail: str) -> Refused:
    return Refused(
        "6000",
        "A business validation error has occurred while processing your request",
        f"Business Validation Error: {detail}",
    )


def check(shape: Shape, value: Any, path: str) -> None:
    """Refused unless ``value`` has the shape; ``path`` is where it stands in the request. Empty text is no value."""
    if value is None or value == "":
        return
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise unsupported(path)
        for item in value:
            check(shape[0], item, path)
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            raise unsupported(path)
        for name, item in value.items():
            at = f"{path}.{name}" if path else name
            if name not in shape:
                raise unsupported(at)
            check(shape[name], item, at)
    else:
        _check_scalar(shape, value, path)


def _check_scalar(kind: str, value: Any, path: str) -> None:
    name = path.rpartition(".")[2]
    fits = {
        "text": isinstance(value, str) or (name.endswith("Id") and _whole(value)),
        "token": isinstance(value, str) or _whole(value),
        "number": _whole(value) or isinstance(value, Decimal),
        "whole": _whole(value),
        "flag": isinstance(value, bool),
        "date": isinstance(value, str) and _day(value),
    }[kind]
    if not fits:
        raise unsupported(path)
    if kind == "text" and isinstance(value, str):
        most = LONGEST.get(name, 4000)
        if len(value) > most:
            raise Refused(
                "2050",
                "String length is either shorter or longer than supported by specification",
                f"String length specified does not match the supported length. Min:0 Max:{most} supported."
                f" Supplied length:{len(value)}",
                element=name,
            )
        if name in WORDS and value not in WORDS[name]:
            raise Refused("2170", "Invalid Enumeration", f"Invalid Enumeration : {value}", element=name)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _day(value: str) -> bool:
    try:
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", value)) and bool(date.fromisoformat(value))
    except ValueError:
        return False
