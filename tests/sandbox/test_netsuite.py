"""The NetSuite emulator, spoken to by plain envelopes: what it takes, what it refuses, and the books it keeps."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import httpx
import pytest
from lxml import etree
from oauthlib import oauth1

from sandbox import netsuite, netsuite_schema, server

SPECS = Path(os.environ.get("TIEOUT_VENDOR_SPECS", Path(__file__).parents[2] / "../shared/vendor-specs"))
PUBLISHED = SPECS / "netsuite" / "soap-2023_2"
NONCES = count(1)
DECLARED = " ".join(f'xmlns:{name}="{uri}"' for name, uri in netsuite_schema.NSMAP.items())


def passport(**changes: Any) -> str:
    parts = {
        "account": netsuite.ACCOUNT,
        "consumerKey": netsuite.CONSUMER_KEY,
        "token": netsuite.TOKEN,
        "nonce": f"nonce-{next(NONCES)}",
        "timestamp": str(int(time.time())),
    } | changes
    sign = parts.pop("sign", lambda digest: b64encode(digest).decode())
    digest = hmac.new(
        f"{netsuite.CONSUMER_SECRET}&{netsuite.TOKEN_SECRET}".encode(),
        "&".join(parts.values()).encode(),
        hashlib.sha256,
    ).digest()
    inner = "".join(f"<core:{name}>{value}</core:{name}>" for name, value in parts.items())
    signed = f'<core:signature algorithm="HMAC-SHA256">{sign(digest)}</core:signature>'
    return f"<msgs:tokenPassport>{inner}{signed}</msgs:tokenPassport>"


def envelope(body: str, header: str | None = None) -> str:
    header = passport() if header is None else header
    return (
        f"<soapenv:Envelope {DECLARED}><soapenv:Header>{header}</soapenv:Header>"
        f"<soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
    )


class Books:
    """A client that sends what it is told to, and reads answers as plain data."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url)

    def post(self, text: str) -> httpx.Response:
        return self.http.post("/services/NetSuitePort_2023_2", content=text, headers={"SOAPAction": "x"})

    def ask(self, body: str, header: str | None = None) -> Any:
        """The answer, or ``(name of the fault, code, text)``."""
        response = self.post(envelope(body, header))
        message = etree.fromstring(response.content).find(f"{{{netsuite_schema.SOAP}}}Body")[0]
        if response.status_code == 200:
            name = f"msgs:{etree.QName(message).localname}"
            return netsuite_schema.read(message, netsuite_schema.ELEMENTS[name])
        detail = message.find("detail")[0]
        return etree.QName(detail).localname, detail.findtext("{*}code", ""), message.findtext("faultstring")

    def write(self, kind: str, external: str, fields: str, operation: str = "upsert") -> Any:
        """``(True, internal id)``, or ``(False, code)``."""
        record = f'<msgs:record xsi:type="{kind}" externalId="{external}">{fields}</msgs:record>'
        answer = self.ask(f"<msgs:{operation}>{record}</msgs:{operation}>")["writeResponse"]
        if answer["status"]["isSuccess"]:
            return True, answer["baseRef"]["internalId"]
        return False, answer["status"]["statusDetail"][0]["code"]

    def get(self, kind: str, external: str) -> Any:
        reference = f'<msgs:baseRef xsi:type="core:RecordRef" type="{kind}" externalId="{external}"/>'
        return self.ask(f"<msgs:get>{reference}</msgs:get>")["readResponse"].get("record")

    def balances(self) -> dict[str, Decimal]:
        """Posted amount by name of the account."""
        body = "<msgs:fields><core:account>true</core:account></msgs:fields><msgs:pageIndex>1</msgs:pageIndex>"
        answer = self.ask(f"<msgs:getPostingTransactionSummary>{body}</msgs:getPostingTransactionSummary>")
        rows = answer["getPostingTransactionSummaryResult"].get("postingTransactionSummaryList", {})
        names = {one["internalId"]: one["acctName"] for one in self.objects("account")}
        listed = rows.get("postingTransactionSummary", [])
        return {names[row["account"]["internalId"]]: row["amount"] for row in listed}

    def objects(self, kind: str) -> list[dict[str, Any]]:
        return self.http.get(f"/_sandbox/objects/{kind}").json()

    def set_up(self) -> None:
        """A small chart of accounts, two customers and two items that book account 1190."""
        for code, kind in {
            "1050": "bank",
            "1100": "accountsReceivable",
            "1190": "otherCurrentAsset",
            "4010": "income",
        }.items():
            assert self.write("acct:Account", code, account(code, kind))[0]
        for customer in ("A-0001", "A-0002"):
            assert self.write("rel:Customer", customer, customer_fields(customer))[0]
        for item in ("VC-MIN", "TAX"):
            fields = f'<acct:incomeAccount externalId="1190"/><acct:itemId>{item}</acct:itemId>'
            assert self.write("acct:ServiceSaleItem", item, fields)[0]


