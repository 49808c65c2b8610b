"""Forward lineage: what became of an order line, and of everything that was made of it, to the general ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.explain import Node, Story
from core.invoicing import CreditNote, Invoice
from core.ledger import JournalEntry
from core.obligations import ContractMovement
from core.orders import Order
from core.payments import Payment, Refund, Settlement
from core.rating import RatedLine
from core.revenue import RecognitionPart
from core.store import Work


class Outcome(Story):
    """Walks the records forwards: each node says the same of itself as backwards, and then what it became."""

    backwards = False

    def tell(self, ident: str) -> Node | None:
        """The node of whatever noun of ours has this id, and what became of it."""
        node = super().of(ident)
        if node is None:
            return None
        made = [self.tell(after) for after in _AFTER.get(node["what"], _nothing)(self.work, ident)]
        if became := [one for one in made if one is not None]:
            node["became"] = became
        return node

    def of(self, ident: str) -> Node | None:
        """Nothing: where a record comes from is not told here."""
        return None

    def _metered(self, line: RatedLine) -> bool:
        return False

    def _node(self, what: str, ident: str, facts: str, came_from: list[Node], *known_as: str) -> Node:
        return super()._node(what, ident, facts, [], *known_as)


def _nothing(_work: Work, _ident: str) -> list[str]:
    return []


def _booked(work: Work, ident: str) -> list[str]:
    return work.child_ids(JournalEntry, "lines", source_id=ident)


def _billed(work: Work, ident: str) -> list[str]:
    return work.child_ids(Invoice, "lines", rated_line_id=ident)


def _ids(
    nouns: list[RatedLine]
    | list[RecognitionPart]
    | list[ContractMovement]
    | list[Payment]
    | list[Settlement]
    | list[Refund],
) -> list[str]:
    return [one.id for one in nouns]


#: What comes after a record, by what its node is called: the ids of what was made of it.
_AFTER: Mapping[str, Callable[[Work, str], list[str]]] = {
    "quote": lambda work, ident: [one.id for one in work.find(Order, quote_id=ident)],
    "order": lambda work, ident: work.child_ids(Order, "lines", parent_id=ident),
    **dict.fromkeys(
        ("opportunity line", "quote line", "deal line", "order line"),
        lambda work, ident: [
            *work.child_ids(Order, "lines", quote_line_id=ident),
            *_ids(work.find(RatedLine, order_line_id=ident)),
            *_ids([one for one in work.find(ContractMovement, obligation_id=ident) if one.source_id is None]),
        ],
    ),
    "contract movement": _booked,
    "rated line": _billed,
    "adjustment": _billed,
    "invoice line": lambda work, ident: [
        *_booked(work, ident),
        *_ids(work.find(RecognitionPart, invoice_line_id=ident)),
        *_ids(work.find(ContractMovement, source_id=ident)),
        *work.child_ids(CreditNote, "lines", invoice_line_id=ident),
    ],
    "invoice": lambda work, ident: [
        *work.child_ids(Invoice, "lines", parent_id=ident),
        *_booked(work, ident),
        *_ids(work.find(Payment, invoice_id=ident)),
    ],
    "recognition": _booked,
    "credit note": lambda work, ident: [
        *work.child_ids(CreditNote, "lines", parent_id=ident),
        *_booked(work, ident),
    ],
    "credit note line": lambda work, ident: [
        *_booked(work, ident),
        *_ids(work.find(ContractMovement, source_id=ident)),
    ],
    "payment": lambda work, ident: [
        *_booked(work, ident),
        *_ids(work.find(Settlement, payment_id=ident)),
        *_ids(work.find(Refund, payment_id=ident)),
    ],
    "settlement": _booked,
    "refund": _booked,
}
