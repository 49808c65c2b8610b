"""The entities of a BillingPlatform organisation, its query language and its WSDL, as the emulator knows them.

Entities and standard fields are those of the vendor's reference pages (bp-api-docs-v3.redocly.app, read 2026-11), cut
down to what the emulator honours; ``Tieout...`` fields are custom fields that an administrator added. The pages print
no types, so values are kept and answered as text. The query language is the part of BP SQL that the vendor's article
*BillingPlatform Query Language* describes and the public clients use: one entity, no joins, no asterisk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from xml.sax.saxutils import quoteattr

NAMESPACE = "urn:stronglytyped.soap.brmsystems.com"

#: A field is ``Name`` of text, or ``Name:kind``. ``!`` must be given, ``*`` is an external key: unique, and good for
#: upsert and look-up. Kinds: ``number``, ``date``, ``flag``, the words it may hold (``A|B``), an entity it refers to.
_TABLE = {
    "ACCOUNT": "Name! Status:ACTIVE|INACTIVE AccountTypeId! ParentAccountId:ACCOUNT Description ActivityTimeZone"
    " InvoiceAtThisLevel:flag RateHierarchy:flag CountryId TieoutKey*",
    "BILLING_PROFILE": "AccountId:ACCOUNT! BillTo! Address1! Address2 Attention City State Zip Country Email"
    " BillingCycle!:DAILY|WEEKLY|BIWEEKLY|MONTHLY|QUARTERLY|YEARLY|MANUAL|PER_TRANSACTION"
    " BillingMethod!:MAIL|ACH|CREDIT_CARD CurrencyCode PaymentTermDays:number PoNumber TimeZoneId"
    " Status:ACTIVE|INACTIVE TieoutKey*",
    "RATING_METHOD": "RatingMethodName! RatingMethodType!:One_Time_Charge|Usage|Subscription"
    " SubscriptionCycle:MONTHLY|YEARLY ProrateSubscription:flag ExternalKey*",
    "PRODUCT": "Name! Status:ACTIVE|INACTIVE RatingMethodId:RATING_METHOD Rate:number OrderOfExecution ExternalKey*",
    "CONTRACT": "AccountId:ACCOUNT! ContractNumber!* ContractStatus:ACTIVE|INACTIVE|TERMINATED StartDate!:date"
    " EndDate:date OnEndDate:Terminate|Renew RateClassId",
    "ACCOUNT_PRODUCT": "AccountId:ACCOUNT! ProductId:PRODUCT! ContractId:CONTRACT Name Quantity!:number"
    " StartDate!:date EndDate:date BillingCycleStartDate:date RateOverride:number Status:ACTIVE|INACTIVE|DEACTIVATED"
    " RenewalDate:date TieoutKey* TieoutSite",
    "ACTIVITY": "AccountId:ACCOUNT! ProductId:PRODUCT! AccountProductId:ACCOUNT_PRODUCT ActivityDate!:date"
    " Quantity!:number SubscriptionFromDate:date SubscriptionToDate:date TieoutKey* TieoutSite",
    "INVOICE": "",
}
#: What the organisation itself says of a record; nobody else may.
_OWN = {
    "ACTIVITY": "InvoiceId RatedAmount StandardCostUnrounded RateDate ProcessStatus ProcessDescription ProrateFactor"
    " CurrencyCode",
    "INVOICE": "BillingProfileId BillingCycleStartDate BillingCycleEndDate Status ClosedDate DueDate PaymentStatus"
    " VoidFlag GrandTotalAmount",
}
_ALWAYS = ("Id", "Created", "Updated", "CreatedUserId", "UpdatedUserId")


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    kind: str = "text"
    required: bool = False
    is_key: bool = False

    @property
    def refers_to(self) -> str:
        """The entity it refers to; empty for another kind of field."""
        return self.kind if self.kind in _TABLE else ""

    def wrong(self, value: str) -> str:
        """Why a value does not fit; empty when it does."""
        match self.kind:
            case "text":
                return ""
            case "flag":
                return "" if value in ("0", "1") else "must be 0 or 1"
            case "date":
                return "" if _is_date(value) else "must be a date, YYYY-MM-DD"
            case "number":
                return "" if _number(value) is not None else "must be a number"
            case kind if kind in _TABLE:
                return ""
            case words:
                allowed = words.replace("_", " ").split("|")
                return "" if value in allowed else f"must be one of {', '.join(allowed)}"


def _fields(line: str) -> Iterator[Field]:
    for token in line.split():
        name, _, kind = token.partition(":")
        bare = name.rstrip("!*")
        yield Field(bare, kind.rstrip("!") or "text", "!" in token, "*" in token)


#: By entity, what may be written; by entity, every name that may be asked for.
FIELDS: Mapping[str, Mapping[str, Field]] = {
    entity: {one.name: one for one in _fields(line)} for entity, line in _TABLE.items()
}
KNOWN: Mapping[str, frozenset[str]] = {
    entity: frozenset({*_ALWAYS, *fields, *_OWN.get(entity, "").split()}) for entity, fields in FIELDS.items()
}


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _number(text: str | None) -> Decimal | None:
    try:
        number = Decimal(text or "")
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


class BadQuery(ValueError):
    """A query that the organisation does not understand."""


@dataclass(frozen=True, slots=True)
class Query:
    """``fields`` (empty: whole records) of the records of one entity that meet every condition, from ``offset`` on."""

    entity: str
    fields: tuple[str, ...]
    conditions: tuple[Callable[[Mapping[str, str]], bool], ...]
    order: tuple[str, ...] = ("Id",)
    offset: int = 0
    limit: int = 10_000

    def run(self, records: list[dict[str, str]]) -> list[dict[str, str | None]]:
        found = [one for one in records if all(meets(one) for meets in self.conditions)]
        found.sort(key=lambda one: [_comparable(one.get(name)) for name in self.order])
        page = found[self.offset : self.offset + self.limit]
        return [{name: one.get(name) for name in self.fields or sorted(KNOWN[self.entity])} for one in page]


_SELECT = re.compile(
    r"\s*SELECT\s+(?P<fields>[\w\s,]+?)\s+FROM\s+(?P<entity>\w+)(?:\s+WHERE\s+(?P<where>.+?))?(?:\s+ORDER\s+BY\s+"
    r"(?P<order>[\w\s,]+?))?(?:\s+OFFSET\s+(?P<offset>\d+)\s+ROWS\s+FETCH\s+NEXT\s+(?P<limit>\d+)\s+ROWS\s+ONLY)?\s*",
    re.IGNORECASE | re.DOTALL,
)
_TEXT = r"'(?:[^']|'')*'"
_VALUE = rf"(?:{_TEXT}|-?\d+(?:\.\d+)?)"
_CONDITION = re.compile(
    rf"(?P<name>\w+)\s*(?:(?P<sign><=|>=|=|<|>)\s*(?P<value>{_VALUE})"
    rf"|\s+IN\s*\((?P<values>\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*)\)|\s+IS\s+(?P<no>NOT\s+)?NULL)",
    re.IGNORECASE,
)
_SIGNS: Mapping[str, Callable[[object, object], bool]] = {
    "=": lambda left, right: left == right,
    "<": lambda left, right: left < right,  # type: ignore[operator]
    ">": lambda left, right: left > right,  # type: ignore[operator]
    "<=": lambda left, right: left <= right,  # type: ignore[operator]
    ">=": lambda left, right: left >= right,  # type: ignore[operator]
}


def select(sql: str) -> Query:
    """The query of ``SELECT a, b FROM ENTITY ...``. BadQuery for what is not understood."""
    found = _SELECT.fullmatch(sql)
    if found is None:
        raise BadQuery("the query is not of the form SELECT fields FROM entity")
    entity = found["entity"].upper()
    if entity not in KNOWN:
        raise BadQuery(f"there is no entity {entity}")
    names = tuple(_known(entity, name) for name in found["fields"].split(","))
    order = tuple(_known(entity, name) for name in (found["order"] or "Id").split(","))
    limit = int(found["limit"] or 10_000)
    if limit > 10_000:
        raise BadQuery("a page has at most 10000 rows")
    return Query(entity, names, conditions(entity, found["where"] or ""), order, int(found["offset"] or 0), limit)


def conditions(entity: str, text: str) -> tuple[Callable[[Mapping[str, str]], bool], ...]:
    """The conditions of a WHERE, joined by AND. BadQuery for any other."""
    made: list[Callable[[Mapping[str, str]], bool]] = []
    rest = text.strip()
    while rest:
        found = _CONDITION.match(rest)
        if found is None:
            raise BadQuery(f"this condition is not understood: {rest[:60]}")
        made.append(_condition(_known(entity, found["name"]), found))
        rest = rest[found.end() :].strip()
        if rest:
            joined = re.match(r"AND\s+", rest, re.IGNORECASE)
            if joined is None:
                raise BadQuery(f"conditions are joined by AND: {rest[:60]}")
            rest = rest[joined.end() :]
    return tuple(made)


def _condition(name: str, found: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    if found["sign"]:
        compare, bound = _SIGNS[found["sign"]], _comparable(_bare(found["value"]))
        return lambda one: one.get(name) is not None and _alike(compare, _comparable(one[name]), bound)
    if found["values"]:
        wanted = {_bare(value) for value in re.findall(_VALUE, found["values"])}
        return lambda one: one.get(name) in wanted
    present = bool(found["no"])
    return lambda one: (one.get(name) is not None) is present


def _alike(compare: Callable[[object, object], bool], left: object, right: object) -> bool:
    """Numbers are compared with numbers; otherwise both are text."""
    return compare(left, right) if type(left) is type(right) else compare(str(left), str(right))


def _known(entity: str, name: str) -> str:
    """A field by its name, which is not case sensitive."""
    for known in KNOWN[entity]:
        if known.lower() == name.strip().lower():
            return known
    raise BadQuery(f"{entity} has no field {name.strip()}")


def _bare(value: str) -> str:
    return value[1:-1].replace("''", "'") if value.startswith("'") else value


def _comparable(value: str | None) -> Decimal | str:
    number = _number(value)
    return number if number is not None and str(value).isdecimal() else value or ""


def stamp(at: datetime) -> str:
    """An instant as the organisation shows it: UTC, to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def wsdl(address: str) -> str:
    """The organisation's WSDL: one type per entity, with a field per column and an object per reference."""
    types = "".join(_type(entity, fields) for entity, fields in FIELDS.items())
    row = "".join(
        f'<xsd:element name="{name}" type="xsd:string" minOccurs="0" form="unqualified"/>'
        for name in ("Id", "ErrorCode", "ErrorText", "ErrorElementField", "success", "created")
    )
    objects = '<xsd:element name="brmObjects" type="brm:brmObject" maxOccurs="unbounded" form="qualified"/>'
    key = '<xsd:element name="externalIDFieldName" type="xsd:string" form="qualified"/>'
    asked = {"create": objects, "upsert": key + objects}
    result = '<xsd:element name="result" type="brm:Result" maxOccurs="unbounded" form="unqualified"/>'
    messages = "".join(_sequence(name, parts) + _sequence(f"{name}Response", result) for name, parts in asked.items())
    return f"""<?xml version="1.0" encoding="utf-8"?>
<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
 xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:brm="{NAMESPACE}" targetNamespace="{NAMESPACE}">
<types><xsd:schema targetNamespace="{NAMESPACE}">
<xsd:complexType name="brmObject" abstract="true"><xsd:sequence/></xsd:complexType>{types}
<xsd:complexType name="Result"><xsd:sequence>{row}</xsd:sequence></xsd:complexType>
<xsd:element name="SessionHeader"><xsd:complexType><xsd:sequence>
<xsd:element name="SessionID" type="xsd:string" form="qualified"/></xsd:sequence></xsd:complexType></xsd:element>
{messages}</xsd:schema></types>
<message name="SessionHeader"><part name="SessionHeader" element="brm:SessionHeader"/></message>
{"".join(map(_message, asked))}
<portType name="Soap">{"".join(map(_operation, asked))}</portType>
<binding name="SoapBinding" type="brm:Soap">
<soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>{"".join(map(_bound, asked))}</binding>
<service name="BillingPlatform"><port name="Soap" binding="brm:SoapBinding">
<soap:address location={quoteattr(address)}/></port></service>
</definitions>"""


