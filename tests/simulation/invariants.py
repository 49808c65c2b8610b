"""What must hold: after every step (ALWAYS) and once everything has come to rest (AT_REST).

The oracle reads the emulators' shelves and the database's tables itself; it uses no connector, mapping or repository of
the product. I-numbers are those of docs/reliability.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from core.sync import COMMAND_TRANSITIONS, CommandState
from flows.tie_out import tie_out_period
from tests.simulation.closing import (
    a_locked_month_is_left_alone,
    only_what_was_approved_is_booked,
    the_month_is_closed,
)
from tests.simulation.company import DECLINED
from tests.simulation.fibers import Violation
from tests.simulation.giving_up import what_is_given_up_is_a_loss_everywhere
from tests.simulation.run import PERIOD, SECRETS, Run

#: One seed in so many has an amount changed behind the hub's back once it ties out.
TAMPERED = 3
FINAL = ("done", "cancelled")
#: Where a system keeps what a resource writes, and the field that carries our key; "" is the object's own id.
SHELVES: Mapping[tuple[str, str], tuple[str, Callable[[Mapping[str, Any]], Any]]] = {
    ("stripe", "account"): ("customer", lambda one: one["metadata"].get("tieout_id")),
    ("stripe", "payment"): ("payment_intent", lambda one: one["metadata"].get("tieout_id")),
    ("netsuite", "account"): ("customer", lambda one: one.get("externalId")),
    ("netsuite", "invoice"): ("invoice", lambda one: one.get("externalId")),
    ("netsuite", "payment"): ("customerPayment", lambda one: one.get("externalId")),
    ("netsuite", "journal_entry"): ("journalEntry", lambda one: one.get("externalId")),
    ("netsuite", "ledger_account"): ("account", lambda one: one.get("externalId")),
    ("netsuite", "product"): ("serviceSaleItem", lambda one: one.get("externalId")),
    ("netsuite", "credit_note"): ("creditMemo", lambda one: one.get("externalId")),
    ("stripe", "refund"): ("refund", lambda one: one["metadata"].get("tieout_id")),
    ("quickbooks", "account"): ("customer", lambda one: one["DisplayName"]),
    ("avalara", "tax_document"): ("transaction", lambda one: one["code"] if one["type"] == "SalesInvoice" else None),
    ("avalara", "tax_credit"): ("transaction", lambda one: one["code"] if one["type"] == "ReturnInvoice" else None),
}

#: Where books keep a customer's own name.
NAMED = {"netsuite": "companyName", "quickbooks": "CompanyName"}


def cents(amount: Any) -> int:
    scaled = Decimal(amount) * 100
    if scaled != scaled.to_integral_value():
        raise Violation("money has no parts of a cent", str(amount))
    return int(scaled)


def rows(run: Run, query: str) -> list[dict[str, Any]]:
    cursor = run.sql.execute(query)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _reachable() -> Mapping[str, frozenset[str]]:
    """From each state, every state that steps of the published graph lead to; a lease that ran out leads to unknown."""
    step = {str(one): {str(to) for to in targets} for one, targets in COMMAND_TRANSITIONS.items()}
    found = {one: {one} for one in step}
    for _ in CommandState:
        for reached in found.values():
            reached |= {to for one in list(reached) for to in step[one]}
    return {one: frozenset(reached) for one, reached in found.items()}


REACHABLE = _reachable()


@dataclass
class Watch:
    """Checks a run after every step; looks only where something has changed."""

    _seen_data: int = -1
    _seen_vendors: int = -1
    _commands: dict[str, tuple[str, int, int, bool]] = field(default_factory=dict)
    _marks: dict[tuple[str, str], str] = field(default_factory=dict)
    _kept: dict[str, str] = field(default_factory=dict)

    def __call__(self, run: Run, step: str) -> None:
        data = run.data_version()
        if data != self._seen_data:
            self._seen_data = data
            self.outbox_follows_its_graph(run)
            self.cursors_never_move_back(run)
            self.what_is_booked_never_changes(run)
            documents_add_up(run)
            proofs_point_home(run)
            acknowledged_is_stored(run)
            if run.finance:
                only_what_was_approved_is_booked(run)
                a_locked_month_is_left_alone(run)
        if run.vendors.version != self._seen_vendors:
            self._seen_vendors = run.vendors.version
            one_object_per_record(run)
            charged_at_most_once(run)
            every_object_was_intended(run)
            books_balance(run)

    def outbox_follows_its_graph(self, run: Run) -> None:
        """I8: states move along the published graph; fences and attempts grow; what is done has its proof."""
        proofs = {tuple(row) for row in run.sql.execute("SELECT system, resource, record_id FROM sync_record")}
        found = {}
        for key, state, fence, attempts, probe, due_at, system, resource, record_id in run.sql.execute(
            "SELECT key, state, fence, attempts, probe, due_at, system, resource, record_id FROM outbox"
        ):
            found[key] = (state, fence, attempts, bool(probe))
            if fence != self._commands.get(key, ("", 0))[1]:
                run.crossings.holders[key] = run.actor
            if key in self._commands:
                was, fence_was, attempts_was, probe_was = self._commands[key]
                if was == state == "sending" and fence != fence_was and not run.quiet:
                    run.sometimes["a lease was taken over"] += 1
                if state not in REACHABLE[was] or fence < fence_was or attempts < attempts_was:
                    raise Violation("I8 outbox follows its graph", f"{key} went from {was} to {state}")
                if was == "sending" and fence == fence_was and state not in (was, "unknown") and not run.quiet:
                    _same("I8 only who holds a lease settles it", key, run.crossings.holders.get(key), run.actor)
                if probe_was and not probe and state not in FINAL:
                    raise Violation("I8 what may have been sent is looked up first", f"{key} forgot its probe")
            if state == "done" and (system, resource, record_id) not in proofs:
                raise Violation("I8 done has a proof", key)
            if state == "unknown" and due_at is None:
                raise Violation("I8 unknown has a next try", key)
            if self._commands.get(key, ("",))[0] == "parked" and state in ("pending", "sending", "done"):
                run.sometimes["a parked command was woken"] += 1
            if state in ("unknown", "parked", "rejected"):
                run.sometimes[f"command {state}"] += 1
        if lost := self._commands.keys() - found.keys():
            raise Violation("I8 an intent is never lost", str(sorted(lost)))
        self._commands = found

    def cursors_never_move_back(self, run: Run) -> None:
        """I7."""
        for system, resource, position in run.sql.execute("SELECT system, resource, position FROM watermark"):
            if position < self._marks.get((system, resource), ""):
                raise Violation("I7 a cursor never moves back", f"{system} {resource} to {position}")
            self._marks[system, resource] = position

    def what_is_booked_never_changes(self, run: Run) -> None:
        """I5: a journal entry, a final invoice and a settlement stay as they were."""
        now = {f"journal {row['id']}": str(tuple(row.values())) for row in rows(run, "SELECT * FROM journal_entry")}
        for row in rows(run, "SELECT * FROM journal_line"):
            now[f"journal line {row['id']}"] = str(tuple(row.values()))
        for row in rows(run, "SELECT * FROM invoice WHERE status = 'final'"):
            now[f"invoice {row['id']}"] = str(tuple(row.values()))
        for row in rows(run, "SELECT * FROM settlement"):
            now[f"settlement {row['id']}"] = str(tuple(row.values()))
        for key, text in self._kept.items():
            if now.get(key) != text:
                raise Violation("I5 what is booked never changes", f"{key}: {text} became {now.get(key)}")
        self._kept = now


# --- always ----------------------------------------------------------------------------------------------------------


def acknowledged_is_stored(run: Run) -> None:
    """I2: no webhook that was answered with yes is absent from the inbox."""
    if run.acknowledged:
        kept = {tuple(row) for row in run.sql.execute("SELECT system, event_id FROM inbox")}
        if lost := {one for one in run.acknowledged if one not in kept}:
            raise Violation("I2 acknowledged is stored", str(sorted(lost)))


def one_object_per_record(run: Run) -> None:
    """I1: at most one object of a system carries a key of ours."""
    for (system, _), (kind, key_of) in _shelves(run):
        counts = Counter(key for one in run.vendors.shelves[system].all(kind) if (key := key_of(one)))
        for key, number in counts.items():
            if number > 1:
                raise Violation("I1 one object per record", f"{system} has {number} {kind} for {key}")


def _shelves(run: Run) -> list[tuple[tuple[str, str], tuple[str, Callable[[Mapping[str, Any]], Any]]]]:
    """Those of the systems that take part."""
    return [(resource, shelf) for resource, shelf in SHELVES.items() if resource[0] in run.vendors.shelves]


def charged_at_most_once(run: Run) -> None:
    """I1: an invoice is charged at most once, and no more than what stands on it."""
    charged: dict[str, int] = defaultdict(int)
    for one in run.vendors.shelves["stripe"].all("charge"):
        if one["status"] == "succeeded":
            charged[one["metadata"]["invoice_id"]] += one["amount"]
    totals = dict(run.sql.execute("SELECT id, total_minor FROM invoice WHERE status = 'final'"))
    for invoice, amount in charged.items():
        if amount > totals.get(invoice, 0):
            raise Violation("I1 charged at most once", f"{invoice} of {totals.get(invoice)} was charged {amount}")


def every_object_was_intended(run: Run) -> None:
    """I12: each object that carries a key of ours has an intent that was stored before; its own accounts aside."""
    intents = {tuple(row) for row in run.sql.execute("SELECT system, resource, record_id FROM outbox")}
    for (system, resource), (kind, key_of) in _shelves(run):
        for one in run.vendors.shelves[system].all(kind):
            key = key_of(one)
            if key and "_system" not in one and (system, resource, key) not in intents:
                raise Violation("I12 every object was intended", f"{system} {kind} {key}")


def proofs_point_home(run: Run) -> None:
    """I8: the object that a proof names carries the key of the record it proves."""
    for system, resource, record_id, vendor_id in run.sql.execute(
        "SELECT system, resource, record_id, vendor_id FROM sync_record"
    ):
        if (system, resource) in SHELVES:
            kind, key_of = SHELVES[system, resource]
            if system == "avalara":
                continue
            held = run.vendors.shelves[system].get(kind, vendor_id)
            if held is None or key_of(held) != record_id:
                raise Violation("I8 a proof points home", f"{system} {resource} {record_id} is said to be {vendor_id}")


def books_balance(run: Run) -> None:
    """I5: every journal of the general ledger balances, and the month it stands in was open."""
    for one in run.vendors.shelves["netsuite"].all("journalEntry"):
        lines = one["lineList"]["line"]
        if sum(cents(line.get("debit") or 0) - cents(line.get("credit") or 0) for line in lines):
            raise Violation("I5 every journal balances", str(one.get("externalId")))


def documents_add_up(run: Run) -> None:
    """I6: lines, tax and totals of each invoice; both sides of each journal."""
    for ident, subtotal, tax, total, lines, line_tax in run.sql.execute(
        "SELECT i.id, subtotal_minor, i.tax_minor, total_minor, sum(l.amount_minor), sum(l.tax_minor)"
        " FROM invoice i JOIN invoice_line l ON l.parent_id = i.id GROUP BY i.id"
    ):
        if subtotal != lines or tax != line_tax or total != subtotal + tax:
            raise Violation("I6 an invoice is the sum of its lines", ident)
    for ident, debit, credit in run.sql.execute(
        "SELECT parent_id, sum(coalesce(debit_minor, 0)), sum(coalesce(credit_minor, 0))"
        " FROM journal_line GROUP BY parent_id"
    ):
        if debit != credit:
            raise Violation("I6 debits are credits", ident)


# --- at rest ---------------------------------------------------------------------------------------------------------


def unpaid(run: Run) -> set[str]:
    """Invoices whose card the gateway declines."""
    paid = {
        one["metadata"]["invoice_id"]
        for one in run.vendors.shelves["stripe"].all("payment_intent")
        if one["status"] == "succeeded"
    }
    lost = _given_up(run)
    totals = dict(run.sql.execute("SELECT id, total_minor FROM invoice WHERE total_minor > 0"))
    return {ident for ident, total in totals.items() if total > lost.get(ident, 0)} - paid


def untold(run: Run) -> set[str]:
    """Invoices that were paid and of which no webhook told, with nobody polling."""
    return (
        run.ids("SELECT id FROM invoice WHERE total_minor > 0")
        - unpaid(run)
        - run.ids("SELECT invoice_id FROM payment WHERE status = 'succeeded'")
    )


def all_is_delivered(run: Run) -> None:
    """I1, I16, I17: every intent is done or superseded, stands on the desk, or waits for one that does."""
    asked = {ident.removeprefix("outbox:") for ident in run.ids("SELECT id FROM desk WHERE state = 'open'")}
    left = {}
    for state, waits_for, *record in run.sql.execute(
        "SELECT state, waits_for, system, resource, record_id FROM outbox WHERE state NOT IN ('done', 'cancelled')"
    ):
        left["/".join(record)] = (state, (waits_for or "").replace(":", "/", 2))
    for record, (state, waits_for) in left.items():
        if record in asked and state in ("rejected", "parked"):
            continue
        if state == "parked" and waits_for in left:
            continue
        raise Violation("I16 nothing waits without a work item", f"{record} is {state}, it waits for {waits_for}")
    if stuck := rows(run, "SELECT * FROM inbox WHERE state NOT IN ('applied', 'stale', 'rejected')"):
        raise Violation("I16 nothing waits without a work item", f"inbox {stuck[0]}")


def desk_shows_what_is_wrong(run: Run) -> None:
    """I16: at rest the desk holds what nobody has cured, and nothing else."""
    for ident, cause, message in run.sql.execute("SELECT id, cause, message FROM desk WHERE state = 'open'"):
        kind = ident.partition(":")[0]
        declined = any(one in ident or one in message for one in (*unpaid(run), *DECLINED))
        malformed = kind in ("inbox", "outbox") and run.company.malformed and "desk retry" not in run.nets
        strange = kind == "usage"
        without_retry = "desk retry" not in run.nets and ("period" in message or "INVALID_KEY_OR_REF" in message)
        early = ident.startswith("record:settlement") and untold(run)
        if not (declined or malformed or strange or without_retry or early):
            raise Violation("I16 the desk shows only what is wrong", f"{ident} {cause} {message}")


def all_orders_are_in(run: Run) -> None:
    """Every won order is in the hub, refused onto the desk, or was told by nobody."""
    if missing := run.orders_to_come():
        raise Violation("I9 every won order is in", str(sorted(missing)))


def amendments_stand(run: Run) -> None:
    """I9: of what amends a contract and is taken in, each line stands there with its quantity."""
    taken = run.ids("SELECT order_id FROM amendment")
    stands = {
        ident: Decimal(quantity)
        for ident, quantity in run.sql.execute("SELECT order_line_id, quantity FROM subscription_charge")
    }
    crm = run.vendors.shelves["salesforce"]
    amending = {one["Id"] for one in crm.all("Opportunity") if one.get("Amends_Order__c") and one["IsWon"]}
    for line in crm.all("OpportunityLineItem"):
        order = line["OpportunityId"]
        if order in amending - run.never_told() - run.refused():
            _same("I9 every amendment is taken in", order, order, order if order in taken else None)
            _same("I9 an amendment stands", line["Id"], Decimal(line["Quantity"]), stands.get(line["Id"]))


def every_customer_is_told(run: Run) -> None:
    """I9: each customer of the hub was intended for the gateway and for the ERP."""
    for system in ("stripe", run.books):
        told = run.ids(f"SELECT record_id FROM outbox WHERE system = '{system}' AND resource = 'account'")  # noqa: S608
        if untold_to := run.ids("SELECT id FROM account") - told:
            raise Violation("I9 every customer is told", f"{system} {sorted(untold_to)}")


def money_travels_whole(run: Run) -> None:
    """I4: rated = invoiced = tax base; tax = tax; total = ERP invoice = charges less refunds, as far as nothing is
    credited; charge = ERP payment; read from the shelves."""
    shelves = run.vendors.shelves
    tax_documents = {one["code"]: one for one in shelves["avalara"].all("transaction")}
    erp_invoices = {one.get("externalId"): one for one in shelves["netsuite"].all("invoice")}
    erp_payments = {one.get("externalId"): one for one in shelves["netsuite"].all("customerPayment")}
    charges = [one for one in shelves["stripe"].all("payment_intent") if one["status"] == "succeeded"]
    charged = {one["metadata"]["invoice_id"] for one in charges}
    kept: dict[str, int] = defaultdict(int)
    for one in charges:
        kept[one["metadata"]["invoice_id"]] += one["amount_received"]
    for one in shelves["stripe"].all("charge"):
        kept[one["metadata"]["invoice_id"]] -= one["amount_refunded"]
    credited = _credited(run)
    stuck = stuck_records(run)
    for row in rows(run, "SELECT * FROM invoice"):
        ident, total = row["id"], row["total_minor"]
        if row["status"] != "final":
            if ident in stuck:
                continue
            raise Violation("I4 every draft becomes final", ident)
        document = tax_documents[ident]
        _same("I4 subtotal = tax base", ident, row["subtotal_minor"], cents(document["totalAmount"]))
        _same("I4 invoice tax = tax", ident, row["tax_minor"], cents(document["totalTax"]))
        if ident not in stuck:
            _same("I4 tax is committed", ident, document["status"], "Committed")
            _same("I4 total = ERP invoice", ident, total, cents(erp_invoices[ident]["total"]))
        if ident in charged and not {one for one in stuck if ident in one}:
            _same("I4 total less credits = charges less refunds", ident, total - credited.get(ident, 0), kept[ident])
    for one in charges:
        ident, invoice = one["metadata"]["tieout_id"], one["metadata"]["invoice_id"]
        if ident in erp_payments:
            _same("I4 charge = ERP payment", ident, one["amount_received"], cents(erp_payments[ident]["payment"]))
        elif invoice not in untold(run) and not {invoice, ident} & stuck:
            raise Violation("I4 every charge is booked", ident)
    rated = dict(run.sql.execute("SELECT account_id, sum(amount_minor) FROM rated_line GROUP BY account_id"))
    invoiced = dict(run.sql.execute("SELECT account_id, subtotal_minor FROM invoice"))
    for account, amount in rated.items():
        if amount or account in invoiced:
            _same("I4 rated = invoiced", account, amount, invoiced.get(account))


def _credited(run: Run) -> dict[str, int]:
    """What credit notes took off each invoice: all of it, less what waits as a balance of the account."""
    return dict(
        run.sql.execute(
            "SELECT n.invoice_id, sum(refunded_minor + coalesce((SELECT sum(a.amount_minor) FROM credit_application a"
            " WHERE a.parent_id = n.id AND a.invoice_id = n.invoice_id), 0)) FROM credit_note n GROUP BY n.invoice_id"
        )
    ) | _given_up(run)


def _given_up(run: Run) -> dict[str, int]:
    """What was given up of each invoice; none of these is credited."""
    booked = "SELECT invoice_id, sum(amount_minor) FROM write_off WHERE state = 'booked' GROUP BY invoice_id"
    return dict(run.sql.execute(booked))


def credits_travel_whole(run: Run) -> None:
    """I4: what is credited is returned by the tax engine and is a credit memo; what is given back left the gateway."""
    shelves = run.vendors.shelves
    returned = {one["code"]: one for one in shelves["avalara"].all("transaction")}
    memos = {one.get("externalId"): one for one in shelves["netsuite"].all("creditMemo")}
    refunds: dict[str, int] = defaultdict(int)
    for one in shelves["stripe"].all("refund"):
        if one["status"] == "succeeded":
            refunds[one["metadata"]["tieout_id"]] += one["amount"]
    stuck = stuck_records(run)
    for row in rows(run, "SELECT * FROM credit_note"):
        ident = row["id"]
        if ident not in stuck:
            _same("I4 credited tax = tax returned", ident, -row["tax_minor"], cents(returned[ident]["totalTax"]))
            _same("I4 credit note = credit memo", ident, row["total_minor"], cents(memos[ident]["total"]))
        gone = sum(amount for refund, amount in refunds.items() if refund.startswith(f"REF-{ident}"))
        if not {one for one in stuck if one.startswith(f"REF-{ident}")}:
            _same("I4 what is given back left the gateway", ident, row["refunded_minor"], gone)


def stuck_records(run: Run) -> set[str]:
    """Our ids of what has not reached a system, because nobody retried it or it waits for such a one."""
    return run.ids("SELECT record_id FROM outbox WHERE state NOT IN ('done', 'cancelled')")


def ledgers_agree(run: Run) -> None:
    """I4, I5: our balance of every ledger account is the general ledger's, unless something stands on the desk."""
    if stuck_records(run) - {f"PAY-{invoice}" for invoice in unpaid(run)}:
        return
    ours: dict[str, int] = defaultdict(int)
    for account, debit, credit in run.sql.execute("SELECT ledger_account, debit_minor, credit_minor FROM journal_line"):
        ours[account] += (debit or 0) - (credit or 0)
    netsuite = run.vendors.shelves["netsuite"]
    numbers = {one["internalId"]: one.get("acctNumber") for one in netsuite.all("account")}
    theirs: dict[str, int] = defaultdict(int)
    for kind in ("invoice", "customerPayment", "creditMemo", "journalEntry"):
        for one in netsuite.all(kind):
            for account, amount in one["_impact"]:
                theirs[str(numbers[account])] += cents(amount)
    for account in {*ours, *theirs}:
        _same("I4 our ledger = the general ledger", account, ours[account], theirs[account])


