"""Exact fractions: those of the standard library to the type checker, compiled ones (quicktions) at run time.

Rating is arithmetic on fractions, and the compiled ones are nine times as fast; each equals, hashes and prints as its
twin of the standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import GetPydanticSchema
from pydantic_core import core_schema

if TYPE_CHECKING:
    from fractions import Fraction
else:
    from quicktions import Fraction

__all__ = ["ExactFraction", "Fraction"]


def _read(text: str) -> Fraction:
    """The fraction of a text. The blank is for quicktions 1.24, which writes a text of one character into the bytes
    object that the interpreter shares as ``b"\\0"``."""
    return Fraction(f" {text}")


_SCHEMA = core_schema.json_or_python_schema(
    json_schema=core_schema.no_info_after_validator_function(_read, core_schema.str_schema()),
    python_schema=core_schema.is_instance_schema(Fraction),
    serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json"),
)

#: A fraction as a field of a noun (JSON: text, ``"1/3"`` or ``"45"``).
ExactFraction = Annotated[Fraction, GetPydanticSchema(lambda _source, _handler: _SCHEMA)]
