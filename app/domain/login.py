"""A sign-in under way: between leaving for the provider and coming back from it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from app.domain.origin import is_loopback
from app.domain.secrets import random_base62

LOGIN_TTL_S = 600
CALLBACK = "/auth/google/callback"
_STATE, _NONCE, _VERIFIER = 43, 43, 64
_STATE_FORM = re.compile(rf"[0-9A-Za-z]{{{_STATE}}}")
_CODE_FORM = re.compile(r"[\x20-\x7e]{1,4096}")
"""What RFC 6749 lets a code be, and not longer than a URL that arrives."""
_HOST_FORM = re.compile(r"(localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?")


class LoginRefused(Exception):
    """A sign-in that must not succeed; the caller is not told why.

    Attributes:
        reason: What is written down; never a code, a token or a secret.
        code: What the caller is told.
        target: The user whom it is about, if that was proved.
    """

    def __init__(
        self,
        reason: str,
        *,
        code: Literal["login_failed", "login_cancelled"] = "login_failed",
        target: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.target = target


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """What has to be known when somebody comes back.

    Attributes:
        state: What ties the answer to the browser that asked.
        nonce: What ties the ID token to this sign-in.
        verifier: What proves that the code was asked for by us (PKCE, RFC 7636).
        redirect_uri: Where the provider was told to send the browser.
        session_id: The session in which it was begun: a guest's is gone on with under their name.
        expires_at: Epoch seconds.
    """

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    session_id: str | None
    expires_at: float

    @classmethod
    def begin(cls, redirect_uri: str, session_id: str | None, now: float) -> Login:
        """A new one."""
        return cls(
            random_base62(_STATE),
            random_base62(_NONCE),
            random_base62(_VERIFIER),
            redirect_uri,
            session_id,
            now + LOGIN_TTL_S,
        )

    @property
    def began_at(self) -> float:
        """Epoch seconds."""
        return self.expires_at - LOGIN_TTL_S

    @property
    def digest(self) -> str:
        """What it is known by where its state must not be: SHA-256 of that, in hex."""
        return digest_of(self.state)

    def __repr__(self) -> str:
        return f"Login({self.digest[:8]})"


def digest_of(state: str) -> str:
    """The digest of the sign-in with this state."""
    return hashlib.sha256(state.encode()).hexdigest()


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """What the provider had the browser bring back, as far as it has the form that it must have.

    Attributes:
        state: The sign-in's, or None.
        code: What the tokens are had for, or None.
        error: Why there is no code, or None.
        issuer: Who says that they answer (RFC 9207), or None.
    """

    state: str | None
    code: str | None
    error: str | None = None
    issuer: str | None = None

    @classmethod
    def of(cls, state: str | None, code: str | None, error: str | None, issuer: str | None) -> Answer:
        """The answer in these parameters."""
        return cls(
            state if state is not None and _STATE_FORM.fullmatch(state) else None,
            code if code is not None and _CODE_FORM.fullmatch(code) else None,
            error,
            issuer,
        )

    def __repr__(self) -> str:
        return f"Answer({self.state and digest_of(self.state)[:8]})"


def redirect_uri(public_url: str | None, host: str) -> str | None:
    """Where the provider has to send browsers, or None if that cannot be known.

    Args:
        public_url: Where browsers reach the service, if that is set.
        host: The request's ``Host``, which anybody can write: believed only where it cannot lead away from this
            machine. No other header is asked.
    """
    if public_url is not None:
        return public_url + CALLBACK
    match = _HOST_FORM.fullmatch(host.lower())
    return f"http://{host.lower()}{CALLBACK}" if match and is_loopback(match[1]) else None