def account(code: str, kind: str) -> str:
    named = f"<acct:acctNumber>{code}</acct:acctNumber><acct:acctName>{code}</acct:acctName>"
    return f"<acct:acctType>_{kind}</acct:acctType>{named}"


def customer_fields(name: str) -> str:
    return f'<rel:companyName>{escape(name)}</rel:companyName><rel:subsidiary internalId="1"/>'


def invoice(*amounts: str, day: str = "2026-10-31T12:00:00-07:00", customer: str = "A-0001") -> str:
    lines = "".join(
        f'<sales:item><sales:item externalId="VC-MIN"/><sales:amount>{amount}</sales:amount></sales:item>'
        for amount in amounts
    )
    return (
        f'<sales:entity externalId="{customer}"/><sales:tranDate>{day}</sales:tranDate>'
        f"<sales:itemList>{lines}</sales:itemList>"
    )


def payment(amount: str, document: str, applied: str, customer: str = "A-0001") -> str:
    return (
        f'<cust:customer externalId="{customer}"/><cust:payment>{amount}</cust:payment>'
        "<cust:tranDate>2026-11-02T12:00:00-08:00</cust:tranDate><cust:undepFunds>false</cust:undepFunds>"
        f'<cust:account externalId="1050"/><cust:applyList><cust:apply><cust:doc>{document}</cust:doc>'
        f"<cust:amount>{applied}</cust:amount></cust:apply></cust:applyList>"
    )


def journal(debit: str, credit: str, day: str = "2026-10-31T12:00:00-07:00") -> str:
    return (
        f'<gen:tranDate>{day}</gen:tranDate><gen:subsidiary internalId="1"/><gen:lineList>'
        f'<gen:line><gen:account externalId="1190"/><gen:debit>{debit}</gen:debit></gen:line>'
        f'<gen:line><gen:account externalId="4010"/><gen:credit>{credit}</gen:credit></gen:line></gen:lineList>'
    )


@pytest.fixture
def running() -> Iterator[server.Running]:
    with server.start(["netsuite"]) as running:
        yield running


@pytest.fixture
def books(running: server.Running) -> Books:
    books = Books(running.urls["netsuite"])
    books.set_up()
    return books


# The contract


def published(name: str) -> Any:
    found = [
        node
        for path in sorted((PUBLISHED / "xsd").glob("*.xsd"))
        for node in etree.parse(path).getroot()
        if node.get("name") == name.split(":")[1]
        and node.getparent().get("targetNamespace") == netsuite_schema.uri(name.split(":")[0])
        and node.tag != f"{{{netsuite_schema.XSD}}}element"
    ]
    assert found, f"the published schema has no {name}"
    return found[0]


