"""What a Break is: the closed table of its kinds, how each is recognised, and what mends it.

Two sides of a record are compared facet by facet; the first facet that differs, with the record's name, is one row of
``KINDS``. Nothing else classifies, so the table is the whole rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from core.errors import Misconfigured
from core.money import Money, total
from core.noun import Id
from core.ties import Break, Figure, TieLine


class Severity(StrEnum):
    BENIGN = "benign"  # no amount is wrong
    MONEY = "money"
    TAX = "tax"
    PERIOD = "period"  # the amount is right, and stands in another month


class Facet(StrEnum):
    """In what two sides of a record may differ. The order is the order of weight: the first one names the kind."""

    UNSENT = "we have not written it there"
    UNREADABLE = "it cannot be read there any more"
    GONE = "it was there and is not any more"
    VOIDED = "it stands there without effect"
    MISSING = "it is not there"
    UNKNOWN = "nobody here knows it"
    GIVEN_BACK = "money went back that nobody here gave"
    DISPUTED = "the customer's bank took money back"
    TWICE = "it is there more than once"
    CURRENCY = "the currency"
    STATE = "it is not final there"
    AMOUNT = "the amount"
    BESIDE = "the second amount: the base of a tax, what a settlement left, what was credited of an order"
    PERIOD = "the month"
    PARTY = "whose it is"
    PARTS = "its lines"
    RATE = "the exchange rate"
    ROUNDING = "less than a cent for each document in another currency"
    DATED = "the day within its month"
    MEMO = "the text"


class Repair(StrEnum):
    """The document that mends a Break. Of those that ``flows.cures`` does not make, a person takes care."""

    SEND_AGAIN = "our record, sent again onto the same object"
    COMMIT_AGAIN = "the commit of the tax document, sent again"
    ASK_AGAIN = "the tax document, asked for and committed again"
    ASK_ANEW = "the void of the tax document, which is then asked for and committed again"
    VOID = "the void of their tax document"
    WRITE_BACK = "what we know of the order, told to the CRM again"
    BOOK_ANEW = "the reversal of our journal, and a new one as the gateway shows it"
    CREDIT_NOTE = "a credit note"
    REVERSAL = "a reversal in the open period, and a new journal"
    REFUND = "a refund at the gateway"
    TAKE_IN = "their record, taken in"
    REMOVAL = "its deletion where it stands"
    REBUILD = "the figures of ours, made again from their sources"
    WAIT = "none: it closes by itself"
    TALK = "none before both sides agree who is right"


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table: the record and the facet in which it differs, and what people need to know of it."""

    name: str
    record: str
    facet: Facet
    severity: Severity
    cause: str
    cure: str
    repair: Repair
    owner: str


_BENIGN, _MONEY, _TAX, _PERIOD = Severity
_F, _R = Facet, Repair
_AR, _GL, _CASH, _TAXES, _SALES, _REVENUE, _OPS = (
    "receivables",
    "general ledger",
    "treasury",
    "tax",
    "sales operations",
    "revenue",
    "integration",
)


def _document(record: str, words: str, owner: str, *never: Facet) -> Iterator[Kind]:
    """What can happen to any document of ours in the ERP. ``words``: what people call it; ``never``: in what this one
    cannot differ, since no system shows that of it."""
    again = "Send ours again; when the change was meant, correct it here by a credit note or a new document."
    for what, facet, severity, cause, cure, repair in (
        (
            "not_delivered", _F.UNSENT, _MONEY,
            "The {} has not reached the ERP: it waits in the outbox, or stands on the error desk.",
            "Deliver; cure its entry on the error desk when it has one.", _R.SEND_AGAIN,
        ),
        (
            "unreadable", _F.UNREADABLE, _MONEY,
            "Somebody emptied or changed a field of the {} that every one has.", again, _R.SEND_AGAIN,
        ),
        ("deleted", _F.GONE, _MONEY, "Somebody deleted the {} in the ERP.", again, _R.SEND_AGAIN),
        (
            "voided", _F.VOIDED, _MONEY, "Somebody voided the {} in the ERP.",
            *(
                ("When it was meant, credit it here; otherwise undo the void there.", _R.CREDIT_NOTE)
                if owner == _AR
                else ("Send ours again, or undo the void there; when it was meant, take it back here.", _R.SEND_AGAIN)
            ),
        ),
        (
            "unknown", _F.UNKNOWN, _MONEY,
            "Somebody made this {} in the ERP by hand, or another integration writes there.",
            "Find who entered it; delete it there, or make it here too.", _R.REMOVAL,
        ),
        (
            "twice", _F.TWICE, _MONEY,
            "Somebody copied the {}, or restored it after it had been sent again.",
            "Delete the copy in the ERP; what was applied to it belongs to the other.", _R.REMOVAL,
        ),
        ("currency", _F.CURRENCY, _MONEY, "Somebody changed the currency of the {}.", again, _R.SEND_AGAIN),
        ("amount", _F.AMOUNT, _MONEY, "Somebody changed an amount on the {} in the ERP.", again, _R.SEND_AGAIN),
        (
            "period", _F.PERIOD, _PERIOD, "Somebody moved the {} to another month.",
            "Send ours again while both months are open there; otherwise reopen one, or explain it: after both "
            "months the balance is the same.", _R.SEND_AGAIN,
        ),
        ("party", _F.PARTY, _MONEY, "Somebody gave the {} to another customer.", again, _R.SEND_AGAIN),
        ("lines", _F.PARTS, _MONEY, "Somebody changed lines of the {}; its total is the same.", again, _R.SEND_AGAIN),
        (
            "rate", _F.RATE, _MONEY, "Somebody changed the exchange rate of the {}.",
            "Agree on the rate of the day, then send ours again.", _R.SEND_AGAIN,
        ),
        (
            "day", _F.DATED, _BENIGN, "Somebody moved the {} within its month.",
            "Adopt it with a reason, or send ours again.", _R.SEND_AGAIN,
        ),
        (
            "text", _F.MEMO, _BENIGN, "Somebody changed the text of the {}.",
            "Adopt it with a reason, or send ours again.", _R.SEND_AGAIN,
        ),
    ):  # fmt: skip
        if facet not in never:
            told = cause.format(words), cure.format(words)
            yield Kind(f"{record}_{what}", record, facet, severity, *told, repair, owner)


