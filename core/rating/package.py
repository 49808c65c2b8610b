"""Package: units above the free ones, in packages; a started package counts whole (``up``) or not at all (``down``)."""

from __future__ import annotations

from collections.abc import Iterator

from core.exact import exactly
from core.money import Rounding, round_fraction
from core.prices import Package
from core.rating.derivation import Step
from core.rating.measured import Measured
from core.rational import Fraction


def price(model: Package, measured: Measured) -> Iterator[Step]:
    paid = max(Fraction(0), measured.quantity - exactly(model.free_units))
    mode = Rounding.CEIL if model.partial_package == "up" else Rounding.FLOOR
    packages = round_fraction(paid / exactly(model.package_size), mode)
    yield Step(
        what=f"packages of {model.package_size}", quantity=Fraction(packages), rate=exactly(model.package_amount)
    )
