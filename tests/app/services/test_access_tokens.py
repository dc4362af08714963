"""Every way we know of to get past a token's check: see RFC 8725 and the advisories of JWT libraries."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from app.errors import AuthenticationFailed
from app.services.access_tokens import AUDIENCE, MAX_CHARS, AccessTokens, Algorithm
from app.settings import SettingsError

SECRET = "a secret of thirty-two characters or more"
ISSUER = "https://manta.example"


def pem(key: Any) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public_pem(private_pem: str) -> bytes:
    private = serialization.load_pem_private_key(private_pem.encode(), None)
    return private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


KEYS: dict[Algorithm, str] = {
    "HS256": SECRET,
    "HS512": SECRET * 2,
    "ES256": pem(ec.generate_private_key(ec.SECP256R1())),
    "EdDSA": pem(ed25519.Ed25519PrivateKey.generate()),
    "RS256": pem(rsa.generate_private_key(65537, 2048)),
}


def tokens(algorithm: Algorithm = "HS256", *keys: str, issuer: str = ISSUER, ttl_s: float = 900) -> AccessTokens:
    return AccessTokens(keys or [KEYS[algorithm]], algorithm=algorithm, issuer=issuer, ttl_s=ttl_s)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    base = {"iss": ISSUER, "aud": AUDIENCE, "sub": "user_1", "sid": "sess_1", "jti": "x", "iat": now, "nbf": now}
    return {name: value for name, value in {**base, "exp": now + 900, **changes}.items() if value is not None}


def forged(payload: dict[str, Any] | None = None, key: Any = SECRET, algorithm: str = "HS256", **header: Any) -> str:
    kid = jwt.get_unverified_header(tokens().issue("u", "s"))["kid"]
    headers = {"typ": "at+jwt", "kid": kid, **header}
    # Below the layer that would not write such claims.
    text = json.dumps(payload or claims()).encode()
    return jwt.PyJWS().encode(text, key, algorithm, {k: v for k, v in headers.items() if v is not None})


def raw(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def refused(token: str, checker: AccessTokens | None = None) -> AuthenticationFailed:
    with pytest.raises(AuthenticationFailed) as refusal:
        (checker or tokens()).check(token)
    return refusal.value


@pytest.mark.parametrize("algorithm", KEYS)
def test_what_is_issued_holds(algorithm: Algorithm):
    made = tokens(algorithm)
    found = made.check(made.issue("user_1", "sess_1"))
    assert (found.subject, found.session_id) == ("user_1", "sess_1")
    assert 890 < found.expires_at - time.time() <= 900


def test_a_token_that_was_made_by_hand_as_ours_are_holds():
    assert tokens().check(forged()).subject == "user_1", "else the tests below prove nothing"


CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example"},
    "an issuer that contains ours": {"iss": ISSUER + ".evil.example"},
    "a part of our issuer": {"iss": "https://manta"},
    "a list of issuers": {"iss": [ISSUER]},
    "another audience": {"aud": "another"},
    "a list of audiences": {"aud": [AUDIENCE, "another"]},
    "not yet": {"nbf": int(time.time()) + 3600},
    "from the future": {"iat": int(time.time()) + 3600},
    "an expiry that is text": {"exp": "9999999999"},
    "an expiry that is no number": {"exp": "never"},
    "an expiry that is true": {"exp": True},
    "a subject that is a number": {"sub": 5},
    "a session that is an object": {"sid": {"$ne": None}},
    **{f"without {name}": {name: None} for name in ("exp", "iat", "nbf", "iss", "aud", "sub", "jti", "sid")},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_that_are_not_as_we_make_them(name: str):
    assert refused(forged(claims(**CLAIMS[name]))).code in ("invalid_token", "token_expired")


def test_a_token_that_is_too_old_is_told_apart():
    assert refused(forged(claims(exp=int(time.time()) - 60))).code == "token_expired"


def test_that_a_token_is_too_old_is_told_only_if_it_was_ours():
    old = forged(claims(exp=int(time.time()) - 60), key="another secret of thirty-two characters")
    assert refused(old).code == "invalid_token"


HEADERS: dict[str, dict[str, Any]] = {
    "no type": {"typ": None},
    "an ID token's type": {"typ": "JWT"},
    "a type that contains ours": {"typ": "x-at+jwt"},
    "no key id": {"kid": None},
    "an unknown key id": {"kid": "0000"},
    "a key id that is a path": {"kid": "../../dev/null"},
    "extensions that must be understood": {"crit": ["exp"], "exp": 1},
    "a key in the header": {"jwk": {"kty": "oct", "k": "AA"}, "kid": "none"},
    "the address of keys": {"jku": "http://127.0.0.1/keys", "kid": "none"},
    "a certificate's address": {"x5u": "http://127.0.0.1/cert", "kid": "none"},
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_are_not_as_we_make_them(name: str):
    assert refused(forged(**HEADERS[name])).code == "invalid_token"


@pytest.mark.parametrize("none", ["none", "None", "NONE", "nOnE", ""])
def test_a_token_without_a_signature(none: str):
    kid = jwt.get_unverified_header(forged())["kid"]
    assert refused(raw({"alg": none, "typ": "at+jwt", "kid": kid}, claims())).code == "invalid_token"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_with_the_right_secret(algorithm: str):
    assert refused(forged(key=SECRET * 2, algorithm=algorithm)).code == "invalid_token"


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_a_public_key_taken_for_a_secret(algorithm: Algorithm):
    import hashlib
    import hmac

    checker = tokens(algorithm)
    kid = jwt.get_unverified_header(checker.issue("u", "s"))["kid"]
    unsigned = raw({"alg": "HS256", "typ": "at+jwt", "kid": kid}, claims()).rstrip(".")
    for secret in (public_pem(KEYS[algorithm]), json.dumps(checker.jwks()["keys"][0]).encode()):
        mac = hmac.digest(secret, unsigned.encode(), hashlib.sha256)
        token = f"{unsigned}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        assert refused(token, checker).code == "invalid_token"


def test_another_secret():
    assert refused(forged(key="another secret of thirty-two characters")).code == "invalid_token"


def test_a_changed_token():
    header, payload, signature = tokens().issue("user_1", "sess_1").split(".")
    other = base64.urlsafe_b64encode(json.dumps(claims(sub="user_admin")).encode()).rstrip(b"=").decode()
    for token in (f"{header}.{other}.{signature}", f"{header}.{payload}.", f"{header}.{payload}.AAAA"):
        assert refused(token).code == "invalid_token"


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "é.é.é", "\x00.\x00.\x00", "e30.e30.e30", "bnVsbA.bnVsbA.", "W10.W10.", "....", "=.=.="],
)
def test_what_is_no_token(token: str):
    assert refused(token).code == "invalid_token"


def test_what_is_too_long_or_too_deep_is_refused_before_it_is_read():
    assert refused(forged(claims(extra="x" * MAX_CHARS))).code == "invalid_token"
    deep = base64.urlsafe_b64encode(b"[" * 2000).decode().rstrip("=")
    assert refused(f"{deep}.{deep}.x").code == "invalid_token"


def test_every_refusal_has_the_same_words():
    words = {refused(forged(**header)).message for header in HEADERS.values()}
    words |= {refused(token).message for token in ("a.b.c", forged(key="another secret of thirty-two characters"))}
    assert len(words) == 1


def test_keys_are_changed_without_a_logout():
    old = tokens("HS256", SECRET)
    made_before = old.issue("user_1", "sess_1")
    new = "a newer secret of thirty-two characters"
    # First everybody learns to check the new key, then it signs, then the old one goes.
    assert tokens("HS256", SECRET, new).check(made_before).subject == "user_1"
    rotated = tokens("HS256", new, SECRET)
    assert rotated.check(made_before).subject == "user_1"
    made_after = rotated.issue("user_1", "sess_1")
    assert tokens("HS256", SECRET, new).check(made_after).subject == "user_1"
    assert tokens("HS256", new).check(made_after).subject == "user_1"
    assert refused(made_before, tokens("HS256", new)).code == "invalid_token"


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_others_can_check_our_tokens_by_the_public_keys(algorithm: Algorithm):
    made = tokens(algorithm)
    (shown,) = jwt.PyJWKSet.from_dict(made.jwks()).keys
    token = made.issue("user_1", "sess_1")
    assert jwt.get_unverified_header(token)["kid"] == shown.key_id
    assert jwt.decode(token, shown, algorithms=[algorithm], audience=AUDIENCE)["sub"] == "user_1"
    assert not {"d", "p", "q", "k"} & set(made.jwks()["keys"][0]), "private parts are shown"


def test_shared_secrets_are_shown_to_nobody():
    assert tokens().jwks() == {"keys": []}


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("HS256", "too short"),
        ("HS512", "long enough for HS256, not for it"),
        ("RS256", pem(rsa.generate_private_key(65537, 1024))),
        ("RS256", KEYS["ES256"]),
        ("ES256", KEYS["RS256"]),
        ("ES256", pem(ec.generate_private_key(ec.SECP384R1()))),
        ("EdDSA", KEYS["ES256"]),
        ("ES256", "no key"),
    ],
)
def test_a_key_that_is_weak_or_of_another_kind_ends_the_start(algorithm: Algorithm, key: str):
    with pytest.raises(SettingsError, match="MANTA_JWT_KEYS"):
        tokens(algorithm, key)