def _row(name: str, record: str, facet: Facet, severity: Severity, owner: str, repair: Repair, *texts: str) -> Kind:
    cause, cure = texts
    return Kind(name, record, facet, severity, cause, cure, repair, owner)


#: Every kind there is, in the order money travels.
TABLE: tuple[Kind, ...] = (
    _row(
        "order_amount", "order", _F.AMOUNT, _MONEY, _SALES, _R.TAKE_IN,
        "Sales changed the deal after it was won.",
        "Take the change in as an amendment, or ask sales to restore what was signed.",
    ),
    _row(
        "order_currency", "order", _F.CURRENCY, _MONEY, _SALES, _R.TALK,
        "Sales changed the currency of the deal after it was won.",
        "Ask sales to restore what was signed; a contract does not change its currency.",
    ),
    _row(
        "order_deleted", "order", _F.GONE, _MONEY, _SALES, _R.TALK,
        "Sales deleted or reopened a deal that was won.",
        "Ask sales to restore it, or cancel the subscription here.",
    ),
    _row(
        "order_unreadable", "order", _F.UNREADABLE, _MONEY, _SALES, _R.TALK,
        "Sales emptied a field of the deal that every one has.",
        "Ask sales to fill it in again.",
    ),
    _row(
        "order_unknown", "order", _F.UNKNOWN, _MONEY, _SALES, _R.TAKE_IN,
        "A deal was won and not taken in: its event was lost, or it stands on the error desk.",
        "Run intake; cure its entry on the error desk when it has one.",
    ),
    _row(
        "subscription_value", "subscription", _F.AMOUNT, _MONEY, _REVENUE, _R.REBUILD,
        "The charges of the subscription are not those of its order: it was changed outside an amendment.",
        "Make the subscription again from its order and amendments; then rate the open months again.",
    ),
    _row(
        "subscription_missing", "subscription", _F.MISSING, _MONEY, _REVENUE, _R.REBUILD,
        "The order was never activated, or its subscription was removed.",
        "Activate the order again.",
    ),
    _row(
        "subscription_unknown", "subscription", _F.UNKNOWN, _MONEY, _REVENUE, _R.TALK,
        "A subscription stands for an order that is not here.",
        "Take the order in, or end the subscription.",
    ),
    _row(
        "subscription_currency", "subscription", _F.CURRENCY, _MONEY, _REVENUE, _R.REBUILD,
        "The subscription is in another currency than its order.",
        "Make the subscription again from its order.",
    ),
    _row(
        "usage_unaccounted", "usage", _F.MISSING, _MONEY, _REVENUE, _R.REBUILD,
        "Usage was received that is neither rated, pending, repeated nor rejected.",
        "Ingest its files again; every line is then accounted for.",
    ),
    _row(
        "usage_rated_differently", "usage", _F.AMOUNT, _MONEY, _REVENUE, _R.REBUILD,
        "The bill priced another quantity than the month measures: usage or a rated line was changed afterwards.",
        "Rate the month again before it is billed; after that, book the difference by an adjustment.",
    ),
    _row(
        "rated_invoiced_differently", "rated", _F.AMOUNT, _MONEY, _REVENUE, _R.CREDIT_NOTE,
        "What was rated is not what the invoice shows: one of them was changed afterwards.",
        "Correct the invoice by a credit note or an adjustment.",
    ),
    _row(
        "rated_not_invoiced", "rated", _F.MISSING, _MONEY, _REVENUE, _R.WAIT,
        "The month was rated and not billed, or its draft has no tax yet.",
        "Bill and finalise the month; cure what stands on the error desk.",
    ),
    _row(
        "invoiced_not_rated", "rated", _F.UNKNOWN, _MONEY, _REVENUE, _R.CREDIT_NOTE,
        "An invoice shows what nobody rated.",
        "Credit the invoice.",
    ),
    _row(
        "billed_differently", "billed", _F.AMOUNT, _MONEY, _REVENUE, _R.CREDIT_NOTE,
        "The system that bills shows another amount than our invoice: one of them was changed afterwards.",
        "Correct it where it was changed, or credit our invoice.",
    ),
    _row(
        "billed_missing", "billed", _F.MISSING, _MONEY, _REVENUE, _R.TALK,
        "The system that bills does not show an invoice any more that it had closed.",
        "Ask who reopened or voided it there.",
    ),
    _row(
        "billed_unknown", "billed", _F.UNKNOWN, _MONEY, _REVENUE, _R.TAKE_IN,
        "The system that bills closed an invoice that was not taken over, or cannot be read.",
        "Bill the month again here; cure what stands on the error desk.",
    ),
    _row(
        "billed_currency", "billed", _F.CURRENCY, _MONEY, _REVENUE, _R.TALK,
        "The system that bills shows the invoice in another currency.",
        "Correct its customer there.",
    ),
    _row(
        "credit_unaccounted", "credit", _F.AMOUNT, _MONEY, _REVENUE, _R.REBUILD,
        "What was drawn, expired and is left of a prepaid credit is not what was granted.",
        "Look at the movements of the grant; the balance must follow from them.",
    ),
    _row(
        "tax_not_asked", "tax_document", _F.UNSENT, _TAX, _TAXES, _R.ASK_AGAIN,
        "The engine was not asked about the invoice, or its answer was lost.",
        "Deliver; cure its entry on the error desk when it has one.",
    ),
    _row(
        "tax_deleted", "tax_document", _F.GONE, _TAX, _TAXES, _R.ASK_AGAIN,
        "Somebody deleted the document at the tax engine.",
        "Ask and commit again.",
    ),
    _row(
        "tax_voided", "tax_document", _F.VOIDED, _TAX, _TAXES, _R.ASK_AGAIN,
        "Somebody voided the document at the tax engine; its tax will not be reported.",
        "Ask and commit again, or credit the invoice.",
    ),
    _row(
        "tax_unreadable", "tax_document", _F.UNREADABLE, _TAX, _TAXES, _R.TALK,
        "The tax engine shows the document without what every one has.",
        "Look at it there.",
    ),
    _row(
        "tax_unknown", "tax_document", _F.UNKNOWN, _TAX, _TAXES, _R.VOID,
        "Somebody entered a sale at the tax engine by hand, or another integration writes there.",
        "Void it there unless it is to be reported.",
    ),
    _row(
        "tax_currency", "tax_document", _F.CURRENCY, _TAX, _TAXES, _R.ASK_ANEW,
        "The document at the tax engine is in another currency than the invoice.",
        "Void it, ask and commit again.",
    ),
    _row(
        "tax_uncommitted", "tax_document", _F.STATE, _TAX, _TAXES, _R.COMMIT_AGAIN,
        "The document was never committed, or somebody uncommitted it; its tax will not be reported.",
        "Commit it again.",
    ),
    _row(
        "tax_amount", "tax_document", _F.AMOUNT, _TAX, _TAXES, _R.ASK_ANEW,
        "Somebody adjusted the tax at the engine, or the customer was charged another tax than is reported.",
        "Void it, ask and commit again; when the tax is another now, credit the invoice and bill it again.",
    ),
    _row(
        "tax_base", "tax_document", _F.BESIDE, _TAX, _TAXES, _R.ASK_ANEW,
        "The engine was asked about another amount than is invoiced.",
        "Void it, ask and commit again; when the tax is another now, credit the invoice and bill it again.",
    ),
    _row(
        "tax_period", "tax_document", _F.PERIOD, _TAX, _TAXES, _R.ASK_ANEW,
        "Somebody dated the document into another month; its tax will be reported there.",
        "Void it, ask and commit again; tell whoever files the return when it is filed already.",
    ),
    _row(
        "tax_party", "tax_document", _F.PARTY, _TAX, _TAXES, _R.ASK_ANEW,
        "Somebody gave the document to another customer; exemptions depend on it.",
        "Void it, ask and commit again; tell whoever files the return when it is filed already.",
    ),
    _row(
        "tax_jurisdiction", "tax_document", _F.PARTS, _TAX, _TAXES, _R.ASK_ANEW,
        "The same tax is now owed to other jurisdictions.",
        "Compare the addresses; then void it, ask and commit again.",
    ),
    _row(
        "tax_day", "tax_document", _F.DATED, _BENIGN, _TAXES, _R.ASK_ANEW,
        "Somebody moved the document within its month.",
        "Adopt it with a reason, or void it, ask and commit again.",
    ),
    _row(
        "returned_tax_missing", "tax_credit", _F.UNSENT, _TAX, _TAXES, _R.SEND_AGAIN,
        "The engine was not told of the credit note.",
        "Deliver; cure its entry on the error desk when it has one.",
    ),
    _row(
        "returned_tax_deleted", "tax_credit", _F.GONE, _TAX, _TAXES, _R.SEND_AGAIN,
        "Somebody deleted the return at the tax engine.",
        "Tell the engine again.",
    ),
    _row(
        "returned_tax_unknown", "tax_credit", _F.UNKNOWN, _TAX, _TAXES, _R.REMOVAL,
        "Somebody entered a return at the tax engine by hand.",
        "Void it there unless it is to be reported.",
    ),
    _row(
        "returned_tax_voided", "tax_credit", _F.VOIDED, _TAX, _TAXES, _R.SEND_AGAIN,
        "Somebody voided the return at the tax engine.",
        "Tell the engine again.",
    ),
    _row(
        "returned_tax_uncommitted", "tax_credit", _F.STATE, _TAX, _TAXES, _R.COMMIT_AGAIN,
        "The return is not committed: the engine gives back another tax, or somebody uncommitted it.",
        "Cure its entry on the error desk when it has one; else commit it again.",
    ),
    _row(
        "returned_tax_amount", "tax_credit", _F.AMOUNT, _TAX, _TAXES, _R.TALK,
        "The engine gives back another tax than the credit note does.",
        "Undo the adjustment there.",
    ),
    _row(
        "returned_tax_currency", "tax_credit", _F.CURRENCY, _TAX, _TAXES, _R.TALK,
        "The return at the tax engine is in another currency than the credit note.",
        "Restore it there.",
    ),
    _row(
        "returned_tax_unreadable", "tax_credit", _F.UNREADABLE, _TAX, _TAXES, _R.TALK,
        "The tax engine shows the return without what every one has.",
        "Look at it there.",
    ),
    _row(
        "returned_tax_period", "tax_credit", _F.PERIOD, _TAX, _TAXES, _R.TALK,
        "Somebody dated the return into another month; its tax will be given back there.",
        "Restore its date there, or tell whoever files the return.",
    ),
    _row(
        "returned_tax_day", "tax_credit", _F.DATED, _BENIGN, _TAXES, _R.TALK,
        "Somebody moved the return within its month.",
        "Nothing need be done.",
    ),
    _row(
        "returned_tax_party", "tax_credit", _F.PARTY, _TAX, _TAXES, _R.TALK,
        "Somebody gave the return to another customer.",
        "Restore it there.",
    ),
    _row(
        "payment_awaited", "charge", _F.UNSENT, _MONEY, _CASH, _R.WAIT,
        "The invoice is not paid: the gateway was not asked yet, or the customer has time until it is due.",
        "Wait until it is due; then collect.",
    ),
    _row(
        "payment_failed", "charge", _F.STATE, _MONEY, _AR, _R.TALK,
        "The gateway could not collect: the card was declined, or the bank debit came back.",
        "Ask the customer for another means of payment; then retry the entry on the error desk.",
    ),
    _row(
        "charge_gone", "charge", _F.GONE, _MONEY, _CASH, _R.TALK,
        "The gateway does not show a payment that it had confirmed; the key may be of another account.",
        "Check the gateway's account; then ask its support.",
    ),
    _row(
        "charge_reversed", "charge", _F.VOIDED, _MONEY, _CASH, _R.TALK,
        "The gateway shows a payment that we booked as canceled.",
        "Reverse the payment here, and collect again.",
    ),
    _row(
        "charge_unreadable", "charge", _F.UNREADABLE, _MONEY, _CASH, _R.TALK,
        "The gateway shows the payment without what every one has.",
        "Look at it there.",
    ),
    _row(
        "charge_amount", "charge", _F.AMOUNT, _MONEY, _CASH, _R.TAKE_IN,
        "The gateway collected another amount than we booked.",
        "Take the payment in anew; refund what is too much, collect what is missing.",
    ),
    _row(
        "charge_currency", "charge", _F.CURRENCY, _MONEY, _CASH, _R.REFUND,
        "The customer was charged in another currency.",
        "Refund it, and collect again.",
    ),
    _row(
        "charge_twice", "charge", _F.TWICE, _MONEY, _CASH, _R.REFUND,
        "The customer was charged twice for one invoice.",
        "Refund one of the charges at the gateway.",
    ),
    _row(
        "charge_unknown", "charge", _F.UNKNOWN, _MONEY, _CASH, _R.REFUND,
        "A charge belongs to no invoice of ours: somebody charged by hand, or another shop uses the gateway.",
        "Take it in and apply it, or refund it.",
    ),
    _row(
        "charge_text", "charge", _F.MEMO, _BENIGN, _CASH, _R.TALK,
        "Somebody changed the description of the charge.",
        "Nothing need be done.",
    ),
    _row(
        "charge_party", "charge", _F.PARTY, _MONEY, _CASH, _R.TALK,
        "The charge belongs to another customer of the gateway than we asked for.",
        "Look whose card was charged.",
    ),
    _row(
        "settlement_missing", "settlement", _F.MISSING, _MONEY, _CASH, _R.TALK,
        "The gateway has not booked a payment to our balance.",
        "Ask the gateway when it is older than its settlement time.",
    ),
    _row(
        "settlement_gone", "settlement", _F.GONE, _MONEY, _CASH, _R.TALK,
        "The gateway does not show a movement any more that we booked.",
        "Ask the gateway's support.",
    ),
    _row(
        "settlement_amount", "settlement", _F.AMOUNT, _MONEY, _CASH, _R.TALK,
        "The gateway settled another amount than was paid.",
        "Ask the gateway's support.",
    ),
    _row(
        "settlement_fee", "settlement", _F.BESIDE, _MONEY, _CASH, _R.BOOK_ANEW,
        "The gateway kept another fee than we booked.",
        "Reverse the settlement, and book it as the gateway shows it.",
    ),
    _row(
        "settlement_currency", "settlement", _F.CURRENCY, _MONEY, _CASH, _R.TALK,
        "The gateway settled in another currency.",
        "Set the settlement currency at the gateway.",
    ),
    _row(
        "settlement_twice", "settlement", _F.TWICE, _MONEY, _CASH, _R.TALK,
        "The gateway settled one payment twice.",
        "Ask the gateway's support.",
    ),
    _row(
        "settlement_unknown", "settlement", _F.UNKNOWN, _MONEY, _CASH, _R.TAKE_IN,
        "The gateway settled what nobody here knows.",
        "Find its charge at the gateway.",
    ),
    _row(
        "refund_at_gateway", "refund", _F.GIVEN_BACK, _MONEY, _CASH, _R.CREDIT_NOTE,
        "Somebody gave money back at the gateway, past the hub.",
        "Make the credit note that the refund pays out.",
    ),
    _row(
        "refund_amount", "refund", _F.AMOUNT, _MONEY, _CASH, _R.CREDIT_NOTE,
        "More or less went back at the gateway than our credit notes give.",
        "Credit what is missing, or ask the gateway.",
    ),
    _row(
        "refund_missing", "refund", _F.MISSING, _MONEY, _CASH, _R.WAIT,
        "The gateway has not given back what a credit note pays out.",
        "Deliver; cure its entry on the error desk when it has one.",
    ),
    _row(
        "refund_currency", "refund", _F.CURRENCY, _MONEY, _CASH, _R.TALK,
        "Money went back in another currency.",
        "Ask the gateway's support.",
    ),
    _row(
        "chargeback", "dispute", _F.DISPUTED, _MONEY, _AR, _R.TAKE_IN,
        "The customer's bank took the money back, and the dispute is not taken in.",
        "Run intake and settle, which take it in; then send evidence at the gateway, or accept it there.",
    ),
    _row(
        "chargeback_amount", "dispute", _F.AMOUNT, _MONEY, _AR, _R.TALK,
        "The bank took back another amount than we booked of the dispute.",
        "Take the dispute in anew.",
    ),
    _row(
        "chargeback_fee", "dispute", _F.BESIDE, _MONEY, _CASH, _R.BOOK_ANEW,
        "The gateway kept another fee for the dispute than we booked.",
        "Reverse the settlement, and book it as the gateway shows it.",
    ),
    _row(
        "chargeback_missing", "dispute", _F.MISSING, _MONEY, _AR, _R.TALK,
        "We booked a dispute that the gateway does not show.",
        "Take the dispute in anew.",
    ),
    _row(
        "payout_missing", "payout", _F.MISSING, _MONEY, _CASH, _R.TALK,
        "What the gateway owes us was not paid out when it was due.",
        "Look at the payouts at the gateway: one may have failed at the bank.",
    ),
    _row(
        "payout_failed", "payout", _F.VOIDED, _MONEY, _CASH, _R.TALK,
        "A payout failed or was canceled; its money went back to the balance at the gateway.",
        "Correct the bank account at the gateway.",
    ),
    _row(
        "payout_amount", "payout", _F.AMOUNT, _MONEY, _CASH, _R.TALK,
        "A payout is not the sum of the movements that it pays out.",
        "Ask the gateway's support for its reconciliation report.",
    ),
    _row(
        "payout_unknown", "payout", _F.UNKNOWN, _MONEY, _CASH, _R.TALK,
        "The gateway paid out what is made of no movement.",
        "Look at the payout at the gateway: somebody may have made it by hand.",
    ),
    _row(
        "deposit_missing", "deposit", _F.MISSING, _MONEY, _CASH, _R.TALK,
        "A payout of the gateway did not reach the bank, or the bank's file of that day was not taken in.",
        "Take the bank file in (`tieout cash import`); else look at the payout at the gateway, and ask the bank.",
    ),
    _row(
        "deposit_amount", "deposit", _F.AMOUNT, _MONEY, _CASH, _R.TALK,
        "The bank shows another amount than the gateway paid out: the bank kept a fee, or two payouts came as one.",
        "Look at the deposit at the bank; identify or return it here when it is none of the gateway's.",
    ),
    _row(
        "deposit_unknown", "deposit", _F.UNKNOWN, _MONEY, _CASH, _R.TALK,
        "The bank shows a deposit that names the gateway, and the gateway no payout for it.",
        "Look at the payouts at the gateway; say whose it is here when it is a customer's (`tieout cash identify`).",
    ),
    *_document("invoice", "invoice", _AR),
    *_document("credit_note", "credit memo", _AR),
    *_document("payment", "payment", _CASH, _F.PARTS),
    _row(
        "erp_refund_not_delivered", "erp_refund", _F.UNSENT, _MONEY, _CASH, _R.SEND_AGAIN,
        "The refund has not reached the ERP: it waits in the outbox, or stands on the error desk.",
        "Deliver; cure its entry on the error desk when it has one.",
    ),
    _row(
        "erp_refund_unreadable", "erp_refund", _F.UNREADABLE, _MONEY, _CASH, _R.REMOVAL,
        "Somebody emptied or changed a field of the refund that every one has.",
        "Delete it there, then send ours again.",
    ),
    _row(
        "erp_refund_deleted", "erp_refund", _F.GONE, _MONEY, _CASH, _R.SEND_AGAIN,
        "The ERP does not show the refund any more.",
        "Send ours again.",
    ),
    _row(
        "erp_refund_voided", "erp_refund", _F.VOIDED, _MONEY, _CASH, _R.SEND_AGAIN,
        "Somebody took the refund back in the ERP.",
        "Send ours again: at the gateway the money has gone.",
    ),
    _row(
        "erp_refund_unknown", "erp_refund", _F.UNKNOWN, _MONEY, _CASH, _R.REMOVAL,
        "Somebody entered a refund in the ERP by hand, or another integration writes there.",
        "Find who entered it; delete it there, or make it here too.",
    ),
    _row(
        "erp_refund_twice", "erp_refund", _F.TWICE, _MONEY, _CASH, _R.REMOVAL,
        "Somebody copied the refund, or restored it after it had been sent again.",
        "Delete the copy in the ERP.",
    ),
    _row(
        "erp_refund_currency", "erp_refund", _F.CURRENCY, _MONEY, _CASH, _R.REMOVAL,
        "The refund in the ERP is in another currency.",
        "Delete it there, then send ours again.",
    ),
    _row(
        "erp_refund_amount", "erp_refund", _F.AMOUNT, _MONEY, _CASH, _R.REMOVAL,
        "Somebody changed the amount of the refund in the ERP.",
        "Delete it there, then send ours again.",
    ),
    *_document("journal_entry", "journal", _GL, _F.PARTY),
    _row(
        "gl_moved", "gl", _F.AMOUNT, _MONEY, _GL, _R.REVERSAL,
        "Somebody posted to our accounts by a document that is none of ours, such as a bill or a bank transfer.",
        "Find it in the ledger's account detail; reverse it there, or explain it.",
    ),
    _row(
        "gl_rounding", "gl", _F.ROUNDING, _BENIGN, _GL, _R.TALK,
        "Documents in another currency were rounded one by one in the ledger.",
        "Post the difference to the account of exchange rounding.",
    ),
    _row(
        "clearing_open", "clearing", _F.AMOUNT, _MONEY, _GL, _R.REVERSAL,
        "An invoice left billing clearing with another amount than it came with.",
        "Find the invoice whose journal does not empty it; reverse and post it again.",
    ),
    _row(
        "deferred_schedule", "schedule", _F.AMOUNT, _MONEY, _REVENUE, _R.REVERSAL,
        "What stands deferred is not what the schedules have still to earn: a schedule or a journal was changed.",
        "Make the schedule again from its invoice line; correct the ledger by a journal.",
    ),
    _row(
        "crm_figure_stale", "order_progress", _F.AMOUNT, _MONEY, _SALES, _R.WRITE_BACK,
        "Sales overwrote what the hub had told, or the hub has not told the last change.",
        "Tell the CRM again.",
    ),
    _row(
        "crm_figure_credited", "order_progress", _F.BESIDE, _MONEY, _SALES, _R.WRITE_BACK,
        "Sales overwrote what the hub had told of credit notes, or the hub has not told the last one.",
        "Tell the CRM again.",
    ),
    _row(
        "crm_figure_emptied", "order_progress", _F.UNREADABLE, _MONEY, _SALES, _R.WRITE_BACK,
        "Sales emptied a field that the hub keeps.",
        "Tell the CRM again.",
    ),
    _row(
        "crm_figure_missing", "order_progress", _F.GONE, _MONEY, _SALES, _R.WRITE_BACK,
        "The CRM does not show the order any more to which the hub had told its figures.",
        "Ask sales to restore it.",
    ),
    _row(
        "crm_not_told", "order_progress", _F.UNSENT, _MONEY, _OPS, _R.WRITE_BACK,
        "The CRM was not told yet what was invoiced.",
        "Deliver; cure its entry on the error desk when it has one.",
    ),
    _row(
        "crm_figure_currency", "order_progress", _F.CURRENCY, _MONEY, _SALES, _R.TALK,
        "Sales changed the currency of the order.",
        "Ask sales to restore what was signed.",
    ),
    _row(
        "crm_figure_unknown", "order_progress", _F.UNKNOWN, _MONEY, _SALES, _R.TALK,
        "The CRM shows figures of ours on an order that nobody here knows: it was copied.",
        "Ask sales to empty them.",
    ),
    _row(
        "customer_renamed", "account", _F.MEMO, _BENIGN, _SALES, _R.SEND_AGAIN,
        "Somebody changed the customer's name in another system than the one that owns it.",
        "Nothing need be done; sending ours again restores the name.",
    ),
)  # fmt: skip

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in TABLE}
_BY_FACET: Mapping[tuple[str, Facet], Kind] = {(kind.record, kind.facet): kind for kind in TABLE}
_WEIGHT = {facet: weight for weight, facet in enumerate(Facet)}

