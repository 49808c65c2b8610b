"""The books of a test: the rules that come with the product, and one legal entity."""

from core.entities import LegalEntity
from core.posting import Books
from core.posting_file import load_posting_rules

RULES = load_posting_rules()
BOOKS = Books(RULES, LegalEntity())
RECEIVABLES = RULES.account("receivables")
BILLING_CLEARING = RULES.account("billing clearing")
DEFERRED_REVENUE = RULES.account("deferred revenue")
