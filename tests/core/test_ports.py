"""A planted crash happens where and when it was asked for, and nowhere else."""

from __future__ import annotations

import os
import signal

import pytest

from core.ports import crash_at


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, sent: calls.append((pid, sent)))
    return calls


def test_the_process_is_killed_when_it_reaches_the_point_for_the_nth_time(killed: list[tuple[int, int]]) -> None:
    fault = crash_at("outbox.sent:2")
    for point in ("outbox.sent", "outbox.claimed", "outbox.claimed"):
        fault(point)
    assert killed == []
    fault("outbox.sent")
    assert killed == [(os.getpid(), signal.SIGKILL)]


def test_without_a_point_nothing_is_killed(killed: list[tuple[int, int]]) -> None:
    crash_at("")("outbox.sent")
    assert killed == []


@pytest.mark.parametrize("spec", ["outbox.sent", "outbox.sent:soon", ":1"])
def test_a_point_without_its_count_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        crash_at(spec)
