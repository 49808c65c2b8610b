"""The objects and fields of the emulated Salesforce org: what describe answers and what a write is checked against.

Standard fields follow describe results recorded by Salesforce's own test suite (CumulusCI, 2026-06) for Account,
Contact and Opportunity, and the Object Reference for the others (read 2026-11). The org is multi-currency, has state
and country picklists switched on, the custom fields and the object ``Site__c`` that ``docs/connectors/salesforce.md``
asks for, and of the managed package Salesforce CPQ the quote and its lines, under the package's own field names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sandbox.administration import Administered, FieldChange, changed

CURRENCIES = ("USD", "CAD", "EUR", "GBP", "AUD", "JPY")
#: Stage to (probability, closed, won, forecast category), the defaults of a new org.
STAGES: Mapping[str, tuple[int, bool, bool, str]] = {
    "Prospecting": (10, False, False, "Pipeline"),
    "Qualification": (10, False, False, "Pipeline"),
    "Needs Analysis": (20, False, False, "Pipeline"),
    "Value Proposition": (50, False, False, "Pipeline"),
    "Id. Decision Makers": (60, False, False, "Pipeline"),
    "Perception Analysis": (70, False, False, "Pipeline"),
    "Proposal/Price Quote": (75, False, False, "Pipeline"),
    "Negotiation/Review": (90, False, False, "Pipeline"),
    "Closed Won": (100, True, True, "Closed"),
    "Closed Lost": (0, True, False, "Omitted"),
}
COUNTRIES: Mapping[str, str] = dict(
    line.split(" ", 1)
    for line in """AU Australia|AT Austria|BE Belgium|BR Brazil|CA Canada|CH Switzerland|CN China|CZ Czech Republic
DE Germany|DK Denmark|ES Spain|FI Finland|FR France|GB United Kingdom
IE Ireland|IN India|IT Italy|JP Japan|KR Korea, Republic of
LU Luxembourg|MX Mexico|NL Netherlands|NO Norway|NZ New Zealand|PL Poland|PT Portugal|SE Sweden|SG Singapore
US United States|ZA South Africa""".replace("\n", "|").split("|")
)
#: States by country. A country that is not listed has none, as in a new org.
STATES: Mapping[str, Mapping[str, str]] = {
    "US": dict(
        line.split(" ", 1)
        for line in """AL Alabama|AK Alaska|AZ Arizona|AR Arkansas|CA California|CO Colorado|CT Connecticut|DE Delaware
DC District of Columbia|FL Florida|GA Georgia|HI Hawaii|ID Idaho|IL Illinois|IN Indiana|IA Iowa|KS Kansas|KY Kentucky
LA Louisiana|ME Maine|MD Maryland|MA Massachusetts|MI Michigan|MN Minnesota|MS Mississippi|MO Missouri|MT Montana
NE Nebraska|NV Nevada|NH New Hampshire|NJ New Jersey|NM New Mexico|NY New York|NC North Carolina|ND North Dakota|OH Ohio
OK Oklahoma|OR Oregon|PA Pennsylvania|RI Rhode Island|SC South Carolina|SD South Dakota|TN Tennessee|TX Texas|UT Utah
VT Vermont|VA Virginia|WA Washington|WV West Virginia|WI Wisconsin|WY Wyoming""".replace("\n", "|").split("|")
    ),
    "CA": dict(
        line.split(" ", 1)
        for line in """AB Alberta|BC British Columbia|MB Manitoba|NB New Brunswick|NL Newfoundland and Labrador
NS Nova Scotia|NT Northwest Territories|NU Nunavut|ON Ontario|PE Prince Edward Island|QC Quebec|SK Saskatchewan
YT Yukon Territories""".replace("\n", "|").split("|")
    ),
    "AU": dict(
        line.split(" ", 1)
        for line in """ACT Australian Capital Territory|NSW New South Wales|NT Northern Territory|QLD Queensland