def every_settlement_is_booked(run: Run) -> None:
    """I4: what the gateway settled of a payment moves net and fee in our ledger, out of it where the gross is less than
    nothing."""
    moved = {
        entry: (debit, credit)
        for entry, debit, credit in run.sql.execute(
            "SELECT parent_id, sum(coalesce(debit_minor, 0)), sum(coalesce(credit_minor, 0))"
            " FROM journal_line GROUP BY parent_id"
        )
    }
    for row in rows(run, "SELECT * FROM settlement"):
        sum_ = row["gross_minor"] if row["gross_minor"] > 0 else row["fee_minor"] - row["gross_minor"]
        _same("I4 every settlement is booked", row["id"], (sum_, sum_), moved.get(f"JE-{row['id']}"))


def usage_is_conserved(run: Run) -> None:
    """I3: every event of every file stands somewhere, in count and in quantity; the files themselves are the oracle.

    Two files of the same content are one delivery.
    """
    files = [one for one in run.company.usage if one not in run.to_come]
    deliveries = list({str(one.rows): one.rows for one in files}.values())
    received = sum(map(len, deliveries))
    quantity = sum((Decimal(row["quantity"]) for rows in deliveries for row in rows), Decimal(0))
    days = run.processes[0].hub.usage.completeness()
    _same("I3 usage received", "all files", received, sum(day.received.events for day in days))
    _same("I3 usage quantity received", "all files", quantity, sum((day.received.quantity for day in days), Decimal(0)))
    stands = sum((day.rated + day.pending + day.repeated + day.rejected).events for day in days)
    _same("I3 usage is accounted for", "all files", received, stands)
    accepted = sum((day.pending + day.rated).quantity for day in days)
    _same("I3 usage accepted", "all files", run.usage_served(files), accepted)


