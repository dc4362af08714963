"""How fast places come free, by a clock that stands still until it is told."""

from __future__ import annotations

import pytest

from deployments.pace import MEMORY_S, Pace


class Time:
    """Seconds."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def waited(pace: Pace, time: Time, seconds: float, per_s: float) -> None:
    for _ in range(round(seconds * per_s)):
        time.now += 1 / per_s
        pace.came()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def pace(time: Time) -> Pace:
    return Pace(time)


def test_it_is_unknown_at_first(pace: Pace, time: Time):
    assert pace.per_s() is None
    pace.begin()
    waited(pace, time, 0.5, 20)
    assert pace.per_s() is None, "half a second says little"
    waited(pace, time, 1, 20)
    assert pace.per_s() == pytest.approx(20)


def test_time_in_which_nobody_waits_does_not_count(pace: Pace, time: Time):
    for _ in range(4):
        pace.begin()
        waited(pace, time, 1, 10)
        pace.end()
        time.now += 1
    assert pace.per_s() == pytest.approx(10)


def test_what_is_long_ago_is_left_out(pace: Pace, time: Time):
    pace.begin()
    waited(pace, time, 30, 10)
    waited(pace, time, 15, 2)
    assert pace.per_s() == pytest.approx(2, rel=0.15)


def test_few_places_make_it_look_farther_back(pace: Pace, time: Time):
    pace.begin()
    waited(pace, time, 40, 0.5)
    assert pace.per_s() == pytest.approx(0.5, rel=0.05)


def test_answers_that_end_together_are_no_pace(pace: Pace, time: Time):
    pace.begin()
    for _ in range(8):
        time.now += 4
        for _ in range(8):
            pace.came()
    assert pace.per_s() == pytest.approx(2, rel=0.35)


def test_a_model_that_stands_still_is_seen_to(pace: Pace, time: Time):
    pace.begin()
    waited(pace, time, 10, 10)
    time.now += 5
    before = pace.per_s()
    time.now += 5
    after = pace.per_s()
    assert before is not None
    assert after is not None
    assert after < before < 10


def test_it_is_forgotten_after_a_while(pace: Pace, time: Time):
    pace.begin()
    waited(pace, time, 5, 10)
    pace.end()
    time.now += MEMORY_S + 10
    assert pace.per_s() is None
