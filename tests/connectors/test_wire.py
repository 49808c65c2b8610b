"""What holds for every call to a vendor, whoever it is."""

from __future__ import annotations

import gzip
from decimal import Decimal

import httpx
import pytest
import respx

from connectors import wire
from connectors.wire import BasicAuth, Wire, dump_json, exact_json
from core.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, TieoutError, Unavailable
from core.ports import World

BASE = "https://api.vendor.example"


def connected(waits: list[float] | None = None) -> Wire:
    slept = [] if waits is None else waits
    return Wire("vendor", BASE, World(sleep=slept.append), auth=BasicAuth("user", "canary"))


@respx.mock
def test_an_answer_that_unpacks_beyond_all_measure_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of a few kilobytes may unpack to gigabytes: it is a failed answer, and of a write an unknown outcome."""
    monkeypatch.setattr(wire, "LARGEST_ANSWER", 1 << 20)
    bomb = gzip.compress(b"0" * (1 << 24))
    assert len(bomb) < 1 << 15
    respx.route().respond(200, content=bomb, headers={"Content-Encoding": "gzip"})
    with pytest.raises(Unavailable):
        connected().read("GET", "/records")
    with pytest.raises(OutcomeUnknown):
        connected().write("POST", "/records", json={})


@respx.mock
def test_a_packed_answer_is_unpacked_once() -> None:
    respx.get(f"{BASE}/records").respond(
        200, content=gzip.compress(b'{"n":1.10}'), headers={"Content-Encoding": "gzip"}
    )
    answer = connected().read("GET", "/records")
    assert exact_json(answer) == {"n": Decimal("1.10")}
    assert "content-encoding" not in answer.headers


@respx.mock
@pytest.mark.parametrize(
    "link",
    [
        "https://elsewhere.example/next",
        "http://api.vendor.example/next",
        "https://api.vendor.example:444/next",
        "https://api.vendor.example.elsewhere.example/next",
        "HTTPS://elsewhere.example/next",
        "file:///etc/passwd",
    ],
)
def test_a_link_to_another_origin_is_not_followed_and_no_credential_goes_there(link: str) -> None:
    everywhere = respx.route().respond(200, json={})
    with pytest.raises(Misconfigured, match="refused to follow a link"):
        connected().read("GET", link)
    assert not everywhere.called


@respx.mock
def test_a_redirect_is_an_answer_and_not_an_order() -> None:
    elsewhere = respx.get("https://elsewhere.example/").respond(200, json={})
    respx.get(f"{BASE}/records").respond(302, headers={"Location": "https://elsewhere.example/"})
    with pytest.raises(Rejected):
        connected().read("GET", "/records")
    assert not elsewhere.called


@respx.mock
@pytest.mark.parametrize("body", [b"{", b"NaN", b'{"n": Infinity}', b"[" * 100_000, b"\xff"])
def test_what_is_not_json_is_an_unknown_outcome(body: bytes) -> None:
    respx.get(f"{BASE}/records").respond(200, content=body)
    with pytest.raises(OutcomeUnknown, match="not JSON"):
        exact_json(connected().read("GET", "/records"))


@respx.mock
@pytest.mark.parametrize(
    ("fault", "of_a_read", "of_a_write"),
    [
        (httpx.ConnectError("no"), Unavailable, Unavailable),
        (httpx.ConnectTimeout("no"), Unavailable, Unavailable),
        (httpx.ReadTimeout("no"), Unavailable, OutcomeUnknown),
        (httpx.WriteError("no"), Unavailable, OutcomeUnknown),
        (httpx.RemoteProtocolError("no"), Unavailable, OutcomeUnknown),
    ],
)
def test_a_write_is_repeated_only_when_nothing_was_sent(
    fault: Exception, of_a_read: type[TieoutError], of_a_write: type[TieoutError]
) -> None:
    route = respx.route().mock(side_effect=fault)
    with pytest.raises(of_a_read):
        connected().read("GET", "/records")
    assert route.call_count == wire.ATTEMPTS
    with pytest.raises(of_a_write):
        connected().write("POST", "/records", json={})
    assert route.call_count - wire.ATTEMPTS == (wire.ATTEMPTS if of_a_write is Unavailable else 1)


@respx.mock
def test_a_refusal_for_the_rate_waits_as_long_as_the_vendor_asks_and_no_longer_than_a_worker_may_be_held() -> None:
    waits: list[float] = []
    respx.get(f"{BASE}/records").mock(
        side_effect=[httpx.Response(429, headers={"Retry-After": "7"}), httpx.Response(200, json={})]
    )
    connected(waits).read("GET", "/records")
    assert waits == [7.0]
    respx.get(f"{BASE}/later").respond(429, headers={"Retry-After": "3600"})
    with pytest.raises(RateLimited):
        connected(waits).read("GET", "/later")
    assert waits == [7.0]


def test_no_float_crosses_the_wire() -> None:
    assert dump_json({"amount": Decimal("0.10"), "n": [1]}) == b'{"amount":0.10,"n":[1]}'
    with pytest.raises(TypeError, match="float"):
        dump_json({"amount": 0.1})
