"""Planted bugs: each takes one guard of the product away, by changing a few words of its source.

A plant whose words are no longer there fails loudly, so the catalogue keeps step with the code. Guards that stand
behind each other (a look-up behind an idempotency key) are taken away together where one alone hides the other.
"""

from __future__ import annotations

import inspect
import linecache
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from typing import Any

#: Where (``module:Class.function``), the words there, and the words in their place.
Edit = tuple[str, str, str]


@contextmanager
def planted(*edits: Edit) -> Iterator[None]:
    """The functions with other words in their source, until the end of the block. LookupError for words not there."""
    standing = []
    try:
        for where, old, new in edits:
            function, source = _found(where)
            if old not in source:
                raise LookupError(f"{where} has no {old!r} any more; mend the plant")
            name = f"<planted in {where}>"
            planted_source = source.replace(old, new)
            made: dict[str, Any] = {}
            exec(compile(planted_source, name, "exec"), function.__globals__, made)
            linecache.cache[name] = (len(planted_source), None, planted_source.splitlines(keepends=True), name)
            standing.append((function, function.__code__))
            function.__code__ = inspect.unwrap(made[function.__name__]).__code__
            _forget(where)
        yield
    finally:
        for function, code in reversed(standing):
            function.__code__ = code
        for where, *_ in edits:
            _forget(where)


def _forget(where: str) -> None:
    """Clears what a function that answers from memory has answered so far."""
    getattr(_owner(where), "cache_clear", lambda: None)()


def _owner(where: str) -> Any:
    module_name, _, path = where.partition(":")
    return reduce(inspect.getattr_static, path.split("."), import_module(module_name))


def _found(where: str) -> tuple[Any, str]:
    function = inspect.unwrap(_owner(where))
    return function, textwrap.dedent(inspect.getsource(function))


_DELIVERY, _BORDER = "flows.deliver:Delivery", "core.store.border"
_OUTBOX = f"{_BORDER}:Outbox"

#: Bugs that any small world shows: those of the outbox, and of the wires of gateway and ERP.
_TOLD: Mapping[str, tuple[Edit, ...]] = {
    "an unknown outcome is sent again without a look-up": (
        (f"{_DELIVERY}._prepare", "if command.probe else None", "if False else None"),
    ),
    "a lease that ran out forgets that it may have been sent": (
        (f"{_BORDER}:_expired", "values(state=CommandState.UNKNOWN, probe=True)", "values(state=CommandState.UNKNOWN)"),
    ),
    "an unknown outcome forgets that it may have been sent": (
        (f"{_OUTBOX}.settle", "if state is CommandState.UNKNOWN:", "if False:"),
    ),
    "a worker that lost its lease settles all the same": (
        (f"{_OUTBOX}.settle", '"of_fence": command.fence', '"of_fence": self.get(command.key).fence'),
    ),
    "a worker that lost its lease sends all the same": (
        (f"{_DELIVERY}._held", "return [item for item in items if item.command in held]", "return items"),
    ),
    "a call is sent when its lease is over": (
        ("connectors.wire:Wire._in_time", "if is_over(self.world.clock()):", "if False:"),
    ),
    "a lease is shorter than a call": (
        (f"{_DELIVERY}.__init__", "= hub, system, lease", "= hub, system, timedelta(seconds=2)"),
    ),
    "a batch is settled by the wrong position": (
        (f"{_DELIVERY}._send", "zip(items, outcomes, strict=True)", "zip(items, list(outcomes)[::-1], strict=True)"),
    ),
    "done is kept without its proof": (
        (f"{_OUTBOX}.prove", 'self._replace(SYNC, {**_SYNC.columns(proof), "payload": payload})', "pass"),
    ),
    "a proof wakes nobody": ((f"{_OUTBOX}.wake", '"of_waited": waits_for', '"of_waited": ""'),),
    "the same intent is stored again": (
        (f"{_OUTBOX}.enqueue", "!= one.version", "is not one"),
        (f"{_OUTBOX}._intend", "last.version == wanted.version", "last.version == ''"),
    ),
    "the versions of a record are sent side by side": ((f"{_BORDER}:_ready", "~under_way,", ""),),
    "an older version stands after a newer": (
        (f"{_OUTBOX}._intend", "self._cancel_superseded(command)", "pass"),
        (f"{_OUTBOX}.settle", "self._cancel_superseded(command)", "pass"),
        (f"{_BORDER}:_ready", "_urgent_first(ready)", "ready.order_by(OUTBOX.c.created_at.desc())"),
    ),
    "what waits for another record is refused": ((f"{_DELIVERY}._fail", "case Parked():", "case Parked() if False:"),),
    "what is refused does not reach the desk": ((f"{_DELIVERY}._fail", "work.desk.report(failure)", "pass"),),
    "the desk keeps what was cured": ((f"{_DELIVERY}._settle", "work.desk.resolve(_desk_id(command))", "pass"),),
    "an unknown outcome is never tried again": (
        (f"{_DELIVERY}._fail", "timedelta(0) if command.attempts <= 1 else pause", "timedelta(days=400)"),
    ),
    "a server error on a write is a refusal": (
        ("connectors.wire:Wire.error", "OutcomeUnknown(where) if writes else Unavailable(where)", "Rejected(where)"),
    ),
    "a forged webhook is taken in": (
        ("connectors.stripe_gateway:StripeGateway._verify", "if not genuine:", "if False:"),
    ),
    "the lease of an event never ends": (
        (f"{_BORDER}:_free", 'lease_until < bindparam("of_now")', "lease_until < INBOX.c.received_at"),
    ),
    "answers of a list are read in the wrong order": (
        ("connectors.netsuite:NetSuite._settled", "zip(ready, answers,", "zip(ready, answers[::-1],"),
    ),
    "a secret reaches the desk": (
        ("flows.desk:entry", "message=str(error)[:2000]", 'message=str(error)[:1900] + " sandbox-token-secret"'),
    ),
    "a lease that ran out is never taken over": (
        (f"{_BORDER}:_expired", 'lease_until < bindparam("of_now")', "lease_until < OUTBOX.c.created_at"),
    ),
    "a lease has no fence": ((f"{_BORDER}:_leased", "fence=OUTBOX.c.fence + 1", "fence=OUTBOX.c.fence"),),
    "a proof names another object": (
        (f"{_DELIVERY}._proof", "vendor_id=receipt.vendor_id", "vendor_id=receipt.vendor_id[:-1] + '9'"),
    ),
    "what is found is not kept as the proof": (
        (f"{_DELIVERY}._prepare", "self._settle([(prepared, found)], Act.ADOPTED)", "self._release([command])"),
    ),
    "a refusal is tried for ever": (
        (f"{_DELIVERY}._fail", "CommandState.REJECTED, now, None", "CommandState.PENDING, now, None"),
    ),
    "a rate limit is answered at once": (
        (f"{_DELIVERY}._fail", "max(pause, timedelta(seconds=error.wait_seconds))", "timedelta(days=-1)"),
    ),
    "the chain of the audit breaks": (
        ("core.store.audit:Audit.seal", '"digest": links[-1].hash', '"digest": tip.hash'),
    ),
    "what was written is not told to the audit": ((f"{_DELIVERY}._settle", "work.audit.tell(", "(lambda *_: None)("),),
}

