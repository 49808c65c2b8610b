"""What is peculiar to the BillingPlatform connector, against the emulated organisation on a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from pydantic import ValidationError

from connectors.billingplatform import BATCH, RESOURCES, BillingPlatform, connect
from core.errors import Misconfigured, OutcomeUnknown, Parked, Rejected, Unavailable
from core.ports import ExternalKey, Guard, Outcome, Receipt, World
from sandbox import server
from sandbox.billingplatform import CLIENT_ID, CLIENT_SECRET, ORGANISATION
from tests.connectors.contract_billingplatform import key, payload, settings
from tests.sandbox.billing_manager import BillingManager

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("billingplatform")]

#: The lines of the calls that write, by wire.
WRITES = {"REST": "^PATCH ", "SOAP": "^POST /northwind/soap", "OAuth": "^PATCH "}
OAUTH = {"username": "", "password": None, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


@dataclass
class Stage:
    """An organisation, its manager, and a connector that writes by one of the two wires."""

    url: str
    wire: str
    manager: BillingManager
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connector = self.connect()

    def connect(self, **changes: Any) -> BillingPlatform:
        ways: dict[str, dict[str, Any]] = {"SOAP": {"wsdl_url": f"{self.url}/{ORGANISATION}/soap/wsdl"}, "OAuth": OAUTH}
        return connect(settings(self.url, **{**ways.get(self.wire, {}), **changes}), World(sleep=self.slept.append))

    def plant(self, kind: str, match: str = "", **more: Any) -> None:
        fault = {"kind": kind, "match": match or WRITES[self.wire], **more}
        httpx.post(f"{self.url}/_sandbox/faults", json=fault).raise_for_status()

    def end_sessions(self) -> None:
        httpx.delete(f"{self.url}/_sandbox/sessions").raise_for_status()

    def write(self, number: int = 1, **changes: Any) -> Receipt:
        return self.connector.upsert("account", {**payload(number), **changes}, key(number))


@pytest.fixture(scope="module")
def running() -> Iterator[str]:
    with server.start(["billingplatform"]) as started:
        yield started.urls["billingplatform"]


@pytest.fixture(params=list(WRITES))
def stage(running: str, request: pytest.FixtureRequest) -> Iterator[Stage]:
    httpx.post(f"{running}/_sandbox/reset").raise_for_status()
    manager = BillingManager(running)
    manager.set_up()
    made = Stage(running, request.param, manager)
    yield made
    made.connector.close()
    manager.http.close()


@pytest.fixture
def rest(running: str) -> Iterator[Stage]:
    httpx.post(f"{running}/_sandbox/reset").raise_for_status()
    manager = BillingManager(running)
    manager.set_up()
    made = Stage(running, "REST", manager)
    yield made
    made.connector.close()
    manager.http.close()


# Writing, by both wires


def test_a_write_is_one_record_and_its_answer_is_what_is_held(stage: Stage) -> None:
    first, second = stage.write(), stage.write(Description="changed")
    assert (first.created, second.created, first.vendor_id) == (True, False, second.vendor_id)
    assert (second.answer["Description"], second.answer["TieoutKey"]) == ("changed", "A-0001")
    assert len(stage.manager.rows("ACCOUNT")) == 1


def test_a_lost_reply_is_an_unknown_outcome(stage: Stage) -> None:
    stage.write(1)
    stage.plant("lose_reply")
    with pytest.raises(OutcomeUnknown):
        stage.write(2)
    found = stage.connector.find("account", key(2))
    assert found is not None
    assert (stage.write(2).created, len(stage.manager.rows("ACCOUNT"))) == (False, 2)


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_on_a_write_is_never_a_no(stage: Stage, status: int) -> None:
    stage.write(1)
    stage.plant("error_after", status=status)
    with pytest.raises(OutcomeUnknown):
        stage.write(2)


def test_too_many_calls_are_waited_for(stage: Stage) -> None:
    stage.write(1)
    stage.plant("rate_limit", times=2)
    assert stage.write(2).created
    assert stage.slept == [1.0, 1.0]


def test_one_bad_record_of_many_fails_alone_and_names_its_field(stage: Stage) -> None:
    items = [(payload(1), key(1)), ({**payload(2), "Status": "ASLEEP"}, key(2)), (payload(3), key(3))]
    first, refused, third = stage.connector.upsert_many("account", items)
    assert isinstance(first, Receipt)
    assert isinstance(third, Receipt)
    assert isinstance(refused, Rejected)
    assert (refused.field, refused.value, refused.code) == ("Status", "ASLEEP", "INVALID_VALUE")


def test_a_field_that_the_organisation_does_not_have_is_refused_by_name(stage: Stage) -> None:
    with pytest.raises(Rejected) as refused:
        stage.write(Nose="red")
    assert refused.value.field == "Nose"
    assert stage.manager.rows("ACCOUNT") == []


def test_an_ended_session_is_renewed_once_and_nothing_is_written_twice(stage: Stage) -> None:
    stage.write(1)
    stage.end_sessions()
    assert stage.write(2).created
    stage.end_sessions()
    assert stage.connector.find("account", key(2)) is not None


def test_more_records_than_a_call_takes_go_in_several(stage: Stage) -> None:
    items = [(payload(number), key(number)) for number in range(1, BATCH + 2)]
    outcomes: list[Outcome] = stage.connector.upsert_many("account", items)
    assert [isinstance(one, Receipt) for one in outcomes] == [True] * (BATCH + 1)
    assert len(stage.manager.rows("ACCOUNT")) == BATCH + 1


def test_exact_numbers_and_references_cross_either_wire(stage: Stage) -> None:
    owner = stage.write(1).vendor_id
    method = {"RatingMethodObj": {"ExternalKey": "usage-1"}, "Name": "Minutes", "Rate": Decimal("0.045")}
    product = stage.connector.upsert("product", method, ExternalKey("ExternalKey", "VC-MIN"))
    assert product.answer["Rate"] == "0.045"
    bought = {"AccountId": owner, "ProductId": product.vendor_id, "Quantity": 1, "StartDate": "2026-10-01"}
    assert stage.connector.upsert("contract_charge", bought, ExternalKey("TieoutKey", "SC-1")).created


# Reading


def test_changes_are_paged_by_id_and_tell_what_carries_our_key(rest: Stage) -> None:
    for number in range(1, 6):
        rest.write(number)
    rest.manager.upsert("ACCOUNT", "TieoutKey", TieoutKey="by-hand", Name="By hand", AccountTypeId="1")
    rest.manager.http.post(
        f"/{ORGANISATION}/rest/2.0/ACCOUNT", json={"brmObjects": {"Name": "X", "AccountTypeId": "1"}}
    )
    paged = rest.connect(page=2)
    assert [change.payload["TieoutKey"] for change in paged.changes("account", None) if change.payload] == [
        *(f"A-{number:04d}" for number in range(1, 6)),
        "by-hand",
    ]
    paged.close()


def test_a_key_with_a_quote_is_looked_up_as_it_is(rest: Stage) -> None:
    quoted = ExternalKey("TieoutKey", "O'Hara' OR 'a' = 'a")
    assert rest.connector.find("account", quoted) is None
    rest.connector.upsert("account", payload(1), quoted)
    found = rest.connector.find("account", quoted)
    assert found is not None
    assert found.answer["TieoutKey"] == quoted.value


def billed(connector: BillingPlatform, manager: BillingManager) -> str:
    """An account with usage on a closed invoice; the invoice's id."""
    owner = connector.upsert("account", payload(1), key(1)).vendor_id
    profile = {"AccountId": owner, "BillTo": "x", "Address1": "y", "BillingCycle": "MONTHLY", "BillingMethod": "MAIL"}
    connector.upsert("billing_profile", profile, key(1))
    sold = {"Name": "Minutes", "Rate": "0.05", "RatingMethodObj": {"ExternalKey": "usage-1"}}
    product = connector.upsert("product", sold, ExternalKey("ExternalKey", "VC-MIN")).vendor_id
    bought = {"AccountId": owner, "ProductId": product, "Quantity": "1", "StartDate": "2026-10-01"}
    line = connector.upsert("contract_charge", bought, ExternalKey("TieoutKey", "SC-1")).vendor_id
    used = {"AccountId": owner, "ProductId": product, "AccountProductId": line, "ActivityDate": "2026-10-31"}
    for site in ("S1", "S2"):
        given = {**used, "Quantity": "100.5", "TieoutSite": site}
        connector.upsert("usage", given, ExternalKey("TieoutKey", f"U-{site}"))
    return manager.close("2026-10")[0]


