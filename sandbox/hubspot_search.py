"""Search of the emulated HubSpot account: filters, one sort, pages, and the limits of each.

Written from the search reference (published docs, read 2026-11). The index lags behind writes by the seconds set at
``POST /_sandbox/search_lag``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sandbox.emulator import Json
from sandbox.hubspot_records import Records, invalid
from sandbox.hubspot_schema import Invalid, Property, comparable

#: Characters of a request, groups of filters, filters of a group and of all, results of a page and of a whole search.
BODY, GROUPS, FILTERS, ALL_FILTERS, PAGE, RESULTS = 3000, 5, 6, 18, 200, 10_000

Test = Callable[[str | None], bool]


def search(records: Records, kind: str, body: Any, size: int, lag: float) -> Json:
    """The answer of one search. Refusal when the request is beyond a limit or makes no sense."""
    if size > BODY:
        raise invalid(f"The request is longer than {BODY} characters")
    if not isinstance(body, dict):
        raise invalid("Invalid input JSON on line 1, column 1: a search is an object")
    limit, start = int(body.get("limit", 10)), int(body.get("after") or 0)
    if not 1 <= limit <= PAGE:
        raise invalid(f"limit must be between 1 and {PAGE}")
    if start + limit > RESULTS:
        raise invalid(f"Paging past {RESULTS} results is not possible")
    known = records.properties(kind)
    matches = _groups(known, body.get("filterGroups") or [])
    words = str(body.get("query") or "").casefold()
    indexed = records.shelf.now() - timedelta(seconds=lag)
    found = [
        record
        for record in records.shelf.all(kind)
        if datetime.fromisoformat(record["updatedAt"]) <= indexed
        and matches(record["properties"])
        and (not words or any(words in str(value).casefold() for value in record["properties"].values()))
    ]
    found = _sorted(known, found, body.get("sorts") or [])
    page = found[start : start + limit]
    answer: Json = {
        "total": len(found),
        "results": [records.shown(kind, one, body.get("properties") or ()) for one in page],
    }
    if start + limit < len(found):
        answer["paging"] = {"next": {"after": str(start + limit)}}
    return answer


def _groups(known: Mapping[str, Property], groups: Sequence[Json]) -> Callable[[Mapping[str, str]], bool]:
    """Filters of a group all hold, of the groups any."""
    counts = [len(group.get("filters", ())) for group in groups]
    if len(groups) > GROUPS or any(count > FILTERS for count in counts) or sum(counts) > ALL_FILTERS:
        raise invalid(f"at most {GROUPS} filterGroups, {FILTERS} filters in each, {ALL_FILTERS} in all")
    tests = [[(one["propertyName"], _test(known, one)) for one in group["filters"]] for group in groups]
    return lambda values: not tests or any(all(test(values.get(name)) for name, test in group) for group in tests)


def _test(known: Mapping[str, Property], told: Json) -> Test:
    about = known.get(told.get("propertyName", ""))
    operator = told.get("operator", "")
    if about is None:
        raise invalid(f"There was a problem with the request: no property {told.get('propertyName')}")
    if operator in ("HAS_PROPERTY", "NOT_HAS_PROPERTY"):
        if "value" in told or "values" in told:
            raise invalid(f"{operator} does not take a value")
        return lambda value: (value is not None) is (operator == "HAS_PROPERTY")
    try:
        if operator in ("IN", "NOT_IN"):
            if not told.get("values"):
                raise invalid(f"{operator} needs values")
            # Words of a list are compared as they stand with the stored value in small letters.
            listed = told["values"] if about.type == "string" else [comparable(about, one) for one in told["values"]]
            return lambda value: value is not None and (comparable(about, value) in listed) is (operator == "IN")
        if told.get("value") in (None, ""):
            raise invalid(f"{operator} needs a value")
        wanted = comparable(about, told["value"])
        high = comparable(about, told["highValue"]) if operator == "BETWEEN" else None
    except Invalid as fault:
        raise invalid(f"There was a problem with the request: {fault.message}") from None
    except KeyError:
        raise invalid("BETWEEN needs a highValue") from None
    compare: Mapping[str, Callable[[Any], bool]] = {
        "EQ": lambda at: at == wanted,
        "NEQ": lambda at: at != wanted,
        "LT": lambda at: at < wanted,
        "LTE": lambda at: at <= wanted,
        "GT": lambda at: at > wanted,
        "GTE": lambda at: at >= wanted,
        "BETWEEN": lambda at: wanted <= at <= high,
        "CONTAINS_TOKEN": lambda at: _holds(wanted, at),
        "NOT_CONTAINS_TOKEN": lambda at: not _holds(wanted, at),
    }
    if operator not in compare:
        raise invalid(f"{operator} is not an operator")
    return lambda value: value is not None and compare[operator](comparable(about, value))


def _holds(token: Any, text: Any) -> bool:
    pattern = ".*".join(re.escape(part) for part in str(token).split("*"))
    return any(re.fullmatch(pattern, word) for word in re.split(r"[^\w*]+", str(text)))


def _sorted(known: Mapping[str, Property], found: list[Json], sorts: Sequence[Any]) -> list[Json]:
    """By one property, ``-name`` the other way round; oldest first when none is asked. Ties have no promised order."""
    if len(sorts) > 1:
        raise invalid("at most one sort")
    told = sorts[0] if sorts else "hs_object_id"
    if isinstance(told, dict):
        told = ("-" if str(told.get("direction", "")).startswith("DESC") else "") + told.get("propertyName", "")
    about = known.get(told.removeprefix("-"))
    if about is None:
        raise invalid(f"There was a problem with the request: no property {told}")
    valued = [one for one in found if about.name in one["properties"]]
    rest = [one for one in found if about.name not in one["properties"]]
    valued.sort(key=lambda one: comparable(about, one["properties"][about.name]), reverse=told.startswith("-"))
    return valued + rest
