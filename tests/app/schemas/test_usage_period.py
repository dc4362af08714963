from __future__ import annotations

from typing import Any

import pytest

from app.errors import InvalidRequest
from app.schemas.usage_period import DAY_S, SaidPeriod

TODAY = 1_795_392_000  # 2026-11-23, in UTC
NOW = TODAY + 40_000.5


def of(**said: Any) -> tuple[int, int]:
    period = SaidPeriod(**said).period(NOW)
    return period.start_s, period.end_s


@pytest.mark.parametrize(
    ("said", "start", "end"),
    [
        ({}, TODAY - 29 * DAY_S, TODAY + DAY_S),
        ({"days": 1}, TODAY, TODAY + DAY_S),
        ({"days": 7}, TODAY - 6 * DAY_S, TODAY + DAY_S),
        ({"start": 1_795_000_000}, 1_795_000_000, TODAY + DAY_S),
        ({"start": 1_795_000_000, "end": 1_795_000_001}, 1_795_000_000, 1_795_000_001),
        ({"start_date": "2026-11-22"}, TODAY - DAY_S, TODAY + DAY_S),
        ({"start_date": "2026-11-22", "end_date": "2026-11-22"}, TODAY - DAY_S, TODAY),
        ({"end_date": "2026-11-22", "days": 2}, TODAY - 2 * DAY_S, TODAY),
        ({"end": TODAY, "days": 2}, TODAY - 2 * DAY_S, TODAY),
        ({"end": TODAY + 1, "days": 2}, TODAY - DAY_S, TODAY + 1),
        ({"start_date": "2026-11-22", "end": TODAY + 5}, TODAY - DAY_S, TODAY + 5),
        ({"end_date": "1970-01-02"}, 0, 2 * DAY_S),
    ],
)
def test_a_period_is_what_was_said(said: dict[str, Any], start: int, end: int):
    assert of(**said) == (start, end)


def test_a_period_knows_its_days():
    period = SaidPeriod(start_date="2026-11-01", end_date="2026-11-30").period(NOW)
    assert (period.first_day, period.last_day) == ("2026-11-01", "2026-11-30")


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"start": TODAY + 10, "end": TODAY + 10}, "start"),
        ({"start": TODAY + DAY_S}, "start"),
        ({"start_date": "2026-11-24"}, "start_date"),
        ({"start_date": "2026-11-22", "end_date": "2026-11-21"}, "start_date"),
        ({"start": 0}, "start"),
        ({"start_date": "2020-01-01"}, "start_date"),
        ({"start": 1, "start_date": "2026-11-22"}, "start_date"),
        ({"end": 1, "end_date": "2026-11-22"}, "end_date"),
        ({"start": 1, "days": 3}, "days"),
        ({"start_date": "2026-11-22", "days": 3}, "days"),
        ({"end": 0}, "start"),
    ],
)
def test_what_is_no_period_is_refused_by_its_parameter(said: dict[str, Any], param: str):
    with pytest.raises(InvalidRequest) as refusal:
        of(**said)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    "text",
    ["", "today", "2026-13-01", "2026-02-30", "20261122", "2026-11-22T00:00", "9999-12-31", "1969-12-31", "٢026-11-22"],
)
@pytest.mark.parametrize("name", ["start_date", "end_date"])
def test_what_is_no_day_is_refused(name: str, text: str):
    with pytest.raises(InvalidRequest) as refusal:
        of(**{name: text})
    assert refusal.value.param == name
