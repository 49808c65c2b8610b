"""The tables of the emulated Dataverse environment: columns, choices, lookups, alternate keys.

Names, lengths, ranges and choices of standard columns are the vendor's (Common Data Model, applicationCommon, and the
Sales table reference, read 2026-11); only those that a quote-to-cash integration meets are here. Columns that begin
with ``tieout_``, and the table ``tieout_site``, are what docs/connectors/dynamics.md says to create.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from sandbox.administration import Administered, FieldChange, changed


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``kind``: text, memo, int, decimal, money, bool, choice, instant, day, guid, lookup or bigint.

    ``low`` and ``high`` are inclusive; ``places`` of a decimal are kept by rounding. ``targets``: a lookup's navigation
    names, each with the table it leads to. ``written``: whether a client may set it, at all or on create only.
    """

    name: str
    kind: str
    length: int = 0
    low: Decimal | None = None
    high: Decimal | None = None
    places: int = 2
    choices: Mapping[int, str] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)
    written: bool = True
    required: bool = False
    """Whether the platform itself refuses a row without it."""
    demanded: bool = False
    """Whether the business requires it: forms demand it, the Web API does not."""
    default: Any = None

    @property
    def field(self) -> str:
        """The name under which a row carries its value."""
        return f"_{self.name}_value" if self.kind == "lookup" else self.name


@dataclass(frozen=True, slots=True)
class Table:
    """One table. ``states``: state code to its status codes, the first being its default.

    ``children``: collection-valued navigation names, each with the table and its lookup column.
    """

    name: str
    set: str
    columns: Mapping[str, Column]
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    states: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    children: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    key: str = ""

    @property
    def custom(self) -> bool:
        return self.name.startswith("tieout_")

    def navigation(self, name: str) -> tuple[Column, str] | None:
        """The lookup behind a single-valued navigation name, and the table it leads to."""
        for column in self.columns.values():
            if name in column.targets:
                return column, column.targets[name]
        return None

    def by_field(self, name: str) -> Column | None:
        """The column that a row carries under ``name``."""
        bare = name[1:-6] if name.startswith("_") and name.endswith("_value") else name
        column = self.columns.get(bare)
        return column if column and column.field == name else None


BILLION, TRILLION, LARGEST = Decimal(10**9), Decimal(10**12), Decimal(922337203685477)


def text(name: str, length: int = 100, **more: Any) -> Column:
    return Column(name, "text", length=length, **more)


def memo(name: str, length: int = 2000) -> Column:
    return Column(name, "memo", length=length)


def whole(name: str, low: int = -2147483648, high: int = 2147483647, **more: Any) -> Column:
    return Column(name, "int", low=Decimal(low), high=Decimal(high), **more)


def decimal(name: str, low: Decimal, high: Decimal, places: int, **more: Any) -> Column:
    return Column(name, "decimal", low=low, high=high, places=places, **more)


def money(name: str, low: Decimal = -LARGEST, high: Decimal = LARGEST, **more: Any) -> Column:
    return Column(name, "money", low=low, high=high, **more)


def flag(name: str, default: bool | None = None, **more: Any) -> Column:
    return Column(name, "bool", default=default, **more)


def choice(name: str, choices: Mapping[int, str], **more: Any) -> Column:
    return Column(name, "choice", choices=choices, **more)


def instant(name: str, **more: Any) -> Column:
    return Column(name, "instant", **more)


def day(name: str) -> Column:
    return Column(name, "day")


def lookup(name: str, target: str, navigation: str = "", **more: Any) -> Column:
    return Column(name, "lookup", targets={navigation or name: target}, **more)


def computed(column: Column) -> Column:
    return replace(column, written=False)