def newest_name_wins(run: Run) -> None:
    """I9: what a person changed last at the CRM stands everywhere."""
    for ident, name in run.sql.execute("SELECT id, name FROM account"):
        if "polling" in run.nets:
            _same("I9 the hub has the newest name", ident, run.names[ident], name)
        for system, named in (("stripe", "name"), (run.books, NAMED[run.books])):
            kind, key_of = SHELVES[system, "account"]
            for one in run.vendors.shelves[system].all(kind):
                if key_of(one) == ident:
                    _same(f"I9 {system} shows the hub's newest name", ident, name, one[named])


def no_secret_is_told(run: Run) -> None:
    """I11: no credential in the database, whatever failed."""
    text = "\n".join(run.dump())
    for secret in SECRETS:
        if secret in text:
            raise Violation("I11 no secret is stored", secret)


def tie_out_tells_exactly_what_differs(run: Run) -> None:
    """I10: no difference that the world does not have; one that is made now is found."""
    if run.reach != "paid":
        return
    lines, breaks = tie_out_period(run.processes[0].hub, PERIOD)
    late = any(one.late for one in run.company.usage if one not in run.to_come)
    excused = unpaid(run) | untold(run) | stuck_records(run) | run.never_told() | run.refused()
    told = " ".join(sorted(excused))
    for one in breaks:
        if not one.explained and not _excused(run, one.tie, one.subject, excused):
            raise Violation("I10 tie-out invents nothing", f"{one.tie}: {one.subject} {one.left} {one.right}; {told}")
    for line in lines:
        if line.tie == "usage metered = rated" and line.breaks and not late:
            raise Violation("I10 tie-out invents nothing", f"{line.tie}: {line.left} {line.right}")
    if not breaks:
        run.sometimes["everything ties out"] += 1
        if run.seed % TAMPERED == 0:
            _tamper(run)


