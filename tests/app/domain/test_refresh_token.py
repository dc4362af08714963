from __future__ import annotations

import pytest

from app.domain.refresh_token import RefreshToken

KEY, OTHER = b"key", b"another key"


def test_a_token_is_parsed_back():
    token = RefreshToken.first(KEY)
    assert RefreshToken.parse(token.value, KEY) == token
    assert token.session_id.startswith("sess_")


def test_a_token_that_somebody_made_up_is_none():
    assert RefreshToken.parse(RefreshToken.first(OTHER).value, KEY) is None


def test_every_changed_character_is_noticed():
    value = RefreshToken.first(KEY).value
    for index, character in enumerate(value):
        changed = value[:index] + ("a" if character != "a" else "b") + value[index + 1 :]
        assert RefreshToken.parse(changed, KEY) is None, changed


@pytest.mark.parametrize("value", ["", "rt-manta-", "a.b.c", "x" * 10_000, "é", "\x00"])
def test_what_is_no_token_is_not_parsed(value: str):
    assert RefreshToken.parse(value, KEY) is None


def test_a_successor_is_of_the_same_session_and_can_be_made_again():
    token = RefreshToken.first(KEY)
    following = token.successor("salt", KEY)
    assert following == token.successor("salt", KEY)
    assert following.session_id == token.session_id
    assert following.value != token.value
    assert RefreshToken.parse(following.value, KEY) == following


def test_a_successor_cannot_be_told_without_the_key_and_the_salt():
    token = RefreshToken.first(KEY)
    assert len({token.successor(salt, key).value for salt in ("a", "b") for key in (KEY, OTHER)}) == 4


def test_a_token_is_never_shown_whole():
    token = RefreshToken.first(KEY)
    for text in (repr(token), str(token), f"{[token]}"):
        assert token.value[40:60] not in text
