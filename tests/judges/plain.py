"""Clients that know only https, led to an emulator on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests


@contextmanager
def led(host: str, url: str) -> Iterator[str]:
    """Inside, what ``requests`` sends to ``https://host`` goes to ``url``, and links in answers come back as that."""
    whole, sent = f"https://{host}", requests.adapters.HTTPAdapter.send

    def send(adapter: Any, request: Any, **options: Any) -> Any:
        request.url = request.url.replace(whole, url, 1)
        answer = sent(adapter, request, **{**options, "proxies": {}})
        answer._content = answer.content.replace(url.encode(), whole.encode())
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.adapters.HTTPAdapter, "send", send)
        yield whole