CUSTOMER = Column(
    "customerid", "lookup", targets={"customerid_account": "account", "customerid_contact": "contact"}, required=True
)
CURRENCY = lookup("transactioncurrencyid", "transactioncurrency")
PRICE_LIST = lookup("pricelevelid", "pricelevel")
PAYMENT_TERMS = {1: "Net 30", 2: "2% 10, Net 30", 3: "Net 45", 4: "Net 60"}
PRICING_ERRORS = {
    0: "None",
    1: "Detail Error",
    2: "Missing Price Level",
    3: "Inactive Price Level",
    4: "Missing Quantity",
    5: "Missing Unit Price",
    6: "Missing Product",
    7: "Invalid Product",
    10: "Missing UOM",
    11: "Product Not In Price Level",
}

#: What the platform adds to every table.
COMMON = (
    computed(instant("createdon")),
    computed(instant("modifiedon")),
    computed(Column("versionnumber", "bigint")),
    computed(lookup("createdby", "systemuser")),
    computed(lookup("modifiedby", "systemuser")),
)


def _states(named: Mapping[int, str], of: Mapping[int, tuple[int, str]]) -> tuple[Column, ...]:
    return (
        choice("statecode", named, required=True),
        choice("statuscode", {code: label for code, (_, label) in of.items()}),
    )


def _table(
    name: str,
    set_: str,
    *columns: Column,
    states: tuple[Mapping[int, str], Mapping[int, tuple[int, str]]] | None = None,
    keys: Mapping[str, tuple[str, ...]] | None = None,
    children: Mapping[str, tuple[str, str]] | None = None,
    key: str = "",
) -> Table:
    """``states``: labels of the state codes, and per status code its state and label, defaults first."""
    key = key or f"{name}id"
    own = (Column(key, "guid"), *columns, *(_states(*states) if states else ()), *COMMON)
    of_state: dict[int, tuple[int, ...]] = {}
    for code, (state, _) in (states[1] if states else {}).items():
        of_state[state] = (*of_state.get(state, ()), code)
    return Table(name, set_, {c.name: c for c in own}, keys or {}, of_state, children or {}, key)


ACTIVE = ({0: "Active", 1: "Inactive"}, {1: (0, "Active"), 2: (1, "Inactive")})


def _address(number: int) -> tuple[Column, ...]:
    at = f"address{number}_"
    return (
        text(f"{at}line1", 250),
        text(f"{at}line2", 250),
        text(f"{at}city", 80),
        text(f"{at}stateorprovince", 50),
        text(f"{at}postalcode", 20),
        text(f"{at}country", 80),
    )


def _totals() -> Iterator[Column]:
    """Amounts of a document, kept by the server."""
    for name in (
        "totalamount",
        "totalamountlessfreight",
        "totaldiscountamount",
        "totallineitemamount",
        "totallineitemdiscountamount",
        "totaltax",
    ):
        yield computed(money(name, default=Decimal(0)))
    yield computed(choice("pricingerrorcode", PRICING_ERRORS, default=0))


def _document(name: str, set_: str, number: str, *columns: Column, **more: Any) -> Table:
    """A quote, sales order or invoice."""
    return _table(
        name,
        set_,
        text("name", 300),
        text(number, 100),
        CUSTOMER,
        CURRENCY,
        PRICE_LIST,
        lookup("opportunityid", "opportunity"),
        memo("description"),
        text("emailaddress"),
        decimal("discountpercentage", Decimal(0), Decimal(100), 2),
        money("discountamount", Decimal(0), TRILLION),
        money("freightamount", Decimal(0), TRILLION),
        choice("paymenttermscode", PAYMENT_TERMS),
        text("tieout_purchaseorder", 60),
        day("tieout_servicestart"),
        whole("tieout_termmonths", 0, 600),
        *columns,
        *_totals(),
        **more,
    )