SA South Australia|TAS Tasmania|VIC Victoria|WA Western Australia""".replace("\n", "|").split("|")
    ),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field. ``precision`` counts all digits; ``picklist`` is restricted; ``to`` is what a reference names."""

    name: str
    type: str
    length: int = 0
    precision: int = 0
    scale: int = 0
    required: bool = False
    create: bool = True
    update: bool = True
    default: Any = None
    to: str = ""
    external: bool = False
    unique: bool = False
    picklist: tuple[str, ...] = ()
    is_name: bool = False

    @property
    def custom(self) -> bool:
        return self.name.endswith("__c")

    @property
    def relationship(self) -> str:
        if not self.to:
            return ""
        return self.name[:-1] + "r" if self.custom else self.name.removesuffix("Id")

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label": self.name.removesuffix("__c").replace("_", " "),
            "type": self.type,
            "length": self.length,
            "precision": self.precision,
            "scale": self.scale,
            "nillable": not self.required,
            "createable": self.create,
            "updateable": self.update,
            "calculated": False,
            "custom": self.custom,
            "externalId": self.external,
            "idLookup": self.external or self.type in ("id", "email"),
            "unique": self.unique,
            "caseSensitive": False,
            "defaultedOnCreate": self.default is not None or (self.required and not self.create),
            "defaultValue": self.default if self.type == "boolean" else None,
            "filterable": self.type != "textarea",
            "sortable": self.type != "textarea",
            "nameField": self.is_name,
            "referenceTo": [self.to] if self.to else [],
            "relationshipName": self.relationship or None,
            "restrictedPicklist": bool(self.picklist),
            "picklistValues": [
                {"value": value, "label": value, "active": True, "defaultValue": value == self.default}
                for value in self.picklist
            ],
        }


def text(name: str, length: int = 255, kind: str = "string", **more: Any) -> Field:
    return Field(name, kind, length=length, **more)


def number(name: str, precision: int, scale: int, kind: str = "double", **more: Any) -> Field:
    return Field(name, kind, precision=precision, scale=scale, **more)


def money(name: str, precision: int = 18, **more: Any) -> Field:
    return number(name, precision, 2, "currency", **more)


def link(name: str, to: str, **more: Any) -> Field:
    return Field(name, "reference", length=18, to=to, **more)


def picklist(name: str, values: tuple[str, ...], length: int = 255, **more: Any) -> Field:
    return Field(name, "picklist", length=length, picklist=values, **more)


def by_system(field: Field) -> Field:
    """The same field, written by the vendor alone."""
    return replace(field, create=False, update=False)


def address(prefix: str) -> list[Field]:
    return [
        text(f"{prefix}Street", kind="textarea"),
        text(f"{prefix}City", 40),
        text(f"{prefix}State", 80),
        text(f"{prefix}PostalCode", 20),
        text(f"{prefix}Country", 80),
        Field(f"{prefix}StateCode", "picklist", length=10),
        Field(f"{prefix}CountryCode", "picklist", length=10),
    ]


CURRENCY = picklist("CurrencyIsoCode", CURRENCIES, 3, required=True, default="USD")
EXTERNAL_ID = text("Tieout_Id__c", 80, external=True, unique=True)
FIRST = [
    by_system(Field("Id", "id", length=18, required=True)),
    by_system(Field("IsDeleted", "boolean", required=True)),
]
LAST = [
    *(
        by_system(Field(name, "datetime", required=True))
        for name in ("CreatedDate", "LastModifiedDate", "SystemModstamp")
    ),
    *(by_system(link(name, "User", required=True)) for name in ("CreatedById", "LastModifiedById")),
]
OWNER = link("OwnerId", "User", required=True, default="")


#: What is told of an order, on whatever it was sold as, and the order that it amends.
PROGRESS = [
    text("Amends_Order__c", 18),
    picklist("Tieout_Status__c", ("provisioned", "invoiced", "paid")),
    text("Tieout_Subscription__c", 80),
    money("Tieout_Invoiced__c"),
    money("Tieout_Credited__c"),
    money("Tieout_Paid__c"),
    text("Tieout_Invoice_Numbers__c", 32768, "textarea"),
]
#: What a line says beside product and price: its site, and what it does to a line that was sold before.
OF_LINES = [
    text("Site_Code__c", 80),
    picklist("Change__c", ("replace", "stop", "pause")),
    text("Amends_Line__c", 18),
    Field("Pause_Until__c", "date"),
]
FREQUENCIES = ("Monthly", "Quarterly", "Semiannual", "Annual", "Invoice Plan")


