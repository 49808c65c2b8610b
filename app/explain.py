"""``tieout explain``: from any record back to the quote line and the usage events, or forward to the general ledger.

Backwards a node says what it ``came_from``, forwards what it ``became``; each has the ids by which other systems know
it, with the moment they were written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.tree import Tree

from core.accounts import Account
from core.allocation import Allocation
from core.amendments import Amendment
from core.cash import CashReceipt
from core.catalog import ChargeKind
from core.invoicing import Adjustment, CreditNote, CreditNoteLine, Invoice, InvoiceLine
from core.ledger import JournalEntry, JournalLine
from core.money import round_money
from core.obligations import ContractMovement, Milestone, Obligation
from core.orders import Order
from core.payments import Chargeback, Payment, Refund, Settlement, WriteOff
from core.posting import jurisdiction_of
from core.rating import RatedLine
from core.rating import explain as explain_rated
from core.revenue import RecognitionPart
from core.store import Work
from core.subscriptions import Subscription
from core.sync import CommandState, SyncRecord
from core.tax import TaxDocument
from core.wallets import CreditGrant, CreditMovement
from flows.context import Hub
from flows.credit import steps_of

#: A node of the story: what it is, a sentence of facts, and what it came from.
Node = dict[str, Any]

#: How many usage events a story shows of those that made a line.
SHOWN_EVENTS = 5


def explain_id(hub: Hub, ident: str) -> Node:
    """The story of a record, by our id or by any vendor's. ValueError when nobody knows the id.

    A line of a document in another system is its id there and the number of the line: ``5004/2``.
    """
    with hub.database.reading() as work:
        return _known(work, ident, Story(hub, work).of)


def foretell_id(hub: Hub, ident: str) -> Node:
    """What became of a record: from an order line or anything made of it to every line of the general ledger."""
    from app.foretell import Outcome

    with hub.database.reading() as work:
        return _known(work, ident, Outcome(hub, work).tell)


def _known(work: Work, ident: str, find: Callable[[str], Node | None]) -> Node:
    node = find(ident)
    document, _, number = ident.rpartition("/")
    for vendor_id, line in ((ident, ""), (document, f"-{number}")):
        proofs = work.outbox.proofs_of_vendor_id(vendor_id) if vendor_id and node is None else []
        for proof in proofs:
            node = node or find(f"{proof.record_id}{line}")
    if node is None:
        raise ValueError(f"nothing here has the id {ident!r}; try an invoice, a journal line or an order")
    return node


class Story:
    """Walks the records backwards, each step one look-up."""

    backwards = True

    def __init__(self, hub: Hub, work: Work) -> None:
        self.hub, self.work = hub, work

    def of(self, ident: str) -> Node | None:
        """The node of whatever noun of ours has this id."""
        work = self.work
        if entry := work.get(JournalEntry, ident):
            return self.journal(entry)
        if entry := work.parent_of_child(JournalEntry, "lines", id=ident):
            return self.journal_line(entry, next(line for line in entry.lines if line.id == ident))
        if invoice := work.get(Invoice, ident):
            return self.invoice(invoice)
        if invoice := work.parent_of_child(Invoice, "lines", id=ident):
            return self.invoice_line(invoice, next(line for line in invoice.lines if line.id == ident))
        if note := work.get(CreditNote, ident):
            return self.credit_note(note)
        if note := work.parent_of_child(CreditNote, "lines", id=ident):
            return self.credit_line(note, next(line for line in note.lines if line.id == ident))
        if refund := work.get(Refund, ident):
            return self.refund(refund)
        if adjustment := work.get(Adjustment, ident):
            return self.adjustment(adjustment)
        if rated := work.get(RatedLine, ident):
            return self.rated(rated)
        if payment := work.get(Payment, ident):
            return self.payment(payment)
        if part := work.get(RecognitionPart, ident):
            return self.recognition(part)
        if settlement := work.get(Settlement, ident):
            return self.settlement(settlement)
        if order := work.get(Order, ident):
            return self.order(order)
        if order := work.parent_of_child(Order, "lines", id=ident):
            return self.order_line(order, ident)
        if order := work.parent_of_child(Order, "lines", quote_line_id=ident):
            return self.quote_line(order, ident)
        if orders := work.find(Order, quote_id=ident):
            return self._node("quote", ident, f"became the order {', '.join(one.id for one in orders)}", [])
        if subscription := work.get(Subscription, ident):
            return self.subscription(subscription)
        if document := work.get(TaxDocument, ident):
            return self.tax(document)
        if receipt := work.get(CashReceipt, ident):
            facts = f"{receipt.amount} from {receipt.payer or 'nobody named'} on {receipt.value_date}: {receipt.text}"
            return self._node("bank receipt", receipt.id, facts, [])
        if chargeback := work.get(Chargeback, ident):
            return self.chargeback(chargeback)
        if given_up := work.get(WriteOff, ident):
            invoice = work.get(Invoice, given_up.invoice_id)
            facts = f"{given_up.amount} of {given_up.invoice_id} given up on {given_up.written_on}: {given_up.reason}"
            return self._node("write-off", ident, facts, [self.invoice(invoice)] if invoice else [], ident)
        if movement := work.get(CreditMovement, ident):
            return self.movement(movement)
        if moved := work.get(ContractMovement, ident):
            return self.contract_movement(moved)
        if told := work.get(Allocation, ident):
            return self.allocation(told)
        if milestone := work.get(Milestone, ident.removeprefix("milestone:")):
            return self.milestone(milestone)
        if grant := work.get(CreditGrant, ident):
            return self.grant(grant)
        if amendment := work.get(Amendment, ident):
            return self.amendment(amendment)
        return None

    def journal(self, entry: JournalEntry) -> Node:
        lines = [self.journal_line(entry, line, whole=False) for line in entry.lines]
        return self._node("journal entry", entry.id, f"{entry.memo}, posted on {entry.posted_on}", lines, entry.id)

    def journal_line(self, entry: JournalEntry, line: JournalLine, *, whole: bool = True) -> Node:
        side = f"debit {line.debit}" if line.debit else f"credit {line.credit}"
        facts = f"ledger account {line.ledger_account}, {side}, posted on {entry.posted_on}: {line.memo}"
        if entry.origin:
            facts += f"; belongs to {entry.origin}, which was closed"
        known = [entry.gl_journal or entry.id] if whole else []
        node = self._node("journal line", line.id, facts, self._sources(line), *known)
        if line.rule:
            node["rule"] = {"id": line.rule, "version": entry.rules_version}
        return node

    def _sources(self, line: JournalLine) -> list[Node]:
        """What a journal line is about; tax has the documents of all engines that found it owed to its jurisdiction."""
        match line.source:
            case "tax_document":
                owed_to = line.segments.get("jurisdiction")
                documents = self.work.find(TaxDocument, invoice_id=line.source_id)
                return [self.tax(one) for one in documents if owed_to is None or owed_to in _jurisdictions(one)]
            case "recognition":
                part = self.work.get(RecognitionPart, line.source_id)
                return [self.recognition(part)] if part else []
            case "subscription_charge":
                contract = self.work.parent_of_child(Subscription, "charges", id=line.source_id)
                sold = next((one for one in contract.charges if one.id == line.source_id), None) if contract else None
                order = self.work.parent_of_child(Order, "lines", id=sold.order_line_id) if sold else None
                return [self.order_line(order, sold.order_line_id)] if order and sold else []
        found = self.of(line.source_id)
        return [found] if found else []

    def chargeback(self, chargeback: Chargeback) -> Node:
        payment = self.work.get(Payment, chargeback.payment_id) if chargeback.payment_id else None
        facts = f"{chargeback.amount} taken back by the customer's bank, {chargeback.status.value}: {chargeback.reason}"
        return self._node("chargeback", chargeback.id, facts, [self.payment(payment)] if payment else [])

    def movement(self, movement: CreditMovement) -> Node:
        grant = self.work.get(CreditGrant, movement.grant_id)
        what = f" by {movement.document_id}" if movement.document_id else ""
        facts = f"{movement.amount} {movement.kind.value}{what} on {movement.moved_on}"
        return self._node("credit movement", movement.id, facts, [self.grant(grant)] if grant else [])

    def grant(self, grant: CreditGrant) -> Node:
        came_from = self.of(grant.source)
        until = "" if grant.expires_on is None else f", until {grant.expires_on}"
        facts = f"{grant.amount} {grant.kind.value} for {grant.account_id}: {grant.reason}, {grant.left} left{until}"
        node = self._node("credit", grant.id, facts, [came_from] if came_from else [])
        return node if came_from else {**node, "granted_by": grant.source}

    def amendment(self, amendment: Amendment) -> Node:
        order = self.work.get(Order, amendment.order_id) if amendment.order_id else None
        what = ", ".join(one.kind for one in amendment.changes)
        facts = f"{what} of {amendment.subscription_id} from {amendment.effective_on}"
        return self._node("amendment", amendment.id, facts, [self.order(order)] if order else [])

    def recognition(self, part: RecognitionPart) -> Node:
        facts = f"{part.amount} earned in {part.month} of the deferred line {part.invoice_line_id}"
        came_from = [self.of(part.invoice_line_id)]
        moved = self.work.find(ContractMovement, source_id=part.invoice_line_id)
        came_from += [self.contract_movement(one) for one in moved if one.deferred] if self.backwards else []
        return self._node("recognition", part.id, facts, [one for one in came_from if one])

    def contract_movement(self, moved: ContractMovement) -> Node:
        """What moved between a contract's price and its bills, and the obligation that it is of."""
        facts = f"{moved.kind} in {moved.month} of {moved.contract_id}: billed {moved.billed}, brings {moved.allocated}"
        came_from = [self.of(moved.source_id)] if moved.source_id else []
        came_from += [self.act(moved.act_id)] if moved.act_id else []
        obligation = self.work.get(Obligation, moved.obligation_id)
        came_from += [self.obligation(obligation)] if obligation else []
        return self._node("contract movement", moved.id, facts, [one for one in came_from if one])

    def obligation(self, one: Obligation) -> Node:
        """The policy, what acts allocated to it one after the other, and the order line."""
        facts = (
            f"{one.charge_code}, earned {one.pattern} by {one.convention}: {one.allocated} allocated of the price of "
            f"{one.priced_with}, where its order states {one.stated} and it costs {one.standalone} alone"
        )
        told = sorted(self.work.find(Allocation, obligation_id=one.id), key=lambda one: (one.number, one.starts_on))
        came_from = [self.allocation(each) for each in told]
        milestone = self.work.get(Milestone, one.id)
        came_from += [self.milestone(milestone)] if milestone else []
        order = self.work.parent_of_child(Order, "lines", id=one.id)
        came_from += [self.order_line(order, one.id)] if order else []
        return self._node("obligation", f"{one.id}:obligation", facts, came_from)

    def allocation(self, one: Allocation) -> Node:
        stated = round_money(one.stated, one.currency)
        facts = f"{one.allocated} of {stated} billed from {one.starts_on} on, act {one.number} of its contract"
        act = self.act(one.act_id)
        return self._node("allocation", one.id, facts, [act] if act else [])

    def act(self, ident: str) -> Node | None:
        """The order, or the milestone, that changed what a contract allocates."""
        order = self.work.get(Order, ident)
        return self.order(order) if order else self.of(ident)

    def milestone(self, one: Milestone) -> Node:
        shown = f": {one.evidence}" if one.evidence else ""
        facts = f"reached on {one.reached_on}, said {one.who} at {one.recorded_at:%F %T}{shown}"
        return self._node("milestone", f"milestone:{one.id}", facts, [])

    def invoice(self, invoice: Invoice) -> Node:
        facts = f"{invoice.total} = {invoice.subtotal} + tax {invoice.tax}, dated {invoice.invoice_date}"
        lines = [self.invoice_line(invoice, line) for line in invoice.lines]
        return self._node("invoice", invoice.id, facts, lines, invoice.id)

    def invoice_line(self, invoice: Invoice, line: InvoiceLine) -> Node:
        facts = f"{line.description}, {line.service_period}: {line.amount} + tax {line.tax} on invoice {invoice.id}"
        came_from = self.of(line.rated_line_id)
        node = self._node("invoice line", line.id, facts, [came_from] if came_from else [], invoice.id)
        documents = self.work.find(TaxDocument, invoice_id=invoice.id)
        if taxed := [one for one in documents if any(tax.invoice_line_id == line.id for tax in one.lines)]:
            node["taxed_by"] = [{"document": one.id, "tax": str(one.tax_of(line.id))} for one in taxed]
        return node

    def credit_note(self, note: CreditNote) -> Node:
        facts = f"{note.total} = {note.subtotal} + tax {note.tax} of {note.invoice_id}, {note.reason}; left {note.left}"
        late = [one for one in steps_of(self.work, note.id) if one["state"] != CommandState.DONE.value]
        told = (
            f"{one['system']} {one['step']} is {one['state']}, waits for {one['waits for'] or 'nothing'}"
            for one in late
        )
        facts += "".join(f"; {one}" for one in told)
        return self._node("credit note", note.id, facts, [self.credit_line(note, one) for one in note.lines], note.id)

    def credit_line(self, note: CreditNote, line: CreditNoteLine) -> Node:
        facts = f"{line.amount} + tax {line.tax} back, {line.deferred} of it not yet earned: {note.reason}"
        came_from = self.of(line.invoice_line_id)
        return self._node("credit note line", line.id, facts, [came_from] if came_from else [], note.id)

    def refund(self, refund: Refund) -> Node:
        came_from = self.of(refund.payment_id)
        facts = f"{refund.amount} of {refund.payment_id} given back: {refund.reason}"
        return self._node("refund", refund.id, facts, [came_from] if came_from else [], refund.id)

    def adjustment(self, adjustment: Adjustment) -> Node:
        came_from = self.of(adjustment.invoice_id) if adjustment.invoice_id else None
        facts = f"{adjustment.amount} for {adjustment.service_period}: {adjustment.reason}"
        return self._node("adjustment", adjustment.id, facts, [came_from] if came_from else [])

    def rated(self, line: RatedLine) -> Node:
        order = self.work.parent_of_child(Order, "lines", id=line.order_line_id)
        came_from = [self.usage(line)] if self._metered(line) else []
        if order is not None:
            came_from.append(self.order_line(order, line.order_line_id))
        node = self._node("rated line", line.id, f"{line.amount} for {line.service_period}", came_from)
        node["derivation"] = explain_rated(line).splitlines()
        told = line.derivation
        node["price"] = {"book": told.book, "version": told.book_version}
        return node

    def _metered(self, line: RatedLine) -> bool:
        return self.hub.price_book.charge(line.charge_code).kind is ChargeKind.USAGE

    def usage(self, line: RatedLine) -> Node:
        meter = self.hub.price_book.charge(line.charge_code).meter
        account = self.work.get(Account, line.account_id)
        assert meter is not None
        assert account is not None
        period = line.service_period.instants(account.timezone)
        read = self.hub.price_book.meter(meter).reads
        events = self.hub.usage.events(line.account_id, line.site_id, read, period, SHOWN_EVENTS)
        told = line.derivation
        facts = f"{told.events:,} events of meter {meter}, {told.measured} in all, at {line.site_id or 'all sites'}"
        node = self._node("usage", f"{line.account_id}/{line.site_id or '*'}/{meter}", facts, [])
        node["events"] = [
            {"source": e.source, "id": e.id, "occurred_at": e.occurred_at.isoformat(), "quantity": str(e.quantity)}
            for e in events
        ]
        return node

    def order_line(self, order: Order, ident: str) -> Node:
        line = next(line for line in order.lines if line.id == ident)
        sold_as = order.sold_as or "order"
        facts = f"{line.charge_code} x {line.quantity} at {line.unit_price} = {line.amount} on {sold_as} {order.id}"
        came_from = [] if line.quote_line_id is None else [self.quote_line(order, line.quote_line_id)]
        return self._node(f"{sold_as} line", line.id, f"{facts} ({order.name})", came_from, order.id)

    def quote_line(self, order: Order, ident: str) -> Node:
        """The line of the quote that an order line was made from."""
        return self._node("quote line", ident, f"of quote {order.quote_id}, which became the order {order.id}", [])

    def order(self, order: Order) -> Node:
        lines = [self.order_line(order, line.id) for line in order.lines]
        facts = f"{order.name} of {order.account.name}: {order.total}, won on {order.closed_on}"
        return self._node("order", order.id, facts, lines, order.id)

    def subscription(self, subscription: Subscription) -> Node:
        order = self.work.get(Order, subscription.order_id)
        facts = f"version {subscription.version} of account {subscription.account_id}, from {subscription.starts_on}"
        return self._node("subscription", subscription.id, facts, [self.order(order)] if order else [])

    def tax(self, document: TaxDocument) -> Node:
        by_place: dict[str, Any] = {}
        for line in document.lines:
            name = f"{line.jurisdiction} ({line.jurisdiction_type}) {line.tax_name}"
            by_place[name] = by_place.get(name, line.tax - line.tax) + line.tax
        facts = f"{document.tax} on {document.base}, {document.status.value}: "
        facts += "; ".join(f"{name} {tax}" for name, tax in by_place.items() if tax)
        invoice = self.work.get(Invoice, document.invoice_id)
        return self._node("tax document", document.id, facts, [self.invoice(invoice)] if invoice else [], document.id)

    def payment(self, payment: Payment) -> Node:
        facts = f"{payment.amount} {payment.status.value} at {payment.received_at:%F %T} for {payment.invoice_id}"
        invoice = self.work.get(Invoice, payment.invoice_id)
        return self._node("payment", payment.id, facts, [self.invoice(invoice)] if invoice else [], payment.id)

    def settlement(self, settlement: Settlement) -> Node:
        facts = f"gross {settlement.gross} = net {settlement.net} + fee {settlement.fee}"
        payment = self.work.get(Payment, settlement.payment_id)
        return self._node("settlement", settlement.id, facts, [self.payment(payment)] if payment else [])

    def _node(self, what: str, ident: str, facts: str, came_from: list[Node], *known_as: str) -> Node:
        node: Node = {"what": what, "id": ident, "facts": facts}
        proofs = self.work.outbox.proofs_of(list(known_as)) if known_as else []
        if proofs:
            node["held_by"] = [_held(proof) for proof in proofs]
        if came_from:
            node["came_from"] = came_from
        return node