@pytest.mark.skipif(not PUBLISHED.exists(), reason="skipped: no vendor specs at hand")
@pytest.mark.parametrize("name", netsuite_schema.TYPES)
def test_every_type_is_a_part_of_the_published_one(name: str) -> None:
    """Fields stand in the vendor's order and have the vendor's types; values of enumerations are the vendor's."""
    ours, theirs = netsuite_schema.TYPES[name], published(name)
    xsd = f"{{{netsuite_schema.XSD}}}"
    if ours.values:
        assert set(ours.values) <= {one.get("value") for one in theirs.iter(f"{xsd}enumeration")}
        return

    def plain(node: Any) -> str:
        return (node.get("name") or node.get("ref")).rpartition(":")[2]

    nodes = [node for tag in ("element", "attribute") for node in theirs.iter(f"{xsd}{tag}")]
    types = {plain(node): node.get("type") for node in nodes}
    elements = [plain(node) for node in theirs.iter(f"{xsd}element")]
    wanted = [field.name for field in ours.fields if not field.attribute]
    assert [one for one in elements if one in wanted] == wanted
    for field in ours.fields:
        if not field.reference:
            assert types[field.name].rpartition(":")[2] == field.type.rpartition(":")[2]
    theirs_required = {plain(n) for n in theirs.iter(f"{xsd}element") if n.get("minOccurs") != "0"}
    assert {f.name for f in ours.fields if f.required and not f.attribute} == theirs_required & set(wanted)
    assert theirs_required <= set(wanted)


@pytest.mark.parametrize("bomb", ["<!DOCTYPE x>", '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'])
def test_a_document_type_is_refused(books: Books, bomb: str) -> None:
    response = books.post(bomb + envelope("<msgs:getServerTime/>"))
    assert (response.status_code, "DOCTYPE" in response.text) == (500, True)


@pytest.mark.parametrize(
    "fields",
    [
        "<rel:nickname>x</rel:nickname>",
        "<rel:isPerson>perhaps</rel:isPerson>",
        "<rel:email>x</rel:email><rel:isPerson>true</rel:isPerson>",
    ],
    ids=["unknown field", "wrong type", "wrong order"],
)
def test_a_message_that_is_not_valid_by_the_schema_is_a_fault_and_writes_nothing(books: Books, fields: str) -> None:
    before = len(books.objects("customer"))
    record = f'<msgs:record xsi:type="rel:Customer" externalId="A-9">{fields}</msgs:record>'
    name, _, text = books.ask(f"<msgs:upsert>{record}</msgs:upsert>")
    assert (name, text.split(":")[0]) == ("hostname", "org.xml.sax.SAXException")
    assert len(books.objects("customer")) == before


# Who may speak


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (lambda: "", "INVALID_LOGIN_CREDENTIALS"),
        (lambda: passport(sign=lambda digest: digest.hex()), "INVALID_LOGIN_CREDENTIALS"),
        (lambda: passport(token="another"), "INVALID_LOGIN_CREDENTIALS"),
        (lambda: passport(account=netsuite.ACCOUNT.lower()), "INVALID_LOGIN_CREDENTIALS"),
        (lambda: passport(timestamp=str(int(time.time()) - 400)), "INVALID_LOGIN_CREDENTIALS"),
        (
            lambda: (
                passport() + "<msgs:applicationInfo><msgs:applicationId>1</msgs:applicationId></msgs:applicationInfo>"
            ),
            "USER_ERROR",
        ),
    ],
    ids=["no passport", "hexadecimal", "unknown token", "small letters", "stale", "with an application id"],
)
def test_a_request_that_is_not_rightly_signed_is_refused(books: Books, header: Any, code: str) -> None:
    assert books.ask("<msgs:getServerTime/>", header())[:2] == ("invalidCredentialsFault", code)


def test_a_nonce_is_good_once(books: Books) -> None:
    header = passport()
    assert "getServerTimeResult" in books.ask("<msgs:getServerTime/>", header)
    assert books.ask("<msgs:getServerTime/>", header)[0] == "invalidCredentialsFault"