@dataclass(frozen=True, slots=True)
class SObject:
    """One object: ``prefix`` of its ids, fields, and ``children``: relationship name to (object, its link field)."""

    name: str
    prefix: str
    fields: Mapping[str, Field]
    children: Mapping[str, tuple[str, str]]
    writable: bool = True

    def field(self, name: str) -> Field | None:
        """The field of that name, whatever its letter case, as the vendor finds it."""
        return self.fields.get(name) or next((f for n, f in self.fields.items() if n.lower() == name.lower()), None)

    def describe(self, version: str) -> dict[str, Any]:
        base = f"/services/data/v{version}/sobjects/{self.name}"
        return {
            "name": self.name,
            "label": self.name.removesuffix("__c"),
            "labelPlural": f"{self.name.removesuffix('__c')}s",
            "keyPrefix": self.prefix,
            "custom": self.name.endswith("__c"),
            **dict.fromkeys(("createable", "updateable", "deletable"), self.writable),
            **dict.fromkeys(("queryable", "retrieveable", "searchable", "replicateable"), True),
            "fields": [field.describe() for field in self.fields.values()],
            "childRelationships": [
                {"childSObject": child, "field": by, "relationshipName": name, "cascadeDelete": False}
                for name, (child, by) in self.children.items()
            ],
            "urls": {"sobject": base, "describe": f"{base}/describe", "rowTemplate": f"{base}/{{ID}}"},
        }


def _object(
    name: str,
    prefix: str,
    *fields: Field,
    children: Mapping[str, tuple[str, str]] | None = None,
    writable: bool = True,
) -> SObject:
    return SObject(name, prefix, {f.name: f for f in (*FIRST, *fields, *LAST)}, children or {}, writable)


