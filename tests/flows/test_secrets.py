"""No secret reaches the database, a report, an artifact, the log or a message, whatever goes wrong."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from core.errors import Misconfigured, TieoutError
from flows.deliver import deliver_all
from sandbox.salesforce import ORGANIZATION_ID
from tests.flows.test_failed_records import POOR
from tests.flows.world import CUSTOMERS, SETTINGS, USAGE, Company, company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]


#: How every session that the CRM gives begins.
SESSION = f"{ORGANIZATION_ID[:15]}!".encode()


def secrets(value: Any) -> Iterator[str]:
    """Every secret inside settings."""
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case list() | tuple():
            for item in value:
                yield from secrets(item)
        case BaseModel():
            for _, item in value:
                yield from secrets(item)


def forms(secret: str) -> list[bytes]:
    """How a secret may look: as it is, in JSON, and in a Basic header, alone or as the name or the word of it."""
    plain = secret.encode()
    return [plain, json.dumps(secret)[1:-1].encode(), base64.b64encode(plain), base64.b64encode(plain + b":")]


def wrong(system: str, url: str) -> BaseModel:
    """Settings whose every secret is another one than the system has, and unlike any other text."""
    settings = SETTINGS[system](url)
    changed = {name: SecretStr(f"canary-{system}-{name}") for name, value in settings if isinstance(value, SecretStr)}
    return settings.model_copy(update=changed)


def kept(world: Company) -> dict[str, bytes]:
    """Every file of the state folder, the database among them."""
    found = {str(path): path.read_bytes() for path in world.hub.settings.state_folder.rglob("*") if path.is_file()}
    assert any(path.endswith("tieout.db") for path in found)
    return found


def leaks(world: Company, said: bytes) -> dict[str, list[str]]:
    """Where a secret of the settings is found: in a file of the state folder, or in what was said."""
    found: dict[str, list[str]] = {}
    for system in world.hub.settings.systems.values():
        for secret in secrets(system):
            for where, content in {**kept(world), "said": said}.items():
                if any(form in content for form in forms(secret)):
                    found.setdefault(where, []).append(secret)
    return found


def run_and_listen(world: Company, caplog: pytest.LogCaptureFixture) -> bytes:
    """A month with everything that it says: reports, of which results and artifacts are made, errors, log lines."""
    said: list[str] = [repr(world.hub.settings), repr(world.hub.settings.systems), str(world.hub)]
    with caplog.at_level(logging.DEBUG):
        for step in (world.month, world.tie_out, lambda: deliver_all(world.hub)):
            try:
                made = step()
            except TieoutError as error:
                said += [str(error), repr(error), repr(error.__dict__), repr(error.__cause__), repr(error.__context__)]
            else:
                reports = made.values() if isinstance(made, dict) else []
                said += [f"{one.verdict} {one.data()} {one.rows} {one.failures}" for one in reports]
    return "\n".join([*said, caplog.text]).encode()


def test_secrets_that_work_are_told_nowhere_even_when_much_fails(
    world: Company, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    world.enter(POOR)
    for system in world.running.urls:
        for kind in ("lose_reply", "garbage", "error"):
            world.plant(system, kind, r"^(POST|PATCH)", status=500, skip=1, times=2)
    said = run_and_listen(world, caplog) + "".join(capfd.readouterr()).encode()
    with world.hub.database.reading() as work:
        assert work.desk.open()
    assert leaks(world, said) == {}
    assert SESSION not in said + b"".join(kept(world).values())


def test_secrets_that_do_not_work_are_told_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    makers = {name: lambda url, name=name: wrong(name, url) for name in SETTINGS}
    with company(tmp_path, makers) as world:
        world.enter(*CUSTOMERS)
        world.bring("bridge.2026-10.csv", USAGE)
        said = run_and_listen(world, caplog)
        for system in world.hub.systems:
            with pytest.raises(Misconfigured) as refused:
                list(world.hub.connector(system).changes(next(iter(world.hub.connector(system).resources)), None))
            said += f"{refused.value} {refused.getrepr(showlocals=False)}".encode()
            said += str(world.hub.connector(system).check()).encode()
        said += "".join(capfd.readouterr()).encode()
        assert b"credentials" in said
        assert leaks(world, said) == {}
