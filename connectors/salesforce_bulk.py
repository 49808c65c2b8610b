"""Bulk API 2.0 of Salesforce: one ingest job, from its CSV to what became of each record.

Vendor facts: Bulk API 2.0 Developer Guide (published docs, read 2026-11). In the CSV an empty value leaves a field as
it is, ``#N/A`` empties it, and ``Account.Tieout_Id__c`` names a parent by its external id. A finished job lists the
records that it wrote, that it refused and that it never came to; each list repeats the columns that were sent.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from connectors.wire import Wire, exact_json
from core.errors import Misconfigured, OutcomeUnknown, Rejected, Retryable, Unavailable
from core.ports import Payload, World

Json = dict[str, Any]

EMPTIED = "#N/A"
RUNNING = frozenset({"UploadComplete", "InProgress"})
#: Seconds between two looks at a job: the first, and the longest, each twice the one before.
FIRST_LOOK, LONGEST_LOOK = 1.0, 20.0
#: Seconds after which a job is left to itself. Its lease ends the wait earlier where the caller holds one.
PATIENCE = 900.0


@dataclass(slots=True)
class Done:
    """What became of a job's records, by the value of their key column: its id and whether it is new; the vendor's
    error; and the keys of those that were not processed."""

    written: dict[str, tuple[str, bool]] = field(default_factory=dict)
    refused: dict[str, Json] = field(default_factory=dict)
    untouched: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Jobs:
    """The ingest jobs of one org; ``root`` is the path of its API version."""

    wire: Wire
    world: World
    root: str

    def run(self, sobject: str, key_field: str, records: Sequence[Payload]) -> Done:
        """Writes records by their key and waits for the end. OutcomeUnknown when the end was not seen.

        Until a job is told that its upload is complete it writes nothing, so whatever goes wrong before is Unavailable.
        """
        by_id = key_field == "Id"
        asked = {"object": sobject, "operation": "update" if by_id else "upsert"}
        asked |= {"contentType": "CSV", "lineEnding": "LF", "columnDelimiter": "COMMA"}
        if not by_id:
            asked["externalIdFieldName"] = key_field
        try:
            job = str(exact_json(self.wire.write("POST", f"{self.root}jobs/ingest", json=asked))["id"])
            self.wire.write(
                "PUT",
                f"{self._path(job)}/batches",
                content=as_csv(records).encode(),
                headers={"Content-Type": "text/csv; charset=UTF-8"},
            )
        except Rejected as refused:
            why = f"{refused}; grant the integration user the Bulk API, or set bulk_above so high that no job is made"
            raise Misconfigured(why, system=self.wire.system) from None
        except OutcomeUnknown as lost:
            raise Unavailable(f"{lost}; its job was never started, so nothing was written") from None
        try:
            self.wire.write("PATCH", self._path(job), json={"state": "UploadComplete"})
        except OutcomeUnknown:
            if self._look(job)["state"] == "Open":
                raise Unavailable(f"{self.wire.system}: job {job} was not started; nothing was written") from None
        self.wait(job)
        return self._results(job, key_field)

    def unfinished(self, sobject: str, key_field: str) -> Iterator[str]:
        """Ids of jobs that still run on the records of this object and key, whoever started them."""
        path = f"{self.root}jobs/ingest?jobType=V2Ingest"
        while path:
            page = exact_json(self.wire.read("GET", path))
            for job in page["records"]:
                mine = job["object"] == sobject and job.get("externalIdFieldName", "Id") == key_field
                if mine and job["state"] in RUNNING:
                    yield job["id"]
            path = page.get("nextRecordsUrl") or ""

    def wait(self, job: str) -> None:
        """Returns when the job has ended, well or not. OutcomeUnknown, naming it, when that is not seen."""
        pause, waited = FIRST_LOOK, 0.0
        try:
            while self._look(job)["state"] in RUNNING:
                if waited >= PATIENCE:
                    raise OutcomeUnknown("it takes too long")
                self.world.sleep(pause)
                waited, pause = waited + pause, min(2 * pause, LONGEST_LOOK)
        except Retryable as lost:
            raise OutcomeUnknown(f"{self.wire.system}: the end of job {job} was not seen ({lost})") from None

    def _path(self, job: str) -> str:
        return f"{self.root}jobs/ingest/{job}"

    def _look(self, job: str) -> Json:
        found: Json = exact_json(self.wire.read("GET", self._path(job)))
        return found

    def _results(self, job: str, key_field: str) -> Done:
        done = Done()
        try:
            for row in self._rows(f"{self._path(job)}/successfulResults"):
                done.written[row[key_field]] = row["sf__Id"], row["sf__Created"] == "true"
            for row in self._rows(f"{self._path(job)}/failedResults"):
                done.refused[row[key_field]] = error_of(row["sf__Error"])
            done.untouched = {row[key_field] for row in self._rows(f"{self._path(job)}/unprocessedrecords")}
        except Retryable as lost:
            raise OutcomeUnknown(f"{self.wire.system}: the results of job {job} were not read ({lost})") from None
        return done

    def _rows(self, path: str) -> Iterator[dict[str, str]]:
        answer = self.wire.read("GET", path, headers={"Accept": "text/csv"})
        yield from csv.DictReader(io.StringIO(answer.content.decode("utf-8"), newline=""))


def as_csv(records: Sequence[Payload]) -> str:
    """One row per record, under every field that any of them names."""
    rows = [dict(_cells(record)) for record in records]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cells(record: Payload, above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in record.items():
        match value:
            case Mapping():
                yield from _cells(value, f"{above}{name}.")
            case None | "":
                yield f"{above}{name}", EMPTIED
            case bool():
                yield f"{above}{name}", str(value).lower()
            case Decimal():
                yield f"{above}{name}", format(value, "f")
            case _:
                yield f"{above}{name}", str(value)


def error_of(text: str) -> Json:
    """``CODE:message:Field, Field --`` in the form of the other APIs."""
    code, _, rest = text.partition(":")
    message, _, names = rest.rpartition(":")
    fields = [name.strip() for name in names.removesuffix("--").split(",") if name.strip()]
    return {"statusCode": code, "message": message or rest, "fields": fields}
