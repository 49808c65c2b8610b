"""The world of one run: a few customers, what they buy and use, and what goes wrong with it. All from one seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

from app.demo.company import PLACES, Customer, Deal, Line, Place, Site
from app.demo.crm import SalesPerson
from connectors.wire import dump_json
from core.accounts import Account, Address
from sandbox import salesforce
from sandbox.emulator import Emulator
from tests.simulation.vendors import URLS, ask

#: Account numbers whose card the gateway declines (mappings/tables/stripe_payment_methods.yaml).
DECLINED = ("A-DECLINED", "A-NO-FUNDS")
FIELDS = ("id", "account_id", "site_id", "meter", "quantity", "occurred_at")


@dataclass(frozen=True)
class UsageFile:
    """One file of a bridge. ``fresh``: its events that are sound and were not sent before."""

    name: str
    rows: tuple[Mapping[str, str], ...]
    fresh: tuple[Mapping[str, str], ...]
    late: bool

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        (folder / self.name).write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Company:
    """``malformed``: account numbers entered without a billing e-mail, so that their orders are refused at first."""

    customers: tuple[Customer, ...]
    malformed: frozenset[str]
    usage: tuple[UsageFile, ...] = field(default=())


def company(rng: Random, *, uses: bool, poor: bool = False) -> Company:
    """``uses``: whether some of the companies have usage; ``poor``: whether most have a declined card."""
    numbers = [f"A-{number:04}" for number in range(1, rng.choice((1, 1, 2, 2, 3)) + 1)]
    if rng.random() < (0.8 if poor else 0.25):
        numbers[-1] = rng.choice(DECLINED)
    people = tuple(_customer(number, rng) for number in numbers)
    malformed = frozenset(number for number in numbers if rng.random() < 0.15)
    return Company(people, malformed, _usage(people, rng) if uses and rng.random() < 0.4 else ())


def _customer(number: str, rng: Random) -> Customer:
    places = [Place(*PLACES[index]) for index in rng.sample(range(len(PLACES)), rng.choice((1, 2)))]
    sites = tuple(Site(f"{number}-S{at}", f"{place.city} office", place) for at, place in enumerate(places, 1))
    deals = []
    for at in range(rng.choice((1, 1, 2))):
        lines = tuple(_lines(sites, rng, first=at == 0))
        deals.append(Deal(f"{number} deal {at}", "2026-09-28", f"PO-{at}" if rng.random() < 0.5 else None, lines))
    return Customer(
        number=number,
        name=f"Customer {number}",
        email=f"billing@{number.lower()}.example",
        place=places[0],
        terms=rng.choice((15, 30)),
        exemption="E" if rng.random() < 0.1 else None,
        sites=sites,
        deals=tuple(deals),
        usage=(),
    )


def _lines(sites: tuple[Site, ...], rng: Random, *, first: bool) -> Iterable[Line]:
    site = rng.choice(sites).code
    if first:
        yield Line("VC-MIN", Decimal(1), Decimal(rng.randrange(100, 900, 50)), sites[0].code)
        yield Line("VC-ENDPOINT", Decimal(rng.randint(1, 30)), Decimal("18.00"), site, _day(rng))
    if not first or rng.random() < 0.3:
        yield Line("VC-LIVE", Decimal(rng.randint(1, 3)), Decimal("750.00"), site, _day(rng))
    if rng.random() < 0.2:
        yield Line("VC-PLAN", Decimal(1), Decimal("4800.00"))


def _day(rng: Random) -> str | None:
    return f"2026-10-{rng.randint(2, 28):02}" if rng.random() < 0.4 else None


def _usage(people: tuple[Customer, ...], rng: Random) -> tuple[UsageFile, ...]:
    """Up to three files: the second may repeat and contradict the first, the last comes after the bills."""
    first = tuple(_event(people, rng, number) for number in range(rng.randint(1, 4)))
    files = [UsageFile("bridge.1.ndjson", first, first, late=False)]
    if rng.random() < 0.4:
        fresh = tuple(_event(people, rng, number) for number in range(10, 10 + rng.randint(0, 2)))
        contradicting = [{**first[-1], "quantity": "9999.99"}] if rng.random() < 0.5 else []
        strange = [{**_event(people, rng, 30), "account_id": "A-NOBODY"}] if rng.random() < 0.5 else []
        files.append(UsageFile("bridge.2.ndjson", (*fresh, first[0], *contradicting, *strange), fresh, late=False))
    if rng.random() < 0.3:
        late = (_event(people, rng, 40),)
        files.append(UsageFile("bridge.3.ndjson", late, late, late=True))
    return tuple(files)


def _event(people: tuple[Customer, ...], rng: Random, number: int) -> Mapping[str, str]:
    customer = rng.choice(people)
    hundredths = rng.randrange(100, 800_000)
    values = (
        f"e-{number}",
        customer.number,
        customer.sites[0].code,
        "conference_minutes",
        f"{hundredths // 100}.{hundredths % 100:02}",
        f"2026-10-{rng.randint(3, 28):02}T{rng.randint(0, 23):02}:30:00Z",
    )
    return dict(zip(FIELDS, values, strict=True))


def as_account(customer: Customer, name: str) -> Account:
    """A customer as the hub knows it, under that name."""
    place = customer.place
    address = Address(
        line1=place.street, city=place.city, region=place.region, postal_code=place.postal_code, country=place.country
    )
    return Account(id=customer.number, name=name, email=customer.email, currency="USD", billing_address=address)


AMENDABLE = (
    "SELECT Id, OpportunityId, PricebookEntryId, UnitPrice, Quantity, Site_Code__c, Opportunity.AccountId,"
    " Opportunity.Name, Opportunity.Amends_Order__c FROM OpportunityLineItem WHERE ProductCode = '{}'"
    " AND Opportunity.IsWon = true ORDER BY Id"
)
AMENDED = "SELECT Amends_Line__c FROM OpportunityLineItem WHERE Amends_Line__c != null"


class Seller(SalesPerson):
    """The people at the CRM; they use its API in this process and meet none of the wire's faults."""

    def __init__(self, org: Emulator) -> None:
        self._org = org
        form = (
            f"grant_type=client_credentials&client_id={salesforce.CLIENT_ID}&client_secret={salesforce.CLIENT_SECRET}"
        )
        headers = {"content-type": "application/x-www-form-urlencoded"}
        url = f"{URLS['salesforce']}/services/oauth2/token"
        self._sign_in = lambda: json.loads(ask(org, "POST", url, headers, form.encode()).body)["access_token"]

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"authorization": f"Bearer {self._sign_in()}", "content-type": "application/json"}
        url = f"{URLS['salesforce']}/services/data/v64.0/{path}"
        answer = ask(self._org, method, url, headers, b"" if body is None else dump_json(body))
        if answer.status >= 300:
            raise ValueError(f"the CRM answered {answer.status}: {answer.body.decode()}")
        return json.loads(answer.body, parse_float=Decimal) if answer.body else None

    def win_deal(self, ident: str) -> None:
        self._call("PATCH", f"sobjects/Opportunity/{ident}", {"StageName": "Closed Won"})

    def change_account(self, number: str, **fields: Any) -> None:
        ident = self._ids("SELECT Id, AccountNumber FROM Account", "AccountNumber")
        self._call("PATCH", f"sobjects/Account/{ident[number]}", fields)

    def amendable(self, code: str) -> list[dict[str, Any]]:
        """Lines of that charge in won deals that amend nothing: each with its deal."""
        found = self._call("GET", f"query/?q={quote(AMENDABLE.format(code))}")["records"]
        amended = {one["Amends_Line__c"] for one in self._call("GET", f"query/?q={quote(AMENDED)}")["records"]}
        return [one for one in found if one["Id"] not in amended and not one["Opportunity"]["Amends_Order__c"]]

    def amend(self, line: Mapping[str, Any], quantity: int, start: str) -> str:
        """Enters a deal that puts another quantity in the place of a line's, from that day on; gives its id."""
        standing = line["Opportunity"]
        deal = {
            "AccountId": standing["AccountId"],
            "Name": f"{standing['Name']} changed {line['Id']}",
            "StageName": "Negotiation/Review",
            "CloseDate": "2026-10-20",
            "CurrencyIsoCode": "USD",
            "Service_Start__c": start,
            "Amends_Order__c": line["OpportunityId"],
        }
        ident: str = self._call("POST", "sobjects/Opportunity", deal)["id"]
        changed = {
            "OpportunityId": ident,
            "PricebookEntryId": line["PricebookEntryId"],
            "Quantity": quantity,
            "UnitPrice": line["UnitPrice"],
            "Site_Code__c": line["Site_Code__c"],
            "Change__c": "replace",
            "Amends_Line__c": line["Id"],
        }
        self._call("POST", "sobjects/OpportunityLineItem", changed)
        return ident

    def rename_deals(self, number: str, name: str) -> None:
        deals = self._ids(f"SELECT Id, Name FROM Opportunity WHERE Account.AccountNumber = '{number}'", "Id")  # noqa: S608
        for ident in deals:
            self._call("PATCH", f"sobjects/Opportunity/{ident}", {"Name": name})


def as_entered(customer: Customer, malformed: frozenset[str]) -> Customer:
    """What the salesperson types: some forget the billing e-mail."""
    return replace(customer, email="") if customer.number in malformed else customer