def test_more_requests_at_once_than_granted_are_blocked(running: server.Running, books: Books) -> None:
    """The pool counts requests that run; the one above it is refused and the others are answered."""
    service = running.emulators["netsuite"].service  # type: ignore[attr-defined]
    answers: list[Any] = []

    def ask() -> None:
        answers.append(Books(running.urls["netsuite"]).ask("<msgs:getServerTime/>"))

    threads = [threading.Thread(target=ask) for _ in range(netsuite.CONCURRENCY)]
    with service.company.lock:
        for thread in threads:
            thread.start()
        while service.running < netsuite.CONCURRENCY:
            time.sleep(0.001)
        blocked = books.ask("<msgs:getServerTime/>")
    for thread in threads:
        thread.join()
    assert blocked[:2] == ("exceededConcurrentRequestLimitFault", "WS_REQUEST_BLOCKED")
    assert [list(one) for one in answers] == [["getServerTimeResult"]] * netsuite.CONCURRENCY


def test_a_list_of_more_than_200_records_is_a_fault(books: Books) -> None:
    record = f'<msgs:record xsi:type="rel:Customer">{customer_fields("x")}</msgs:record>'
    assert books.ask(f"<msgs:upsertList>{record * 201}</msgs:upsertList>")[0] == "exceededRecordCountFault"


# What is refused, by the vendor's codes


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("rel:Customer", '<rel:subsidiary internalId="1"/>', "MISSING_REQD_FLD"),
        ("rel:Customer", '<rel:companyName>x</rel:companyName><rel:subsidiary internalId="7"/>', "INVALID_KEY_OR_REF"),
        ("rel:Customer", f"<rel:entityId>A-0001</rel:entityId>{customer_fields('x')}", "DUP_ENTITY"),
        ("acct:ServiceSaleItem", "<acct:itemId>NEW</acct:itemId>", "MISSING_REQD_FLD"),
        ("acct:Account", account("1050", "bank"), "DUP_ACCT_NUM"),
        ("sales:Invoice", invoice("1.00", customer="A-0009"), "INVALID_KEY_OR_REF"),
        ("sales:Invoice", invoice(), "MISSING_REQD_FLD"),
        ("sales:Invoice", invoice("1.00").replace("VC-MIN", "NOPE"), "INVALID_KEY_OR_REF"),
        ("sales:Invoice", invoice("1.00", day="2026-08-15T12:00:00-07:00"), "CLOSED_TRAN_PRD"),
        ("sales:Invoice", invoice("1.00", day="2031-01-15T12:00:00-07:00"), "UNDEFINED_ACCTNG_PRD"),
        ("cust:CustomerPayment", payment("1.00", "999", "1.00"), "INVALID_KEY_OR_REF"),
        ("cust:CustomerPayment", payment("-1.00", "999", "1.00"), "NEGATIVE_PAYMENT_DISALLWD"),
        ("gen:JournalEntry", journal("1.00", "1.01"), "JE_AMOUNTS_MUST_BALANCE"),
        ("gen:JournalEntry", journal("1.00", "1.00", day="2026-07-31T12:00:00-07:00"), "CLOSED_TRAN_PRD"),
        ("gen:JournalEntry", journal("0", "0"), "JE_LINE_MISSING_REQD_DATA"),
    ],
)  # fmt: skip
def test_a_record_that_breaks_a_rule_is_refused_by_its_code(books: Books, kind: str, fields: str, code: str) -> None:
    before = books.http.get("/_sandbox/objects").json()
    assert books.write(kind, "NEW", fields) == (False, code)
    assert books.http.get("/_sandbox/objects").json() == before


def test_a_period_carries_no_external_id_and_is_not_written(books: Books) -> None:
    answer = books.ask('<msgs:upsert><msgs:record xsi:type="acct:AccountingPeriod" internalId="1"/></msgs:upsert>')
    assert answer["writeResponse"]["status"]["statusDetail"][0]["code"] == "INVALID_RCRD_TYPE"


def test_add_refuses_an_external_id_that_is_taken_and_upsert_changes_the_one_record(books: Books) -> None:
    assert books.write("rel:Customer", "A-0001", customer_fields("A-0001"), "add") == (False, "DUP_RCRD")
    assert books.write("rel:Customer", "A-0001", customer_fields("New name"))[0]
    assert [one["companyName"] for one in books.objects("customer")] == ["New name", "A-0002"]