def test_an_invoice_comes_with_its_activities_and_the_records_that_carry_our_keys(rest: Stage) -> None:
    ident = billed(rest.connector, rest.manager)
    (change,) = rest.connector.changes("invoice", None)
    assert change.payload == rest.connector.get("invoice", ident)
    invoice = change.payload
    assert (invoice["Status"], invoice["GrandTotalAmount"], invoice["BillingProfile"]["TieoutKey"]) == (
        "CLOSED",
        "10.06",
        "A-0001",
    )
    shown = [
        (one["TieoutSite"], one["RatedAmount"], one["Product"]["ExternalKey"], one["AccountProduct"]["TieoutKey"])
        for one in invoice["Activities"]
    ]
    assert shown == [("S1", "5.03", "VC-MIN", "SC-1"), ("S2", "5.03", "VC-MIN", "SC-1")]


def test_usage_comes_with_the_invoice_that_bills_it(rest: Stage) -> None:
    billed(rest.connector, rest.manager)
    states = [one.payload["Invoice"]["Status"] for one in rest.connector.changes("usage", None) if one.payload]
    assert states == ["CLOSED", "CLOSED"]


def test_invoices_are_only_read(rest: Stage) -> None:
    assert [name for name, row in RESOURCES.items() if row.guard is Guard.READ_ONLY] == ["invoice"]
    with pytest.raises(Misconfigured, match="made by billing"):
        rest.connector.upsert("invoice", {}, ExternalKey("Id", "1"))


