"""Amounts of money as text: exact, where a float would be the number next to it."""

from __future__ import annotations

from decimal import Decimal

from app.domain.usage import NANO


def amount(nano: int) -> str:
    """Billionths of the currency's unit as a decimal number of units, such as ``0.000125``."""
    whole, part = divmod(abs(nano), NANO)
    return f"{'-' if nano < 0 else ''}{whole}.{part:09}".rstrip("0").rstrip(".")


def plain(number: Decimal | float) -> str:
    """A number digit by digit, never with an exponent."""
    return f"{Decimal(str(number)).normalize():f}"
