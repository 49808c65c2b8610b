"""Configuration: one ``tieout.toml``, overridden by environment variables ``TIEOUT_*``; secrets may be Prefect blocks.

::

    database_url = "sqlite:///.tieout/tieout.db"    # or TIEOUT_DATABASE_URL
    state_folder = ".tieout"                        # usage store, exports
    price_book = "price_book.yaml"
    webhook_port = 8085

    [systems.salesforce]                            # a system is in use when its table is there
    base_url = "https://example.my.salesforce.com"
    client_id = "..."
    client_secret = "env:SALESFORCE_SECRET"         # or file:PATH (mode 0600), or block:NAME (Prefect Secret)
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from connectors.registry import SYSTEMS
from core.entities import LegalEntity
from core.errors import Misconfigured
from core.posting_file import DEFAULT as POSTING_RULES

CONFIG_VARIABLE = "TIEOUT_CONFIG"
DEFAULT_CONFIG = "tieout.toml"
#: The settings of a system that say where its credentials are sent.
ADDRESSES = ("base_url", "login_url", "wsdl_url")
DATABASES = ("sqlite:///", "postgresql+psycopg://")


class ClosePolicy(BaseModel):
    """How months are closed; docs/close.md tells each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    approvers: tuple[str, ...] = ()
    """Who may approve; empty: whoever names themselves."""
    second_approval_above: Decimal | None = None
    """Above so much debit, in the currency of the entity, a second person approves; None: never."""
    approval_hours: int = Field(default=72, ge=1)
    """A run that waits longer ends, and nothing was posted."""
    desk_threshold: Decimal = Decimal(0)
    """How much money may stand on the error desk."""
    journals: Literal["auto", "detail", "summary"] = "auto"
    """``detail``: a journal per customer; ``summary``: one per event; ``auto``: detail up to ``most_journals``."""
    most_journals: int = Field(default=500, ge=1)
    most_lines: int = Field(default=1000, ge=2)
    """Longer journals are split; general ledgers take a thousand lines in one call."""
    erp_period_closed: Literal["park", "next"] = "park"
    """When the general ledger takes no postings for the month: wait for a person, or post to its next open month."""


class DisputePolicy(BaseModel):
    """What becomes of a payment that a customer's bank takes back for good: ``bad debt``, or its invoice is owed again
    (``reopen``), held until it is paid another way, written off or credited."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lost: Literal["bad debt", "reopen"] = "bad debt"


class WriteOffPolicy(BaseModel):
    """Who may give invoices up. ``second_approval_above``: above so much, all write-offs of an invoice together and in
    the currency of the books, a second person approves, and of any other currency always; None: never."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    second_approval_above: Decimal | None = None
    approvers: tuple[str, ...] = ()
    """Who may approve; empty: whoever names themselves."""


class UsageSource(BaseModel):
    """A SQL database that usage is pulled from. ``query`` takes ``:since`` and gives the columns of docs/usage.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr
    query: str


class TieOutPolicy(BaseModel):
    """How the tie-out reads, and when it speaks up.

    ``whole_after_hours``: everything is read again after that long, and only what changed before; ``old_after_days``: a
    Break is told again when it is that old; ``settles_within_days`` and ``pays_out_within_days``: how long the gateway
    may take before what is missing is a Break, and ``banks_within_days`` the bank, after a payout was to arrive.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    whole_after_hours: int = Field(24, ge=1)
    old_after_days: int = Field(3, ge=1)
    settles_within_days: int = Field(2, ge=0)
    pays_out_within_days: int = Field(7, ge=0)
    banks_within_days: int = Field(3, ge=0)


