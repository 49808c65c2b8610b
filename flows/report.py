"""What a run tells the people who watch it: a name in business words, tables, and never a quiet green."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect import get_client, get_run_logger
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from core.money import Money
from core.sync import DeskEntry


@dataclass
class Report:
    """The result of one step.

    ``headline``: counts and money in a few words; ``counts``: what the demo and ``--json`` show; ``rows``: what moved,
    with ids on both sides; ``failures``: what now stands on the error desk; ``checks``: what a source
    listed beside what is held of it.
    """

    headline: str
    counts: dict[str, int] = field(default_factory=dict)
    money: list[Money] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)
    failures: list[DeskEntry] = field(default_factory=list)
    checks: list[dict[str, str]] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        if not self.failures:
            return self.headline
        at_risk = amounts(sum_by_currency(entry.money for entry in self.failures if entry.money)) or "no amount known"
        failed = counted(len(self.failures), "record")
        return f"{self.headline}; {failed} failed, {at_risk} at risk: see `tieout errors list`"

    def data(self) -> dict[str, Any]:
        """A plain form, for results and ``--json``."""
        return {
            "headline": self.headline,
            "counts": self.counts,
            "money": [str(money) for money in self.money],
            "failed": len(self.failures),
        }


def counted(number: int, noun: str) -> str:
    """``1 invoice``, ``20 invoices``."""
    plural = noun if number == 1 else (noun[:-1] + "ies" if noun.endswith("y") else noun + "s")
    return f"{number:,} {plural}"


def sum_by_currency(monies: Iterable[Money]) -> list[Money]:
    totals: dict[str, Money] = {}
    for money in monies:
        totals[money.currency] = totals.get(money.currency, Money.zero(money.currency)) + money
    return list(totals.values())


def dollars(money: Money) -> str:
    """``$48,210.33`` for US dollars, ``48,210.33 EUR`` for others."""
    if money.currency != "USD":
        return str(money)
    return f"{'-' if money.minor < 0 else ''}${abs(money).amount:,}"


def amounts(monies: Iterable[Money]) -> str:
    """Amounts in all their currencies, as one text; empty for none."""
    return ", ".join(map(dollars, monies))


#: Most rows that an artifact shows.
SHOWN = 500


def conclude(step: str, report: Report) -> State[Any]:
    """Names the run, publishes its tables, and gives its final state: Failed when a record failed."""
    if flow_run.id:
        name_run(f"{step}: {report.headline}")
        logger = get_run_logger()
        logger.info(report.verdict)
        for entry in report.failures:
            logger.warning("%s %s: %s", entry.record, entry.record_id, entry.message)
        _publish(step, report)
    if report.failures:
        return Failed(message=report.verdict, data=None)
    return Completed(message=report.verdict, data=report.data())


def name_run(name: str) -> None:
    """Renames the present run, cut to 200 characters."""
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run.id), name=name[:200])


def _publish(step: str, report: Report) -> None:
    key = "-".join("".join(c if c.isalnum() else " " for c in step.lower()).split())
    if report.rows:
        create_table_artifact(table=report.rows[:SHOWN], key=key, description=report.verdict)
    if report.checks:
        create_table_artifact(table=report.checks, key=f"{key}-completeness", description="Nothing is missing")
    if report.failures:
        failed = [
            {
                "error": entry.id,
                "system": entry.system,
                "record": f"{entry.record} {entry.record_id}",
                "money at risk": "" if entry.money is None else dollars(entry.money),
                "cause": entry.cause,
                "cluster": entry.cluster,
                "message": entry.message,
                "what cures it": entry.cure,
                "trace": entry.trace or "",
                "run": entry.run or "",
            }
            for entry in report.failures[:SHOWN]
        ]
        create_table_artifact(
            table=failed, key=f"{key}-failures", description=f"{counted(len(report.failures), 'record')} failed"
        )


@contextmanager
def progress(title: str, whole: int) -> Iterator[Callable[[int], None]]:
    """A progress bar in the UI: call the given function with how many of ``whole`` are done. Silent outside a run."""
    if not flow_run.id or not whole:
        yield lambda _done: None
        return
    ident = create_progress_artifact(progress=0.0, description=title)
    assert isinstance(ident, UUID)

    told = 0

    def tell(done: int) -> None:
        nonlocal told
        if (percent := 100 * done // whole) >= told + 5:
            told = percent
            update_progress_artifact(artifact_id=ident, progress=float(percent))

    yield tell
    update_progress_artifact(artifact_id=ident, progress=100.0)