def _line(name: str, parent: str, *columns: Column) -> Table:
    """A line of a quote, sales order or invoice."""
    return _table(
        name,
        f"{name}s",
        lookup(f"{parent}id", parent, required=True),
        lookup("productid", "product"),
        lookup("uomid", "uom"),
        text("productdescription", 500),
        text("productname", 500),
        memo("description"),
        flag("isproductoverridden", default=False),
        flag("ispriceoverridden", default=False),
        decimal("quantity", Decimal(-(10**11)), Decimal(10**11), 10, required=True),
        money("priceperunit"),
        computed(money("baseamount")),
        money("manualdiscountamount", Decimal(0), TRILLION),
        computed(money("volumediscountamount", Decimal(0), LARGEST)),
        money("tax", -TRILLION, TRILLION),
        computed(money("extendedamount")),
        whole("lineitemnumber", 0, 10**9),
        whole("sequencenumber"),
        choice("producttypecode", {1: "Product", 2: "Bundle", 3: "Required Bundle Product"}, default=1),
        computed(choice("pricingerrorcode", PRICING_ERRORS, default=0)),
        day("tieout_servicestart"),
        lookup("tieout_siteid", "tieout_site", "tieout_SiteId"),
        *columns,
    )


STANDARD: Mapping[str, Table] = {
    table.name: table
    for table in (
        _table(
            "account",
            "accounts",
            text("name", 160),
            text("accountnumber", 20),
            *_address(1),
            text("emailaddress1", 100),
            text("telephone1", 50),
            text("websiteurl", 200),
            memo("description"),
            choice("paymenttermscode", PAYMENT_TERMS),
            flag("creditonhold", default=False),
            money("creditlimit", Decimal(0), Decimal(10**14)),
            whole("numberofemployees", 0, 10**9),
            lookup("parentaccountid", "account"),
            lookup("primarycontactid", "contact"),
            lookup("defaultpricelevelid", "pricelevel"),
            CURRENCY,
            text("tieout_timezone", 64),
            text("tieout_taxexemption", 25),
            whole("tieout_paymenttermsdays", 0, 365),
            states=ACTIVE,
            keys={"tieout_accountnumber": ("accountnumber",)},
            children={
                "contact_customer_accounts": ("contact", "parentcustomerid"),
                "tieout_account_site": ("tieout_site", "tieout_accountid"),
                "account_parent_account": ("account", "parentaccountid"),
            },
        ),
        _table(
            "contact",
            "contacts",
            text("firstname", 50),
            text("lastname", 50),
            computed(text("fullname", 160)),
            text("emailaddress1", 100),
            text("jobtitle", 100),
            text("telephone1", 50),
            Column(
                "parentcustomerid",
                "lookup",
                targets={"parentcustomerid_account": "account", "parentcustomerid_contact": "contact"},
            ),
            CURRENCY,
            states=ACTIVE,
        ),
        _table(
            "tieout_site",
            "tieout_sites",
            text("tieout_name", 100),
            text("tieout_code", 80),
            lookup("tieout_accountid", "account", "tieout_AccountId"),
            text("tieout_line1", 250),
            text("tieout_city", 80),
            text("tieout_region", 10),
            text("tieout_postalcode", 20),
            text("tieout_country", 2),
            states=ACTIVE,
            keys={"tieout_sitecode": ("tieout_code",)},
        ),
        _table(
            "opportunity",
            "opportunities",
            text("name", 300),
            replace(CUSTOMER, required=False),
            lookup("parentaccountid", "account"),
            CURRENCY,
            PRICE_LIST,
            memo("description"),
            money("estimatedvalue", -TRILLION, TRILLION),
            day("estimatedclosedate"),
            money("actualvalue", -TRILLION, TRILLION),
            day("actualclosedate"),
            whole("closeprobability", 0, 100),
            states=(
                {0: "Open", 1: "Won", 2: "Lost"},
                {
                    1: (0, "In Progress"),
                    2: (0, "On Hold"),
                    3: (1, "Won"),
                    4: (2, "Canceled"),
                    5: (2, "Out-Sold"),
                },
            ),
            children={"opportunity_quotes": ("quote", "opportunityid")},
        ),
        _document(
            "quote",
            "quotes",
            "quotenumber",
            instant("effectivefrom"),
            instant("effectiveto"),
            computed(whole("revisionnumber", 0, default=0)),
            computed(instant("closedon")),
            states=(
                {0: "Draft", 1: "Active", 2: "Won", 3: "Closed"},
                {
                    1: (0, "In Progress"),
                    2: (1, "In Progress"),
                    3: (1, "Open"),
                    4: (2, "Won"),
                    5: (3, "Lost"),
                    6: (3, "Canceled"),
                    7: (3, "Revised"),
                },
            ),
            children={"quote_details": ("quotedetail", "quoteid"), "quote_orders": ("salesorder", "quoteid")},
        ),
        _line("quotedetail", "quote"),
        _document(
            "salesorder",
            "salesorders",
            "ordernumber",
            lookup("quoteid", "quote"),
            flag("ispricelocked", default=False),
            day("submitdate"),
            day("datefulfilled"),
            text("tieout_status", 20),
            text("tieout_subscription", 100),
            money("tieout_invoiced"),
            money("tieout_credited"),
            money("tieout_paid"),
            memo("tieout_invoicenumbers", 4000),
            states=(
                {0: "Active", 1: "Submitted", 2: "Canceled", 3: "Fulfilled", 4: "Invoiced"},
                {
                    1: (0, "New"),
                    2: (0, "Pending"),
                    3: (1, "In Progress"),
                    4: (2, "No Money"),
                    100001: (3, "Complete"),
                    100002: (3, "Partial"),
                    100003: (4, "Invoiced"),
                },
            ),
            children={
                "order_details": ("salesorderdetail", "salesorderid"),
                "order_invoices": ("invoice", "salesorderid"),
            },
        ),
        _line("salesorderdetail", "salesorder", lookup("quotedetailid", "quotedetail", "QuoteDetailId")),
        _document(
            "invoice",
            "invoices",
            "invoicenumber",
            lookup("salesorderid", "salesorder"),
            day("duedate"),
            day("datedelivered"),
            flag("ispricelocked", default=False),
            states=(
                {0: "Active", 1: "Closed (deprecated)", 2: "Paid", 3: "Canceled"},
                {
                    1: (0, "New"),
                    2: (0, "Partially Shipped"),
                    4: (0, "Billed"),
                    5: (0, "Booked (applies to services)"),
                    6: (0, "Installed (applies to services)"),
                    3: (1, "Canceled (deprecated)"),
                    7: (1, "Paid in Full (deprecated)"),
                    100001: (2, "Complete"),
                    100002: (2, "Partial"),
                    100003: (3, "Canceled"),
                },
            ),
            children={"invoice_details": ("invoicedetail", "invoiceid")},
        ),
        _line("invoicedetail", "invoice", lookup("salesorderdetailid", "salesorderdetail")),
        _table(
            "product",
            "products",
            text("name", 100, required=True),
            text("productnumber", 100, required=True),
            memo("description"),
            choice("productstructure", {1: "Product", 2: "Product Family", 3: "Product Bundle"}, default=1),
            choice(
                "producttypecode",
                {1: "Sales Inventory", 2: "Miscellaneous Charges", 3: "Services", 4: "Flat Fees"},
                default=1,
            ),
            lookup("defaultuomid", "uom", required=True),
            lookup("defaultuomscheduleid", "uomschedule", required=True),
            lookup("pricelevelid", "pricelevel"),
            CURRENCY,
            whole("quantitydecimal", 0, 5, required=True),
            money("price", Decimal(0), TRILLION),
            states=(
                {0: "Active", 1: "Retired", 2: "Draft", 3: "Under Revision"},
                {0: (2, "Draft"), 1: (0, "Active"), 2: (1, "Retired"), 3: (3, "Under Revision")},
            ),
            keys={"productnumber": ("productnumber",)},
        ),
        _table(
            "pricelevel",
            "pricelevels",
            text("name", 100, required=True),
            replace(CURRENCY, required=True),
            memo("description"),
            day("begindate"),
            day("enddate"),
            states=({0: "Active", 1: "Inactive"}, {100001: (0, "Active"), 100002: (1, "Inactive")}),
            children={"price_level_product_price_levels": ("productpricelevel", "pricelevelid")},
        ),
        _table(
            "productpricelevel",
            "productpricelevels",
            replace(PRICE_LIST, required=True),
            lookup("productid", "product", required=True),
            lookup("uomid", "uom", required=True),
            lookup("uomscheduleid", "uomschedule"),
            CURRENCY,
            computed(text("productnumber", 100)),
            money("amount", Decimal(0), Decimal(10**14)),
            decimal("percentage", Decimal(0), BILLION, 2),
            choice("pricingmethodcode", {1: "Currency Amount", 2: "Percent of List"}, default=1),
            choice("quantitysellingcode", {1: "No Control", 2: "Whole", 3: "Whole and Fractional"}, default=1),
        ),
        _table("uomschedule", "uomschedules", text("name", 200), text("baseuomname", 100)),
        _table(
            "uom",
            "uoms",
            text("name", 100, required=True),
            decimal("quantity", Decimal(0), Decimal(10**10), 10, default=Decimal(1)),
            lookup("uomscheduleid", "uomschedule", required=True),
            lookup("baseuom", "uom"),
            flag("isschedulebaseuom", default=False),
        ),
        _table(
            "transactioncurrency",
            "transactioncurrencies",
            text("currencyname", 100, required=True),
            text("isocurrencycode", 5, required=True),
            text("currencysymbol", 10, required=True),
            whole("currencyprecision", 0, 4, default=2),
            decimal("exchangerate", Decimal("1E-10"), Decimal(10**11), 12, default=Decimal(1)),
            states=ACTIVE,
        ),
        _table(
            "quoteclose",
            "quotecloses",
            text("subject", 200),
            memo("description"),
            lookup("quoteid", "quote"),
            text("quotenumber", 100),
            whole("revision", 0, 10**9),
            instant("actualend"),
            key="activityid",
            states=(
                {0: "Open", 1: "Completed", 2: "Canceled"},
                {1: (0, "Open"), 2: (1, "Completed"), 3: (2, "Canceled")},
            ),
        ),
        _table("systemuser", "systemusers", text("fullname", 200), text("internalemailaddress", 100)),
    )
}
#: The tables of the environment that answers now.
TABLES = Administered(STANDARD)
#: Entity set to the name of its table.
BY_SET: Mapping[str, str] = {table.set: table.name for table in STANDARD.values()}