class Settings(BaseModel):
    """The whole configuration, checked. ``systems`` holds each system's own settings model."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    database_url: str
    state_folder: Path
    price_book: Path
    mappings_folder: Path
    posting_rules: Path = POSTING_RULES
    webhook_host: str = "127.0.0.1"
    webhook_port: int = 8085
    legal_entity: LegalEntity = LegalEntity()
    entities: tuple[LegalEntity, ...] = ()
    """Further ones; each says with ``sells_to`` which accounts are its own, the others are ``legal_entity``'s."""
    close: ClosePolicy = ClosePolicy()
    disputes: DisputePolicy = DisputePolicy()
    write_offs: WriteOffPolicy = WriteOffPolicy()
    fx_sources: tuple[str, ...] = ()
    """Sources of exchange rates that may be used, the preferred first; none: all, when they do not contradict."""
    alerts_block: str | None = None
    """The Prefect notification block that alerts go through, like ``slack-webhook/ops``; None: events alone."""
    alerts_desk: int = Field(default=20, ge=1)
    """From so many open entries on, and at each doubling, the error desk is an alert."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts beside the vendors' own domains that credentials may go to: a proxy, a sovereign cloud."""
    tie_out: TieOutPolicy = TieOutPolicy()
    usage_token: SecretStr | None = None
    """What sources of usage present at ``POST /usage/<source>``; None: the endpoint is closed."""
    usage_sources: dict[str, UsageSource] = {}
    systems: dict[str, BaseModel]

    @property
    def all_entities(self) -> tuple[LegalEntity, ...]:
        """Those that say whom they sell to, and at the end the one that sells to everybody else."""
        return (*self.entities, self.legal_entity)

    def entity(self, ident: str) -> LegalEntity:
        """The legal entity of an id. Misconfigured when there is none such."""
        for one in self.all_entities:
            if one.id == ident:
                return one
        known = ", ".join(one.id for one in self.all_entities)
        raise Misconfigured(f"there is no legal entity {ident!r} in tieout.toml; there is {known}")

    @field_validator("entities")
    @classmethod
    def _own_customers(cls, entities: tuple[LegalEntity, ...], known: ValidationInfo) -> tuple[LegalEntity, ...]:
        known_ids = {one.id for one in (known.data.get("legal_entity"),) if one}
        for one in entities:
            if one.id in known_ids:
                raise ValueError(f"entity {one.id} stands there twice")
            known_ids.add(one.id)
            if not one.sells_to:
                raise ValueError(f"entity {one.id} says with sells_to whom it sells to; write {{country = [...]}}")
        return entities

    @field_validator("database_url")
    @classmethod
    def _kind_of_database(cls, url: str) -> str:
        if not url.startswith(DATABASES):
            raise ValueError(f"a database is {' or '.join(f'{kind}...' for kind in DATABASES)}")
        return url


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Reads and checks the configuration. Misconfigured, naming file and field, when something is wrong.

    Relative paths are taken from the folder of the file.
    """
    path = path or Path(environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG))
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Misconfigured(
            f"there is no configuration at {path}; write one (docs/configuration.md), or run `tieout demo`"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from None
    folder = path.resolve().parent
    tables = _table(raw.pop("systems", {}), "systems", path)
    systems = {name: _system(name, table, path, environ) for name, table in tables.items()}
    for name in ("database_url", "state_folder", "price_book", "mappings_folder", "webhook_host", "webhook_port"):
        if (value := environ.get(f"TIEOUT_{name.upper()}")) is not None:
            raw[name] = int(value) if name == "webhook_port" and value.isdigit() else value
    for name in ("usage_token", "usage_sources"):
        if name in raw:
            raw[name] = _resolve(raw[name], name, path, environ)
    raw.setdefault("database_url", f"sqlite:///{folder / '.tieout' / 'tieout.db'}")
    raw.setdefault("state_folder", ".tieout")
    raw.setdefault("price_book", "price_book.yaml")
    raw.setdefault("mappings_folder", str(Path(__file__).parent.parent / "mappings"))
    raw.setdefault("posting_rules", POSTING_RULES)
    for name in ("state_folder", "price_book", "mappings_folder", "posting_rules"):
        raw[name] = folder / raw[name] if isinstance(raw[name], str) else raw[name]
    try:
        settings = Settings(**raw, systems=systems)
    except ValidationError as error:
        raise Misconfigured(f"{path}: {_first(error)}") from None
    for name, system in systems.items():
        _only_known_hosts(name, system, settings.allowed_hosts, path)
    return settings


def _system(name: str, table: Any, path: Path, environ: Mapping[str, str]) -> BaseModel:
    if name not in SYSTEMS:
        raise Misconfigured(f"{path}: systems.{name} is not a system we know; known are {', '.join(SYSTEMS)}")
    kind = SYSTEMS[name].settings_type()
    table = _table(table, f"systems.{name}", path)
    if unknown := sorted(table.keys() - kind.model_fields.keys()):
        known = ", ".join(kind.model_fields)
        raise Misconfigured(f"{path}: systems.{name}.{unknown[0]} is no setting of {name}; it has {known}", system=name)
    values = {field: _resolve(value, f"systems.{name}.{field}", path, environ) for field, value in table.items()}
    files = {field: about.default for field, about in kind.model_fields.items() if about.annotation is Path}
    try:
        return kind(
            **values | {field: path.resolve().parent / values.get(field, file) for field, file in files.items()}
        )
    except ValidationError as error:
        raise Misconfigured(f"{path}: systems.{name}.{_first(error)}", system=name) from None


def _only_known_hosts(name: str, system: BaseModel, allowed: tuple[str, ...], path: Path) -> None:
    """Misconfigured when an address of a system is neither its vendor's, nor on this machine, nor allowed by name."""
    domains = SYSTEMS[name].domains
    for field in ADDRESSES:
        host = urlsplit(str(getattr(system, field, ""))).hostname or ""
        vendors = any(host == domain or host.endswith(f".{domain}") for domain in domains)
        if host and not vendors and host not in allowed and not _is_loopback(host):
            raise Misconfigured(
                f"{path}: systems.{name}.{field} leads to {host}, which is not at {' or '.join(domains)}; "
                "when it is meant to, add it to allowed_hosts",
                system=name,
            )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _table(value: Any, field: str, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Misconfigured(f"{path}: {field} must be a table")
    return value


def _first(error: ValidationError) -> str:
    """The first complaint, without the offending value: it may be a secret."""
    complaint = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, complaint['loc']))}: {complaint['msg']}"


