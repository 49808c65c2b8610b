"""The little HTTP that a salesperson's client needs: JSON in, JSON out, exact decimals."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from connectors.wire import dump_json


class Client:
    """A JSON API under ``base``; ``headers`` go with every call."""

    def __init__(self, base: str, headers: Mapping[str, str] | None = None) -> None:
        self.base, self.headers = base, {"Content-Type": "application/json", **(headers or {})}

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The answer, None when it is empty. urllib.error.HTTPError when it is not a success."""
        url = path if "://" in path else self.base + path
        data = None if body is None else dump_json(body)
        request = urllib.request.Request(url, data, {**self.headers, **headers}, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            content = response.read()
        return json.loads(content, parse_float=Decimal) if content else None


def sign_in(url: str, **form: str) -> dict[str, str]:
    """The Authorization header of a client-credentials grant."""
    with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), timeout=30) as response:
        return {"Authorization": f"Bearer {json.load(response)['access_token']}"}
