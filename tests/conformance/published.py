"""What each vendor has published, what of it is judged by which file, and where its own documents contradict a file.

Nothing of a vendor's file is kept here. The files are found at ``TIEOUT_VENDOR_SPECS``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from tests.conformance import bayeux
from tests.conformance.capture import Call
from tests.conformance.openapi import OpenApi, Verdict
from tests.conformance.shapes import Dataverse, QuickBooks, Salesforce, Soap

SPECS = Path(os.environ.get("TIEOUT_VENDOR_SPECS", Path(__file__).parents[2] / "../shared/vendor-specs"))
BILLINGPLATFORM = SPECS / "billingplatform/billingplatform-rest-2.0.derived.openapi.yaml"


class Judge(Protocol):
    def judge(self, call: Call, /) -> Iterator[Verdict]: ...


#: System to the files that describe it, the one that is asked first first.
JUDGES: Mapping[str, Callable[[], Sequence[Judge]]] = {
    "salesforce": lambda: [Salesforce(SPECS / "salesforce")],
    "avalara": lambda: [OpenApi(SPECS / "avatax/avatax-26.9.0.sdk-derived.openapi.json")],
    "avalara_communications": lambda: [OpenApi(SPECS / "avalara-communications/afc-openapi-v2-2021.facts.json")],
    "stripe": lambda: [
        # It refuses what it does not know, and tells more than it lists.
        OpenApi(SPECS / "stripe/stripe-2026-10-28.endive.sdk-derived.openapi.json", open_schemas=r"(?!params\.).*")
    ],
    "netsuite": lambda: [
        Soap(SPECS / "netsuite/soap-2023_2", r"/services/NetSuitePort_\w+"),
        OpenApi(SPECS / "netsuite/netsuite-rest-2026.1.derived.openapi.yaml", "/services/rest"),
    ],
    "quickbooks": lambda: [QuickBooks(SPECS / "quickbooks")],
    "xero": lambda: [
        OpenApi(SPECS / "xero/xero_accounting.trimmed.yaml", "/api.xro/2.0"),
        OpenApi(
            SPECS / "xero/xero-identity.yaml", flags=re.IGNORECASE
        ),  # it writes /Connections, its pages /connections
    ],
    "dynamics": lambda: [Dataverse(SPECS / "dataverse")],
    "billingplatform": lambda: [OpenApi(BILLINGPLATFORM, "/northwind", open_schemas=".*")],
    "hubspot": lambda: [OpenApi(file) for file in sorted((SPECS / "hubspot").glob("*.openapi.json"))],
}


@cache
def judges(system: str) -> Sequence[Judge]:
    return JUDGES[system]()


@dataclass(frozen=True)
class Unpublished:
    """An operation that no file at hand describes: a pattern of ``"METHOD /path"``, and what was gone by instead.

    ``stated``: what is wrong with a call by our own statement of that document, where there is one.
    """

    system: str
    line: str
    instead: str
    stated: Callable[[Call], Iterator[str]] = lambda _call: iter(())


UNPUBLISHED: Sequence[Unpublished] = (
    Unpublished("salesforce", r"GET /services/data/(v[\d.]+/limits/)?", "REST API guide, Versions and Limits"),
    Unpublished("salesforce", r"GET \S+/sobjects/\w+/describe", "recorded answers; REST API guide, Describe"),
    Unpublished("salesforce", r"GET /services/data/v[\d.]+/jobs/ingest", "Bulk API 2.0 guide, Get All Jobs"),
    Unpublished("salesforce", r"PUT \S+/jobs/ingest/\w+/batches", "Bulk API 2.0 guide, Upload Job Data"),
    Unpublished(
        "salesforce", r"GET \S+/jobs/ingest/\w+/(\w+Results|unprocessedrecords)", "Bulk API 2.0 guide, Get Job Results"
    ),
    Unpublished(
        "salesforce", r"POST /cometd/\d+\.0", "Streaming API guide and Bayeux 1.0, stated in bayeux.py", bayeux.faults
    ),
    Unpublished("netsuite", r"GET /wsdl/\S+", "a cut of the WSDL, see test_netsuite.py"),
    Unpublished("quickbooks", r"POST /oauth2/v1/tokens/bearer", "Intuit's page OAuth 2.0"),
    Unpublished("xero", r"POST /connect/token", "Xero's page Refreshing access and refresh tokens"),
    Unpublished("dynamics", r"POST /[0-9a-f-]{36}/oauth2/v2\.0/token", "identity platform, Client credentials"),
    Unpublished("dynamics", r"GET /api/data/v9\.2/(WhoAmI|EntityDefinitions\(\S+\))", "Query table definitions"),
    Unpublished("dynamics", r"\w+ /api/data/v9\.2/tieout_sites\S*", "a table of this product's own"),
    Unpublished("hubspot", r"GET /account-info/v3/details", "developer page Account information"),
)  # fmt: skip


@dataclass(frozen=True)
class Contradiction:
    """Where a call is right although a file says otherwise: patterns of operation and fault, and the document."""

    system: str
    operation: str
    fault: str
    document: str

    def covers(self, system: str, operation: str, fault: str) -> bool:
        return (
            re.fullmatch(self.system, system) is not None
            and re.fullmatch(self.operation, operation) is not None
            and re.search(self.fault, fault) is not None
        )


CONTRADICTIONS: Sequence[Contradiction] = (
    Contradiction(
        r"avalara_communications|billingplatform|xero", r".*", r"^answer: status (401|404|429|50.) is not listed",
        "no file lists what gateways answer; AFC guide, HTTP status codes; Xero page HTTP response codes",
    ),
    Contradiction(
        "avalara", r".*", r"^answer 429: .*'message' was unexpected",
        "the vendor publishes no body for 429; a gateway in front of the service answers",
    ),
    Contradiction(
        "xero", r".*", r"^answer \d+: .*\(('(Id|Status|DateTimeUTC|ProviderName)',? ){4}were unexpected\)",
        "examples in the file itself: each answer has these four around its collection",
    ),
    Contradiction(
        "xero", r".*", r"^answer 400\.Elements\.\d+",
        "example of 400 in the file itself: an Element is the refused record with its ValidationErrors",
    ),
    Contradiction(
        "hubspot", r".*", r"^answer \d+: .*\(('(status|errorType|policyName)',? )+w(as|ere) unexpected\)",
        "developer pages Error handling and Usage guidelines: the error has status, a 429 errorType and policyName too",
    ),
    Contradiction(
        "salesforce", r"GET query", r"has no column (Billing|Shipping)(State|Country)Code$",
        "Object Reference, Address Compound Fields: there where state and country picklists are on, as our docs ask",
    ),
    Contradiction(
        "salesforce", r"GET query", r"has no column CurrencyIsoCode$",
        "Object Reference, Currency fields: there where several currencies are on",
    ),
    Contradiction(
        "salesforce", r"POST token", r"'error': 'invalid_client'",
        "OAuth 2.0 (RFC 6749, 5.2) and help page OAuth Authorization Errors: an object with error and its description",
    ),
    Contradiction(
        "netsuite", r".*", r"^answer hostname: ",
        "SuiteTalk SOAP guide, SOAP fault status codes: Axis adds the name of its host to a fault",
    ),
    Contradiction(
        "netsuite", r".*", r"^answer: is (not XML|no envelope)",
        "SOAP guide, error handling: a gateway answers 502 and 503 with a page of HTML",
    ),
    Contradiction(
        r"avalara|stripe|quickbooks|dynamics", r".*",
        r"^request\S* (\S*customerCode|'A{51}')|'A{51}' is too long|'100\.00' is not of type|'Colour' was unexpected",
        "none: the wrong record of the contract suite, which the system must refuse",
    ),
)  # fmt: skip