TYPES: Mapping[str, Column] = {
    "text": text(""),
    "number": decimal("", -BILLION * 100, BILLION * 100, 2),
    "boolean": flag(""),
    "date": day(""),
    "instant": instant(""),
    "choice": choice("", {}),
}


def table_of_set(name: str) -> Table | None:
    return TABLES[BY_SET[name]] if name in BY_SET else None


def as_changed(table: Table, wanted: Sequence[FieldChange]) -> Table:
    """The table as a system customizer changed it."""
    return replace(table, columns=changed(table.columns, wanted, _changed_column))


def _changed_column(before: Column | None, change: FieldChange) -> Column:
    about = before or replace(TYPES[change.type or "text"], name=change.field)
    if before and change.type:
        new = TYPES[change.type]
        about = replace(before, kind=new.kind, length=new.length, low=new.low, high=new.high, places=new.places)
    given = {
        "length": change.length,
        "choices": None if change.words is None else {int(word): word for word in change.words},
        "demanded": change.required,
        "written": None if change.locked is None else not change.locked,
    }
    return replace(about, **{name: value for name, value in given.items() if value is not None})


#: Tables whose rows have lines: the line table, and its lookup to the document.
LINES: Mapping[str, tuple[str, str]] = {
    "quote": ("quotedetail", "quoteid"),
    "salesorder": ("salesorderdetail", "salesorderid"),
    "invoice": ("invoicedetail", "invoiceid"),
}
PARENTS: Mapping[str, str] = {line: parent for parent, (line, _) in LINES.items()}