#: Words of any system for a document that stands and counts for nothing.
VOID = frozenset({"voided", "void", "cancelled", "canceled", "deleted", "failed", "archived"})


def kind_of(record: str, facet: Facet) -> Kind:
    """The kind of a record that differs in a facet. Misconfigured where the table has none: then a mapping shows of it
    what none of ours does."""
    try:
        return _BY_FACET[record, facet]
    except KeyError:
        raise Misconfigured(
            f"no kind of break says that {facet.value} of {record} differs; take that field out of its figure mapping"
        ) from None


@dataclass(frozen=True, slots=True)
class Side:
    """What we hold of one record. ``beside``: as in a Figure; None: we do not say."""

    currency: str
    amount: Money
    beside: Money | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One facet in which two sides differ, as people read it."""

    facet: Facet
    was: str = ""
    now: str = ""

    def __str__(self) -> str:
        return f"{self.facet}: {self.was} here, {self.now} there" if self.was or self.now else str(self.facet)


def drifted(before: Figure, now: Figure) -> list[Difference]:
    """What changed of a document since its system answered our last write, besides currency and amount."""
    found = []
    if before.dated and now.dated and before.dated != now.dated:
        facet = Facet.DATED if (before.dated.year, before.dated.month) == (now.dated.year, now.dated.month) else None
        found.append(Difference(facet or Facet.PERIOD, str(before.dated), str(now.dated)))
    for facet, was, is_now in (
        (Facet.PARTY, before.party, now.party),
        (Facet.RATE, before.rate, now.rate),
        (Facet.MEMO, before.memo, now.memo),
    ):
        if was is not None and was != is_now:
            found.append(Difference(facet, str(was), str("" if is_now is None else is_now)))
    was_parts, now_parts = _parts(before), _parts(now)
    if was_parts and now_parts and was_parts != now_parts:
        found.append(Difference(Facet.PARTS, _told(was_parts, now_parts), _told(now_parts, was_parts)))
    return found


def _parts(figure: Figure) -> list[tuple[str, Money]]:
    return sorted(
        ((part.name, part.amount) for part in figure.parts if part.amount),
        key=lambda part: (part[0], part[1].minor),
    )


def _told(these: Sequence[tuple[str, Money]], those: Sequence[tuple[str, Money]]) -> str:
    """The parts of these that are not among those."""
    left = list(those)
    only = []
    for part in these:
        if part in left:
            left.remove(part)
        else:
            only.append(f"{part[0]} {part[1]}".strip())
    return " + ".join(only) or "nothing"


#: What an ERP voids it leaves standing with every amount at zero.
_EMPTIED = frozenset(["invoice", "credit_note", "payment", "erp_refund"])


def differing(
    record: str, ours: Side | None, theirs: Sequence[Figure], drift: Sequence[Difference], final: str
) -> list[Difference]:
    """In what a record differs, the gravest first. ``theirs``: what stands there under its key and is not void.

    ``final``: the state, in small letters, that it must have there; empty: any.
    """
    found = list(drift)
    if ours is None:
        return [Difference(Facet.UNKNOWN)]
    if not theirs:
        return [Difference(Facet.MISSING)]
    if len(theirs) > 1:
        found.append(Difference(Facet.TWICE, "once", f"{len(theirs)} times"))
    currencies = {one.currency for one in theirs}
    if currencies != {ours.currency}:
        return [Difference(Facet.CURRENCY, ours.currency, ", ".join(sorted(currencies)))]
    if final and any(one.state.lower() != final for one in theirs):
        found.append(Difference(Facet.STATE, final, ", ".join(sorted({one.state for one in theirs}))))
    amount = total((one.amount for one in theirs), ours.currency)
    if len(theirs) == 1 and amount != ours.amount:
        gone = not amount and ours.amount and record in _EMPTIED
        found.append(Difference(Facet.VOIDED if gone else Facet.AMOUNT, str(ours.amount), str(amount)))
    beside = [one.beside for one in theirs if one.beside is not None]
    if len(theirs) == 1 and ours.beside is not None and beside and beside != [ours.beside]:
        found.append(Difference(Facet.BESIDE, str(ours.beside), str(beside[0])))
    return sorted(found, key=lambda one: _WEIGHT[one.facet])


def broken(
    tie: str,
    names: tuple[str, str],
    record: str,
    subject: Id,
    sides: tuple[Money, Money],
    differences: Sequence[Difference],
    at: datetime,
    *,
    system: str,
    period: str | None,
    explained: str | None = None,
    cause: str = "",
) -> Break:
    """The Break of a record that differs; the first difference names its kind. ``cause``: more than the kind's own."""
    kind = kind_of(record, differences[0].facet)
    told = [str(one) for one in differences if one.was or one.now]
    return Break(
        id=f"b{hashlib.sha256(f'{system}/{tie}/{subject}'.encode()).hexdigest()[:10]}",
        tie=tie,
        kind=kind.name,
        subject=subject,
        currency=sides[0].currency,
        left_name=names[0],
        right_name=names[1],
        left=sides[0],
        right=sides[1],
        severity=kind.severity.value,
        system=system,
        period=period,
        detail="; ".join(told),
        cause=" ".join(filter(None, [kind.cause, cause])),
        cure=kind.cure,
        repair=kind.repair.value,
        owner=kind.owner,
        explained=explained,
        first_seen_at=at,
        last_seen_at=at,
    )


