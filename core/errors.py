"""Errors named by what to do next.

::

    TieoutError
    ├── Retryable            the same call may succeed later, nothing is wrong with the record
    │   ├── RateLimited      wait ``wait_seconds``; nothing was written
    │   ├── Unavailable      nothing was written; try later
    │   └── OutcomeUnknown   the write may have happened: look it up by its key before any resend
    ├── Rejected             the record is wrong; a person cures it (system, record, field, value, code)
    │   └── Contested        both sides changed a field: its owner's value stands, a person confirms that or mends it
    ├── Parked               the record waits for a dependency, an open period or an approval
    ├── Misconfigured        stop this system: credentials, permissions, address, missing custom field
    ├── MappingError         a mapping file is wrong, or a value does not fit it (file, field, value)
    │   └── SchemaDrift      the other system's fields changed under a mapping (code: how)
    └── TieBroken            an equality failed: stop, never log and go on

An expected duplicate is not an error: a connector answers it with the Receipt of the object that is already there.
No text here may carry a secret: build messages from codes, ids and field names.
"""

from __future__ import annotations


class TieoutError(Exception):
    """Base of all errors of this product. ``str(error)`` is one sentence for an operator."""

    #: What an operator does next; the error desk shows it beside the message.
    cure = "Read the message; retry when its cause is gone."
    #: What the system answered, and how it named the request, where it did; to be masked before it is kept.
    answer = ""
    trace = ""


class Retryable(TieoutError):
    """The same call may succeed later; nothing is wrong with the record."""

    cure = "Nothing to do: it is tried again by itself."


class RateLimited(Retryable):
    """The system asked us to wait ``wait_seconds`` (>= 0, seconds); nothing was written."""

    def __init__(self, message: str, *, wait_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.wait_seconds = max(0.0, wait_seconds)


class Unavailable(Retryable):
    """The system could not be reached or refused before doing anything; nothing was written."""

    cure = "See that the system is up and its address is right; it is tried again by itself."


class OutcomeUnknown(Retryable):
    """A write was sent and no trustworthy answer came: it may or may not have happened."""

    cure = "Nothing to do: the record is looked up by its key before anything is sent again."


class Rejected(TieoutError):
    """The system (or our own check) refused the record; sending it again unchanged will fail again."""

    cure = "Correct the named field at its source, then retry the record."

    def __init__(
        self,
        message: str,
        *,
        system: str = "",
        record: str = "",
        field: str | None = None,
        value: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.system, self.record, self.field, self.value, self.code = system, record, field, value, code


class Contested(Rejected):
    """Both sides changed a field since they agreed last. The owner's value stands; nothing waits for this."""

    def __init__(self, message: str, *, system: str, record: str, field: str, value: str, code: str, cure: str) -> None:
        super().__init__(message, system=system, record=record, field=field, value=value, code=code)
        self.cure = cure


class Parked(TieoutError):
    """The record waits for ``waits_for``: a record of ours, ``"period:2026-10"`` or ``"approval:..."``."""

    cure = "Nothing to do: it wakes when what it waits for is there."

    def __init__(self, message: str, *, waits_for: str) -> None:
        super().__init__(message)
        self.waits_for = waits_for
        if self.needs_person:
            self.cure = f"Open or approve what it waits for ({waits_for}), then retry the record."

    @property
    def needs_person(self) -> bool:
        """Whether nothing of ours wakes it: another system's period or approval."""
        return self.waits_for.partition(":")[0] in ("period", "approval")


class Misconfigured(TieoutError):
    """A whole system cannot work as configured; every record of it would fail."""

    cure = "Run `tieout doctor`, mend the configuration, then retry."

    def __init__(self, message: str, *, system: str = "") -> None:
        super().__init__(message)
        self.system = system


class MappingError(TieoutError):
    """A mapping file is wrong, or a value does not fit what it declares."""

    cure = "Correct the mapping file or the source field it names, then retry the record."

    def __init__(self, message: str, *, file: str, field: str, value: object = None) -> None:
        super().__init__(f"{file}: {field}: {message}")
        self.file, self.field, self.value = file, field, value


class SchemaDrift(MappingError):
    """The other system's fields are not what a mapping file rests on any more; ``code`` says how."""

    cure = "Mend the field there, or the mapping file here; then check the mappings again."

    def __init__(self, message: str, *, file: str, field: str, code: str) -> None:
        super().__init__(message, file=file, field=field)
        self.code = code


class TieBroken(TieoutError):
    """The equality ``tie`` did not hold for ``subject``: ``left`` and ``right`` differ."""

    cure = "Do not retry: two figures that must be equal differ. Explain the record and mend its cause."

    def __init__(self, tie: str, *, subject: str, left: object, right: object) -> None:
        super().__init__(f"{tie} does not hold for {subject}: {left} is not {right}")
        self.tie, self.subject, self.left, self.right = tie, subject, left, right