STANDARD: Mapping[str, SObject] = {
    item.name: item
    for item in (
        _object(
            "Account",
            "001",
            text("Name", required=True, is_name=True),
            picklist("Type", ("Prospect", "Customer - Direct", "Customer - Channel", "Other"), 40),
            link("ParentId", "Account"),
            *address("Billing"),
            *address("Shipping"),
            text("Phone", 40, "phone"),
            text("AccountNumber", 40),
            text("Website", 255, "url"),
            text("Industry", 40, "picklist"),
            number("AnnualRevenue", 18, 0, "currency"),
            Field("NumberOfEmployees", "int"),
            text("Description", 32000, "textarea"),
            CURRENCY,
            OWNER,
            EXTERNAL_ID,
            text("Billing_Email__c", 80, "email"),
            text("Billing_Time_Zone__c", 64),
            text("Tax_Exemption_Code__c", 25),
            number("Payment_Terms_Days__c", 3, 0),
            children={
                "Contacts": ("Contact", "AccountId"),
                "Opportunities": ("Opportunity", "AccountId"),
                "Sites__r": ("Site__c", "Account__c"),
                "ChildAccounts": ("Account", "ParentId"),
            },
        ),
        _object(
            "Contact",
            "003",
            link("AccountId", "Account"),
            text("LastName", 80, required=True),
            text("FirstName", 40),
            by_system(text("Name", 121, is_name=True, required=True)),
            text("Phone", 40, "phone"),
            text("Email", 80, "email"),
            text("Title", 128),
            text("Department", 80),
            CURRENCY,
            OWNER,
        ),
        _object(
            "Site__c",
            "a01",
            text("Name", 80, is_name=True),
            link("Account__c", "Account", required=True, update=False),
            text("Site_Code__c", 80, required=True, external=True, unique=True),
            text("Street__c"),
            text("City__c", 80),
            text("State_Code__c", 10),
            text("Postal_Code__c", 20),
            text("Country_Code__c", 2),
            text("Time_Zone__c", 64),
            CURRENCY,
        ),
        _object(
            "Opportunity",
            "006",
            link("AccountId", "Account"),
            text("Name", 120, required=True, is_name=True),
            text("Description", 32000, "textarea"),
            picklist("StageName", tuple(STAGES), required=True),
            money("Amount"),
            number("Probability", 3, 0, "percent"),
            by_system(money("ExpectedRevenue")),
            Field("CloseDate", "date", required=True),
            text("Type", 255, "picklist"),
            text("NextStep"),
            *(
                by_system(Field(name, "boolean", required=True))
                for name in ("IsClosed", "IsWon", "HasOpportunityLineItem")
            ),
            by_system(text("ForecastCategory", 40, "picklist", required=True)),
            link("Pricebook2Id", "Pricebook2"),
            CURRENCY,
            OWNER,
            by_system(Field("LastStageChangeDate", "datetime")),
            text("Purchase_Order__c", 60),
            Field("Service_Start__c", "date"),
            number("Term_Months__c", 3, 0),
            *PROGRESS,
            children={
                "OpportunityLineItems": ("OpportunityLineItem", "OpportunityId"),
                "SBQQ__Quotes2__r": ("SBQQ__Quote__c", "SBQQ__Opportunity2__c"),
            },
        ),
        _object(
            "OpportunityLineItem",
            "00k",
            link("OpportunityId", "Opportunity", required=True, update=False),
            Field("SortOrder", "int"),
            link("PricebookEntryId", "PricebookEntry", required=True, update=False),
            link("Product2Id", "Product2", update=False),
            by_system(text("ProductCode")),
            by_system(text("Name", 376, is_name=True)),
            by_system(CURRENCY),
            number("Quantity", 12, 2, required=True),
            number("Discount", 5, 2, "percent"),
            money("TotalPrice"),
            money("UnitPrice"),
            by_system(money("ListPrice")),
            Field("ServiceDate", "date"),
            text("Description"),
            *OF_LINES,
        ),
        _object(
            "SBQQ__Quote__c",
            "a02",
            by_system(text("Name", 80, is_name=True)),
            link("SBQQ__Account__c", "Account"),
            link("SBQQ__Opportunity2__c", "Opportunity"),
            Field("SBQQ__Primary__c", "boolean", required=True, default=False),
            Field("SBQQ__Ordered__c", "boolean", required=True, default=False),
            picklist(
                "SBQQ__Status__c",
                ("Draft", "In Review", "Approved", "Denied", "Presented", "Accepted", "Rejected"),
                default="Draft",
            ),
            picklist("SBQQ__Type__c", ("Quote", "Renewal", "Amendment", "Re-Quote", "Change Order"), default="Quote"),
            Field("SBQQ__StartDate__c", "date"),
            Field("SBQQ__EndDate__c", "date"),
            number("SBQQ__SubscriptionTerm__c", 5, 0),
            picklist("SBQQ__PaymentTerms__c", ("Due on receipt", "Net 15", "Net 30", "Net 45", "Net 60", "Net 90")),
            picklist("SBQQ__BillingFrequency__c", FREQUENCIES),
            text("SBQQ__PricebookId__c", 18),
            text("SBQQ__Key__c", 80, external=True, unique=True),
            by_system(money("SBQQ__NetAmount__c")),
            by_system(money("Tieout_Period_Total__c")),
            CURRENCY,
            OWNER,
            *PROGRESS,
            children={"SBQQ__LineItems__r": ("SBQQ__QuoteLine__c", "SBQQ__Quote__c")},
        ),
        _object(
            "SBQQ__QuoteLine__c",
            "a03",
            by_system(text("Name", 80, is_name=True)),
            link("SBQQ__Quote__c", "SBQQ__Quote__c", required=True, update=False),
            link("SBQQ__Product__c", "Product2"),
            by_system(text("SBQQ__ProductCode__c")),
            by_system(text("SBQQ__ProductName__c")),
            number("SBQQ__Number__c", 5, 0),
            number("SBQQ__Quantity__c", 12, 2, default=1),
            money("SBQQ__ListPrice__c", 14),
            number("SBQQ__Discount__c", 11, 2, "percent"),
            number("SBQQ__ProrateMultiplier__c", 12, 4),
            money("SBQQ__UnproratedNetPrice__c", 16),
            money("SBQQ__NetPrice__c", 14),
            by_system(money("SBQQ__NetTotal__c")),
            picklist("SBQQ__ChargeType__c", ("One-Time", "Recurring", "Usage")),
            picklist("SBQQ__BillingType__c", ("Advance", "Arrears")),
            picklist("SBQQ__BillingFrequency__c", FREQUENCIES),
            Field("SBQQ__StartDate__c", "date"),
            Field("SBQQ__EndDate__c", "date"),
            text("SBQQ__UpgradedSubscription__c", 18),
            by_system(money("Tieout_Period_Amount__c")),
            by_system(CURRENCY),
            *OF_LINES,
        ),
        _object(
            "Product2",
            "01t",
            text("Name", required=True, is_name=True),
            text("ProductCode"),
            text("Description", 4000, "textarea"),
            Field("IsActive", "boolean", required=True, default=False),
            text("Family", 40),
            text("StockKeepingUnit", 180),
            text("QuantityUnitOfMeasure"),
            CURRENCY,
            EXTERNAL_ID,
            children={"PricebookEntries": ("PricebookEntry", "Product2Id")},
        ),
        _object(
            "Pricebook2",
            "01s",
            text("Name", required=True, is_name=True),
            Field("IsActive", "boolean", required=True, default=False),
            by_system(Field("IsStandard", "boolean", required=True)),
            text("Description"),
            children={"PricebookEntries": ("PricebookEntry", "Pricebook2Id")},
        ),
        _object(
            "PricebookEntry",
            "01u",
            by_system(text("Name", is_name=True)),
            link("Pricebook2Id", "Pricebook2", required=True, update=False),
            link("Product2Id", "Product2", required=True, update=False),
            replace(CURRENCY, update=False),
            money("UnitPrice", required=True),
            Field("IsActive", "boolean", required=True, default=False),
            Field("UseStandardPrice", "boolean", required=True, default=False),
            by_system(text("ProductCode")),
            children={"OpportunityLineItems": ("OpportunityLineItem", "PricebookEntryId")},
        ),
        _object("User", "005", text("Name", 121), text("Username", 80), text("Email", 128, "email"), writable=False),
        _object(
            "Organization",
            "00D",
            text("Name", 80),
            Field("IsSandbox", "boolean"),
            text("InstanceName", 5),
            text("OrganizationType", 40),
            text("DefaultLocaleSidKey", 40),
            writable=False,
        ),
    )
}
#: The objects of the org that answers now.
OBJECTS = Administered(STANDARD)
#: Prefix of ids to the name of the object.
BY_PREFIX: Mapping[str, str] = {item.prefix: item.name for item in STANDARD.values()}