def follows(later: Break, earlier: Break) -> bool:
    """Whether a Break is the echo of one that stands earlier in the chain: the same thing at the same system, missing
    by the same amount or missing altogether."""
    if (later.system, later.subject) != (earlier.system, earlier.subject) or later.tie == earlier.tie:
        return False
    if later.currency == earlier.currency and later.difference == earlier.difference:
        return True
    return not later.right and not earlier.right


#: An amount that a Break moves in the general ledger: account and month to debits less credits.
Cells = Mapping[tuple[str, str], Money]


@dataclass
class Moved:
    """The cells of the general ledger that are not ours, and which Breaks of documents explain them.

    ``cells``: account and month to theirs less ours, without zeros. A Break takes its part away only where that leaves
    fewer cells open than before, for a document may have changed without being posted.
    """

    cells: dict[tuple[str, str], Money]
    because: dict[str, list[Id]] = field(default_factory=dict)

    def explain(self, one: Break, effect: Cells) -> None:
        after = dict(self.cells)
        for cell, amount in effect.items():
            left = after.pop(cell, Money.zero(amount.currency))
            if left.currency != amount.currency:
                return
            if left - amount:
                after[cell] = left - amount
        if len(after) < len(self.cells):
            self.cells = after
            self._say(one, {account for account, _ in effect})

    def absorb(self, one: Break, accounts: Collection[str]) -> None:
        """Takes away what stands on these accounts: a Break of which nobody can say what it moved on them."""
        taken = {cell for cell in self.cells if cell[0] in accounts}
        self.cells = {cell: amount for cell, amount in self.cells.items() if cell not in taken}
        self._say(one, {account for account, _ in taken})

    def _say(self, one: Break, accounts: Collection[str]) -> None:
        for account in accounts:
            self.because.setdefault(account, []).append(one.id)


def month_of(day: date) -> str:
    return f"{day:%Y-%m}"


def explained_line(line: TieLine, breaks: Sequence[Break]) -> TieLine:
    """The line with its Breaks counted, and with what those of them that are explained explain."""
    mine = [one for one in breaks if (one.tie, one.system, one.currency) == (line.tie, line.system, line.unit)]
    told = [one for one in mine if one.explained]
    amount = sum((-one.difference.amount for one in told), line.explained)
    why = dict.fromkeys([*filter(None, [line.why]), *(str(one.explained) for one in told)])
    return line.model_copy(
        update={"breaks": len(mine) - len(told), "explained": amount, "why": "; ".join(list(why)[:3])}
    )
