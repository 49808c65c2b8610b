"""Pack: everything that a close showed, posted and proved, written into one folder that proves itself offline."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from core import pack
from core.audit import Act, Deed
from core.close import Close, CloseState, Obstacle
from core.errors import TieoutError, Unavailable
from core.journals import Summary
from core.ledger import JournalEntry, detail
from core.money import plain
from core.pack import Cell, Table
from core.store.codec import chunks, dump
from core.ties import Break, TieLine
from flows.context import Hub
from flows.pack_html import page
from flows.pack_month import Month, aged, columns_of_aging
from flows.pack_pdf import document
from flows.read_back import Compared


def _line_rows(entry: Mapping[str, Any], state: str) -> Iterator[list[Cell]]:
    """``entry``: as JSON values."""
    about = entry["id"], entry["event"], entry["posted_on"], entry.get("account_id"), entry["currency"]
    for line in entry["lines"]:
        debit, credit = line.get("debit"), line.get("credit")
        yield [
            *about, line["ledger_account"], detail(line.get("segments", {})), debit and debit["amount"],
            credit and credit["amount"], line.get("memo", ""), line["source"], line["source_id"], state,
        ]  # fmt: skip


LINE_COLUMNS = (
    "event", "posted_on", "customer", "currency", "account", "detail", "debit", "credit",
    "memo", "source", "source_id", "state",
)  # fmt: skip


def _ledger_rows(month: Month) -> Iterator[Sequence[Cell]]:
    for line in month.work.periods.lines(month.close.entity, month.span.start, month.span.end):
        entry_id, event, posted_on, account_id, currency, account, detail, debit, credit, memo, source, source_id = line
        yield (
            entry_id, event, posted_on.isoformat(), account_id, currency, account, detail,
            None if debit is None else plain(debit, currency), None if credit is None else plain(credit, currency),
            memo, source, source_id, "booked",
        )  # fmt: skip
    first, end = month.span.start.isoformat(), month.span.end.isoformat()
    for draft in month.waiting:
        entry = json.loads(draft.text)
        if first <= entry["posted_on"] < end:
            yield from _line_rows(entry, "waiting")


def _journal_rows(month: Month, file: TextIO) -> Iterator[list[Cell]]:
    """The lines of every journal of the close, for a table; ``file`` gets each exactly as it was approved."""
    for draft, entry in month.journals.passing(month.drafts):
        file.write(f'{{"round": {draft.round}, "journal": {draft.text}}}\n')
        yield from _line_rows(entry, "booked" if draft.round < month.close.round else "waiting")


ROLL_COLUMNS = ("subledger", "account", "detail", "currency", "step", "amount")


def _roll_rows(month: Month) -> Iterator[list[Cell]]:
    for name, roll in month.rolls:
        for step, money in {"opening": roll.opening, **roll.movements, "closing": roll.closing}.items():
            yield [name, roll.ledger_account, roll.detail, money.currency, step, money.amount]


def _contract_rows(month: Month) -> Iterator[list[Cell]]:
    for name, roll in month.by_contract:
        for step, money in {"opening": roll.opening, **roll.movements, "closing": roll.closing}.items():
            yield [name, roll.ledger_account, roll.detail, money.currency, step, money.amount]


def tables(month: Month) -> Iterator[Table]:
    """Every CSV of the pack but that of the journals."""
    yield Table("ledger.csv", ("entry", *LINE_COLUMNS), _ledger_rows(month))
    yield Table(
        "trial_balance.csv",
        ("account", "name", "currency", "opening", "debit", "credit", "closing"),
        ([b.account, b.name, b.currency, b.opening, b.debit, b.credit, b.closing] for b in month.balances),
    )
    yield Table(
        "roll_forwards.csv", ("subledger", "account", "detail", "currency", "step", "amount"), _roll_rows(month)
    )
    columns = ("subledger", "account", "contract", "currency", "step", "amount")
    yield Table("contracts.csv", columns, _contract_rows(month))
    yield Table(
        "waterfall.csv",
        ("billed_in", "earned_in", "currency", "amount"),
        ([e.billed_in, e.earned_in, e.amount.currency, e.amount.amount] for e in month.waterfall),
    )
    yield Table(
        "aging.csv",
        ("customer", "name", "currency", *columns_of_aging(), "total"),
        ([*key, *row.values(), sum(row.values(), Decimal(0))] for key, row in aged(month.open_items).items()),
    )
    yield Table(
        "open_items.csv",
        ("customer", "name", "currency", "document", "due", "bucket", "open"),
        (
            [i.customer, i.name, i.currency, i.document, i.due.isoformat() if i.due else None, i.bucket, i.open]
            for i in month.open_items
        ),
    )
    yield Table(
        "ties.csv",
        (
            "tie", "left_name", "left", "right_name", "right", "difference", "unit", "records", "breaks", "explained",
            "why",
        ),
        (
            [
                t.tie, t.left_name, t.left, t.right_name, t.right, t.difference, t.unit, t.count, t.breaks,
                t.explained, t.why,
            ]
            for t in month.ties
        ),
    )  # fmt: skip
    yield Table(
        "breaks.csv",
        (
            "id", "tie", "kind", "severity", "subject", "currency", "left", "right", "cause", "cure", "owner",
            "explained", "explained_by", "first_seen",
        ),
        (
            [
                b.id, b.tie, b.kind, b.severity, b.subject, b.currency, b.left.amount, b.right.amount, b.cause, b.cure,
                b.owner, b.explained, b.explained_by, b.first_seen_at.isoformat(),
            ]
            for b in month.breaks
        ),
    )  # fmt: skip
    passed = {(one.gate, one.record): one for one in month.overrides}
    yield Table(
        "gates.csv",
        ("gate", "record", "what", "cure", "amount", "currency", "let_pass_by"),
        (
            [
                o.gate.value, o.record, o.what, o.cure, o.money.amount if o.money else None,
                o.money.currency if o.money else None, by.who if (by := passed.get((o.gate, o.record))) else None,
            ]
            for o in month.obstacles
        ),
    )  # fmt: skip
    yield Table(
        "overrides.csv",
        ("gate", "record", "who", "reason", "at"),
        ([o.gate.value, o.record, o.who, o.reason, o.at.isoformat()] for o in month.overrides),
    )
    yield Table(
        "approvals.csv",
        ("digest", "verdict", "who", "reason", "via", "at"),
        ([d.digest, d.verdict.value, d.who, d.reason, d.via, d.at.isoformat()] for d in month.decisions),
    )
    yield Table(
        "read_back.csv",
        ("journal", "vendor_id", "account", "lines", "ours", "theirs", "wrong"),
        ([c.journal, c.vendor_id, c.account, c.lines, c.ours.amount, c.theirs.amount, c.wrong] for c in month.compared),
    )


def _payloads(month: Month) -> Iterator[dict[str, Any]]:
    """What was sent of each journal; of one that waits, what would be sent now, or why it cannot be told yet."""
    erp, outbox, summary = month.hub.system("erp"), month.work.outbox, Summary()
    mapping = month.hub.mappings.find(erp, "journal_entry", "out", "journal_entry")

    def would_be(entry: JournalEntry) -> dict[str, Any]:
        try:
            return {"journal": entry.id, "payload": dump(mapping.out(entry.in_books, month.hub.refs(month.work)))}
        except TieoutError as error:
            return {"journal": entry.id, "payload": None, "waits": str(error)}

    for part in chunks(month.work.periods.journals_of(month.close.id)):
        proofs = {one.record_id: one for one in outbox.proofs(erp, "journal_entry", record_id=list(part))}
        for ident in part:
            if proof := proofs.get(ident):
                told = {"system": erp, "vendor_id": proof.vendor_id, "mapping": proof.mapping_version}
                sent = outbox.last_payload(erp, "journal_entry", ident)
                yield {"journal": ident, **told, "digest": proof.payload_digest, "payload": sent}
                continue
            for intended in outbox.of_record(erp, "journal_entry", ident)[-1:]:
                yield would_be(JournalEntry.model_validate_json(intended.body))
    for draft in month.waiting:
        if not summary.takes(entry := draft.entry):
            yield would_be(entry)
    yield from map(would_be, summary.journals())


def about(month: Month) -> dict[str, Any]:
    """What close.json tells."""
    close = month.close
    return {
        "close": close.id,
        "entity": close.entity,
        "name": month.entity_name,
        "period": close.period,
        "number": close.number,
        "currency": close.currency,
        "state": close.state.value,
        "cut_off": close.cut_off.isoformat(),
        "frozen_at": close.frozen_at.isoformat(),
        "started_by": close.started_by,
        "made_at": month.hub.now().isoformat(),
        "general_ledger": month.hub.system("erp"),
        "posting_rules": month.hub.posting.version,
        "receivables": list(month.receivables),
        "digests": sorted({*(one.value for one in month.journals.digests.values()), *filter(None, [close.digest])}),
        "journals": month.journals.number,
        "audit_tip": str(month.work.audit.tip()),
    }


def folder_of(hub: Hub, close: Close) -> Path:
    return hub.settings.state_folder / "closes" / close.id


def shows(hub: Hub, close: Close) -> bool:
    """Whether there is a pack that shows the journals that a close has worked out last."""
    told = folder_of(hub, close) / "close.json"
    return told.is_file() and close.digest in json.loads(told.read_text(encoding="utf-8"))["digests"]


def certified_pack(hub: Hub, close: Close) -> tuple[Path, str] | None:
    """Folder and manifest hash of the pack that was certified; None when there is none, or it is not sound any more."""
    with hub.database.reading() as work:
        told = work.audit.rows(record_id=close.id, act=Act.CERTIFIED.value, limit=1)
    if not told:
        return None
    folder, digest = folder_of(hub, close), str(json.loads(told[0].detail)["manifest"])
    return None if pack.verify(folder, digest) else (folder, digest)


def write(month: Month) -> tuple[Path, str]:
    """Writes the pack in the place of an earlier one of its close; gives its folder and the hash of its manifest.

    It is made beside and moved whole, so that a run that is killed leaves the earlier one. Unavailable while another
    run writes it.
    """
    final = folder_of(month.hub, month.close)
    final.parent.mkdir(parents=True, exist_ok=True)
    with final.with_name(f".{final.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"another run writes the pack of {month.close.id}; run the close again") from None
        return final, _made(month, final)


def _made(month: Month, final: Path) -> str:
    made = final.with_name(f".{final.name}.part")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    with (made / "journals.jsonl").open("w", encoding="utf-8") as file:
        pack.write_table(made, Table("journals.csv", ("journal", *LINE_COLUMNS), _journal_rows(month, file)))
    (made / "close.json").write_text(json.dumps(about(month), indent=2, sort_keys=True), encoding="utf-8")
    for table in tables(month):
        pack.write_table(made, table)
    pack.write_lines(made, "payloads.jsonl", _payloads(month))
    pack.write_lines(made, "audit.jsonl", (asdict(row) | {"at": row.at.isoformat()} for row in month.audit))
    (made / "summary.html").write_text(page(month), encoding="utf-8")
    (made / "summary.pdf").write_bytes(document(month))
    digest = pack.seal(made, {"close": month.close.id, "state": month.close.state.value})
    month.hub.world.faults("close.packed")
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    made.rename(final)
    shutil.rmtree(old, ignore_errors=True)
    return digest


def certify(
    hub: Hub,
    close: Close,
    *,
    ties: Sequence[TieLine] = (),
    breaks: Sequence[Break] = (),
    obstacles: Sequence[Obstacle] = (),
    compared: Sequence[Compared] = (),
) -> tuple[Path, str]:
    """Writes the pack of a close as it stands; a final one is told to the audit by the hash of its manifest."""
    with hub.database.reading() as work:
        folder, digest = write(Month(hub, work, close, ties, breaks, obstacles, compared))
    if close.state is CloseState.CLOSED:
        with hub.database.work() as work:
            detail = {"manifest": digest}
            work.audit.tell(
                Deed(hub.now(), "flow close", Act.CERTIFIED, record="close", record_id=close.id, detail=detail)
            )
        hub.world.faults("close.certified")
    return folder, digest
