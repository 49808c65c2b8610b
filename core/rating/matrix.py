"""Matrix: usage by dimensions, priced by the first cell it fits; usage that fits none is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from core.errors import Rejected
from core.exact import added
from core.prices import Matrix, Simple
from core.rating.derivation import Step
from core.rating.measured import Measured, Part

Price = Callable[[Simple, Measured], tuple[Step, ...]]


def cells(model: Matrix, measured: Measured) -> Iterator[tuple[int, tuple[Part, ...]]]:
    """Each cell that has usage, by its index, with the parts that fit it first. Rejected when a part fits none."""
    fitted: dict[int, list[Part]] = {}
    for part in measured.parts:
        for index, cell in enumerate(model.cells):
            if cell.when.items() <= part.dimensions.items():
                fitted.setdefault(index, []).append(part)
                break
        else:
            raise Rejected(
                f"no cell prices usage of {dict(part.dimensions)}",
                record="charge",
                field="dimensions",
                value=str(dict(part.dimensions)),
            )
    for index in sorted(fitted):
        yield index, tuple(fitted[index])


def price(model: Matrix, measured: Measured, simple: Price) -> Iterator[Step]:
    for index, parts in cells(model, measured):
        cell = model.cells[index]
        name = ", ".join(f"{key} {value}" for key, value in cell.when.items()) or "all other"
        quantity = added(part.quantity for part in parts)
        for step in simple(cell.model, Measured(quantity, parts)):
            yield step.named(name)