def _resolve(value: Any, field: str, path: Path, environ: Mapping[str, str]) -> Any:
    """A literal, or what ``env:``, ``file:`` or ``block:`` names; in a list, of each of its items."""
    if isinstance(value, dict):
        return {name: _resolve(item, f"{field}.{name}", path, environ) for name, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, field, path, environ) for item in value]
    if not isinstance(value, str):
        return value
    scheme, _, name = value.partition(":")
    match scheme:
        case "env":
            if name not in environ:
                raise Misconfigured(f"{path}: {field} names the environment variable {name}, which is not set")
            return environ[name]
        case "file":
            secret = Path(path.parent, name)
            if not secret.is_file():
                raise Misconfigured(f"{path}: {field} names the file {name}, which is not there")
            if secret.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise Misconfigured(f"{path}: {field}: {name} is readable by others; run `chmod 600 {name}`")
            return secret.read_text(encoding="utf-8").strip()
        case "block":
            from prefect.blocks.system import Secret

            try:
                return SecretStr(str(Secret.load(name).get()))  # type: ignore[union-attr]
            except ValueError:
                raise Misconfigured(
                    f"{path}: {field} names the Prefect Secret block {name}, which is not there"
                ) from None
    return value


def secrets(value: Any) -> Iterator[str]:
    """Every secret inside settings, at any depth."""
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case list() | tuple():
            for item in value:
                yield from secrets(item)
        case BaseModel():
            for _, item in value:
                yield from secrets(item)
