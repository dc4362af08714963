from __future__ import annotations

import string

import pytest

from app.domain.api_key import ApiKey

SECRET = b"secret"


def _another_character(character: str) -> str:
    return "a" if character != "a" else "b"


def test_a_minted_key_is_parsed_back():
    key = ApiKey.mint(SECRET)
    assert ApiKey.parse(key.value) == key


def test_a_key_looks_as_documented():
    prefix, id_, rest = ApiKey.mint(SECRET).value.replace("sk-manta-", "sk-manta ").replace("_", " ").split(" ")
    assert prefix == "sk-manta"
    assert (len(id_), len(rest)) == (12, 32 + 11 + 6)
    assert set(id_ + rest) <= set(string.ascii_letters + string.digits)


def test_keys_differ():
    keys = [ApiKey.mint(SECRET) for _ in range(100)]
    assert len({key.value for key in keys}) == len({key.id for key in keys}) == 100


def test_every_single_typing_error_is_noticed():
    value = ApiKey.mint(SECRET).value
    for index, character in enumerate(value):
        mistyped = value[:index] + _another_character(character) + value[index + 1 :]
        assert ApiKey.parse(mistyped) is None, mistyped


@pytest.mark.parametrize(
    "value",
    ["", "sk-manta-", "sk-123", "test", "sk-manta-" + "a" * 12 + "_" + "b" * 49, "Bearer x", "\x00", "é" * 71, "🐟"],
)
def test_what_is_no_key_is_not_parsed(value: str):
    assert ApiKey.parse(value) is None


@pytest.mark.parametrize("change", [" {}", "{} ", "{}\n", "{}x", "x{}"])
def test_nothing_may_stand_around_a_key(change: str):
    assert ApiKey.parse(change.format(ApiKey.mint(SECRET).value)) is None


def test_digits_of_other_scripts_are_refused():
    value = ApiKey.mint(SECRET).value
    assert ApiKey.parse(value[:-1] + "٣") is None


def test_the_digest_depends_on_key_and_secret_and_on_nothing_else():
    key, other = ApiKey.mint(SECRET), ApiKey.mint(SECRET)
    parsed = ApiKey.parse(key.value)
    assert parsed is not None
    assert key.digest(SECRET) == parsed.digest(SECRET)
    assert key.digest(SECRET) != other.digest(SECRET)
    assert key.digest(SECRET) != key.digest(b"another")
    assert len(key.digest(SECRET)) == 64


def test_a_seal_tells_what_was_made_under_this_secret():
    key = ApiKey.mint(SECRET)
    assert key.is_sealed(SECRET)
    assert not key.is_sealed(b"another")


def test_a_key_that_somebody_made_up_has_no_seal_however_well_formed():
    value = ApiKey.mint(b"another").value
    forged = ApiKey.parse(value)
    assert forged is not None
    assert not forged.is_sealed(SECRET)


def test_a_key_is_never_shown_whole():
    key = ApiKey.mint(SECRET)
    secret = key.value.split("_")[1][:43]
    for text in (repr(key), str(key), f"{key}", key.redacted, repr([key])):
        assert secret not in text
        assert secret[:8] not in text
    assert key.id in repr(key)
