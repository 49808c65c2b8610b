"""The money: nouns, arithmetic, equalities and stored state. Pure, except ``core.store``."""
