"""Stored state: SQLModel rows, the bridge between rows and nouns, and the only SQL of the product."""

from core.store.database import BILLING, Database, StoreFailed, Work

__all__ = ["BILLING", "Database", "StoreFailed", "Work"]
