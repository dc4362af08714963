"""What only a unit can show: the rest of the ID token's rules are broken over HTTP in ``test_sign_in_attacks``."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from app.domain.login import Login, LoginRefused
from app.services.oidc.id_token import GOOGLE, LEEWAY_S, MAX_CHARS, Expected, Header, read_claims, read_header

NOW = 1_900_000_000.0
LOGIN = Login.begin("https://llm.example.com/auth/google/callback", None, NOW)
ALL = ("RS256", "PS256", "ES256", "EdDSA")


def claims(**changes: Any) -> dict[str, Any]:
    standard = {"iss": GOOGLE, "aud": "us", "sub": "1", "nonce": LOGIN.nonce, "iat": NOW, "exp": NOW + 300}
    return {**standard, **changes}


def check(now: float = NOW, issuer: str = GOOGLE, **changes: Any) -> None:
    Expected(issuer, "us", LOGIN).check(claims(**changes), now)


def test_google_is_known_under_both_of_its_names_and_nobody_else_is():
    check(iss=GOOGLE)
    check(iss="accounts.google.com")
    with pytest.raises(LoginRefused, match="another issuer's"):
        check(issuer="https://a.example", iss="a.example")
    with pytest.raises(LoginRefused, match="another issuer's"):
        check(iss="https://accounts.google.com/")


def test_clocks_may_differ_by_half_a_minute_and_no_more():
    check(exp=NOW - LEEWAY_S + 1, iat=NOW - 10)
    check(iat=NOW + LEEWAY_S)
    check(iat=NOW - LEEWAY_S)
    for wrong in ({"exp": NOW - LEEWAY_S}, {"iat": NOW + LEEWAY_S + 1}, {"iat": NOW - LEEWAY_S - 1}):
        with pytest.raises(LoginRefused):
            check(**wrong)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1900000300", True, [], {}])
def test_times_are_numbers(value: Any):
    for name in ("exp", "iat", "nbf"):
        with pytest.raises(LoginRefused, match="times are none"):
            check(**{name: value})


@pytest.mark.parametrize("token", [None, 5, b"a.b.c", "", "a.b.c", "..", "é.é.é", "x" * (MAX_CHARS + 1), "W10.W10.W10"])
def test_what_is_no_token_is_refused_unread(token: Any):
    with pytest.raises(LoginRefused):
        read_header(token, ALL)


def test_a_key_that_is_too_short_signs_nothing():
    weak = rsa.generate_private_key(65537, 1024)
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        token = jwt.encode(claims(), weak, "RS256")
    key = jwt.PyJWK(RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True), "RS256")
    with pytest.raises(LoginRefused, match="signature does not hold"):
        read_claims(token, key, Header("RS256", None))
