"""Exact fractions: those of the standard library to the type checker, compiled ones (cfractions) at run time.

Rating is arithmetic on fractions, and the compiled ones are nine times as fast; each equals, hashes and prints as its
twin of the standard library, but for one made of a bool, which prints as it. (quicktions, which is as fast, is none to
take: up to 1.24 it writes a text of one digit into the bytes object that the interpreter shares as ``b"\\0"``.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import GetPydanticSchema
from pydantic_core import core_schema

if TYPE_CHECKING:
    from fractions import Fraction
else:
    from cfractions import Fraction

__all__ = ["ExactFraction", "Fraction"]


_SCHEMA = core_schema.json_or_python_schema(
    json_schema=core_schema.no_info_after_validator_function(Fraction, core_schema.str_schema()),
    python_schema=core_schema.is_instance_schema(Fraction),
    serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json"),
)

#: A fraction as a field of a noun (JSON: text, ``"1/3"`` or ``"45"``).
ExactFraction = Annotated[Fraction, GetPydanticSchema(lambda _source, _handler: _SCHEMA)]
