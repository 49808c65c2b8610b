"""Money on our own bank account: what came in, which invoices it pays, and whose it is.

A receipt is what the bank told; what becomes of it are applications, each a fact that is never changed. One receipt may
pay several invoices, several receipts one invoice; what pays none stays the customer's, and what nobody knows the owner
of is kept as such. What is left of a receipt is its amount less all that its applications took, never below zero.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from difflib import get_close_matches
from enum import StrEnum
from itertools import combinations
from typing import Self

from pydantic import model_validator

from core.money import Money, total
from core.noun import CurrencyCode, Id, Noun
from core.ties import Figure, left_within_receipt


class CashReceipt(Noun):
    """One credit on a bank account of the legal entity ``entity``.

    ``account_id``: whose money it is, the account that pays (None: nobody knows). ``text``: what the payer wrote;
    ``reference``: the bank's own of it, as a trace number. ``amount`` is above zero.
    """

    id: Id
    entity: Id
    bank_account: str
    account_id: Id | None = None
    currency: CurrencyCode
    amount: Money
    left: Money
    value_date: date
    payer: str = ""
    text: str = ""
    reference: str = ""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.amount.minor <= 0:
            raise ValueError(f"receipt {self.id} must bring more than nothing, not {self.amount}")
        left_within_receipt(self.id, self.left, self.amount)
        return self


class Use(StrEnum):
    """What an application does with money of its receipt."""

    APPLIED = "applied"
    REVERSED = "reversed"  # an application taken back: its amount is left again
    RETURNED = "returned"  # went back to the payer, or never came
    RECOVERED = "recovered"  # came for an invoice that had been given up
    PAID_OUT = "paid out"  # no customer's: the gateway paid out what customers had paid there

    @property
    def sign(self) -> int:
        """What it does to what is left."""
        return 1 if self is Use.REVERSED else -1


class Rule(StrEnum):
    """Why money pays an invoice."""

    REFERENCE = "reference"  # the number of the invoice or payout, or the name of the gateway, was written
    AMOUNT = "amount"  # it is the only invoice of the payer with so much open
    OLDEST = "oldest first"  # as the payer's terms say
    PERSON = "person"


class Application(Noun):
    """So much of a receipt, to an invoice, or (``invoice_id`` None) to none. Never changed.

    ``reverses``: the application that this one takes back, whole. ``reason`` is of a reversal or a return; of a payout
    its id at the gateway; of a recovery the invoice that had been given up.
    """

    id: Id
    receipt_id: Id
    use: Use
    invoice_id: Id | None = None
    reverses: Id | None = None
    currency: CurrencyCode
    amount: Money
    applied_on: date
    rule: Rule
    who: str
    reason: str = ""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.amount.minor <= 0:
            raise ValueError(f"application {self.id} must be of more than nothing, not {self.amount}")
        pays_one = self.use is Use.APPLIED or (self.use is Use.REVERSED and self.invoice_id is not None)
        if pays_one != (self.invoice_id is not None) or (self.use is Use.REVERSED) != bool(self.reverses):
            raise ValueError(f"application {self.id} is {self.use}, which does not fit what it names")
        return self


@dataclass(frozen=True, slots=True)
class OpenItem:
    """An invoice that money may pay. ``payer_id``: the account that pays it; ``open``: above zero.

    ``given_up``: it was written off, and only money that names it is for it.
    """

    invoice_id: str
    payer_id: str
    due_date: date
    open: Money
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """So much of an invoice, and why."""

    item: OpenItem
    amount: Money
    rule: Rule


def key(text: str) -> str:
    """A name as banks print it: letters and digits alone, in capitals."""
    return re.sub(r"[\W_]+", "", text).upper()


def written(ident: str, text: str) -> bool:
    """Whether a text holds an id, whatever stands between its letters and digits. ``INV-1`` is not in ``INV-10``."""
    runs = map(re.escape, re.findall(r"[^\W_]+", ident))
    return re.search(r"(?<![^\W_])" + r"[\W_]*".join(runs) + r"(?![^\W_])", text, re.IGNORECASE) is not None


def named(receipt: CashReceipt, items: Iterable[OpenItem]) -> list[OpenItem]:
    """The invoices of its currency whose number the payer wrote, the first due first."""
    found = [one for one in _payable(receipt, items) if written(one.invoice_id, receipt.text)]
    whole = {one.invoice_id for one in found}
    return [
        one for one in found if not any(one.invoice_id != other and written(one.invoice_id, other) for other in whole)
    ]


def paid_out(receipt: CashReceipt, gateway: str, payouts: Iterable[Figure]) -> Figure | None:
    """The payout that a receipt is: of its amount, and named by its id, or by the name of the gateway. The oldest."""
    told = _told(receipt)
    same = [one for one in payouts if one.amount == receipt.left == receipt.amount]
    named = [one for one in same if written(one.vendor_id, told)] or (same if written(gateway, told) else [])
    return min(named, key=lambda one: (one.dated or date.max, one.key), default=None)


#: How many days a deposit may lie from the day that its payout was to arrive on, to be taken for it without its amount.
NEAR = timedelta(days=5)


def deposits(payouts: Sequence[Figure], receipts: Iterable[CashReceipt], gateway: str) -> dict[str, CashReceipt]:
    """By payout, the receipt of nobody that is it or was meant to be: it names its id, or the gateway with the amount,
    or lies nearest to its day."""
    loose = [one for one in receipts if one.account_id is None and one.left == one.amount]
    found: dict[str, CashReceipt] = {}

    def take(meant: Callable[[Figure, CashReceipt], bool]) -> None:
        for payout in payouts:
            taken = {one.id for one in found.values()}
            fit = [
                one for one in loose if one.id not in taken and one.currency == payout.currency and meant(payout, one)
            ]
            if fit and payout.vendor_id not in found:
                found[payout.vendor_id] = min(fit, key=lambda one: (_apart(payout, one), one.id))

    take(lambda payout, one: written(payout.vendor_id, _told(one)))
    take(lambda payout, one: written(gateway, _told(one)) and one.amount == payout.amount)
    take(lambda payout, one: written(gateway, _told(one)) and _apart(payout, one) <= NEAR)
    return found


def _told(receipt: CashReceipt) -> str:
    """All that the bank told of a receipt in words."""
    return f"{receipt.payer} {receipt.text} {receipt.reference}"


def _apart(payout: Figure, receipt: CashReceipt) -> timedelta:
    return abs(receipt.value_date - payout.dated) if payout.dated else timedelta.max


def whose(
    receipt: CashReceipt, items: Sequence[OpenItem], names: Mapping[str, str], earlier: Mapping[str, str]
) -> str | None:
    """The account that pays, when only one can be meant: of the invoices it names, else written or known by its name.

    ``names``: account to its name; ``earlier``: payer's key to the account of whom an earlier receipt was.
    """
    payers = {one.payer_id for one in named(receipt, items)}
    if not payers:
        payers = {ident for ident in names if written(ident, f"{receipt.text} {receipt.payer}")}
    if not payers:
        told = f"{receipt.payer} {receipt.text}"
        payers = {ident for ident, name in names.items() if written(name, told)}
    if not payers:
        payers = {earlier.get(key(receipt.payer), "")} - {""}
    return payers.pop() if len(payers) == 1 else None


def match(receipt: CashReceipt, items: Sequence[OpenItem], *, oldest_first: bool) -> list[Match]:
    """What the money of an identified receipt pays: the invoices it names, else the one of just this amount, else the
    oldest first where the payer's terms say so. Never more than is open or left; what it does not pay is left."""
    own = [one for one in _payable(receipt, items) if one.payer_id == receipt.account_id]
    if by_name := named(receipt, own):
        return _spread(receipt.left, by_name, Rule.REFERENCE)
    own = [one for one in own if not one.given_up]
    same = [one for one in own if one.open == receipt.left]
    if len(same) == 1:
        return _spread(receipt.left, same, Rule.AMOUNT)
    return _spread(receipt.left, own, Rule.OLDEST) if oldest_first else []


