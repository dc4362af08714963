from __future__ import annotations

from typing import Any

import pytest

from app.domain.profile import Profile
from app.domain.user import Identity

ADA = Identity("https://accounts.google.com", "1100")


def of(**claims: Any) -> Profile:
    return Profile.of(ADA, claims)


def test_what_is_said_is_taken():
    profile = of(name="Ada", email="ada@example.com", picture="https://example.com/a.png", role="admin")
    assert profile.fields == {"name": "Ada", "email": "ada@example.com", "picture": "https://example.com/a.png"}


def test_what_is_not_said_is_not_there():
    assert of().fields == {}
    assert of(name=None, email="", picture=5).fields == {}


def test_a_name_is_one_line_of_plain_text():
    assert of(name="  Ada\n\u202eLovelace\x00 ").name == "AdaLovelace"
    assert of(name="\u200f").name is None
    assert of(name="x" * 500).name == "x" * 100


@pytest.mark.parametrize("email", ["ada", "@", "a b@c", "a@b@c", "a@b\n", "a@\u202eb", "x" * 251 + "@b.c", ["a@b.c"]])
def test_an_address_that_is_none_is_left_out(email: Any):
    assert of(email=email).email is None


@pytest.mark.parametrize(
    "picture",
    ["javascript:alert(1)", "http://example.com/a.png", "https://", "https://a b", "data:image/png;base64,AA", "//a/b"],
)
def test_a_picture_is_an_address_that_can_be_shown(picture: str):
    assert of(picture=picture).picture is None