#: Bugs that need orders of a CRM to be seen.
_SOLD: Mapping[str, tuple[Edit, ...]] = {
    "a webhook is acknowledged without being stored": (("app.webhooks:Receiver._answer", "if events:", "if False:"),),
    "an event that is refused counts as applied": (
        ("flows.intake:_apply", "state = InboxState.REJECTED", "state = InboxState.APPLIED"),
    ),
    "an event of a system that is away is dropped": (
        ("flows.intake:_apply", "return False", "state = InboxState.STALE"),
    ),
    # the vendors' wires
    "a session that has ended is not renewed": (
        ("connectors.salesforce:Session.auth_flow", "response.status_code == 401", "response.status_code == 499"),
    ),
    "the ERP never hears of a customer": (
        (
            "flows.intake:take_order",
            'OutboxCommand.of(hub.system("erp"), "account", "account", order.account, now),',
            "",
        ),
    ),
    "the cursor passes a record that is not stored": (
        ("flows.intake:_poll", 'not listed[change.vendor_id] and work.inbox.store(event, b"")', "False"),
        ("flows.intake:_completeness", "listed_are_held(", "(lambda *_: None)("),
    ),
    "a change in the second of the one before is known already": (
        ("flows.intake:_order_known", "if order.changed_at != change.changed_at:", "if True:"),
        ("flows.intake:_order_known", "return order.changed_at > change", "return order.changed_at >= change"),
    ),
    "a name that comes back is taken for our own write": (
        ("flows.intake:_is_held", "return same and held", "return held"),
    ),
}

