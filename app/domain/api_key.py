"""API keys: what they look like, how they are checked before any look-up, how they are stored.

    sk-manta-<id>_<random><seal><checksum>
             12    32      11    6         characters, base 62

The checksum refuses typing errors, and lets secret scanners be exact. The seal is a keyed hash under the installation's
secret: keys that somebody made up are refused without a database call, however many and however well formed. Only the
HMAC-SHA-256 of a key is stored; the key itself is shown once.
"""

from __future__ import annotations

import hmac
import re
import zlib
from dataclasses import dataclass

from app.domain.secrets import base62, keyed, random_base62

PREFIX = "sk-manta-"
_ID, _RANDOM, _SEAL, _CHECKSUM = 12, 32, 11, 6
_FORM = re.compile(
    rf"{PREFIX}([0-9A-Za-z]{{{_ID}}})_[0-9A-Za-z]{{{_RANDOM}}}([0-9A-Za-z]{{{_SEAL}}})([0-9A-Za-z]{{{_CHECKSUM}}})"
)


@dataclass(frozen=True, slots=True, repr=False)
class ApiKey:
    """A whole key, secret included: never logged (its repr is redacted), never stored."""

    id: str
    value: str

    @classmethod
    def mint(cls, secret: bytes) -> ApiKey:
        """A new key; its 32 random characters hold 190 bits."""
        id_ = random_base62(_ID)
        body = f"{PREFIX}{id_}_{random_base62(_RANDOM)}"
        sealed = body + _seal(body, secret)
        return cls(id_, sealed + _checksum(sealed))

    @classmethod
    def parse(cls, value: str) -> ApiKey | None:
        """The key, or None if it cannot be one of any installation's."""
        match = _FORM.fullmatch(value)
        if match is None or _checksum(value[:-_CHECKSUM]) != match[3]:
            return None
        return cls(match[1], value)

    def is_sealed(self, secret: bytes) -> bool:
        """Whether it was made under this secret."""
        body, seal = self.value[: -_SEAL - _CHECKSUM], self.value[-_SEAL - _CHECKSUM : -_CHECKSUM]
        return hmac.compare_digest(_seal(body, secret), seal)

    def digest(self, secret: bytes) -> str:
        """What is stored and looked up: HMAC-SHA-256 under the installation's secret, in hex."""
        return keyed(secret, self.value).hex()

    @property
    def redacted(self) -> str:
        """Enough to recognise the key by."""
        return f"{PREFIX}{self.id}_...{self.value[-4:]}"

    def __repr__(self) -> str:
        return f"ApiKey({self.redacted})"


def _seal(body: str, secret: bytes) -> str:
    return base62(int.from_bytes(keyed(secret, f"api key seal|{body}")), _SEAL)


def _checksum(body: str) -> str:
    return base62(zlib.crc32(body.encode()), _CHECKSUM)