def _excused(run: Run, tie: str, subject: str, excused: Iterable[str]) -> bool:
    """Whether a difference follows from what nobody cured; ledger balances follow from any of it."""
    follows = tie.startswith(("GL ", "billing clearing", "CRM shows", "deferred")) and bool(list(excused))
    return follows or any(one in subject or subject in one for one in excused)


def _tamper(run: Run) -> None:
    """Somebody changes one amount behind our back; the tie-out names it."""
    rng = run.stream("tamper")
    choices = [
        (system, kind, one)
        for system, kind in (("netsuite", "invoice"), ("netsuite", "journalEntry"), ("avalara", "transaction"))
        for one in run.vendors.shelves[system].all(kind)
    ]
    if not choices:
        return
    system, kind, one = rng.choice(choices)
    shelf = run.vendors.shelves[system]
    ident = next(ident for ident in shelf._kinds[kind] if shelf.get(kind, ident) == one)
    shelf.drop(kind, ident)
    _, breaks = tie_out_period(run.processes[0].hub, PERIOD)
    shelf.keep(kind, ident, one)
    name = str(one.get("externalId") or one.get("code"))
    if not any(one.subject == name for one in breaks):
        raise Violation("I10 tie-out misses nothing", f"{system} lost {kind} {name}")
    run.sometimes["tie-out found what was taken away"] += 1


