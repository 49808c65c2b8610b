"""What a system is asked beyond the contract suite and a month: rarer records, changes, reads and refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.registry import SYSTEMS
from core.errors import Misconfigured, Rejected
from core.ports import ExternalKey, World
from sandbox import hubspot as portal
from tests.connectors import (
    contract_avalara_communications,
    contract_billingplatform,
    contract_dynamics,
    contract_hubspot,
    contract_netsuite,
    contract_quickbooks,
    contract_salesforce,
    contract_xero,
    test_avalara_communications,
    test_billingplatform,
    test_dynamics,
    test_netsuite,
    test_quickbooks,
    test_xero,
)
from tests.sandbox.billing_manager import BillingManager
from tests.sandbox.dynamics_seller import Seller
from tests.sandbox.test_hubspot import Account

WORLD = World(sleep=lambda _seconds: None)


def _just_now() -> str:
    return (datetime.now(UTC) - timedelta(minutes=1)).isoformat()


def _connect(system: str, settings: Any) -> Any:
    return SYSTEMS[system].connect(settings, WORLD)


def avalara_communications(url: str, _folder: Path) -> None:
    afc = _connect("avalara_communications", contract_avalara_communications.settings(url))
    doc = test_avalara_communications.document(afc).vendor_id
    test_avalara_communications.commit(afc, doc)
    test_avalara_communications.void(afc, doc)
    with pytest.raises(Rejected):
        test_avalara_communications.document(afc, itms=test_avalara_communications.items(tran=99))
    part = {"adj": True, "adjm": 0, "disc": 0, "pror": Decimal("0.5"), "proadj": 1, "billed": Decimal("-0.01")}
    adjusted = [{**item, **part} for item in test_avalara_communications.items()]
    about = {"opt": [{"key": "1", "val": "INV-2026-10-0001"}], "itms": adjusted}
    number = ExternalKey("invn", "CN-1")
    afc.upsert("tax_credit", {**contract_avalara_communications.payload(1), **about}, number)
    reads = [("pcode", "State=CA&ZipCode=94102"), ("location", "377300"), ("primary", "377300")]
    for resource, vendor_id in [*reads, ("ts_pair", "19:6"), ("tax_type", "162")]:
        afc.get(resource, vendor_id)
    afc.close()


def billingplatform(url: str, _folder: Path) -> None:
    manager = BillingManager(url)
    manager.set_up()
    core = _connect("billingplatform", contract_billingplatform.settings(url))
    invoice = test_billingplatform.billed(core, manager)
    contract = {"AccountObj": {"TieoutKey": "A-0001"}, "StartDate": "2026-10-01", "ContractStatus": "ACTIVE"}
    core.upsert("subscription", contract, ExternalKey("ContractNumber", "SUB-1"))
    core.get("invoice", invoice)
    for resource in core.resources:
        list(core.changes(resource, _just_now()))
    core.close()
    client = _connect("billingplatform", contract_billingplatform.settings(url, **test_billingplatform.OAUTH))
    client.find("account", contract_billingplatform.key(1))
    client.close()
    manager.http.close()


def dynamics(url: str, _folder: Path) -> None:
    seller, crm = Seller(url), _connect("dynamics", contract_dynamics.settings(url, page=2))
    records = [(contract_dynamics.payload(n), contract_dynamics.key(n)) for n in range(1, 4)]
    made = crm.upsert_many("account", [*records, (contract_dynamics.bad_payload()[0], contract_dynamics.key(9))])
    account = seller.account()
    seller.make("contacts", lastname="Fox", parentcustomerid_account__to=account)
    site = {"tieout_SiteId@odata.bind": seller.site("A-0001-S1", account)}
    order = seller.sell(*[seller.line("VC-MIN", 2, 19.99, **site)] * 3)
    crm.get("order", order)
    progress = {"tieout_status": "paid", "tieout_paid": Decimal("1.10")}
    crm.upsert("order_progress", progress, ExternalKey("salesorderid", order))
    invoice = test_dynamics.invoice_payload("1.00", "2.50")
    for more in ({}, {"name": "Corrected"}):
        crm.upsert("invoice", invoice | more, test_dynamics.NUMBER)
    for resource in crm.resources:
        for since in (None, "2026-01-01T00:00:00+00:00"):
            list(crm.changes(resource, since))
    list(reading := crm.changes("account", None))
    seller.call("DELETE", f"accounts({made[2].vendor_id})", status=204)
    assert [change.payload for change in crm.changes("account", reading.cursor)] == [None]
    seller.http.close()
    crm.close()


def hubspot(url: str, _folder: Path) -> None:
    account = Account(url)
    oauth = {"access_token": None, "client_id": portal.CLIENT_ID, "refresh_token": portal.REFRESH_TOKEN}
    crm = _connect("hubspot", contract_hubspot.settings(url, **oauth))
    with pytest.raises(Rejected):
        crm.upsert("account", {"colour": "red"}, contract_hubspot.key(3))
    company = crm.upsert("account", contract_hubspot.payload(1), contract_hubspot.key(1)).vendor_id
    deal = account.make("deals", dealname="Rooms", dealstage="closedwon", amount="30", closedate="2026-09-21")
    line, contact = account.make("line_items", quantity="1", price="30"), account.make("contacts", email="a@b.example")
    site = account.make("companies", tieout_site_code="A-0001-S1")
    account.link("deals", deal, "companies", company, 5)
    account.link("deals", deal, "line_items", line, 19)
    account.link("companies", company, "contacts", contact, 2)
    account.link("companies", company, "companies", site, 13)
    for ident in (deal, "1"):
        crm.upsert_many("order_progress", [({"tieout_status": "paid"}, ExternalKey("hs_object_id", ident))])
    gone = account.make("deals", dealstage="closedwon")
    account.call("DELETE", f"/crm/v3/objects/deals/{gone}", status=204)
    for since in (None, "2026-01-01T00:00:00+00:00"):
        for resource in crm.resources:
            list(crm.changes(resource, since))
    account.http.close()
    crm.close()


def netsuite(url: str, _folder: Path) -> None:
    erp = _connect("netsuite", contract_netsuite.settings(url, async_above=2))
    records = [(contract_netsuite.payload(n), contract_netsuite.key(n)) for n in range(1, 4)]
    erp.upsert_many("account", [*records, (contract_netsuite.bad_payload()[0], contract_netsuite.key(9))])
    custom = {"object": "Customer", "field": "custentity_segment", "words": ["Wholesale"], "required": True}
    httpx.post(f"{url}/_sandbox/schema", json=custom).raise_for_status()
    erp.describe("account")
    told = {**contract_netsuite.payload(1), "custentity_segment": {"internalId": "1"}}
    for payload in (told, contract_netsuite.payload(2)):
        erp.upsert_many("account", [(payload, contract_netsuite.key(1))])
    httpx.delete(f"{url}/_sandbox/schema").raise_for_status()
    test_netsuite.set_up(erp)
    void = {**test_netsuite.TAKEN, "internalId": test_netsuite.paid(erp)}
    for _ in range(2):
        erp.upsert("payment_void", void, test_netsuite.PAY_1)
    erp.close()


def quickbooks(url: str, folder: Path) -> None:
    ledger = _connect("quickbooks", contract_quickbooks.settings(url, token_file=folder / "tokens.json"))
    test_quickbooks.deliver_examples(ledger, folder)
    note = test_quickbooks.invoice("1.00", CustomerRef={"value": "8"})
    test_quickbooks.put(ledger, "credit_note", "CN-1", note)
    with pytest.raises(Rejected):
        test_quickbooks.put(ledger, "class", "x" * 101, {})
    for resource in ledger.resources:
        list(ledger.changes(resource, "2026-10" if resource == "gl_balance" else _just_now()))
    given = test_quickbooks.in_euros(ledger, url)
    sent = test_quickbooks.put(ledger, "invoice", "INV-EUR", test_quickbooks.invoice("1.00", **given))
    test_quickbooks.put(ledger, "payment", "PAY-EUR", {**test_quickbooks.payment(sent.vendor_id, "1.00"), **given})
    list(ledger.changes("gl_balance", "2026-10"))
    (paid,) = [one.payload for one in ledger.changes("payment", None) if one.payload["PaymentRefNum"] == "PAY-EUR"]
    void, key = {"Id": paid["Id"], "TxnDate": paid["TxnDate"]}, ExternalKey("PaymentRefNum", "PAY-EUR")
    for amount in ("0.40", "0.00"):
        pays = {**void, "Line": test_quickbooks.payment(sent.vendor_id, amount)["Line"]}
        ledger.upsert("payment_application", pays, key)
    ledger.upsert("payment_void", void, key)
    ledger.check()
    ledger.close()


def salesforce(url: str, _folder: Path) -> None:
    org = _connect("salesforce", contract_salesforce.settings(url, bulk_above=2))
    records = [(contract_salesforce.payload(n), contract_salesforce.key(n)) for n in range(1, 4)]
    org.upsert_many("account", [*records, (contract_salesforce.bad_payload()[0], contract_salesforce.key(9))])
    org.close()
    quotes = _connect("salesforce", contract_salesforce.settings(url, order_source="cpq_quote"))
    list(quotes.changes("order", _just_now()))
    quotes.close()
    listening = _connect("salesforce", contract_salesforce.settings(url, change_data_capture=True))
    select, publish = f"{url}/_sandbox/change_data_capture", f"{url}/_sandbox/change_events"
    httpx.post(select, json=["Opportunity"]).raise_for_status()
    for what, records in (("UPDATE", ["006000000000001AAA"]), ("GAP_OVERFLOW", [])):
        event = {"entityName": "Opportunity", "changeType": what, "recordIds": records}
        httpx.post(publish, json=event).raise_for_status()
    list(reading := listening.changes("order", _just_now()))
    list(listening.changes("order", f"3@{_just_now()}"))
    httpx.post(select, json=[]).raise_for_status()
    with pytest.raises(Misconfigured):
        list(listening.changes("order", reading.cursor))
    listening.close()


def xero(url: str, folder: Path) -> None:
    ledger = _connect("xero", contract_xero.settings(url, token_file=folder / "tokens.json"))
    put = test_xero.put
    test_xero.deliver_examples(ledger, folder)
    for options in ("Denver", "Austin"):
        put(ledger, "tracking_category", "Site", {"Options": [{"Name": options}]})
    mails = [
        ({**contract_xero.payload(n), "EmailAddress": mail}, contract_xero.key(n))
        for n, mail in ((8, "a@b.c"), (9, "x"))
    ]
    ledger.upsert_many("account", mails)
    put(ledger, "ledger_account", "4010", {"Name": "Renamed", "Type": "REVENUE"})
    put(ledger, "account", "A-0008", {"Name": "Renamed"})
    with pytest.raises(Rejected):
        put(ledger, "ledger_account", "4011", {"Name": "Renamed", "Type": "REVENUE"})
    test_xero.configure(url, currencies=["USD", "EUR"])
    euros = {"CurrencyCode": "EUR", "CurrencyRate": Decimal("0.952381")}
    sent = put(ledger, "invoice", "INV-EUR", test_xero.invoice("1.00", **euros))
    paid = {**test_xero.payment(sent.vendor_id, "1.00"), "CurrencyRate": Decimal("0.909091")}
    made = put(ledger, "payment", "PAY-EUR", paid).vendor_id
    for resource in ledger.resources:
        for change in ledger.changes(resource, "2026-10" if resource == "gl_balance" else _just_now()):
            if resource != "gl_balance":
                ledger.get(resource, change.vendor_id)
    put(ledger, "payment_void", "PAY-EUR", {"PaymentID": made, "Status": "DELETED", "Date": "2026-11-01"})
    ledger.check()
    ledger.close()


#: System to its scene.
SCENES: Mapping[str, Callable[[str, Path], None]] = {
    "avalara_communications": avalara_communications,
    "billingplatform": billingplatform,
    "dynamics": dynamics,
    "hubspot": hubspot,
    "netsuite": netsuite,
    "quickbooks": quickbooks,
    "salesforce": salesforce,
    "xero": xero,
}
