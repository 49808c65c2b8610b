"""What must not be kept or shown: secrets and numbers of payment cards, taken out of what others sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MASKED = "•••"

_SECRET_NAME = re.compile(
    r"pass(word|phrase)?$|secret|token$|authorization|api_?key|private_?key|signature|^cv[cv]2?$|card_?(number|code)$",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"\b(Bearer|Basic|OAuth)\s+[\w.~+/=:!-]+", re.IGNORECASE)
#: 13 to 19 digits, in groups or not, that begin as card numbers do (ISO/IEC 7812) and are no part of a longer word.
_CARD = re.compile(r"(?<![\w.-])[2-6](?:[ -]?\d){12,18}(?![\w.]*\d)")


@dataclass(frozen=True, slots=True)
class Mask:
    """``secrets``: values that are known to be secret, besides what looks like one."""

    secrets: Sequence[str] = ()

    def text(self, text: str) -> str:
        for secret in filter(None, self.secrets):
            text = text.replace(secret, MASKED)
        text = _CREDENTIALS.sub(rf"\1 {MASKED}", text)
        return _CARD.sub(lambda found: _hidden(found.group()), text)

    def value(self, value: Any) -> Any:
        """The same value (as JSON has them), with what stands under the name of a secret masked whole."""
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {
                    name: MASKED if _SECRET_NAME.search(str(name).replace("-", "_")) and item else self.value(item)
                    for name, item in value.items()
                }
            case list() | tuple():
                return [self.value(item) for item in value]
            case int() if not isinstance(value, bool):
                hidden = self.text(str(value))
                return value if hidden == str(value) else hidden
            case _:
                return value


def _hidden(number: str) -> str:
    """The last four digits of a card's number; any other number as it is."""
    digits = [int(c) for c in number if c.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) if i % 2 else digit for i, digit in enumerate(reversed(digits))]
    return number if sum(doubled) % 10 else f"{MASKED}{number[-4:]}"
