"""Who runs next: every process of the hub is a fiber that hands control back at each door to the world.

Only the scheduler resumes a fiber, so one seed decides every interleaving. A process dies where it stands by a
``Crash``; since that is no Exception, nothing in the product survives it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet


class Crash(BaseException):
    """The process ends here, as by a power cut: what is not committed is gone."""


class Violation(AssertionError):
    """A promise was broken; ``rule`` names it."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule


class Fiber:
    """One function, run step by step. ``at`` is the door where it stands; ``error`` what it ended with, if not well."""

    def __init__(self, name: str, work: Callable[[], Any]) -> None:
        self.name, self.at = name, "start"
        self.running = False
        self.error: BaseException | None = None
        self._work = work
        self._fiber = greenlet(self._run)

    def _run(self) -> None:
        try:
            self._work()
        except (Exception, Crash) as error:  # noqa: BLE001 the scheduler judges it
            self.error = error

    @property
    def ended(self) -> bool:
        return bool(self._fiber.dead)

    def resume(self) -> None:
        """Runs up to the next door, or to the end."""
        self._enter(self._fiber.switch)

    def kill(self) -> None:
        """Ends the process where it stands."""
        crash = Crash(f"killed at {self.at}")
        if not self._fiber:
            self.error, self._work = crash, lambda: None
            self._fiber.switch()
        else:
            self._enter(lambda: self._fiber.throw(crash))

    def _enter(self, switch: Callable[[], Any]) -> None:
        self._fiber.parent = getcurrent()
        self.running = True
        _RUNNING.append(self)
        switch()
        _RUNNING.pop()
        self.running = False

    def hand_over(self, at: str) -> None:
        """Gives control to the scheduler; returns when resumed."""
        self.at = at
        assert self._fiber.parent is not None
        self._fiber.parent.switch()


_RUNNING: list[Fiber] = []


def hand_over(at: str) -> bool:
    """Gives control to the scheduler, from within a fiber; False when none runs."""
    if _RUNNING:
        _RUNNING[-1].hand_over(at)
    return bool(_RUNNING)
