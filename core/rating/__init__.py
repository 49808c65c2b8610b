"""Rating: what is owed for a period and why. ``rate`` is the one function that prices; preview, dry run and bill run
all call it."""

from core.rating.derivation import Derivation, Draw, Step, StepKind
from core.rating.engine import price, rate
from core.rating.lines import RatedLine, explain
from core.rating.measured import Measured, MeteredQuantity, Part

__all__ = [
    "Derivation",
    "Draw",
    "Measured",
    "MeteredQuantity",
    "Part",
    "RatedLine",
    "Step",
    "StepKind",
    "explain",
    "price",
    "rate",
]