# The books


def test_an_invoice_is_the_sum_of_its_amounts_on_the_day_of_the_company(books: Books) -> None:
    """03:00 UTC on 1 November is still 31 October where the company is; an amount counts before quantity times rate."""
    fields = invoice("100.10", "0.20", day="2026-11-01T03:00:00Z")
    fields = fields.replace(
        "<sales:amount>0.20</sales:amount>", "<sales:quantity>3</sales:quantity><sales:rate>0.335</sales:rate>"
    )
    assert books.write("sales:Invoice", "INV-1", fields)[0]
    kept = books.get("invoice", "INV-1")
    assert (kept["total"], kept["amountRemaining"], kept["status"]) == (Decimal("101.11"), Decimal("101.11"), "Open")
    assert (kept["tranDate"][:10], kept["postingPeriod"]["name"]) == ("2026-10-31", "Oct 2026")
    assert "externalId" not in kept["entity"]


def test_payments_and_credits_settle_an_invoice_and_never_beyond_what_is_due(books: Books) -> None:
    _, document = books.write("sales:Invoice", "INV-1", invoice("100.10"))
    assert books.write("cust:CustomerPayment", "PAY-1", payment("60.00", document, "60.00"))[0]
    assert books.write("cust:CustomerPayment", "PAY-1", payment("60.00", document, "60.00"))[0]
    assert books.get("invoice", "INV-1")["amountRemaining"] == Decimal("40.10")
    assert books.write("cust:CustomerPayment", "PAY-2", payment("50.00", document, "40.11")) == (
        False,
        "CANT_APPLY_PMT",
    )
    assert books.write("cust:CustomerPayment", "PAY-2", payment("40.00", document, "40.10")) == (
        False,
        "TRANS_APPLIED_AMTS_UNBALNCD",
    )
    memo = (
        '<cust:entity externalId="A-0001"/><cust:tranDate>2026-11-02T12:00:00-08:00</cust:tranDate><cust:itemList>'
        '<cust:item><cust:item externalId="VC-MIN"/><cust:amount>40.10</cust:amount></cust:item></cust:itemList>'
        f"<cust:applyList><cust:apply><cust:doc>{document}</cust:doc></cust:apply></cust:applyList>"
    )
    assert books.write("cust:CreditMemo", "CM-1", memo)[0]
    kept = books.get("invoice", "INV-1")
    assert (kept["amountRemaining"], kept["status"]) == (0, "Paid In Full")
    assert books.balances() == {"1050": 60, "1100": 0, "1190": -60}
    assert books.write("sales:Invoice", "INV-1", invoice("99.00")) == (False, "USER_ERROR")


def test_a_payment_is_applied_to_invoices_of_its_own_customer_only(books: Books) -> None:
    _, document = books.write("sales:Invoice", "INV-1", invoice("10.00"))
    fields = payment("10.00", document, "10.00", customer="A-0002")
    assert books.write("cust:CustomerPayment", "PAY-1", fields) == (False, "INVALID_KEY_OR_REF")


def test_the_general_ledger_is_what_the_documents_and_journals_post(books: Books) -> None:
    _, document = books.write("sales:Invoice", "INV-1", invoice("100.10"))
    books.write("cust:CustomerPayment", "PAY-1", payment("100.10", document, "100.10"))
    books.write("gen:JournalEntry", "JE-1", journal("100.10", "100.10"))
    books.write("gen:JournalEntry", "JE-1", journal("100.10", "100.10"))
    balances = books.balances()
    assert balances == {"1050": Decimal("100.1"), "1100": 0, "1190": 0, "4010": Decimal("-100.1")}
    assert sum(balances.values()) == 0


def test_a_period_closed_by_the_accountant_takes_no_postings_until_it_is_opened(books: Books) -> None:
    books.http.post("/_sandbox/periods/2026-10", json={"closed": True})
    assert books.write("gen:JournalEntry", "JE-1", journal("1.00", "1.00")) == (False, "CLOSED_TRAN_PRD")
    books.http.post("/_sandbox/periods/2026-10", json={"closed": False})
    assert books.write("gen:JournalEntry", "JE-1", journal("1.00", "1.00"))[0]


