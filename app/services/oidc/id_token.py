"""ID tokens: a provider's signed word for who somebody is (OpenID Connect Core 1.0, 3.1.3.7)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from app.domain.login import Login, LoginRefused
from app.errors import InvalidJson
from app.schemas.json_body import is_array, parse_json_object

MAX_CHARS = 16_384
LEEWAY_S = 30
MAX_SUBJECT = 255
REQUIRED = ("iss", "aud", "exp", "iat", "sub", "nonce")
GOOGLE = "https://accounts.google.com"
_HASHES = {"RS256": hashlib.sha256, "PS256": hashlib.sha256, "ES256": hashlib.sha256, "EdDSA": hashlib.sha512}
_SIGNATURES = jwt.PyJWS(options={"enforce_minimum_key_length": True})


@dataclass(frozen=True, slots=True)
class Header:
    """What a token says of its signature: which key to look for, never where."""

    algorithm: str
    key_id: str | None


def read_header(token: object, algorithms: Sequence[str]) -> Header:
    """The header of a token that may be one.

    Args:
        algorithms: What it may be signed with.

    Raises:
        LoginRefused: It is none.
    """
    if not isinstance(token, str) or len(token) > MAX_CHARS:
        raise LoginRefused("the provider gave no ID token, or a huge one")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise LoginRefused("the ID token is none") from None
    algorithm, key_id, type_ = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise LoginRefused("the ID token's algorithm is not one of the provider's that we accept")
    # Tokens for other purposes name them here; `crit` names extensions, of which we understand none.
    if not isinstance(type_, str) or type_.upper() != "JWT" or "crit" in header:
        raise LoginRefused("the ID token's header says that it is something else")
    if key_id is not None and not isinstance(key_id, str):
        raise LoginRefused("the ID token's key id is none")
    return Header(algorithm, key_id)


def read_claims(token: str, key: jwt.PyJWK, header: Header) -> dict[str, Any]:
    """What a token says, if this key signed it.

    Raises:
        LoginRefused: It did not.
    """
    try:
        payload = _SIGNATURES.decode(token, key, [header.algorithm])
        return parse_json_object(payload)
    except (jwt.PyJWTError, ValueError, TypeError):
        raise LoginRefused("the ID token's signature does not hold") from None
    except InvalidJson:
        raise LoginRefused("the ID token's claims are no JSON object") from None


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ID token has to say.

    Attributes:
        issuer: Who gave it out.
        client_id: Whom it is for.
        login: The sign-in that it is about.
    """

    issuer: str
    client_id: str
    login: Login

    def check(self, claims: Mapping[str, Any], now: float) -> None:
        """Return if it says so.

        Args:
            now: Epoch seconds.

        Raises:
            LoginRefused: It does not.
        """
        missing = [name for name in REQUIRED if claims.get(name) is None]
        if missing:
            raise LoginRefused(f"the ID token lacks {', '.join(missing)}")
        if claims["iss"] not in self._issuers():
            raise LoginRefused("the ID token is another issuer's")
        self._check_audience(claims["aud"], claims.get("azp"))
        self._check_times(claims, now)
        nonce, subject = claims["nonce"], claims["sub"]
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), self.login.nonce.encode()):
            raise LoginRefused("the ID token's nonce is another sign-in's")
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
            raise LoginRefused("the ID token's subject is none")

    def _issuers(self) -> Sequence[str]:
        # Google's tokens name it in either way; who somebody is hangs on the first.
        return (GOOGLE, "accounts.google.com") if self.issuer == GOOGLE else (self.issuer,)

    def _check_audience(self, audience: object, party: object) -> None:
        audiences: Sequence[Any] = audience if is_array(audience) else [audience]
        if self.client_id not in audiences:
            raise LoginRefused("the ID token is for somebody else")
        if (len(audiences) > 1 or party is not None) and party != self.client_id:
            raise LoginRefused("the ID token was given to somebody else")

    def _check_times(self, claims: Mapping[str, Any], now: float) -> None:
        ends, made, starts = (_seconds(claims.get(name)) for name in ("exp", "iat", "nbf"))
        if ends is None or made is None or (starts is None and "nbf" in claims):
            raise LoginRefused("the ID token's times are none")
        if ends <= now - LEEWAY_S:
            raise LoginRefused("the ID token has expired")
        if max(made, starts or 0) > now + LEEWAY_S:
            raise LoginRefused("the ID token is from the future")
        if made < self.login.began_at - LEEWAY_S:
            raise LoginRefused("the ID token is older than the sign-in")


def check_access_token(claims: Mapping[str, Any], algorithm: str, access_token: object) -> None:
    """Return if the access token is the one that came with the claims, as far as they say.

    Raises:
        LoginRefused: It is not.
    """
    if "at_hash" not in claims:
        return
    if not isinstance(access_token, str):
        raise LoginRefused("the access token that the ID token speaks of is not there")
    digest = _HASHES[algorithm](access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    given = claims["at_hash"]
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), half.encode()):
        raise LoginRefused("the access token is not the one that the ID token speaks of")


def check_person(claims: Mapping[str, Any]) -> None:
    """Return unless the claims name an e-mail address that the provider does not vouch for.

    Raises:
        LoginRefused: They do.
    """
    if claims.get("email") is not None and claims.get("email_verified") is not True:
        raise LoginRefused("the provider did not verify the e-mail address")


def check_domain(claims: Mapping[str, Any], domains: frozenset[str]) -> None:
    """Return if somebody of this Workspace domain may come in. The e-mail address says nothing of that.

    Args:
        domains: Those that may, in lower case; empty for all.

    Raises:
        LoginRefused: They may not.
    """
    domain = claims.get("hd")
    if domains and (not isinstance(domain, str) or domain.lower() not in domains):
        raise LoginRefused("the account is of no domain that may sign in")


def _seconds(value: object) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number and isinstance(value, (int, float)) else None
