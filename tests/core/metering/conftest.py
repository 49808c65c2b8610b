"""One account with one site, served from October 2026 on; files are written line by line in the test."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.metering import Cut, UsageStore
from core.period import DateSpan
from core.usage import Service, ServiceIndex

HEADER = "id,account_id,site_id,meter,quantity,occurred_at,region"
RECORDED = datetime(2026, 11, 2, tzinfo=UTC)
OCTOBER = DateSpan.month("2026-10").instants("UTC")
CUT = Cut(account_id="A", period=OCTOBER)

Write = Callable[..., Path]


def served(*meters: str, account: str = "A", site: str | None = "S") -> ServiceIndex:
    return ServiceIndex(
        services=tuple(
            Service(account_id=account, site_id=site, meter=meter, starts_at=datetime(2026, 10, 1, tzinfo=UTC))
            for meter in meters
        )
    )


def line(event: str, quantity: str = "1", at: str = "2026-10-05T12:00:00Z", **other: str) -> str:
    """One CSV line under HEADER."""
    fields = {"account_id": "A", "site_id": "S", "meter": "minutes", "region": ""} | other
    return ",".join([event, fields["account_id"], fields["site_id"], fields["meter"], quantity, at, fields["region"]])


def event(event: str, quantity: Any = "1", at: str = "2026-10-05T12:00:00Z", **other: Any) -> str:
    """One NDJSON line."""
    fields = {"id": event, "account_id": "A", "site_id": "S", "meter": "minutes", "quantity": quantity}
    return json.dumps(fields | {"occurred_at": at} | other)


@pytest.fixture
def store(tmp_path: Path) -> UsageStore:
    return UsageStore(tmp_path / "usage")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a CSV (under HEADER) or NDJSON file of these lines."""

    def write(name: str, *lines: str) -> Path:
        path = tmp_path / name
        path.write_text("\n".join([HEADER, *lines] if ".csv" in name else lines) + "\n")
        return path

    return write
