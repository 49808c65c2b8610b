"""Planted bugs: each takes one guard of the product away, by changing a few words of its source.

A plant whose words are no longer there fails loudly, so the catalogue keeps step with the code. Guards that stand
behind each other (a look-up behind an idempotency key) are taken away together where one alone hides the other.
"""

from __future__ import annotations

import inspect
import linecache
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial, reduce
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


_DELIVERY, _OUTBOX, _INBOX = "flows.deliver:Delivery", "core.store.border:Outbox", "core.store.border:Inbox"

_CATALOGUE: Mapping[str, tuple[Edit, ...]] = {
    # the outbox
    "an unknown outcome is sent again without a look-up": (
        (f"{_DELIVERY}._prepare", "if command.probe else None", "if False else None"),
    ),
    "a lease that ran out forgets that it may have been sent": (
        (f"{_OUTBOX}.claim", "values(state=CommandState.UNKNOWN, probe=True)", "values(state=CommandState.UNKNOWN)"),
    ),
    "an unknown outcome forgets that it may have been sent": (
        (f"{_OUTBOX}.settle", "if state is CommandState.UNKNOWN:", "if False:"),
    ),
    "a worker that lost its lease settles all the same": (
        (f"{_OUTBOX}.settle", "OUTBOX.c.fence == command.fence", "OUTBOX.c.fence > 0"),
    ),
    "a worker that lost its lease sends all the same": (
        (f"{_DELIVERY}._held", "return [item for item in items if item[0] in held]", "return items"),
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
    "a proof wakes nobody": ((f"{_OUTBOX}.wake", "OUTBOX.c.waits_for == waits_for", 'OUTBOX.c.waits_for == ""'),),
    "the same intent is stored again": (
        (f"{_OUTBOX}._intend", "last.version == wanted.version", "last.version == ''"),
    ),
    "the versions of a record are sent side by side": (("core.store.border:_ready", "~under_way,", ""),),
    "an older version stands after a newer": (
        (f"{_OUTBOX}._intend", "self._cancel_superseded(command)", "pass"),
        (f"{_OUTBOX}.settle", "self._cancel_superseded(command)", "pass"),
        ("core.store.border:_ready", "OUTBOX.c.lane, OUTBOX.c.created_at, OUTBOX.c.key", "OUTBOX.c.created_at.desc()"),
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
    # the inbox
    "a webhook is acknowledged without being stored": (("app.webhooks:Receiver._answer", "if events:", "if False:"),),
    "a forged webhook is taken in": (
        ("connectors.stripe_gateway:StripeGateway._verify", "if not genuine:", "if False:"),
    ),
    "the lease of an event never ends": (
        (f"{_INBOX}.claim", "INBOX.c.lease_until < now", "INBOX.c.lease_until < INBOX.c.received_at"),
    ),
    "an event that is refused counts as applied": (
        ("flows.intake:_apply", "state = InboxState.REJECTED", "state = InboxState.APPLIED"),
    ),
    "an event of a system that is away is dropped": (
        ("flows.intake:_apply", "return False", "state = InboxState.STALE"),
    ),
    "the cursor passes a settlement that waits": (
        ("flows.intake:book_settlements", "newest = min(newest, waits) if newest and waits else newest", "pass"),
    ),
    # the vendors' wires
    "a charge has no key and is not looked up": (
        ("connectors.stripe_gateway:StripeGateway._once", "{name}:{attempt}", "tieout:{self._world.ids()}"),
        ("connectors.stripe_gateway:StripeGateway._look_up", "path, reading =", "return None; path, reading ="),
    ),
    "an idempotency key is trusted for ever": (
        ("connectors.stripe_gateway:StripeGateway._look_up", "path, reading =", "return None; path, reading ="),
    ),
    "answers of a list are read in the wrong order": (
        ("connectors.netsuite:NetSuite._write", "zip(ready, answers,", "zip(ready, answers[::-1],"),
    ),
    "a session that has ended is not renewed": (
        ("connectors.salesforce:Session.auth_flow", "response.status_code == 401", "response.status_code == 499"),
    ),
    # the money
    "tax is never committed": (
        ("flows.bill:finalise_invoices", "work.outbox.enqueue(\n", "(lambda all: work.outbox.enqueue(all[1:]))(\n"),
    ),
    "the ERP never hears of a payment": (("flows.intake:take_payment", "work.outbox.enqueue(", "list("),),
    "a settlement is not booked in the ERP": (
        ("flows.intake:_book_settlement", "for one in entries", "for one in entries[1:]"),
    ),
    "the ERP never hears of a customer": (
        (
            "flows.intake:take_order",
            'OutboxCommand.of(hub.system("erp"), "account", "account", order.account, now),',
            "",
        ),
    ),
    "a month is rated again after its invoice": (("flows.rate:rate_period", "if account.id not in closed", "if True"),),
    "an invoice loses its rated lines to a later rating": (
        ("core.store.database:Work.rerate", "first() is not None", "first() is False"),
    ),
    "usage of an earlier file is forgotten": (
        ("core.metering.store:UsageStore._recorded", "and batch.report.accepted]", "and False]"),
    ),
    "a secret reaches the desk": (
        ("flows.desk:entry", "message=str(error)[:2000]", 'message=str(error)[:1900] + " sandbox-token-secret"'),
    ),
    "the tie-out compares ours with ours": (
        ("flows.comparing:Comparing._compare", "work.sides.compare(left, shown,", "work.sides.compare(left, left,"),
    ),
}

#: Name of a bug to what plants it.
PLANTS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    name: partial(planted, *edits) for name, edits in _CATALOGUE.items()
}
