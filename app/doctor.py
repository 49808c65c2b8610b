"""``tieout doctor``: what is misconfigured, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from core.errors import TieoutError, Unavailable
from core.ports import Finding
from flows.context import Hub
from flows.settings import load

#: What every connector says of a system that does not answer; one finding is then enough.
UNREACHABLE = "could not be reached"


def examine() -> list[Finding]:
    """Looks at everything a run needs; one finding per check, in the order in which to mend them."""
    try:
        hub = Hub(load())
    except TieoutError as error:
        return [Finding("configuration", False, str(error), error.cure)]
    found = [Finding("configuration", True, f"{len(hub.systems)} systems in use: {', '.join(hub.systems)}")]
    found += _checked("database", lambda: f"reached, schema is current ({hub.database.dialect})")
    found += _checked("mappings", lambda: f"{len(list(hub.mappings))} files load")
    found += _checked("price book", lambda: f"{len(hub.price_book.charges)} charges, version {hub.price_book.version}")
    found += _checked("posting rules", lambda: f"{len(hub.posting.rules)} rules, version {hub.posting.version}")
    found.append(Finding("billing", True, f"by {', '.join(hub.playing('billing')) or 'the internal core'}"))
    for role in ("crm", "tax", "gateway", "erp"):
        found += _checked(f"{role} system", lambda role=role: hub.system(role))  # type: ignore[misc]
    for system in hub.systems:
        found += _system(hub, system)
    hub.close()
    return found


def _checked(check: str, look: Callable[[], str]) -> Iterator[Finding]:
    try:
        yield Finding(check, True, look())
    except TieoutError as error:
        yield Finding(check, False, str(error), error.cure)


def _system(hub: Hub, system: str) -> list[Finding]:
    try:
        found = hub.connector(system).check()
    except TieoutError as error:
        return [Finding(system, False, str(error), error.cure)]
    wrong = {one.detail for one in found if not one.ok}
    if len(wrong) == 1 and UNREACHABLE in (detail := wrong.pop()):
        return [Finding(system, False, detail, Unavailable.cure)]
    return [
        Finding(f"{system}: {one.check.removeprefix(f'{system}: ')}", one.ok, one.detail, "" if one.ok else one.cure)
        for one in found
    ]
