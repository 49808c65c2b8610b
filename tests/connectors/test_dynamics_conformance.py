"""Every call of the Dynamics connector, and every answer of its emulator, against the vendor's published schema.

Names in addresses are looked up in the CSDL, bodies are validated by the JSON schema made from it. Columns that begin
with ``tieout_``, and the table ``tieout_site``, are this product's own and known to neither.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from email.parser import BytesParser
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree

import httpx
import jsonschema
import pytest

from connectors.dynamics import connect
from core.ports import ExternalKey, World
from sandbox.server import start
from tests.connectors.contract_dynamics import bad_payload, key, payload, settings
from tests.connectors.test_dynamics import NUMBER, Recorded, invoice_payload
from tests.sandbox.dynamics_seller import Seller

SPECS = Path(os.environ.get("TIEOUT_VENDOR_SPECS", Path(__file__).parents[2] / "../shared/vendor-specs")) / "dataverse"
pytestmark = pytest.mark.skipif(not SPECS.exists(), reason="skipped: no vendor specs at hand")

ROOT = "/api/data/v9.2/"
EDM = "{http://docs.oasis-open.org/odata/ns/edm}"
#: Words of the query language.
WORDS = frozenset(
    {"and", "or", "not", "eq", "ne", "gt", "ge", "lt", "le", "null", "true", "false", "asc", "desc", "In"}
    | {"PropertyName", "PropertyValues"}
)

Call = tuple[str, str, dict[str, str], bytes]
Reply = tuple[int, bytes]


@cache
def names() -> dict[str, tuple[str, frozenset[str]]]:
    """Entity set to its type, and the names of that type: columns and navigation."""
    tree = ElementTree.parse(SPECS / "dataverse-sales.csdl.xml")
    of_type = {
        entity.get("Name", ""): frozenset(
            child.get("Name", "") for child in entity if child.tag in (f"{EDM}Property", f"{EDM}NavigationProperty")
        )
        for entity in tree.iter(f"{EDM}EntityType")
    }
    sets = {one.get("Name", ""): one.get("EntityType", "").rpartition(".")[2] for one in tree.iter(f"{EDM}EntitySet")}
    return {name: (kind, of_type[kind]) for name, kind in sets.items()}


@cache
def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SPECS / "dataverse-sales.schema.json").read_text())
    return loaded


def fits(definition: str, value: Any) -> None:
    whole = {"$ref": f"#/$defs/{definition}", "$defs": schema()["$defs"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def parts(content_type: str, body: bytes) -> Iterator[bytes]:
    """The HTTP messages inside a multipart body, change sets opened."""
    whole = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    for part in whole.walk():
        if not part.is_multipart():
            assert part.get_content_type() == "application/http"
            assert part["Content-Transfer-Encoding"] == "binary"
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            yield content


def opened(request: httpx.Request, response: httpx.Response) -> Iterator[tuple[Call, Reply]]:
    """The calls and answers of one exchange: a batch has many; a change set that failed has one answer for all."""
    if request.url.path != f"{ROOT}$batch":
        target = request.url.raw_path.decode()
        yield (request.method, target, dict(request.headers), request.content), (response.status_code, response.content)
        return
    calls = [_call(message) for message in parts(request.headers["content-type"], request.content)]
    replies = [_reply(message) for message in parts(response.headers["content-type"], response.content)]
    if len(calls) == len(replies):
        yield from zip(calls, replies, strict=True)
    else:
        yield from ((call, replies[0]) for call in calls)


def _call(message: bytes) -> Call:
    head, _, body = message.partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    method, target, version = line.split(" ")
    assert version == "HTTP/1.1"
    return method, target, {n.lower(): v for n, _, v in (one.partition(": ") for one in headers)}, body


def _reply(message: bytes) -> Reply:
    head, _, body = message.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def check_names(kind: str, known: frozenset[str], text: str) -> None:
    """Every name of a query option is a column or a lookup of the table, or of ours."""
    for name in re.findall(r"[A-Za-z_]\w*", re.sub(r'"[^"]*"|\d{4}-\d\d-\d\dT[\d:]+Z', "", text)):
        assert name in known | WORDS or name.startswith(("tieout_", "_tieout_")), (kind, name)


def check_expand(known: frozenset[str], text: str) -> None:
    for part in re.findall(r"([A-Za-z_]\w*)(?=\(|,|$)", re.sub(r"\$select=[^);]*", "", text)):
        everywhere = known.union(*(of for _, of in names().values()))
        assert part in everywhere or part.startswith("tieout_"), part


def check_call(method: str, target: str, headers: dict[str, str], body: bytes) -> str | None:
    """The entity type a call is about; None for what the published schema does not hold."""
    parts_of = urlsplit(target)
    path = unquote(parts_of.path)
    assert path.startswith(ROOT)
    match = re.fullmatch(r"(\w+)(?:\((?:[0-9a-f-]{36}|(\w+)='[^']+')\))?", path.removeprefix(ROOT))
    assert match
    if match[1] in ("tieout_sites", "WhoAmI", "EntityDefinitions"):
        return None
    kind, known = names()[match[1]]
    assert match[2] is None or match[2] in known
    options = dict(parse_qsl(parts_of.query))
    assert options.keys() <= {"$select", "$filter", "$orderby", "$expand", "$skiptoken", "$deltatoken"}
    for option in ("$select", "$orderby"):
        check_names(kind, known, options.get(option, ""))
    inside = re.sub(r"Microsoft\.Dynamics\.CRM\.In\(PropertyName='(\w+)'", r"In(\1", options.get("$filter", ""))
    lookups = frozenset(name[1:-6] for name in known if name.startswith("_"))
    check_names(kind, known | lookups, inside)
    check_expand(known, options.get("$expand", ""))
    if method == "PATCH":
        assert headers["prefer"] == "return=representation"
        fits(f"{kind}.write", json.loads(body))
    return kind


def check_reply(kind: str | None, status: int, body: bytes) -> None:
    if status >= 400:
        fits("error", json.loads(body))
    elif kind and body:
        answer = json.loads(body)
        fits(f"{kind}.list" if "value" in answer else f"{kind}.read", answer)


def test_every_call_and_every_answer_is_as_published() -> None:
    """A month of a CRM: accounts, orders, progress, invoices, changes by both cursors, refusals, the doctor."""
    with start(["dynamics"]) as running:
        seller, wire = Seller(running.urls["dynamics"]), Recorded()
        world = World(sleep=lambda _seconds: None, transport=wire, clock=lambda: datetime.now(UTC))
        connector = connect(settings(running.urls["dynamics"], page=2), world)
        _month(seller, connector)
        connector.close()
        seller.http.close()
    checked: dict[tuple[str, str | None, int], int] = {}
    for request, response in wire.calls:
        if not request.url.path.startswith(ROOT):
            continue
        own = {name: request.headers.get(name) for name in ("OData-Version", "OData-MaxVersion", "If-None-Match")}
        assert own == {"OData-Version": "4.0", "OData-MaxVersion": "4.0", "If-None-Match": "null"}
        for call, reply in opened(request, response):
            kind = check_call(*call)
            check_reply(kind, *reply)
            what = call[0], kind, reply[0] // 100
            checked[what] = checked.get(what, 0) + 1
    expected = {
        ("GET", "account", 2),
        ("GET", "account", 4),
        ("GET", "contact", 2),
        ("GET", "invoice", 2),
        ("GET", "salesorder", 2),
        ("GET", "salesorderdetail", 2),
        ("PATCH", "account", 2),
        ("PATCH", "account", 4),
        ("PATCH", "invoice", 2),
        ("PATCH", "invoice", 4),
        ("PATCH", "invoicedetail", 2),
        ("PATCH", "salesorder", 2),
    }
    assert expected <= checked.keys()


def _month(seller: Seller, connector: Any) -> None:
    made = connector.upsert_many("account", [(payload(n), key(n)) for n in range(1, 4)] + [(bad_payload()[0], key(9))])
    assert [hasattr(one, "vendor_id") for one in made] == [True, True, True, False]
    assert connector.find("account", key(8)) is None
    account = seller.account()
    seller.make("contacts", lastname="Fox", parentcustomerid_account__to=account)
    site = seller.site("A-0001-S1", account)
    order = seller.sell(*[seller.line("VC-MIN", 2, 19.99, **{"tieout_SiteId@odata.bind": site})] * 3)
    connector.get("order", order)
    own = ExternalKey("salesorderid", order)
    connector.upsert("order_progress", {"tieout_status": "paid", "tieout_paid": Decimal("1.10")}, own)
    connector.upsert("invoice", invoice_payload("1.00", "2.50"), NUMBER)
    connector.upsert("invoice", invoice_payload("1.00", "2.50") | {"name": "Corrected"}, NUMBER)
    for resource in connector.resources:
        list(connector.changes(resource, None))
        list(connector.changes(resource, "2026-01-01T00:00:00+00:00"))
    *_, last = connector.changes("account", None)
    seller.call("DELETE", f"accounts({made[2].vendor_id})", status=204)
    assert [change.payload for change in connector.changes("account", last.cursor)] == [None]
    assert all(finding.ok for finding in connector.check())