# What answers mean


def answers(rest: Stage, body: Any, status: int = 200) -> respx.MockRouter:
    """The organisation answers every upsert of accounts with this body."""
    router = respx.mock(assert_all_called=False)
    router.route(method="PATCH", path=f"/{ORGANISATION}/rest/2.0/ACCOUNT").respond(status, json=body)
    router.route().pass_through()
    return router


def row(**changes: Any) -> dict[str, Any]:
    return {"Id": "1", "ErrorCode": "0", "ErrorText": " ", "success": True, "created": True, **changes}


def test_a_date_in_a_closed_period_waits_for_the_period(rest: Stage) -> None:
    text = "ActivityDate is in a closed accounting period."
    with answers(rest, {"upsertResponse": [row(ErrorCode="511", ErrorText=text, success=False)]}):
        (outcome,) = rest.connector.upsert_many("account", [({**payload(1), "StartDate": "2026-09-30"}, key(1))])
    assert isinstance(outcome, Parked)
    assert outcome.waits_for == "period:2026-09"


@pytest.mark.parametrize(
    "body",
    [{"upsertResponse": []}, {"upsertResponse": None}, {}, [], {"upsertResponse": [row(Id="")]}],
    ids=["no row", "null", "nothing", "a list", "a row without an id"],
)
def test_an_answer_that_does_not_tell_of_each_record_is_an_unknown_outcome(rest: Stage, body: Any) -> None:
    with answers(rest, body), pytest.raises(OutcomeUnknown):
        rest.write(1)


@pytest.mark.parametrize(("success", "created"), [("true", "1"), (1, "true"), (True, 1)])
def test_flags_are_read_however_they_are_spelled(rest: Stage, success: Any, created: Any) -> None:
    with answers(rest, {"upsertResponse": [row(success=success, created=created)]}):
        assert rest.write(1).created is True


