"""What an administrator changed in the emulated account: fields dropped, shortened, retyped, demanded, locked, added.

``GET|POST|DELETE /_sandbox/schema``: POST takes one change or a list of them, ``{"object": ..., "field": ...}`` in the
vendor's names, and ``"drop": true`` or any of ``type`` (text, number, boolean, date, instant, choice), ``length``,
``words``, ``required``, ``locked``. A field that is not there is added. The account then describes itself so, and
holds writes to it; DELETE takes every change back. An object that is not there is added too, where the vendor lets
an administrator make objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.emulator import Shelf, read_json

T = TypeVar("T")
KINDS = ("text", "number", "boolean", "date", "instant", "choice")


@dataclass(frozen=True)
class FieldChange:
    """One field of one object; what is None stays as the vendor has it."""

    object: str
    field: str
    drop: bool = False
    type: str | None = None
    length: int | None = None
    words: tuple[str, ...] | None = None
    required: bool | None = None
    locked: bool | None = None

    def __post_init__(self) -> None:
        if self.type not in (None, *KINDS):
            raise ValueError(f"type is one of {', '.join(KINDS)}, not {self.type!r}")


def changes(shelf: Shelf) -> list[FieldChange]:
    """Every change, in the order in which fields were first changed."""
    kept = shelf.all("_schema")
    return [FieldChange(**{**one, "words": None if one["words"] is None else tuple(one["words"])}) for one in kept]


def changed(
    fields: Mapping[str, T], wanted: Sequence[FieldChange], make: Callable[[T | None, FieldChange], T]
) -> dict[str, T]:
    """Fields by name with the changes made: ``make`` gives the field as changed, of None a new one."""
    made = dict(fields)
    for change in wanted:
        if change.drop:
            made.pop(change.field, None)
        else:
            made[change.field] = make(made.get(change.field), change)
    return made


class Administered(Mapping[str, T]):
    """A vendor's table of objects, as it is in the account that answers now."""

    def __init__(self, standard: Mapping[str, T]) -> None:
        self._standard = standard
        self._own: ContextVar[Mapping[str, T]] = ContextVar("own", default=standard)

    def __getitem__(self, name: str) -> T:
        return self._own.get()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._own.get())

    def __len__(self) -> int:
        return len(self._own.get())

    @contextmanager
    def of(
        self,
        shelf: Shelf,
        make: Callable[[T, Sequence[FieldChange]], T],
        new: Callable[[str], T | None] = lambda _name: None,
    ) -> Iterator[None]:
        """Inside, the objects are those of the account on this shelf; ``make`` gives an object with its changes.

        ``new``: an object of that name as it is before its first field, None where none can be made.
        """
        by_object: dict[str, list[FieldChange]] = {}
        for change in changes(shelf):
            by_object.setdefault(change.object, []).append(change)
        own = {
            name: make(standard, by_object[called])
            for name, standard in self._standard.items()
            if by_object and (called := name.rpartition(":")[2]) in by_object
        }
        for name in by_object.keys() - self._standard.keys():
            if (made := new(name)) is not None:
                own[name] = make(made, by_object[name])
        token = self._own.set({**self._standard, **own} if own else self._standard)
        try:
            yield
        finally:
            self._own.reset(token)


def door(shelf: Shelf) -> Route:
    """The control call."""

    async def schema(request: Request) -> Response:
        if request.method == "DELETE":
            for one in changes(shelf):
                shelf.drop("_schema", f"{one.object}.{one.field}")
        elif request.method == "POST":
            given = read_json(await request.body())
            try:
                for one in given if isinstance(given, list) else [given]:
                    _keep(shelf, one)
            except (TypeError, ValueError, KeyError) as error:
                return JSONResponse({"error": str(error)}, 400)
        return JSONResponse([asdict(change) for change in changes(shelf)])

    return Route("/_sandbox/schema", schema, methods=["GET", "POST", "DELETE"])


def _keep(shelf: Shelf, given: dict[str, Any]) -> None:
    ident = f"{given['object']}.{given['field']}"
    known = shelf.get("_schema", ident) or {}
    shelf.keep("_schema", ident, asdict(FieldChange(**{**known, **given})))
