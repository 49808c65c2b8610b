"""The nouns that cross to another system, by the name a mapping file gives them."""

from __future__ import annotations

from collections.abc import Mapping

from core import invoicing
from core.accounts import Account
from core.billing import BilledInvoice, CatalogCharge, ContractCharge, UsageTotal
from core.catalog import Product
from core.close import PostedJournal
from core.ledger import JournalEntry, LedgerAccount
from core.noun import Noun
from core.orders import Order, OrderProgress
from core.payments import AppliedPayment, Chargeback, HeldPayment, Payment, PaymentRequest, Refund, Settlement, WriteOff
from core.subscriptions import Subscription
from core.tax import TaxDocument
from core.ties import Figure

RECORDS: Mapping[str, type[Noun]] = {
    "account": Account,
    "product": Product,
    "order": Order,
    "order_progress": OrderProgress,
    "invoice": invoicing.Invoice,
    "credit_note": invoicing.CreditNote,
    "tax_document": TaxDocument,
    "payment_request": PaymentRequest,
    "payment": Payment,
    "held_payment": HeldPayment,
    "applied_payment": AppliedPayment,
    "settlement": Settlement,
    "refund": Refund,
    "chargeback": Chargeback,
    "write_off": WriteOff,
    "ledger_account": LedgerAccount,
    "journal_entry": JournalEntry,
    "posted_journal": PostedJournal,
    "subscription": Subscription,
    "catalog_charge": CatalogCharge,
    "contract_charge": ContractCharge,
    "usage_total": UsageTotal,
    "billed_invoice": BilledInvoice,
    "figure": Figure,
}
