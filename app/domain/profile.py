"""Who somebody is by the word of the provider."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.user import Identity

MAX_NAME, MAX_EMAIL, MAX_URL = 100, 254, 2048
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")
_PICTURE = re.compile(r"https://[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Profile:
    """An identity and what goes with it.

    Attributes:
        name: What they are called, or None.
        email: Verified by the provider, or None.
        picture: Address of an image, or None.
    """

    identity: Identity
    name: str | None = None
    email: str | None = None
    picture: str | None = None

    @classmethod
    def of(cls, identity: Identity, claims: Mapping[str, Any]) -> Profile:
        """What is in the claims; what is none of its kind is left out.

        The provider lets people choose their names: marks that turn the direction of writing have no place in them.
        """
        return cls(
            identity,
            name=_text(claims.get("name"), MAX_NAME),
            email=_matching(_EMAIL, claims.get("email"), MAX_EMAIL),
            picture=_matching(_PICTURE, claims.get("picture"), MAX_URL),
        )

    @property
    def fields(self) -> dict[str, str]:
        """What there is of it, by the names of a user's fields."""
        fields = {"name": self.name, "email": self.email, "picture": self.picture}
        return {name: value for name, value in fields.items() if value is not None}


def _text(value: object, most: int) -> str | None:
    if not isinstance(value, str):
        return None
    plain = "".join(character for character in value if unicodedata.category(character)[0] != "C")
    return plain.strip()[:most].strip() or None


def _matching(form: re.Pattern[str], value: object, most: int) -> str | None:
    plain = _text(value, most + 1)
    return plain if plain == value and plain and len(plain) <= most and form.fullmatch(plain) else None