def _jurisdictions(document: TaxDocument) -> set[str]:
    return {jurisdiction_of(line) for line in document.lines}


def _held(proof: SyncRecord) -> dict[str, str]:
    return {
        "system": proof.system,
        "resource": proof.resource,
        "id": proof.vendor_id,
        "written_at": proof.synced_at.isoformat(timespec="seconds"),
        "mapping": proof.mapping_version,
    }


def tree(node: Node) -> Tree:
    """A story as a tree for the terminal."""
    root = Tree(f"[bold]{node['what']}[/] {node['id']}: {node['facts']}", highlight=False)
    if rule := node.get("rule"):
        root.add(f"[magenta]posting rule {rule['id']} of {rule['version']}[/]")
    if price := node.get("price"):
        root.add(f"[magenta]price book {price['book']} {price['version']}[/]")
    for held in node.get("held_by", []):
        root.add(f"[dim]{held['system']} {held['resource']} {held['id']}, written {held['written_at']}[/]")
    for taxed in node.get("taxed_by", []):
        root.add(f"[magenta]tax {taxed['tax']} by the document {taxed['document']}[/]")
    for line in node.get("derivation", []):
        root.add(f"[green]{line}[/]")
    for event in node.get("events", []):
        root.add(f"[cyan]{event['source']} {event['id']} at {event['occurred_at']}: {event['quantity']}[/]")
    for other in (*node.get("came_from", []), *node.get("became", [])):
        root.children.append(tree(other))
    return root
