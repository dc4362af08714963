"""Refresh tokens: opaque, for one use, each the successor of the last.

    rt-manta-<session>_<random><seal>
             22         43      11    characters, base 62

The seal is a keyed hash: what we did not issue is told without a database call, so that only somebody who holds a
token that was real can end its session by showing it again. A successor is a keyed hash of its predecessor and of what
was drawn when that was used: an answer that got lost can be given again without the token being stored anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from app.domain.secrets import base62, keyed, random_base62

PREFIX = "rt-manta-"
SESSION_PREFIX = "sess_"
_SESSION, _RANDOM, _SEAL = 22, 43, 11
_FORM = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{_SESSION}}})_[0-9A-Za-z]{{{_RANDOM}}}([0-9A-Za-z]{{{_SEAL}}})")


@dataclass(frozen=True, slots=True, repr=False)
class RefreshToken:
    """A whole token: never logged (its repr is redacted), never stored.

    Attributes:
        session_id: The session that it goes on with.
        value: What the client holds.
    """

    session_id: str
    value: str

    @classmethod
    def first(cls, key: bytes) -> RefreshToken:
        """The first token of a new session."""
        return cls._sealed(random_base62(_SESSION), random_base62(_RANDOM), key)

    @classmethod
    def parse(cls, value: str, key: bytes) -> RefreshToken | None:
        """The token, or None if it was not issued under this key."""
        match = _FORM.fullmatch(value)
        if match is None or not hmac.compare_digest(_seal(value[:-_SEAL], key), match[2]):
            return None
        return cls(SESSION_PREFIX + match[1], value)

    def successor(self, salt: str, key: bytes) -> RefreshToken:
        """The next token of the session.

        Args:
            salt: What was drawn when this one was used.
        """
        number = int.from_bytes(hmac.digest(key, f"successor|{salt}|{self.value}".encode(), hashlib.sha256))
        return self._sealed(self.session_id.removeprefix(SESSION_PREFIX), base62(number, _RANDOM), key)

    @property
    def digest(self) -> str:
        """What is stored: SHA-256, which is enough for what nobody can guess, in hex."""
        return hashlib.sha256(self.value.encode()).hexdigest()

    @classmethod
    def _sealed(cls, session: str, random: str, key: bytes) -> RefreshToken:
        body = f"{PREFIX}{session}_{random}"
        return cls(SESSION_PREFIX + session, body + _seal(body, key))

    def __repr__(self) -> str:
        return f"RefreshToken({self.session_id})"


def _seal(body: str, key: bytes) -> str:
    return base62(int.from_bytes(keyed(key, f"refresh token seal|{body}")), _SEAL)
