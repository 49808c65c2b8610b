"""BillingPlatform, REST 2.0, and SOAP where the organisation's WSDL is at hand.

Written after the vendor's public API reference and articles and its users' clients (bp-api-docs-v3.redocly.app,
support.billingplatform.com, read 2026-11). What is peculiar:

- Every entity is a table of the organisation, with fields of its own. All records are written by ``upsert`` under an
  external key of ours; a record that is refused does not stop the others: its failure stands inside an HTTP 200.
- With ``wsdl_url`` set, records go by SOAP: the WSDL knows every field of the organisation, so a payload is checked
  before it is sent. Without it they go by REST. Sign-in and reading are REST.
- An answer to a write says only the id, so what is held is read back. Reading takes two calls a page: BP SQL has no
  asterisk, so a query lists ids, and a filtered retrieve gives the whole records. 404 means that no row matched.
- An invoice and its activities name other records by id alone; they are given with the records that carry our keys.
- Instants have no offset and seconds only: the API user's time zone is UTC.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import zeep
from lxml import etree
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from connectors.wire import (
    Auth,
    BasicAuth,
    BulkConnector,
    Request,
    Response,
    Wire,
    chunks,
    exact_json,
    guarded,
    retrying,
)
from core.errors import Misconfigured, OutcomeUnknown, Parked, Rejected, TieoutError, Unavailable
from core.ports import Change, ExternalKey, Finding, Guard, Outcome, Payload, Receipt, Resource, World

SYSTEM = "billingplatform"
Json = dict[str, Any]

#: Most records of one write, and most ids of one read (a URL carries them); the vendor publishes no limit.
BATCH = 100


def _written(path: str, key_field: str) -> Resource:
    return Resource(path, "Id", key_field, Guard.EXTERNAL_ID, BATCH)


RESOURCES: Mapping[str, Resource] = {
    "account": _written("ACCOUNT", "TieoutKey"),
    "billing_profile": _written("BILLING_PROFILE", "TieoutKey"),
    "product": _written("PRODUCT", "ExternalKey"),
    "subscription": _written("CONTRACT", "ContractNumber"),
    "contract_charge": _written("ACCOUNT_PRODUCT", "TieoutKey"),
    "usage": _written("ACTIVITY", "TieoutKey"),
    "invoice": Resource("INVOICE", "Id", "Id", Guard.READ_ONLY),
}
#: What is given with a record: name, entity, and the field that refers to it.
JOINED: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "INVOICE": (("BillingProfile", "BILLING_PROFILE", "BillingProfileId"),),
    "ACTIVITY": (
        ("Account", "ACCOUNT", "AccountId"),
        ("Product", "PRODUCT", "ProductId"),
        ("AccountProduct", "ACCOUNT_PRODUCT", "AccountProductId"),
        ("Invoice", "INVOICE", "InvoiceId"),
    ),
}

#: How the vendor's texts tell that a date lies in a closed accounting period (field property RestrictChangeInClosedAP).
CLOSED = re.compile(r"closed (accounting )?period|accounting period.{0,40}closed", re.IGNORECASE)
#: How a fault tells that the session has ended.
ENDED = re.compile(r"session", re.IGNORECASE)


class Settings(BaseModel):
    """One organisation and its API user, or a client that it has registered for OAuth.

    ``base_url``: with the organisation's name, ``https://my.billingplatform.com/acme``; ``wsdl_url``: the file that the
    console gives, or where to read it (empty: records go by REST). ``page``: records read per call.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str
    username: str = ""
    password: SecretStr | None = None
    client_id: str = ""
    client_secret: SecretStr | None = None
    wsdl_url: str = ""
    page: int = Field(BATCH, ge=1, le=BATCH)
    read_timeout: int = Field(420, ge=1)
    """Seconds to wait for an answer: the vendor itself gives up after 400."""

    @field_validator("base_url")
    @classmethod
    def _safe_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("must be an https address (http only on loopback)")
        if not parts.path.strip("/"):
            raise ValueError("must end in the organisation's name: https://my.billingplatform.com/acme")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _one_way_in(self) -> Settings:
        by_password, by_client = bool(self.username and self.password), bool(self.client_id and self.client_secret)
        if by_password is by_client:
            raise ValueError("give username and password, or client_id and client_secret")
        if by_client and self.wsdl_url:
            raise ValueError("SOAP wants the session of a user: give username and password with wsdl_url")
        return self