def test_the_books_survive_a_restart_and_begin_anew_after_a_reset(tmp_path: Path) -> None:
    with server.start(["netsuite"], tmp_path) as running:
        first = Books(running.urls["netsuite"])
        first.set_up()
        first.write("sales:Invoice", "INV-1", invoice("1.00"))
    with server.start(["netsuite"], tmp_path) as running:
        second = Books(running.urls["netsuite"])
        assert second.write("sales:Invoice", "INV-1", invoice("2.00"))[0]
        assert [one["total"] for one in second.objects("invoice")] == [2.0]
        second.http.post("/_sandbox/reset")
        assert "getServerTimeResult" in second.ask("<msgs:getServerTime/>")
        assert len(second.objects("accountingPeriod")) == 36
        assert second.get("customer", "A-0001") is None


# SuiteQL


def asked(books: Books, query: Any, **changes: Any) -> httpx.Response:
    """A query, signed by a library of OAuth 1.0."""
    parts = {"realm": netsuite.ACCOUNT, "client_key": netsuite.CONSUMER_KEY, "params": {"limit": "5"}} | changes
    params, headers = parts.pop("params"), parts.pop("headers", {"Prefer": "transient"})
    url = str(httpx.URL(f"{books.http.base_url}/services/rest/query/v1/suiteql").copy_merge_params(params))
    client = oauth1.Client(
        client_secret=netsuite.CONSUMER_SECRET,
        resource_owner_key=netsuite.TOKEN,
        resource_owner_secret=netsuite.TOKEN_SECRET,
        **{"signature_method": oauth1.SIGNATURE_HMAC_SHA256, **parts},
    )
    _, signed, _ = client.sign(url, "POST")
    return books.http.post(url, json={"q": query}, headers={**signed, **headers})


def rows(books: Books, query: str) -> list[dict[str, str]]:
    items = asked(books, query).raise_for_status().json()["items"]
    return [{name: value for name, value in one.items() if name != "links"} for one in items]


def test_a_query_joins_sums_and_shows_names_and_every_value_is_text(books: Books) -> None:
    _, document = books.write("sales:Invoice", "INV-1", invoice("100.10", "0.20"))
    books.write("cust:CustomerPayment", "PAY-1", payment("60.00", document, "60.00"))
    query = (
        "SELECT a.acctnumber AS number, BUILTIN.DF(s.currency) AS currency, SUM(tal.debit) AS debit,"
        " SUM(tal.credit) AS credit FROM transactionaccountingline tal"
        " JOIN transactionline tl ON tl.transaction = tal.transaction AND tl.id = tal.transactionline"
        " JOIN subsidiary s ON s.id = tl.subsidiary JOIN account a ON a.id = tal.account"
        " WHERE tal.posting = 'T' GROUP BY a.acctnumber, s.currency ORDER BY a.acctnumber"
    )
    assert rows(books, query.replace("AS number", "AS account")) == [
        {"account": "1050", "currency": "USD", "debit": "60.00"},
        {"account": "1100", "currency": "USD", "debit": "100.30", "credit": "60.00"},
        {"account": "1190", "currency": "USD", "credit": "100.30"},
    ]


