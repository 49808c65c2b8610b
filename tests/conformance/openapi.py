"""Calls and answers against a published OpenAPI file: path, parameters, bodies and statuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cached_property
from operator import ge, le
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import yaml
from jsonschema import ValidationError
from jsonschema.validators import extend
from openapi_schema_validator import OAS30Validator, OAS31Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.conformance.capture import Call

Json = dict[str, Any]
Verdict = tuple[str, list[str]]
"""The operation that a call is (empty: the file has none), and what is wrong with it by the file."""

#: Where a file is kept for references.
HERE = "urn:published"


class OpenApi:
    """One file. ``root``: what a path on the wire has before the path of the file. ``open_schemas``: a pattern of those
    whose objects may have more than their properties; ``flags``: how paths are matched.
    """

    def __init__(
        self,
        file: Path,
        root: str = "",
        open_schemas: str = "",
        flags: re.RegexFlag = re.NOFLAG,
    ) -> None:
        self.file, self.root, self.open_schemas, self.flags = file, root, open_schemas, flags
        self._validators: dict[str, Any] = {}

    @cached_property
    def spec(self) -> Json:
        text = self.file.read_text(encoding="utf-8")
        loaded: Json = json.loads(text) if self.file.suffix == ".json" else yaml.load(text, yaml.CSafeLoader)
        for name, schema in loaded["components"]["schemas"].items():
            if not re.fullmatch(self.open_schemas, name):
                _close(schema)
        return loaded

    @cached_property
    def _registry(self) -> Any:
        return Registry().with_resource(HERE, DRAFT202012.create_resource(self.spec))

    @cached_property
    def _paths(self) -> list[tuple[str, re.Pattern[str]]]:
        """Templates, those with the fewest placeholders first."""
        found = sorted(self.spec["paths"], key=lambda template: template.count("{"))
        return [(one, re.compile(re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(one)), self.flags)) for one in found]

    def judge(self, call: Call) -> Iterator[Verdict]:
        path = call.request.url.raw_path.decode().partition("?")[0]
        method = call.request.method.lower()
        for template, pattern in self._paths if path.startswith(self.root) else []:
            item = self.spec["paths"][template]
            if method in item and pattern.fullmatch(path.removeprefix(self.root)):
                pointer = f"/paths/{_escaped(template)}/{method}"
                faults = [*self._request(item, item[method], pointer, call), *self._answer(item[method], pointer, call)]
                yield f"{method.upper()} {template}", faults
                return
        yield "", []

    def _request(self, item: Json, operation: Json, pointer: str, call: Call) -> Iterator[str]:
        above = pointer.rpartition("/")[0]
        listed = [(one, f"{above}/parameters/{number}") for number, one in enumerate(item.get("parameters", ()))]
        listed += [
            (one, f"{pointer}/parameters/{number}") for number, one in enumerate(operation.get("parameters", ()))
        ]
        parameters = [self._followed(*one) for one in listed]
        asked = nested(call.request.url.params.multi_items())
        known = {one["name"]: (one, at) for one, at in parameters if one["in"] == "query"}
        for name, value in asked.items():
            if name not in known:
                yield f"request: the query has no {name}"
                continue
            parameter, at = known[name]
            several = parameter["schema"].get("type") == "array" and isinstance(value, str)
            given = value.split(",") if several else value
            errors = self._validator(f"{at}/schema", of_text=True).iter_errors(given)
            yield from (f"request: query {name}: {error.message[:200]}" for error in errors)
        sent = {"query": set(asked), "header": set(call.request.headers)}
        for one, _ in parameters:
            name = one["name"].lower() if one["in"] == "header" else one["name"]
            if one.get("required") and name not in sent.get(one["in"], {name}):
                yield f"request: the {one['in']} lacks {one['name']}"
        if "requestBody" in operation:
            body, at = self._followed(operation["requestBody"], f"{pointer}/requestBody")
            yield from (f"request{one}" for one in self._body(body, at, call.request.headers, call.request.content))
        elif call.request.content:
            yield "request: a body where none is"

    def _answer(self, operation: Json, pointer: str, call: Call) -> Iterator[str]:
        if not call.answered or call.response is None:
            return
        status = str(call.response.status_code)
        listed = next((one for one in (status, f"{status[0]}XX", "default") if one in operation["responses"]), None)
        if listed is None:
            yield f"answer: status {status} is not listed"
            return
        answer, at = self._followed(operation["responses"][listed], f"{pointer}/responses/{listed}")
        if answer.get("content"):
            yield from (
                f"answer {status}{one}" for one in self._body(answer, at, call.response.headers, call.response.content)
            )

    def _body(self, holder: Json, pointer: str, headers: Mapping[str, str], body: bytes) -> Iterator[str]:
        if not body and not holder.get("required"):
            return
        media = headers.get("content-type", "").partition(";")[0].strip()
        if media not in holder["content"]:
            yield f": {media or 'no media type'} is none of {', '.join(holder['content'])}"
            return
        form = media.endswith("form-urlencoded")
        try:
            value = nested(parse_qsl(body.decode(), keep_blank_values=True)) if form else json.loads(body)
        except ValueError:
            yield ": is not JSON"
            return
        validator = self._validator(f"{pointer}/content/{_escaped(media)}/schema", of_text=form)
        for error in validator.iter_errors(value):
            yield f"{''.join(f'.{part}' for part in error.absolute_path)}: {error.message[:200]}"

    def _validator(self, pointer: str, *, of_text: bool) -> Any:
        if pointer not in self._validators:
            kind = OAS31Validator if str(self.spec["openapi"]).startswith("3.1") else OAS30Validator
            if of_text:
                kind = extend(kind, TEXT_BOUNDS, type_checker=kind.TYPE_CHECKER.redefine_many(TEXT_TYPES))
            self._validators[pointer] = kind({"$ref": f"{HERE}#{pointer}"}, registry=self._registry)
        return self._validators[pointer]

    def _followed(self, node: Json, pointer: str = "") -> tuple[Json, str]:
        while "$ref" in node:
            pointer = node["$ref"].removeprefix("#")
            node = self.spec
            for part in pointer.split("/")[1:]:
                node = node[part.replace("~1", "/").replace("~0", "~")]
        return node, pointer


def nested(pairs: Iterable[tuple[str, str]]) -> Json:
    """Names with brackets as objects and lists: ``a[b]=1&c[0]=2`` as ``{"a": {"b": "1"}, "c": ["2"]}``."""
    whole: Json = {}
    for name, value in pairs:
        first, *rest = re.findall(r"[^\[\]]+|\[\]", name)
        here, part = whole, first
        for inner in rest:
            here, part = here.setdefault(part, {}), str(len(here.get(part, {}))) if inner == "[]" else inner
        here[part] = value
    return {name: _listed(value) for name, value in whole.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    items = {name: _listed(item) for name, item in value.items()}
    return list(items.values()) if list(items) == [str(number) for number in range(len(items))] else items


def _integer(_checker: Any, value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"-?\d+", value) is not None


#: Types as text tells them.
TEXT_TYPES = {
    "integer": _integer,
    "number": lambda _checker, value: isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value) is not None,
    "boolean": lambda _checker, value: value in ("true", "false"),
}


def _bound(within: Callable[[Decimal, Decimal], bool], why: str) -> Any:
    def bound(_validator: Any, limit: Any, value: Any, _schema: Json) -> Iterator[ValidationError]:
        if not within(Decimal(value), Decimal(str(limit))):
            yield ValidationError(f"{value} is {why} {limit}")

    return bound


#: Bounds of numbers that stand as text.
TEXT_BOUNDS = {"minimum": _bound(ge, "less than"), "maximum": _bound(le, "more than")}


def _close(node: Any) -> None:
    """Lets no object of a schema have more than its properties."""
    if isinstance(node, dict):
        if "properties" in node and not {"additionalProperties", "allOf", "oneOf", "anyOf"} & node.keys():
            node["additionalProperties"] = False
        for value in node.values():
            _close(value)
    elif isinstance(node, list):
        for value in node:
            _close(value)


def _escaped(text: str) -> str:
    """As a part of a JSON pointer in a URI."""
    return text.replace("~", "~0").replace("/", "~1").replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
