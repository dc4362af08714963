"""API keys: what they look like, how they are checked before any look-up, how they are stored.

    sk-manta-<id>_<secret><checksum>
             12    43      6         characters, base 62

The checksum refuses typing errors and made-up keys without a database call, and lets secret scanners be exact. Only
the HMAC-SHA-256 of a key is stored; the key itself is shown once.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass

PREFIX = "sk-manta-"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID, _SECRET, _CHECKSUM = 12, 43, 6
_FORM = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{_ID}}})_([0-9A-Za-z]{{{_SECRET}}})([0-9A-Za-z]{{{_CHECKSUM}}})")


@dataclass(frozen=True, slots=True, repr=False)
class ApiKey:
    """A whole key, secret included: never logged (its repr is redacted), never stored."""

    id: str
    value: str

    @classmethod
    def mint(cls) -> ApiKey:
        """A new key; 43 base-62 characters hold 256 bits."""
        id_ = _random(_ID)
        body = f"{PREFIX}{id_}_{_random(_SECRET)}"
        return cls(id_, body + _checksum(body))

    @classmethod
    def parse(cls, value: str) -> ApiKey | None:
        """The key, or None if it cannot be one of ours."""
        match = _FORM.fullmatch(value)
        if match is None or _checksum(value[:-_CHECKSUM]) != match[3]:
            return None
        return cls(match[1], value)

    def digest(self, secret: bytes) -> str:
        """What is stored and looked up: HMAC-SHA-256 under the installation's secret, in hex."""
        return hmac.new(secret, self.value.encode(), hashlib.sha256).hexdigest()

    @property
    def redacted(self) -> str:
        """Enough to recognise the key by."""
        return f"{PREFIX}{self.id}_...{self.value[-4:]}"

    def __repr__(self) -> str:
        return f"ApiKey({self.redacted})"


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
