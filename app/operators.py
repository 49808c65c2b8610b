"""Who sits at the command line."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping

OPERATOR_VARIABLE = "TIEOUT_OPERATOR"


def operator(environ: Mapping[str, str] = os.environ) -> str:
    """The name that the audit keeps: ``TIEOUT_OPERATOR``, else the user of the operating system."""
    return environ.get(OPERATOR_VARIABLE) or getpass.getuser()
