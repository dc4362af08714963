"""Never more than the limit in any stretch of its period, whoever comes when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.limits import PERIOD_MS, Per
from app.domain.slices import ends_at_ms, fits_at_ms, oldest_live, passes_at_ms, slice_at, width_ms

NOW = 1_795_434_561_154
FIXED: list[Per] = [per for per in get_args(Per) if per in PERIOD_MS]
EVENTS = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 30)), max_size=80)


@pytest.mark.parametrize("per", FIXED)
@given(events=EVENTS, count=st.integers(1, 60))
def test_no_stretch_of_a_period_has_more_than_the_limit(per: Per, events: list[tuple[int, int]], count: int):
    now, taken = NOW, [(NOW, 0)]
    slices: dict[int, int] = {}
    for wait, amount in events:
        now += wait * PERIOD_MS[per] // 300
        current = slice_at(per, now)
        used = sum(n for k, n in slices.items() if k >= oldest_live(per, current))
        if used + amount <= count:
            slices[current] = slices.get(current, 0) + amount
            taken.append((now, amount))
    for begin, _ in taken:
        assert sum(n for at, n in taken if begin <= at < begin + PERIOD_MS[per]) <= count


@pytest.mark.parametrize("per", get_args(Per))
@given(at=st.integers(0, 4 * 10**12))
def test_a_slice_is_over_when_the_next_one_begins(per: Per, at: int):
    k = slice_at(per, at)
    end = ends_at_ms(per, k)
    assert at < end
    assert slice_at(per, end - 1) == k
    assert slice_at(per, end) == k + 1


@pytest.mark.parametrize("per", get_args(Per))
@given(at=st.integers(0, 4 * 10**12))
def test_what_was_taken_counts_until_it_passes_and_no_longer(per: Per, at: int):
    k = slice_at(per, at)
    passes = passes_at_ms(per, k)
    assert oldest_live(per, slice_at(per, passes - 1)) <= k
    assert oldest_live(per, slice_at(per, passes)) == k + 1
    if per in PERIOD_MS:
        assert PERIOD_MS[per] < passes - at <= PERIOD_MS[per] + width_ms(per)


def test_a_month_is_the_calendars():
    assert ends_at_ms("month", 2026 * 12 + 12) == datetime(2027, 1, 1, tzinfo=UTC).timestamp() * 1000
    assert ends_at_ms("month", 2028 * 12 + 2) == datetime(2028, 3, 1, tzinfo=UTC).timestamp() * 1000


@given(taken=st.lists(st.integers(0, 20), max_size=20), count=st.integers(0, 200), amount=st.integers(1, 60))
def test_it_fits_when_it_is_said_to_and_not_a_slice_earlier(taken: list[int], count: int, amount: int):
    current = slice_at("minute", NOW)
    slices = [(current - len(taken) + 1 + index, n) for index, n in enumerate(taken)]
    at = fits_at_ms("minute", slices, count - sum(taken), amount)

    def fits(moment: float) -> bool:
        oldest = oldest_live("minute", slice_at("minute", moment))
        return sum(n for k, n in slices if k >= oldest) + amount <= count

    if at == 0:
        assert fits(NOW)
    elif at == float("inf"):
        assert amount > count
    else:
        assert fits(at)
        assert not fits(at - 1)