def suggestions(receipt: CashReceipt, items: Sequence[OpenItem], names: Mapping[str, str], most: int = 3) -> list[str]:
    """What a person may look at first: invoices that sum to what is left, then payers of a similar name."""
    payable = _payable(receipt, items)
    own = [one for one in payable if receipt.account_id in (None, one.payer_id)]
    found = [one.invoice_id for one in own if one.open == receipt.left]
    if not found and receipt.account_id is not None:
        groups = (group for size in (2, 3) for group in combinations(own[:12], size))
        sums = (group for group in groups if total((one.open for one in group), receipt.currency) == receipt.left)
        found = [" + ".join(one.invoice_id for one in group) for group in sums]
    by_name = {name.casefold(): ident for ident, name in names.items()}
    near = [] if receipt.account_id else get_close_matches(receipt.payer.casefold(), by_name, most)
    return [*found[:most], *(f"{names[by_name[one]]} ({by_name[one]})" for one in near)][:most]


def _payable(receipt: CashReceipt, items: Iterable[OpenItem]) -> list[OpenItem]:
    fit = (one for one in items if one.open.currency == receipt.currency)
    return sorted(fit, key=lambda one: (one.due_date, one.invoice_id))


def _spread(left: Money, items: Iterable[OpenItem], rule: Rule) -> list[Match]:
    matches = []
    for one in items:
        amount = min(left, one.open)
        if amount.minor > 0:
            matches.append(Match(one, amount, rule))
            left -= amount
    return matches
