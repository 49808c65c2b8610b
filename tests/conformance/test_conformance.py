"""Every call of a connector and every answer of its emulator is as the vendor publishes it.

Captured are the contract suite, a month of each stack of the demo, and scenes of rarer records. What no file describes
and where a vendor's documents contradict its file stands in ``published.py``, each with the document.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.demo.stacks import STACKS
from connectors.registry import SYSTEMS
from sandbox import server
from tests.conformance.capture import Call, captured, contract_suite, month
from tests.conformance.published import (
    CONTRADICTIONS,
    JUDGES,
    SPECS,
    UNPUBLISHED,
    Contradiction,
    Unpublished,
    judges,
)
from tests.conformance.scenes import SCENES

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(900),  # a contract suite, months and a scene in one test
    pytest.mark.skipif(not SPECS.exists(), reason="skipped: no vendor specs at hand"),
]

#: Rows that were needed, and the systems that were judged.
_needed: set[Contradiction | Unpublished] = set()
_judged: set[str] = set()


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Call]]:
    """The calls of a system in the months of all stacks; each month runs once."""
    ran: dict[str, list[Call]] = {}

    def of(system: str) -> list[Call]:
        calls = []
        for stack, systems in STACKS.items():
            if system in systems:
                if stack not in ran:
                    ran[stack] = month(stack, tmp_path_factory.mktemp(stack) / "month")
                calls += [call for call in ran[stack] if call.system == system]
        return calls

    return of


def scene(system: str, folder: Path) -> list[Call]:
    if system not in SCENES:
        return []
    with captured() as calls, server.start([system]) as running:
        SCENES[system](running.urls[system], folder)
    return calls


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_call_and_every_answer_is_as_published(
    system: str,
    months: Callable[[str], list[Call]],
    sqlite_template: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    calls = [*contract_suite(system, sqlite_template, tmp_path), *months(system), *scene(system, tmp_path)]
    valid, unpublished, faults = judged(system, calls)
    _judged.add(system)
    record_property("conformance", (system, dict(valid), dict(unpublished)))
    assert faults == {}
    assert valid.total() > len(calls) / 4


def judged(system: str, calls: list[Call]) -> tuple[Counter[str], Counter[str], dict[str, int]]:
    """How many calls of each operation were valid, how many no file describes, and what is wrong with the others."""
    valid, unpublished, faults = Counter[str](), Counter[str](), Counter[str]()
    for call in calls:
        verdicts = [one for judge in judges(system) for one in judge.judge(call)]
        known = [one for one in verdicts if one[0]]
        for operation, wrong in known:
            left = [fault for fault in wrong if not _contradicted(system, operation, fault)]
            faults.update(f"{operation}: {fault}" for fault in left)
            valid[operation] += not left
        if not known:
            line = f"{call.request.method} {call.request.url.path}"
            row = next((one for one in UNPUBLISHED if one.system == system and re.fullmatch(one.line, line)), None)
            if row is None:
                faults[f"no file describes {line}"] += 1
            else:
                _needed.add(row)
                unpublished[f"{row.line} (by: {row.instead})"] += 1
                faults.update(f"{line}: {fault}" for fault in row.stated(call))
    return valid, unpublished, dict(faults)


def _contradicted(system: str, operation: str, fault: str) -> bool:
    rows = [one for one in CONTRADICTIONS if one.covers(system, operation, fault)]
    _needed.update(rows)
    return bool(rows)


@pytest.mark.parametrize(
    ("sent", "told", "wrong"),
    [
        ({}, {"id": 7}, "answer /meta/connect.id: 7 is not of type 'string'"),
        (
            {"connectionType": "callback-polling"},
            {},
            "request /meta/connect.connectionType: 'long-polling' was expected",
        ),
        ({}, {"successful": False}, "answer /meta/connect: 'error' is a required property"),
        ({}, {"channel": "/data/AccountChangeEvent"}, "answer /data/AccountChangeEvent: 'data' is a required property"),
    ],
)
def test_a_message_that_is_not_of_the_protocol_is_found(
    sent: dict[str, str], told: dict[str, object], wrong: str
) -> None:
    """Of the stream that no vendor's file describes."""
    connect = {"channel": "/meta/connect", "clientId": "1"}
    request = httpx.Request(
        "POST", "http://org.test/cometd/64.0", json=[{**connect, "connectionType": "long-polling", **sent}]
    )
    call = Call("salesforce", request, httpx.Response(200, json=[{**connect, "successful": True, **told}]))
    valid, unpublished, faults = judged("salesforce", [call])
    assert (valid.total(), unpublished.total()) == (0, 1)
    assert f"POST /cometd/64.0: {wrong}" in faults