def test_pages_of_a_query_say_whether_there_is_more(books: Books) -> None:
    query = "SELECT id FROM accountingperiod ORDER BY id"
    pages = [asked(books, query, params={"limit": "20", "offset": at}).json() for at in ("0", "20")]
    assert [(one["count"], one["hasMore"], one["totalResults"]) for one in pages] == [(20, True, 36), (16, False, 36)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT nickname FROM customer",
        "SELECT id FROM vendor",
        "SELECT id FROM customer LIMIT 5",
        "SELECT id FROM customer ORDER BY id OFFSET 5 ROWS",
        "SELECT id FROM customer; SELECT id FROM item",
        "DELETE FROM customer",
        "SELECT id FROM customer -- WHERE",
        'SELECT id FROM customer WHERE entityid = "A-0001"',
        "SELECT TO_CHAR(lastmodifieddate, 'MON') AS m FROM customer",
        "SELECT id FROM customer WHERE",
        "",
    ],
)
def test_what_is_no_suiteql_is_refused(books: Books, query: str) -> None:
    answer = asked(books, query)
    assert (answer.status_code, answer.json()["o:errorDetails"][0]["o:errorCode"]) == (400, "INVALID_PARAMETER")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"headers": {}}, 400),
        ({"params": {"limit": "1001"}}, 400),
        ({"params": {"limit": "5", "offset": "3"}}, 400),
        ({"realm": "another"}, 401),
        ({"client_key": "another"}, 401),
        ({"timestamp": str(int(time.time()) - 400)}, 401),
        ({"signature_method": oauth1.SIGNATURE_HMAC_SHA1}, 401),
    ],
)
def test_a_query_needs_its_header_its_limits_and_a_fresh_signature(books: Books, changes: Any, status: int) -> None:
    assert asked(books, "SELECT id FROM customer", **changes).status_code == status


def test_a_query_is_signed_for_once(books: Books) -> None:
    given = {"nonce": "n-1", "timestamp": str(int(time.time()))}
    assert [asked(books, "SELECT id FROM item", **given).status_code for _ in range(2)] == [200, 401]


# Other currencies


def european(books: Books) -> None:
    fields = customer_fields("A-0003") + '<rel:currency internalId="2"/>'
    assert books.write("rel:Customer", "A-0003", fields)[0]


def euro_invoice(amount: str, rate: str) -> str:
    head, tail = invoice(amount, customer="A-0003").split("<sales:itemList>")
    return f"{head}<sales:exchangeRate>{rate}</sales:exchangeRate><sales:itemList>{tail}"


def euro_payment(amount: str, document: str, rate: str) -> str:
    fields = payment(amount, document, amount, customer="A-0003")
    return fields.replace("<cust:undepFunds>", f"<cust:exchangeRate>{rate}</cust:exchangeRate><cust:undepFunds>")


def test_a_payment_at_another_rate_than_its_invoice_realises_the_difference(books: Books) -> None:
    """100.01 euros at 1.10 are 110.01 dollars; paid in two parts at 1.08 they bring 108.01, so 2.00 are lost."""
    european(books)
    _, document = books.write("sales:Invoice", "INV-1", euro_invoice("100.01", "1.10"))
    assert books.balances()["1100"] == Decimal("110.01")
    assert books.write("cust:CustomerPayment", "PAY-1", euro_payment("33.34", document, "1.08"))[0]
    assert books.write("cust:CustomerPayment", "PAY-2", euro_payment("66.67", document, "1.08"))[0]
    balances = books.balances()
    assert balances["1100"] == 0
    assert balances["1050"] == Decimal("36.01") + Decimal("72.00")
    assert balances[netsuite.REALISED] == Decimal("110.01") - balances["1050"]


def test_a_transaction_is_in_the_currency_and_the_subsidiary_of_its_customer(books: Books) -> None:
    european(books)
    fields = invoice("1.00", customer="A-0003")
    dollars = fields.replace("<sales:itemList>", '<sales:currency internalId="1"/><sales:itemList>')
    assert books.write("sales:Invoice", "INV-1", dollars) == (False, "INVALID_KEY_OR_REF")
    elsewhere = fields.replace("<sales:itemList>", '<sales:subsidiary internalId="2"/><sales:itemList>')
    assert books.write("sales:Invoice", "INV-1", elsewhere) == (False, "INVALID_KEY_OR_REF")
    assert books.write("sales:Invoice", "INV-1", fields)[0]
    kept = books.get("invoice", "INV-1")
    assert (kept["currencyName"], kept["exchangeRate"], kept["subsidiary"]["internalId"]) == (
        "EUR",
        Decimal("1.1"),
        "1",
    )