def test_a_sign_in_that_is_not_answered_as_one_says_nothing_of_the_record(rest: Stage) -> None:
    for body, error in (
        ({"loginResponse": [{"SessionID": "", "ErrorCode": "102"}]}, Misconfigured),
        ({"loginResponse": []}, Unavailable),
        ({}, Unavailable),
    ):
        with respx.mock(assert_all_called=False) as router:
            router.route(path=f"/{ORGANISATION}/rest/2.0/login").respond(json=body)
            with pytest.raises(error):
                rest.connect().find("account", key(1))


# Set-up


@pytest.mark.parametrize("url", ["http://my.billingplatform.com/acme", "https://my.billingplatform.com"])
def test_an_address_without_tls_or_organisation_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        settings("http://127.0.0.1:1", base_url=url)


@pytest.mark.parametrize("wrong", [{"client_id": CLIENT_ID}, {"username": ""}, {**OAUTH, "wsdl_url": "acme.wsdl"}])
def test_settings_need_one_way_to_sign_in_and_soap_a_user(wrong: dict[str, Any]) -> None:
    more = {"client_secret": CLIENT_SECRET} if wrong == {"client_id": CLIENT_ID} else {}
    with pytest.raises(ValidationError):
        settings("http://127.0.0.1:1", **wrong, **more)


def test_a_client_that_the_organisation_does_not_know_is_a_misconfiguration(rest: Stage) -> None:
    connector = rest.connect(**{**OAUTH, "client_secret": "wrong"})
    with pytest.raises(Misconfigured) as refused:
        connector.find("account", key(1))
    assert "wrong" not in str(refused.value)
    connector.close()


def test_a_wsdl_that_cannot_be_read_is_a_misconfiguration(rest: Stage, tmp_path: Path) -> None:
    other = tmp_path / "other.wsdl"
    other.write_text("<html/>")
    for wsdl in (str(tmp_path / "none.wsdl"), str(other)):
        connector = rest.connect(wsdl_url=wsdl)
        with pytest.raises(Misconfigured, match="WSDL"):
            connector.upsert("account", payload(1), key(1))
        assert [finding.check for finding in connector.check() if not finding.ok] == ["billingplatform: WSDL"]
        connector.close()


def test_the_wsdl_may_name_another_host_but_credentials_stay_at_ours(rest: Stage, tmp_path: Path) -> None:
    """The address in the file is followed by its path alone."""
    text = httpx.get(f"{rest.url}/{ORGANISATION}/soap/wsdl").text.replace(rest.url, "https://elsewhere.example")
    file = tmp_path / "organisation.wsdl"
    file.write_text(text)
    connector = rest.connect(wsdl_url=str(file))
    assert connector.upsert("account", payload(1), key(1)).created
    connector.close()


def test_the_doctor_names_a_field_that_was_not_added(rest: Stage) -> None:
    text = "there is no field TieoutKey"
    with respx.mock(assert_all_called=False) as router:
        router.route(path=f"/{ORGANISATION}/rest/2.0/query").respond(400, text=text)
        router.route().pass_through()
        wrong = [finding for finding in rest.connect().check() if not finding.ok]
    assert (len(wrong), "TieoutKey to ACCOUNT" in wrong[0].cure) == (len(RESOURCES), True)


def test_a_closed_connector_leaves_no_session_behind(rest: Stage) -> None:
    with respx.mock(assert_all_called=False) as router:
        route = router.route(method="GET").pass_through()
        router.route().pass_through()
        connector = rest.connect()
        connector.find("account", key(1))
        session = route.calls[0].request.headers["sessionid"]
        connector.close()
    asked = {"queryAnsiSql": "Id > 0"}
    refused = httpx.get(f"{rest.url}/{ORGANISATION}/rest/2.0/ACCOUNT", params=asked, headers={"sessionid": session})
    assert refused.status_code == 401
