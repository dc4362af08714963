"""The keys that a provider signs with (RFC 7517)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jwt

from app.schemas.json_body import is_array, is_object
from app.services.oidc.fetcher import ProviderTrouble

MAX_KEYS = 100
TYPES = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}


class KeySet:
    """Public keys, as they were published.

    Args:
        keys: Each as a JSON object.
    """

    def __init__(self, keys: Sequence[Mapping[str, Any]]) -> None:
        self._keys = keys

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> KeySet:
        """The keys in a document; those that we cannot use are nobody's trouble.

        Raises:
            ProviderTrouble: It is no set of keys.
        """
        keys = document.get("keys")
        if not is_array(keys) or len(keys) > MAX_KEYS:
            raise ProviderTrouble("the key set has no list of keys, or too many")
        return cls([key for key in keys if is_object(key) and key.get("use", "sig") == "sig"])

    def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The one key that a token with this header can have been signed with, or None.

        Its type follows from the algorithm, so that no public key is ever taken for a shared secret.
        """
        fitting = [
            key
            for key in self._keys
            if key.get("kty") == TYPES[algorithm]
            and key.get("alg", algorithm) == algorithm
            and (key_id is None or key.get("kid") == key_id)
        ]
        if len(fitting) != 1:
            return None
        try:
            return jwt.PyJWK(dict(fitting[0]), algorithm)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            return None
