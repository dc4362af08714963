"""Access tokens: short-lived JWTs (RFC 9068's form), signed with the first of the keys and checked with all.

What a token may look like is fixed here and nowhere read from the token: one algorithm, one type, one issuer, one
audience, every claim required (RFC 8725).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import jwt
from cryptography.hazmat.primitives import serialization
from jwt.algorithms import get_default_algorithms

from app.domain.secrets import random_base62
from app.errors import AuthenticationFailed
from app.settings import SettingsError

Algorithm = Literal["HS256", "HS512", "ES256", "EdDSA", "RS256"]
AUDIENCE = "manta"
TYPE = "at+jwt"
CLAIMS = ("exp", "iat", "nbf", "iss", "aud", "sub", "jti", "sid")
LEEWAY_S = 10
MAX_CHARS = 4096
INVALID = "This access token is not valid. Sign in again."


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token that holds says.

    Attributes:
        subject: The user.
        session_id: The session that it was given out for.
        expires_at: Unix seconds.
    """

    subject: str
    session_id: str
    expires_at: float


@dataclass(frozen=True, slots=True, repr=False)
class _Key:
    id: str
    signs: Any
    checks: Any


class AccessTokens:
    """Makes and checks tokens.

    Args:
        keys: Secrets for HMAC algorithms, else private keys in PEM; the first signs.
        algorithm: The only one that is accepted.
        issuer: Who we are.
        ttl_s: How long a token lives, in seconds.

    Raises:
        SettingsError: A key is none for this algorithm, or too weak.
    """

    def __init__(self, keys: Sequence[str], *, algorithm: Algorithm, issuer: str, ttl_s: float) -> None:
        self._algorithm: Algorithm = algorithm
        self._issuer = issuer
        self.ttl_s = ttl_s
        self._keys = [_key(text, algorithm, position) for position, text in enumerate(keys)]
        self._by_id = {key.id: key for key in self._keys}
        self._codec = jwt.PyJWT({"enforce_minimum_key_length": True})
        # Made once here, so that a weak key ends the start and not the first sign-in.
        self.issue("user_none", "sess_none")

    def issue(self, subject: str, session_id: str) -> str:
        """A token for a user, as of now."""
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": subject,
            "sid": session_id,
            "jti": random_base62(22),
            "iat": now,
            "nbf": now,
            "exp": now + int(self.ttl_s),
        }
        key = self._keys[0]
        try:
            return self._codec.encode(claims, key.signs, self._algorithm, {"typ": TYPE, "kid": key.id})
        except jwt.PyJWTError as error:
            raise SettingsError(f"MANTA_JWT_KEYS: {error}") from None

    def check(self, token: str) -> Claims:
        """What a token says, if it holds.

        Raises:
            AuthenticationFailed: It does not; the same words whatever is wrong, but for one that is only too old.
        """
        try:
            header = jwt.get_unverified_header(token) if len(token) <= MAX_CHARS else {}
            key = self._by_id.get(str(header.get("kid")))
            # `crit` names extensions that must be understood: we understand none.
            if key is None or header.get("typ") != TYPE or "crit" in header:
                raise AuthenticationFailed(INVALID, code="invalid_token")
            claims = self._decoded(token, key)
        except jwt.ExpiredSignatureError:
            raise AuthenticationFailed(
                "This access token has expired. Get a new one at POST /v1/auth/refresh with your refresh token.",
                code="token_expired",
            ) from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise AuthenticationFailed(INVALID, code="invalid_token") from None
        subject, session_id, expires_at = claims["sub"], claims["sid"], claims["exp"]
        if not isinstance(session_id, str) or isinstance(expires_at, (str, bool)):
            raise AuthenticationFailed(INVALID, code="invalid_token")
        return Claims(subject, session_id, float(expires_at))

    def jwks(self) -> dict[str, Any]:
        """The public keys (RFC 7517), for others to check our tokens by; none where the keys are shared secrets."""
        if self._algorithm.startswith("HS"):
            return {"keys": []}
        algorithm = get_default_algorithms()[self._algorithm]
        return {"keys": [self._public(algorithm, key) for key in self._keys]}

    def _public(self, algorithm: Any, key: _Key) -> Mapping[str, Any]:
        public = cast(Mapping[str, Any], algorithm.to_jwk(key.checks, as_dict=True))
        shown = {name: value for name, value in public.items() if name != "key_ops"}
        return {**shown, "kid": key.id, "alg": self._algorithm, "use": "sig"}

    def _decoded(self, token: str, key: _Key) -> Mapping[str, Any]:
        return self._codec.decode(
            token,
            key.checks,
            algorithms=[self._algorithm],
            audience=AUDIENCE,
            issuer=self._issuer,
            leeway=LEEWAY_S,
            options={"require": list(CLAIMS), "strict_aud": True},
        )


def _key(text: str, algorithm: Algorithm, position: int) -> _Key:
    if algorithm.startswith("HS"):
        return _Key(hashlib.sha256(b"manta kid|" + text.encode()).hexdigest()[:16], text.encode(), text.encode())
    try:
        private = serialization.load_pem_private_key(text.encode(), password=None)
        get_default_algorithms()[algorithm].prepare_key(cast(Any, private))
    except (ValueError, TypeError, jwt.PyJWTError):
        where = f"MANTA_JWT_KEYS[{position}]"
        raise SettingsError(f"{where} is no private key in PEM that {algorithm} could sign with.") from None
    public = private.public_key()
    encoded = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _Key(hashlib.sha256(encoded).hexdigest()[:16], private, public)