def _type(entity: str, fields: Mapping[str, Field]) -> str:
    elements = "".join(_element(name, "xsd:string") for name in ("Id", *fields))
    elements += "".join(
        _element(f"{one.name.removesuffix('Id')}Obj", f"brm:{one.refers_to}")
        for one in fields.values()
        if one.refers_to
    )
    return (
        f'<xsd:complexType name="{entity}"><xsd:complexContent><xsd:extension base="brm:brmObject"><xsd:sequence>'
        f"{elements}</xsd:sequence></xsd:extension></xsd:complexContent></xsd:complexType>"
    )


def _element(name: str, kind: str) -> str:
    return f'<xsd:element name="{name}" type="{kind}" minOccurs="0" nillable="true" form="unqualified"/>'


def _sequence(name: str, parts: str) -> str:
    return (
        f'<xsd:element name="{name}"><xsd:complexType><xsd:sequence>{parts}'
        "</xsd:sequence></xsd:complexType></xsd:element>"
    )


def _message(name: str) -> str:
    return (
        f'<message name="{name}"><part name="parameters" element="brm:{name}"/></message>'
        f'<message name="{name}Response"><part name="parameters" element="brm:{name}Response"/></message>'
    )


def _operation(name: str) -> str:
    return f'<operation name="{name}"><input message="brm:{name}"/><output message="brm:{name}Response"/></operation>'


def _bound(name: str) -> str:
    return (
        f'<operation name="{name}"><soap:operation soapAction="{name}"/><input><soap:header message="brm:SessionHeader"'
        ' part="SessionHeader" use="literal"/><soap:body use="literal"/></input><output><soap:body use="literal"/>'
        "</output></operation>"
    )
