"""A new mapping file, from what its vendor describes now."""

from __future__ import annotations

from core.errors import Misconfigured
from core.mapping.scaffold import Draft, Header, draft
from core.ports import Describes
from flows.context import Hub


def new_mapping(hub: Hub, system: str, record: str, resource: str, direction: str) -> Draft:
    """A file for a record at a system in use. Misconfigured when the vendor describes nothing, or has no resource."""
    connector = hub.connector(system)
    if not isinstance(connector, Describes):
        raise Misconfigured(f"{system}: no describe at this vendor; begin with a copy of a file of mappings/{system}")
    if resource not in connector.resources:
        known = ", ".join(sorted(connector.resources))
        raise Misconfigured(f"{system} has no resource {resource}; there is {known}", system=system)
    row = connector.resources[resource]
    header = Header(
        system=system,
        record=record,
        resource=resource,
        direction=direction,
        api=f"{system} {row.path}",
        source=f"describe of {row.path}, read {hub.now():%F}",
        key=row.key_field,
    )
    return draft(header, connector.describe(resource), hub.mappings)
