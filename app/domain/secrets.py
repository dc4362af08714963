"""Randomness, and keys made of the installation's one secret."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase


def random_base62(length: int) -> str:
    """Unguessable characters: 5.95 bits each."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def base62(number: int, length: int) -> str:
    """The last ``length`` digits of a number."""
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def keyed(secret: bytes, text: str) -> bytes:
    """HMAC-SHA-256."""
    return hmac.digest(secret, text.encode(), hashlib.sha256)


def derived(secret: bytes, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose: what knows it knows neither the secret nor the keys for other purposes.

    One step of HKDF's expansion (RFC 5869), which is enough for a secret that is random already.
    """
    return hmac.digest(secret, f"manta {purpose}\x01".encode(), hashlib.sha256)
