from __future__ import annotations

from typing import Any

import pytest

from app.services.oidc.fetcher import ProviderTrouble
from app.services.oidc.keys import MAX_KEYS, KeySet
from tests.support.hostile_provider import public_jwk

RSA, EC, OKP = (public_jwk(name, name) for name in ("RS256", "ES256", "EdDSA"))


def key_set(*keys: Any) -> KeySet:
    return KeySet.parse({"keys": list(keys)})


def test_a_key_is_found_by_its_id_and_by_what_it_can_do():
    keys = key_set(RSA, EC, OKP)
    for algorithm, key in (("RS256", RSA), ("PS256", RSA), ("ES256", EC), ("EdDSA", OKP)):
        found = keys.find(key["kid"], algorithm)
        assert found is not None
        assert (found.key_id, found.algorithm_name) == (key["kid"], algorithm)
    assert keys.find("RS256", "ES256") is None
    assert keys.find("unheard-of", "RS256") is None


def test_without_an_id_there_must_be_no_choice():
    assert key_set(RSA, EC).find(None, "RS256") is not None
    assert key_set(RSA, {**RSA, "kid": "second"}).find(None, "RS256") is None


def test_an_id_that_two_keys_have_names_none():
    assert key_set(RSA, dict(RSA)).find("RS256", "RS256") is None


def test_a_key_that_is_for_something_else_is_not_used():
    assert key_set({**RSA, "use": "enc"}).find("RS256", "RS256") is None
    assert key_set({**RSA, "alg": "RS512"}).find("RS256", "RS256") is None


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "RSA", "kid": "x"},
        {"kty": "RSA", "kid": "x", "n": "!", "e": "AQAB"},
        {"kty": "RSA", "kid": "x", "n": 5, "e": None},
        {"kty": "EC", "kid": "x", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "oct", "kid": "x", "k": "AAAA"},
        {"kty": ["RSA"], "kid": "x"},
        {},
    ],
)
def test_a_key_that_cannot_be_used_is_nobodys_trouble(key: dict[str, Any]):
    keys = key_set(key, "not a key", RSA)
    for algorithm in ("RS256", "PS256", "ES256", "EdDSA"):
        assert keys.find("x", algorithm) is None
    assert keys.find("RS256", "RS256") is not None


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": [RSA] * (MAX_KEYS + 1)}])
def test_what_is_no_set_of_keys_is_trouble(document: dict[str, Any]):
    with pytest.raises(ProviderTrouble):
        KeySet.parse(document)