TYPES: Mapping[str, Field] = {
    "text": text("", 255),
    "number": number("", 18, 2),
    "boolean": Field("", "boolean", default=False),
    "date": Field("", "date"),
    "instant": Field("", "datetime"),
    "choice": picklist("", ()),
}


def as_changed(kind: SObject, wanted: Sequence[FieldChange]) -> SObject:
    """The object as the org's administrator changed it."""
    return replace(kind, fields=changed(kind.fields, wanted, _changed_field))


def as_new(name: str) -> SObject | None:
    """A custom object as an administrator makes it, with our external id; other names cannot be given."""
    if not name.endswith("__c"):
        return None
    return _object(name, "a1z", text("Name", 80, is_name=True), CURRENCY, OWNER, EXTERNAL_ID)


def _changed_field(before: Field | None, change: FieldChange) -> Field:
    about = before or replace(TYPES[change.type or "text"], name=change.field)
    if before and change.type:
        new = TYPES[change.type]
        about = replace(before, type=new.type, length=new.length, precision=new.precision, scale=new.scale, picklist=())
    given = {
        "length": change.length,
        "picklist": change.words,
        "required": change.required,
        **({} if change.locked is None else {"create": not change.locked, "update": not change.locked}),
    }
    return replace(about, **{name: value for name, value in given.items() if value is not None})


def find_object(name: str) -> SObject | None:
    """The object of that name, whatever its letter case."""
    return OBJECTS.get(name) or next((item for n, item in OBJECTS.items() if n.lower() == name.lower()), None)


def suffix(id15: str) -> str:
    """The three letters that make a case-sensitive 15-character id safe to compare without case."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
    groups = (id15[start : start + 5] for start in (0, 5, 10))
    return "".join(alphabet[sum(1 << i for i, c in enumerate(group) if "A" <= c <= "Z")] for group in groups)


def full_id(given: str) -> str | None:
    """The 18-character form of a 15- or 18-character id; None when it is neither or its suffix is wrong."""
    if len(given) not in (15, 18) or not given.isascii() or not given.isalnum():
        return None
    whole = given[:15] + suffix(given[:15])
    return whole if given[15:].upper() in ("", whole[15:]) else None


def make_id(prefix: str, count: int) -> str:
    """The ``count``-th id of an object; ids of one object sort in the order they were made."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    tail = ""
    while count:
        count, rest = divmod(count, 62)
        tail = digits[rest] + tail
    id15 = f"{prefix}Qx0{tail:0>9}"
    return id15 + suffix(id15)
