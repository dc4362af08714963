from __future__ import annotations

import json
from decimal import Decimal

import pytest

from app.domain.money import amount, plain


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (10, "0.00000001"),
        (150_000_000, "0.15"),
        (10**9, "1"),
        (100 * 10**9, "100"),
        (1_234_567_890_123_456_789, "1234567890.123456789"),
        (-1_500_000_000, "-1.5"),
    ],
)
def test_an_amount_is_written_digit_by_digit(nano: int, text: str):
    assert amount(nano) == text
    assert Decimal(text) * 10**9 == nano
    json.loads(text)


def test_more_digits_than_a_float_has_are_kept():
    nano = 9_007_199_254_740_993  # the first whole number that no float is
    assert json.loads(amount(nano), parse_float=Decimal) * 10**9 == nano


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Decimal("1E-9"), "0.000000001"),
        (1e-9, "0.000000001"),
        (Decimal("1E+9"), "1000000000"),
        (Decimal("25.50"), "25.5"),
        (10**12, "1000000000000"),
        (1_234_567, "1234567"),
        (50.0, "50"),
    ],
)
def test_no_number_is_written_with_an_exponent(number: Decimal | float, text: str):
    assert plain(number) == text
