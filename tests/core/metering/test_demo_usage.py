"""The demo's usage files are deterministic, complete and accepted as they are."""

from __future__ import annotations

from pathlib import Path

from app.demo.usage import DemoSite, write_usage
from core.metering import Cut, UsageStore
from core.period import DateSpan
from core.usage import Service, ServiceIndex
from tests.core.metering.conftest import RECORDED

SITES = [
    DemoSite("A-0001", "A-0001-S1", "America/Los_Angeles", ("conference_minutes", "international_minutes")),
    DemoSite("A-0002", "A-0002-S1", "Europe/Berlin", ("plan_minutes",)),
]


def test_the_demo_month_is_taken_in_whole(tmp_path: Path) -> None:
    """Every event lies in the month of its site, every file agrees with its control totals, repeats are found."""
    files = write_usage(tmp_path / "in", sites=SITES, events=2000, seed=7, month="2026-10")
    month = DateSpan.month("2026-10")
    services = ServiceIndex(
        services=tuple(
            Service(
                account_id=site.account_id,
                site_id=site.site_id,
                meter=meter,
                starts_at=month.instants(site.timezone).start,
                ends_at=month.instants(site.timezone).end,
            )
            for site in SITES
            for meter in site.meters
        )
    )
    store = UsageStore(tmp_path / "usage")
    reports = [store.ingest(path, path.name.split(".")[0], services, RECORDED) for path in files]
    assert sum(report.accepted for report in reports) == 2000
    assert sum(report.repeated for report in reports) > 0
    assert all(report.rejected == 0 and report.control and not report.control_difference for report in reports)
    assert {report.source for report in reports} == {"bridge-us", "bridge-eu"}
    cuts = [Cut(account_id=site.account_id, period=month.instants(site.timezone)) for site in SITES]
    assert {quantity.meter for quantity in store.aggregate(cuts)} == {meter for site in SITES for meter in site.meters}
    assert all(day.pending.events == 0 for day in store.completeness(cuts))


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    def content(folder: str, seed: int) -> dict[str, bytes]:
        write_usage(tmp_path / folder, sites=SITES, events=300, seed=seed, month="2024-02")
        return {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}

    assert content("a", 1) == content("b", 1) != content("c", 2)


def test_no_site_and_no_event_give_no_file(tmp_path: Path) -> None:
    assert write_usage(tmp_path, sites=[], events=0, seed=1, month="2026-10") == []
