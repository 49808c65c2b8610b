"""The small company of the flows' tests, before its month and after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.world import CUSTOMERS, USAGE, Company, company


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Company]:
    """The company with its deals won and its usage delivered; nothing is taken in yet."""
    with company(tmp_path) as entered:
        entered.enter(*CUSTOMERS)
        entered.bring("bridge.2026-10.csv", USAGE)
        yield entered


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """The company after its month. Tests share it: who changes something puts it back."""
    with company(tmp_path_factory.mktemp("company")) as entered:
        entered.enter(*CUSTOMERS)
        entered.bring("bridge.2026-10.csv", USAGE)
        entered.month()
        yield entered