def connect(settings: Settings, world: World) -> BillingPlatform:
    return BillingPlatform(settings, world)


class Session(Auth):
    """One session for all calls, begun at the first and once more when the vendor says that it has ended.

    Of a user it is an id in the header ``sessionid``; of an OAuth client an access token. A refresh token is not used:
    the client's own credentials bring a new access token as well.
    """

    def __init__(self, settings: Settings, world: World) -> None:
        self._settings = settings
        self._wire = Wire(SYSTEM, settings.base_url, world)
        self._lock = threading.Lock()
        self._ident = ""

    def auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        ident = self.ident()
        request.headers.update(self._shown(ident))
        response = yield request
        if response.status_code == 401:
            request.headers.update(self._shown(self.ident(ended=ident)))
            yield request

    def _shown(self, ident: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {ident}"} if self._settings.client_id else {"sessionid": ident}

    def ident(self, ended: str = "") -> str:
        """The id of a session that can be used; another than ``ended``. Misconfigured when sign-in is refused."""
        with self._lock:
            if self._ident == ended:
                self._ident = self._begun()
            return self._ident

    def _login(self) -> tuple[str | None, str]:
        """The session of a user, and the code of what went wrong."""
        assert self._settings.password is not None
        login = {"username": self._settings.username, "password": self._settings.password.get_secret_value()}
        (answer,) = exact_json(self._wire.read("POST", "/rest/2.0/login", json=login))["loginResponse"]
        return answer.get("SessionID"), str(answer.get("ErrorCode", "0"))

    def _authenticate(self) -> tuple[str | None, str]:
        """The access token of a client (client credentials, RFC 6749 section 4.4)."""
        assert self._settings.client_secret is not None
        client = BasicAuth(self._settings.client_id, self._settings.client_secret.get_secret_value())
        asked = {"grant_type": "client_credentials"}
        answer = exact_json(self._wire.read("POST", "/auth/1.0/authenticate", params=asked, auth=client))
        return answer.get("access_token"), str(answer.get("error", "0"))

    def _begun(self) -> str:
        try:
            ident, code = self._authenticate() if self._settings.client_id else self._login()
        except Rejected as error:
            raise Misconfigured(f"{SYSTEM}: there is no sign-in at base_url ({error.code})", system=SYSTEM) from None
        except (OutcomeUnknown, AttributeError, KeyError, TypeError, ValueError):
            raise Unavailable(f"{SYSTEM}: sign-in was answered with no session") from None
        if code != "0" or not ident:
            raise Misconfigured(f"{SYSTEM}: sign-in was refused ({code})", system=SYSTEM)
        return str(ident)

    def close(self) -> None:
        """Ends the session, which would count against the user's until it times out."""
        with self._lock:
            if self._ident and not self._settings.client_id:
                with suppress(TieoutError):
                    self._wire.read("POST", "/rest/2.0/logout", headers={"sessionid": self._ident})
            self._ident = ""
        self._wire.close()


class BillingPlatform(BulkConnector):
    system = SYSTEM
    resources = RESOURCES

    def __init__(self, settings: Settings, world: World) -> None:
        self.settings, self.world = settings, world
        self._session = Session(settings, world)
        self._wire = Wire(SYSTEM, settings.base_url, world, auth=self._session)
        self._soap = Soap(settings, self._wire, self._session) if settings.wsdl_url else None
        self._closed = False

    # The verbs

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        row = self._row(resource, key)
        held = self._held(row, [key.value]).get(key.value)
        return Receipt(SYSTEM, resource, held["Id"], key, False, held) if held else None

    def get(self, resource: str, vendor_id: str) -> Payload:
        row = self.resource(resource)
        found = self._whole(row.path, [vendor_id])
        if not found:
            raise Rejected(
                f"{SYSTEM} has no {resource} {vendor_id}",
                system=SYSTEM,
                record=resource,
                field="Id",
                value=vendor_id,
                code="404",
            )
        return self._joined(row.path, found)[0]

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        """``since``: an instant as ISO text. Records that carry our key; invoices all, each with its ``Activities``."""
        row = self.resource(resource)
        meets = [] if row.guard is Guard.READ_ONLY else [f"{row.key_field} IS NOT NULL"]
        if since is not None:
            meets.append(f"Updated >= {_quoted(_stamp(datetime.fromisoformat(since)))}")
        for records in self._pages(row.path, meets):
            for record in self._joined(row.path, records):
                yield Change(record["Id"], _instant(record["Updated"]), record)

    def _write_batch(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        row = self.resource(resource)
        if row.guard is Guard.READ_ONLY:
            raise Misconfigured(f"{SYSTEM}: {resource} is made by billing and only read", system=SYSTEM)
        outcomes: dict[int, Outcome] = {}
        ready: list[tuple[int, Json]] = []
        for position, (payload, key) in enumerate(items):
            try:
                record = {**payload, self._row(resource, key).key_field: key.value}
                ready.append((position, self._soap.fitting(resource, row.path, record) if self._soap else record))
            except Rejected as error:
                outcomes[position] = error
        if ready:
            answers = self._upserted(row, [record for _, record in ready])
            for (position, record), answer in zip(ready, answers, strict=True):
                outcomes[position] = _outcome(resource, record, items[position][1], answer)
        return self._read_back(row, [outcomes[position] for position in range(len(items))])

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._session.close()
            self._wire.close()

    # Writing

    def _upserted(self, row: Resource, records: Sequence[Json]) -> list[Json]:
        if self._soap:
            answers: Any = self._soap.upsert(row, records)
        else:
            body = {"brmObjects": list(records), "externalIDFieldName": row.key_field}
            answer = exact_json(self._wire.write("PATCH", f"/rest/2.0/{row.path}", json=body, timeout=self._patience))
            answers = answer.get("upsertResponse") if isinstance(answer, dict) else None
        if not isinstance(answers, list) or len(answers) != len(records):
            raise OutcomeUnknown(f"{SYSTEM} did not answer for each of {len(records)} records")
        return answers

    @property
    def _patience(self) -> tuple[int, int, int, int]:
        return 5, self.settings.read_timeout, 30, 30

    def _read_back(self, row: Resource, outcomes: list[Outcome]) -> list[Outcome]:
        """The Receipts with what is held; as they are when it cannot be read now: the write stands all the same."""
        keys = [one.key.value for one in outcomes if isinstance(one, Receipt)]
        try:
            held = self._held(row, keys) if keys else {}
        except TieoutError:
            return outcomes
        return [
            replace(one, answer=held[one.key.value]) if isinstance(one, Receipt) and one.key.value in held else one
            for one in outcomes
        ]

    # Reading

    def _held(self, row: Resource, keys: Sequence[str]) -> dict[str, Json]:
        """The records that carry these keys, by key."""
        if row.guard is Guard.READ_ONLY:
            raise Misconfigured(f"{SYSTEM}: {row.path} carries no key of ours", system=SYSTEM)
        found = self._retrieved(row.path, f"{row.key_field} IN ({', '.join(map(_quoted, keys))})")
        return {record[row.key_field]: record for record in found}

    def _pages(self, entity: str, meets: Sequence[str]) -> Iterator[list[Json]]:
        """All records that meet the conditions, by id: a record that changes meanwhile keeps its place."""
        last = "0"
        while True:
            rows = self._first("Id", entity, [*meets, f"Id > {last}"], self.settings.page)
            if not rows:
                return
            idents = [_digits(row["Id"]) for row in rows]
            last = idents[-1]
            yield self._whole(entity, idents)

    def _whole(self, entity: str, idents: Iterable[str]) -> list[Json]:
        """The records of these ids, in the order of the ids; those that are gone are left out."""
        found: dict[str, Json] = {}
        wanted = [ident for ident in dict.fromkeys(idents) if ident.isdecimal()]
        for part in chunks(wanted, BATCH):
            found |= {str(row["Id"]): row for row in self._retrieved(entity, f"Id IN ({', '.join(part)})")}
        return [found[ident] for ident in wanted if ident in found]

    def _joined(self, entity: str, records: Sequence[Json]) -> list[Json]:
        """The records with those that they refer to, and invoices with their activities."""
        given = [dict(record) for record in records]
        for name, target, field in JOINED.get(entity, ()):
            named = self._whole(target, (str(record[field]) for record in given if record.get(field)))
            by_id = {str(one["Id"]): one for one in named}
            for record in given:
                if (ident := str(record.get(field))) in by_id:
                    record[name] = by_id[ident]
        if entity == "INVOICE":
            self._with_activities(given)
        return given

    def _with_activities(self, invoices: Sequence[Json]) -> None:
        by_id: dict[str, Json] = {invoice["Id"]: invoice for invoice in invoices}
        for invoice in invoices:
            invoice["Activities"] = []
        if by_id:
            for page in self._pages("ACTIVITY", [f"InvoiceId IN ({', '.join(map(_digits, by_id))})"]):
                for activity in self._joined("ACTIVITY", page):
                    by_id[activity["InvoiceId"]]["Activities"].append(activity)

    def _first(self, field: str, entity: str, meets: Sequence[str], limit: int) -> list[Json]:
        """A field of the first records, by id, that meet all conditions."""
        page = ("OFFSET 0 ROWS FETCH NEXT", str(limit), "ROWS ONLY")
        sql = ("SELECT", field, "FROM", entity, "WHERE", " AND ".join(meets), "ORDER BY Id", *page)
        return self._asked("/rest/2.0/query", "queryResponse", sql=" ".join(sql))

    def _retrieved(self, entity: str, condition: str) -> list[Json]:
        return self._asked(f"/rest/2.0/{entity}", "retrieveResponse", queryAnsiSql=condition)

    def _asked(self, path: str, name: str, **parameters: str) -> list[Json]:
        """The rows of an answer; none where the vendor says that no row matched."""
        try:
            answer = exact_json(self._wire.read("GET", path, params=parameters, timeout=self._patience))
        except Rejected as error:
            if error.code == "404":
                return []
            raise
        rows = answer.get(name) if isinstance(answer, dict) else None
        if isinstance(rows, dict):
            rows = [rows]
        if not isinstance(rows, list):
            raise OutcomeUnknown(f"{SYSTEM} answered {path} without {name}")
        return rows

    # What tieout doctor asks

    def check(self) -> list[Finding]:
        probes = [("sign-in", self._check_session, "Compare base_url, username and password with the API user.")]
        if self._soap:
            probes.append(("WSDL", self._soap.check, "Download the WSDL again: Setup > Develop > API."))
        findings = []
        for name, probe, cure in probes:
            try:
                ok, detail = True, probe()
            except TieoutError as error:
                ok, detail = False, str(error)
            findings.append(Finding(f"{SYSTEM}: {name}", ok, detail, "" if ok else cure))
        if not findings[0].ok:
            return findings
        return findings + [self._check_key(row) for row in RESOURCES.values()]

    def _check_session(self) -> str:
        return f"signed in, session of {len(self._session.ident())} characters"

    def _check_key(self, row: Resource) -> Finding:
        name = f"{SYSTEM}: {row.path}.{row.key_field}"
        try:
            self._first(row.key_field, row.path, ["Id > 0"], 1)
        except TieoutError as error:
            return Finding(name, False, str(error), f"Add the field {row.key_field} to {row.path} as an external key.")
        return Finding(name, True, "can be read")


def _outcome(resource: str, record: Json, key: ExternalKey, answer: Json) -> Outcome:
    """What the row of one record means: ``ErrorCode`` is text, ``"0"`` where all is well."""
    code, text = str(answer.get("ErrorCode") or "0"), str(answer.get("ErrorText") or "").strip()
    if code != "0" or not _yes(answer.get("success", True)):
        told = f"{SYSTEM} refused {resource}: {code}: {text or 'no reason given'}"
        if CLOSED.search(text):
            day = next((str(value)[:7] for name, value in record.items() if name.endswith("Date")), "")
            return Parked(told, waits_for=f"period:{day}")
        field = str(answer.get("ErrorElementField") or "") or None
        value = None if field is None else str(record.get(field, ""))[:100]
        return Rejected(told, system=SYSTEM, record=resource, field=field, value=value, code=code)
    ident = str(answer.get("Id") or "")
    if not ident:
        return OutcomeUnknown(f"{SYSTEM} gave no id for {resource} {key.value}")
    return Receipt(SYSTEM, resource, ident, key, _yes(answer.get("created", False)), {**record, "Id": ident})


def _yes(value: Any) -> bool:
    """A flag as this vendor spells it: true, 1 or the same as text."""
    return str(value).lower() in ("true", "1")


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _digits(ident: Any) -> str:
    """An id that goes into a query. OutcomeUnknown for one that is no number."""
    if not str(ident).isdecimal():
        raise OutcomeUnknown(f"{SYSTEM} gave an id that is no number")
    return str(ident)


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Soap:
    """The organisation's SOAP service, as its own WSDL describes it. The WSDL is read at first use, and once."""

    def __init__(self, settings: Settings, wire: Wire, session: Session) -> None:
        self._settings, self._wire, self._session = settings, wire, session
        self._loading = threading.Lock()
        self._loaded: tuple[Any, Mapping[str, Any]] | None = None

    def load(self, url: str) -> bytes:
        """What zeep asks of a transport: a document."""
        if url.startswith(("http://", "https://")):
            return self._wire.read("GET", url).content
        return Path(url.removeprefix("file://")).read_bytes()

    def post_xml(self, address: str, envelope: Any, headers: Mapping[str, str]) -> Response:
        """What zeep asks of a transport: the answer of 200, or of 500 for a SOAP fault."""
        response = self._wire.client.post(
            address,
            content=etree.tostring(envelope, xml_declaration=True, encoding="utf-8"),
            headers=dict(headers),
            timeout=(5, self._settings.read_timeout, 30, 30),
        )
        if response.status_code not in (200, 500):
            raise self._wire.error(response, writes=True)
        return response

    @property
    def _contract(self) -> tuple[Any, Mapping[str, Any]]:
        """The service, at the path that the WSDL names and at no other host than ours, and its types by name."""
        with self._loading:
            if self._loaded is None:
                strict = zeep.Settings(strict=True, forbid_dtd=True, forbid_entities=True)
                try:
                    client: Any = zeep.Client(self._settings.wsdl_url, transport=self, settings=strict)  # type: ignore[no-untyped-call]
                    binding = next(iter(client.wsdl.bindings))
                    (service,) = client.wsdl.services.values()
                    port = next(iter(service.ports.values()))
                    path = urlsplit(port.binding_options["address"]).path
                except (Rejected, zeep.exceptions.Error, OSError, StopIteration, ValueError, KeyError) as error:
                    raise Misconfigured(
                        f"{SYSTEM}: no WSDL at {self._settings.wsdl_url} ({type(error).__name__})", system=SYSTEM
                    ) from None
                origin = urlsplit(self._settings.base_url)._replace(path=path).geturl()
                types = {str(one.name): one for one in client.wsdl.types.types if isinstance(one, zeep.xsd.ComplexType)}
                self._loaded = client.create_service(binding, origin), types
            return self._loaded

    def check(self) -> str:
        _, types = self._contract
        if missing := sorted({row.path for row in RESOURCES.values()} - types.keys()):
            raise Misconfigured(f"{SYSTEM}: the WSDL does not know {', '.join(missing)}", system=SYSTEM)
        return f"{len(types)} types"

    def fitting(self, resource: str, entity: str, record: Payload) -> Json:
        """The record as text, as the WSDL wants it. Rejected, with the field, for what the entity does not have."""
        _, types = self._contract
        if entity not in types:
            raise Misconfigured(f"{SYSTEM}: the WSDL does not know {entity}", system=SYSTEM)
        return _fitting(types[entity], record, resource, "")

    def upsert(self, row: Resource, records: Sequence[Json]) -> list[Json]:
        """The row of each record. What is not certain is OutcomeUnknown; an ended session wrote nothing."""
        _, types = self._contract
        objects = [_built(types[row.path], record) for record in records]
        ident = self._session.ident()
        try:
            answer = retrying(self._wire.world, lambda: self._sent(row, objects, ident), SYSTEM)
        except SessionEnded:
            again = self._session.ident(ended=ident)
            answer = retrying(self._wire.world, lambda: self._sent(row, objects, again), SYSTEM)
        return [{name: getattr(one, name, None) for name in _ROW} for one in answer]

    def _sent(self, row: Resource, objects: Sequence[Any], ident: str) -> Any:
        service, _ = self._contract
        header = {"SessionHeader": {"SessionID": ident}}
        try:
            with guarded(SYSTEM, writes=True):
                return service.upsert(externalIDFieldName=row.key_field, brmObjects=objects, _soapheaders=header)
        except zeep.exceptions.Fault as fault:
            if ENDED.search(f"{fault.code} {fault.message}"):
                raise SessionEnded(f"{SYSTEM}: the session was not accepted", system=SYSTEM) from None
            raise OutcomeUnknown(f"{SYSTEM}: upsert was answered by a fault ({fault.code})") from None
        except zeep.exceptions.ValidationError as error:
            raise Rejected(f"{SYSTEM}: upsert was not sent: {error}", system=SYSTEM) from None
        except zeep.exceptions.Error as error:
            raise OutcomeUnknown(f"{SYSTEM}: upsert was answered with no SOAP ({type(error).__name__})") from None


class SessionEnded(Misconfigured):
    """A call came with a session that the vendor does not accept; nothing was written."""


#: The elements of an answer's row.
_ROW = ("Id", "ErrorCode", "ErrorText", "ErrorElementField", "success", "created")


def _fitting(kind: Any, record: Payload, resource: str, at: str) -> Json:
    members = dict(kind.elements)
    fits: Json = {}
    for name, value in record.items():
        path = f"{at}{name}"
        if name not in members:
            raise Rejected(
                f"{resource}: {path} is not a field of {kind.name}",
                system=SYSTEM,
                record=resource,
                field=path,
                value=str(value)[:100],
                code="SCHEMA",
            )
        if isinstance(value, Mapping):
            fits[name] = _fitting(members[name].type, value, resource, f"{path}.")
        elif value is not None:
            fits[name] = format(value, "f") if isinstance(value, Decimal) else str(value)
    return fits


def _built(kind: Any, record: Json) -> Any:
    """The WSDL's own value of a record that fits."""
    members = dict(kind.elements)
    return kind(
        **{
            name: _built(members[name].type, value) if isinstance(value, dict) else value
            for name, value in record.items()
        }
    )
