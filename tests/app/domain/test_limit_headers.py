"""Limits as headers."""

from __future__ import annotations

import pytest

from app.domain.limit_headers import duration, rate_limit_headers
from app.domain.limits import Bound, Limit, Per, Standing, What


def standing(what: What, count: int, per: Per, remaining: int, reset_in_s: float = 30.0) -> Standing:
    bound = Bound("user:1", f"all:{what}/{per}", Limit(what, count, per))
    return Standing(bound, remaining, 1_700_000_000.2 + reset_in_s, reset_in_s)


def test_nothing_is_said_where_nothing_is_limited() -> None:
    assert rate_limit_headers([]) == []


def test_the_window_with_the_least_left_is_told() -> None:
    headers = dict(
        rate_limit_headers(
            [standing("requests", 1000, "hour", 999, 3600), standing("inference_requests", 60, "minute", 59, 60)]
        )
    )
    assert headers == {
        b"x-ratelimit-limit": b"60",
        b"x-ratelimit-remaining": b"59",
        b"x-ratelimit-reset": b"1700000061",
        b"x-ratelimit-limit-requests": b"60",
        b"x-ratelimit-remaining-requests": b"59",
        b"x-ratelimit-reset-requests": b"1m0s",
    }


def test_requests_and_tokens_are_told_apart() -> None:
    headers = dict(
        rate_limit_headers([standing("requests", 60, "minute", 59), standing("tokens", 150_000, "minute", 12, 360)])
    )
    assert headers[b"x-ratelimit-limit"] == b"60"
    assert headers[b"x-ratelimit-remaining-tokens"] == b"12"
    assert headers[b"x-ratelimit-reset-tokens"] == b"6m0s"


def test_of_equals_the_one_is_told_that_is_back_last() -> None:
    headers = dict(
        rate_limit_headers([standing("requests", 5, "minute", 0, 2), standing("requests", 9, "hour", 0, 99)])
    )
    assert headers[b"x-ratelimit-limit"] == b"9"


def test_where_tokens_alone_are_limited_they_are_the_window() -> None:
    assert dict(rate_limit_headers([standing("tokens", 70, "minute", 3)]))[b"x-ratelimit-limit"] == b"70"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.0121, "13ms"), (1, "1s"), (59.2, "1m0s"), (360, "6m0s"), (3600, "1h0m0s"), (90_061, "25h1m1s")],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