#: Bugs that need a month to be billed and paid.
_PAID: Mapping[str, tuple[Edit, ...]] = {
    "tax is never committed": (
        ("flows.bill:finalise_invoices", "work.outbox.enqueue(\n", "(lambda all: work.outbox.enqueue(all[1:]))(\n"),
    ),
    "the ERP never hears of a payment": (("flows.intake:take_payment", "work.outbox.enqueue(", "list("),),
    "a settlement is not booked in the ERP": (
        ("flows.intake:_book_settlement", "post(hub, work,", "(lambda *_: None)(hub, work,"),
    ),
    "a month is rated again after its invoice": (
        ("flows.rate:rate_period", "if account.id not in closed", "if True"),
        ("core.store.database:Work.rerate", "first() is not None", "first() is False"),
    ),
    "usage of an earlier file is forgotten": (
        ("core.metering.store:UsageStore._recorded", "and batch.report.accepted]", "and False]"),
    ),
    "the tie-out compares ours with ours": (
        ("flows.comparing:Comparing._compare", "work.sides.compare(left, shown,", "work.sides.compare(left, left,"),
    ),
    "the cursor passes a settlement that waits": (
        ("flows.intake:book_settlements", "newest = min(newest, waits) if newest and waits else newest", "pass"),
    ),
    "a charge has no key and is not looked up": (
        ("connectors.stripe_gateway:StripeGateway._once", "{name}:{attempt}", "tieout:{self._world.ids()}"),
        ("connectors.stripe_gateway:StripeGateway._look_up", "path, reading =", "return None; path, reading ="),
    ),
    "an idempotency key is trusted for ever": (
        ("connectors.stripe_gateway:StripeGateway._look_up", "path, reading =", "return None; path, reading ="),
    ),
    "what is earned is booked again": (("core.store.periods:Periods.unearned", "period, ~booked", "period"),),
    "a month is drafted again": (("flows.bill:_drafts", "if account_id not in known:", "if True:"),),
}

#: Bugs that need a system whose refresh tokens change when they are used.
_ROTATING: Mapping[str, tuple[Edit, ...]] = {
    "two processes renew a session at once": (
        ("connectors.auth:TokenFile.locked", "fcntl.flock(lock, fcntl.LOCK_EX)", "pass"),
    ),
    "renewed tokens are used before they are kept": (
        ("connectors.auth:RefreshedSession.tokens", "self._file.save(kept)", "pass"),
    ),
}

#: Bugs that need a month to be closed.
_CLOSE = "flows.close"
_CLOSED: Mapping[str, tuple[Edit, ...]] = {
    "a close books other journals than were approved": (
        (f"{_CLOSE}:_book", "if found.value != close.digest:", "if 0:"),
    ),
    "an approval outlives a refusal": (
        (f"{_CLOSE}:_asked", "one.id == decision_id(close, since, one.who)", "one.digest == close.digest"),
    ),
    "one person is enough where two must approve": ((f"{_CLOSE}:_asked", "2 if two else 1", "1"),),
    "who is no approver approves": (("core.close:check_approver", "if approvers and who not in approvers:", "if 0:"),),
    "a stage is done again by another run": (
        (f"{_CLOSE}:_preview", "if (now := _again(work, close)) != close:", "if (now := close) != close:"),
    ),
    "a unit of work waits for the general ledger": (
        (f"{_CLOSE}:TakesPostings.__call__", "raise _Unasked(day)", "self._said[day] = self._ask(day)"),
    ),
    "a journal of a close is never pushed": ((f"{_CLOSE}:_intend", "work.outbox.enqueue(", "list("),),
}

#: Bugs that need invoices to be given up.
_GIVEN_UP: Mapping[str, tuple[Edit, ...]] = {
    "who proposed a write-off approves it": (("flows.write_off:approve", "if who == proposed.proposed_by:", "if 0:"),),
    "the ERP never hears of a write-off": (("flows.write_off:_book", "work.outbox.enqueue(", "list("),),
    "a write-off is not booked": (("flows.write_off:_book", "post(hub, work,", "(lambda *_, **__: None)(hub, work,"),),
    "a write-off above the limit needs nobody else": (
        ("flows.write_off:_needs_second", "whole.amount > limit", "made.amount.amount > limit + 10**9"),
    ),
}

#: Bugs that show only where real processes are killed.
_KILLED: Mapping[str, tuple[Edit, ...]] = {
    "a webhook is acknowledged before it is committed": (
        ("app.webhooks:GroupCommit.store", "await waiting.stored", "pass"),
    ),
}


@dataclass(frozen=True)
class Plant:
    """A bug, and the smallest world that can show it: see ``worlds_of``; ``killed``: layer 2."""

    edits: tuple[Edit, ...]
    world: str

    def __call__(self) -> AbstractContextManager[None]:
        return planted(*self.edits)


#: Name of a bug to what plants it.
PLANTS: Mapping[str, Plant] = {
    name: Plant(edits, world)
    for world, catalogue in {
        "told": _TOLD,
        "sold": _SOLD,
        "rotating": _ROTATING,
        "paid": _PAID,
        "closed": _CLOSED,
        "write-offs": _GIVEN_UP,
        "killed": _KILLED,
    }.items()
    for name, edits in catalogue.items()
}
