"""Rating: what is owed for a period and why. ``rate`` is the one function that prices; preview, dry run and bill run
all call it."""

from core.rating.corrections import PricedUsage, corrections
from core.rating.demand import usage_windows
from core.rating.derivation import Derivation, Draw, Step, StepKind
from core.rating.engine import rate
from core.rating.lines import RatedLine, drawn, explain
from core.rating.measured import Measured, MeteredQuantity, Part
from core.rating.pricing import Earlier, Position, Priced, price, price_charge

__all__ = [
    "Derivation",
    "Draw",
    "Earlier",
    "Measured",
    "MeteredQuantity",
    "Part",
    "Position",
    "Priced",
    "PricedUsage",
    "RatedLine",
    "Step",
    "StepKind",
    "corrections",
    "drawn",
    "explain",
    "price",
    "price_charge",
    "rate",
    "usage_windows",
]
