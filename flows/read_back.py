"""Read back: what the general ledger shows of our journals, line by line, beside what we booked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.close import PostedJournal
from core.errors import Rejected
from core.ledger import JournalEntry
from core.money import Money, total
from core.ports import urgent
from flows.context import Hub


@dataclass(frozen=True)
class Compared:
    """One ledger account of one journal, debits less credits on both sides; ``wrong``: what differs, empty for nothing.

    ``lines``: how many lines of ours it has.
    """

    journal: str
    vendor_id: str
    account: str
    lines: int
    ours: Money
    theirs: Money
    wrong: str = ""


@urgent()
def read_back(hub: Hub, entries: Sequence[JournalEntry]) -> list[Compared]:
    """Every ledger account of every journal, as the general ledger shows it now."""
    erp = hub.system("erp")
    with hub.database.reading() as work:
        proofs = {
            one.record_id: one for one in work.outbox.proofs(erp, "journal_entry", record_id=[e.id for e in entries])
        }
        codes = {one.vendor_id: one.record_id for one in work.outbox.proofs(erp, "ledger_account")}
    mapping = hub.mappings.find(erp, "posted_journal", "in", "journal_entry")
    found: list[Compared] = []
    for entry in entries:
        proof = proofs.get(entry.id)
        try:
            shown = mapping.into(hub.connector(erp).get("journal_entry", proof.vendor_id)) if proof else None
        except Rejected:  # it is not there any more
            shown = None
        assert shown is None or isinstance(shown, PostedJournal)
        found += _compare(entry, proof.vendor_id if proof else "", shown, codes)
    return found


def _compare(
    entry: JournalEntry, vendor_id: str, shown: PostedJournal | None, codes: dict[str, str]
) -> Iterator[Compared]:
    ours: dict[str, list[Money]] = defaultdict(list)
    theirs: dict[str, list[Money]] = defaultdict(list)
    for line in entry.lines:
        ours[line.ledger_account].append(line.debit or -(line.credit or Money.zero(entry.currency)))
    for posted in shown.lines if shown else ():
        theirs[codes.get(posted.account, posted.account)].append(posted.net)
    for account in sorted({*ours, *theirs}):
        wrong = []
        if shown is None:
            wrong = ["it is not there"]
        else:
            if sorted(one.minor for one in ours[account]) != sorted(one.minor for one in theirs[account]):
                wrong.append(
                    f"ours {', '.join(map(str, ours[account]))}; theirs {', '.join(map(str, theirs[account]))}"
                )
            if shown.posted_on != entry.posted_on:
                wrong.append(f"posted on {shown.posted_on} instead of {entry.posted_on}")
            if (shown.key, shown.currency) != (entry.id, entry.currency):
                wrong.append(f"is {shown.key} in {shown.currency}")
        yield Compared(
            entry.id,
            vendor_id,
            account,
            len(ours[account]),
            total(ours[account], entry.currency),
            total(theirs[account], entry.currency),
            "; ".join(wrong),
        )
