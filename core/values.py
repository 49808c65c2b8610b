"""How a frozen value of ours travels as a field of a noun: itself in Python, a form of its own in JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_core import core_schema


def itself_or(value: type, parse: Callable[[Any], Any], to_json: Callable[[Any], Any]) -> core_schema.CoreSchema:
    """Takes the value as it is, or what ``parse`` makes of its JSON form (ValueError when it is not one).

    That it is itself is asked first, in compiled code: nouns are made by the hundred thousand with such fields.
    """
    read = core_schema.no_info_plain_validator_function(parse)
    itself = core_schema.is_instance_schema(value)
    return core_schema.json_or_python_schema(
        json_schema=read,
        python_schema=core_schema.union_schema([itself, read], mode="left_to_right"),
        serialization=core_schema.plain_serializer_function_ser_schema(to_json, when_used="json"),
    )
