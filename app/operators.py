"""Who sits at the command line, and the times they write."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from datetime import UTC, datetime

OPERATOR_VARIABLE = "TIEOUT_OPERATOR"


def operator(environ: Mapping[str, str] = os.environ) -> str:
    """The name that the audit keeps: ``TIEOUT_OPERATOR``, else the user of the operating system."""
    return environ.get(OPERATOR_VARIABLE) or getpass.getuser()


def instant(written: datetime | None) -> datetime | None:
    """A time of an option, which is UTC where it says nothing else."""
    return None if written is None else written.replace(tzinfo=written.tzinfo or UTC)
