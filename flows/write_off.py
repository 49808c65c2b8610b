"""Write off: what nobody will pay of an invoice is given up, by two people above a limit, in our books and in the ERP.

The ERP's credit memo closes the invoice there. Money that comes nevertheless pays for the loss, not for the invoice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from core.audit import Act, Deed
from core.errors import Parked, Rejected
from core.invoicing import Invoice
from core.money import Money, Rounding, round_fraction, total
from core.noun import numbered
from core.payments import WriteOff, WriteOffState
from core.posting import write_off_entries
from core.rational import Fraction
from core.store import Work
from core.sync import DeskEntry, OutboxCommand
from flows import desk
from flows.context import Hub
from flows.post import post
from flows.receivables import final_invoice, receivables, withdraw_requests


def write_off(hub: Hub, invoice_id: str, amount: Money | None, reason: str, on: date, who: str) -> WriteOff:
    """Gives up so much of an invoice (None: all that is open); above the limit it is proposed, and waits for another.

    Rejected without a reason, and when so much is not open or the gateway may be charging it.
    """
    with hub.database.work() as work:
        invoice = final_invoice(work, invoice_id)
        if not reason.strip():
            raise Rejected("say why the invoice is given up", record=invoice_id, field="reason")
        withdraw_requests(hub, work, invoice)
        before = _standing(work, invoice_id)
        waiting = total((one.amount for one in before if one.state is WriteOffState.PROPOSED), invoice.currency)
        (one,) = receivables(hub, work, [invoice])
        most = one.unasked - waiting
        amount = most if amount is None else amount
        if amount.currency != invoice.currency or not 0 < amount.minor <= most.minor:
            why = f"{most} of invoice {invoice_id} can be given up, not {amount}"
            raise Rejected(why, record=invoice_id, field="amount", value=str(amount))
        known = {one.id for one in work.find(WriteOff, invoice_id=invoice_id)}
        made = WriteOff(
            entity=invoice.entity,
            exchange=invoice.exchange,
            id=numbered(f"WO-{invoice_id}", known),
            invoice_id=invoice_id,
            account_id=invoice.account_id,
            currency=invoice.currency,
            amount=amount,
            tax=_tax(invoice, before, amount),
            reason=reason.strip(),
            written_on=on,
            proposed_by=who,
            state=WriteOffState.BOOKED,
        )
        if _needs_second(hub, work, made, before):
            made = made.model_copy(update={"state": WriteOffState.PROPOSED})
            work.add([made])
            _tell(hub, work, Act.WRITE_OFF_PROPOSED, made, who)
            work.desk.report(_asked(hub, made))
        else:
            made = _book(hub, work, made, invoice, who)
    return made


def approve(hub: Hub, ident: str, who: str) -> WriteOff:
    """Books a write-off that was proposed. Rejected for who proposed it, and for who is no approver."""
    with hub.database.work() as work:
        proposed = _proposed(hub, work, ident, who)
        if who == proposed.proposed_by:
            why = f"{who} proposed {ident}; another person approves it"
            raise Rejected(why, record=ident, field="who", value=who)
        (invoice,) = work.find(Invoice, id=proposed.invoice_id)
        made = proposed.model_copy(update={"state": WriteOffState.BOOKED, "decided_by": who})
        work.put(made)
        (one,) = receivables(hub, work, [invoice])
        if one.unasked.minor < 0:
            why = f"less than {made.amount} of {invoice.id} is open by now; refuse {ident}, and give up what is left"
            raise Rejected(why, record=ident, field="amount", value=str(made.amount))
        return _book(hub, work, made, invoice, who)


def refuse(hub: Hub, ident: str, reason: str, who: str) -> WriteOff:
    """Ends a write-off that was proposed: the invoice is open as before."""
    with hub.database.work() as work:
        made = _proposed(hub, work, ident, who).model_copy(update={"state": WriteOffState.REFUSED, "decided_by": who})
        work.put(made)
        work.desk.resolve(_desk_id(made))
        _tell(hub, work, Act.WRITE_OFF_REFUSED, made, who, reason)
    return made


def write_offs(hub: Hub) -> list[dict[str, str]]:
    """All of them, those that wait for a second person first."""
    with hub.database.reading() as work:
        found = work.find(WriteOff)
    return [
        {
            "write-off": one.id,
            "invoice": one.invoice_id,
            "account": one.account_id,
            "amount": str(one.amount),
            "on": one.written_on.isoformat(),
            "state": one.state.value,
            "by": one.proposed_by,
            "second": one.decided_by or "",
            "reason": one.reason,
        }
        for one in sorted(found, key=lambda one: (one.state is not WriteOffState.PROPOSED, one.id))
    ]


def _standing(work: Work, invoice_id: str) -> list[WriteOff]:
    return [one for one in work.find(WriteOff, invoice_id=invoice_id) if one.state is not WriteOffState.REFUSED]


def _tax(invoice: Invoice, before: Sequence[WriteOff], amount: Money) -> Money:
    """The tax in what is given up, so that of all write-offs together is in proportion, rounded half up."""
    share = Fraction(invoice.tax.minor, invoice.total.minor)
    so_far = total((one.amount for one in before), invoice.currency)
    due = round_fraction((so_far + amount).minor * share, Rounding.HALF_UP)
    return Money(due, invoice.currency) - total((one.tax for one in before), invoice.currency)


def _needs_second(hub: Hub, work: Work, made: WriteOff, before: Sequence[WriteOff]) -> bool:
    limit = hub.settings.write_offs.second_approval_above
    if limit is None:
        return False
    whole = total((one.amount for one in before), made.currency) + made.amount
    return made.currency != hub.books(work, made.account_id).entity.currency or whole.amount > limit


def _proposed(hub: Hub, work: Work, ident: str, who: str) -> WriteOff:
    found = work.get(WriteOff, ident)
    if found is None or found.state is not WriteOffState.PROPOSED:
        raise Rejected(
            f"no write-off {ident} waits for approval; see `tieout write-offs list`", record=ident, field="id"
        )
    approvers = hub.settings.write_offs.approvers
    if approvers and who not in approvers:
        named = ", ".join(approvers)
        raise Rejected(
            f"{who!r} is no approver of write-offs; write_offs.approvers in tieout.toml names {named}",
            record=ident,
            field="who",
            value=who,
        )
    return found


def _book(hub: Hub, work: Work, decided: WriteOff, invoice: Invoice, who: str) -> WriteOff:
    """Books it on its day; where the month of that is locked by now, it is dated on the first day that is open."""
    erp, now = hub.system("erp"), hub.now()
    hub.mappings.find(erp, "write_off", "out", "credit_note")
    day = hub.open_day(work, decided.account_id, decided.written_on)
    made = decided.model_copy(update={"written_on": day})
    work.put(made)
    post(hub, work, write_off_entries(hub.books(work, made.account_id), made, invoice), of=decided.written_on)
    work.outbox.enqueue([OutboxCommand.of(erp, "credit_note", "write_off", made, now, money=made.amount)])
    work.desk.resolve(_desk_id(made))
    _tell(hub, work, Act.WRITTEN_OFF, made, who)
    return made


def _desk_id(made: WriteOff) -> str:
    return f"record:write_off:{made.id}"


def _asked(hub: Hub, made: WriteOff) -> DeskEntry:
    why = f"{made.proposed_by} gives up {made.amount} of invoice {made.invoice_id}: {made.reason}"
    waits = Parked(why, waits_for=f"approval:{made.id}")
    entry = desk.entry(waits, _desk_id(made), "hub", "write_off", made.id, hub.now(), made.amount)
    cure = f"Another person decides: `tieout write-offs approve {made.id}`, or `refuse` it with a reason."
    return entry.model_copy(update={"cure": cure})


def _tell(hub: Hub, work: Work, act: Act, made: WriteOff, who: str, reason: str = "") -> None:
    detail = {"invoice": made.invoice_id, "amount": str(made.amount), "reason": reason or made.reason}
    work.audit.tell(Deed(hub.now(), who, act, "", "write_off", made.id, detail))
