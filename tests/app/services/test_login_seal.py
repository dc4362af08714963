from __future__ import annotations

from dataclasses import replace

import pytest

from app.domain.login import LOGIN_TTL_S, Login, LoginRefused
from app.services.login_seal import LoginSeal

NOW = 1_900_000_000.0
SEAL, OTHER = LoginSeal(b"k" * 32), LoginSeal(b"o" * 32)
LOGIN = Login.begin("https://llm.example.com/auth/google/callback", "sess_1", NOW)


def refused(sealed: str | None, state: str | None, now: float = NOW) -> str:
    with pytest.raises(LoginRefused) as refusal:
        SEAL.open(sealed, state, now)
    return refusal.value.reason


def test_what_was_sealed_is_opened_by_whoever_has_the_key():
    assert LoginSeal(b"k" * 32).open(SEAL.seal(LOGIN), LOGIN.state, NOW) == LOGIN
    without = replace(LOGIN, session_id=None)
    assert SEAL.open(SEAL.seal(without), LOGIN.state, NOW) == without


def test_nobody_else_can_read_or_make_one():
    sealed = SEAL.seal(LOGIN)
    assert not [secret for secret in (LOGIN.state, LOGIN.nonce, LOGIN.verifier) if secret in sealed]
    assert refused(OTHER.seal(LOGIN), LOGIN.state) == "what the browser kept of the sign-in was not sealed by us"


def test_it_is_for_its_own_state_alone():
    assert refused(SEAL.seal(LOGIN), "x" * 43) == "the state is another sign-in's"
    assert refused(SEAL.seal(LOGIN), None) == "the answer has no state of ours"
    assert "did not begin" in refused(None, LOGIN.state)
    assert "did not begin" in refused("", LOGIN.state)


def test_it_ends():
    sealed = SEAL.seal(LOGIN)
    assert SEAL.open(sealed, LOGIN.state, NOW + LOGIN_TTL_S - 1) == LOGIN
    assert refused(sealed, LOGIN.state, NOW + LOGIN_TTL_S) == "the sign-in took too long"


@pytest.mark.parametrize("garbage", ["x", "é", "\x00", "gAAAAA", "x" * 100_000])
def test_garbage_is_refused(garbage: str):
    assert "not sealed by us" in refused(garbage, LOGIN.state)