def test_no_exception_is_kept_that_nothing_needs() -> None:
    if not set(SYSTEMS) <= _judged:
        pytest.skip("skipped: not every system was judged in this run")
    assert [one for one in (*CONTRADICTIONS, *UNPUBLISHED) if one not in _needed] == []


def test_every_system_of_the_registry_has_a_judge() -> None:
    assert set(JUDGES) == set(SYSTEMS)


#: Wrong calls: system, method, path, body, status, answer, and what is found wrong.
WRONG = [
    pytest.param(
        "xero", "PUT", "/api.xro/2.0/Contacts", '{"Contacts": [{"Nme": "Acme"}]}', 200, '{"Contacts": []}',
        "request.Contacts.0: Additional properties are not allowed ('Nme' was unexpected)", id="field",
    ),
    pytest.param(
        "xero", "GET", "/api.xro/2.0/Contacts?pagesize=3", "", 200, '{"Contacts": [{"Name": 7}]}',
        "answer 200.Contacts.0.Name: 7 is not of type 'string'", id="type",
    ),
    pytest.param(
        "xero", "GET", "/api.xro/2.0/Contacts?size=3", "", 200, "{}",
        "request: the query has no size", id="parameter",
    ),
    pytest.param(
        "stripe", "POST", "/v1/refunds", "amount=1.50&payment_intent=pi_1", 200, "{}",
        "request.amount: '1.50' is not of type 'integer'", id="a form",
    ),
    pytest.param(
        "quickbooks", "POST", "/v3/company/1/invoice?minorversion=75&requestid=r", "{}", 200,
        '{"Invoice": {"TotalAmt": "1.50"}}', "answer.Invoice.TotalAmt: '1.50' is not of type 'number'", id="a schema",
    ),
    pytest.param(
        "dynamics", "GET", "/api/data/v9.2/accounts?$select=nme", "", 200, '{"value": []}',
        "request: account has no column nme", id="metadata",
    ),
    pytest.param(
        "salesforce", "GET", "/services/data/v64.0/query/?q=x", "", 200,
        '{"totalSize": 1, "done": true, "records": [{"attributes": {"type": "Account", "url": "/x"}, "Nme": "x"}]}',
        "answer: Account has no column Nme", id="a column",
    ),
    pytest.param(
        "netsuite", "POST", "/services/NetSuitePort_2023_2",
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        '<getServerTime xmlns="urn:messages_2023_2.platform.webservices.netsuite.com"><zone/></getServerTime>'
        "</e:Body></e:Envelope>", 502, "<html/>",
        "Element content is not allowed, because the content type is empty.", id="XML",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("system", "method", "path", "body", "status", "answer", "fault"), WRONG)
def test_what_is_not_as_published_is_found(
    system: str, method: str, path: str, body: str, status: int, answer: str, fault: str
) -> None:
    media = "application/x-www-form-urlencoded" if system == "stripe" else "application/json"
    headers = {"Content-Type": media, "xero-tenant-id": "t", "OData-Version": "4.0"}
    request = httpx.Request(method, f"https://vendor.example{path}", headers=headers, content=body)
    response = httpx.Response(status, content=answer, headers={"Content-Type": "application/json"}, request=request)
    _, _, faults = judged(system, [Call(system, request, response)])
    assert [one for one in faults if fault in one], faults