def _same(rule: str, subject: str, left: Any, right: Any) -> None:
    if left != right:
        raise Violation(rule, f"{subject}: {left} is not {right}")


def audit_is_whole(run: Run) -> None:
    """I18: no row of the audit is missing or changed, and every proof was told to it."""
    with run.database.reading() as work:
        if flaw := work.audit.flaw():
            raise Violation("I18 the audit is whole", str(flaw))
    told = run.count("SELECT count(*) FROM audit WHERE act IN ('written', 'adopted')")
    _same("I18 every proof was told to the audit", "all commands", run.count(f"{_COMMANDS} WHERE state = 'done'"), told)


_COMMANDS = "SELECT count(*) FROM outbox"
#: Situations that leave a trace in the database, and how often they did.
TRACES: Mapping[str, str] = {
    "a version was superseded": f"{_COMMANDS} WHERE state = 'cancelled'",
    "an older event was recognised": "SELECT count(*) FROM inbox WHERE state = 'stale' AND resource = 'order'",
    "our own write came back from the CRM": "SELECT count(*) FROM audit WHERE detail LIKE '%\"echo\"%'",
    "a contract was amended": "SELECT count(*) FROM amendment",
    "a part of an invoice was credited": "SELECT count(*) FROM credit_note",
    "a part of a payment was given back": "SELECT count(*) FROM credit_note WHERE refunded_minor > 0",
    "polling found what no webhook told": "SELECT count(*) FROM inbox WHERE kind = 'poll' AND state = 'applied'",
}


AT_REST: tuple[Callable[[Run], None], ...] = (
    acknowledged_is_stored,
    all_orders_are_in,
    amendments_stand,
    every_customer_is_told,
    all_is_delivered,
    desk_shows_what_is_wrong,
    money_travels_whole,
    credits_travel_whole,
    what_is_given_up_is_a_loss_everywhere,
    ledgers_agree,
    every_settlement_is_booked,
    usage_is_conserved,
    newest_name_wins,
    no_secret_is_told,
    audit_is_whole,
    the_month_is_closed,
    tie_out_tells_exactly_what_differs,
)


def at_rest(run: Run) -> None:
    for invariant in AT_REST:
        invariant(run)
    for situation, query in TRACES.items():
        run.sometimes[situation] += run.count(query)
