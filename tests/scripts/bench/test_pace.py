from __future__ import annotations

from itertools import pairwise

import pytest

from app.domain.model_spec import ModelSpec
from scripts.bench.client import Request
from scripts.bench.pace import Pace

PACE = Pace(first_s=0.5, interval_s=0.1, tokens=4)


def stream(*arrivals: float, error: str | None = None) -> Request:
    """A stream that was due at 100 s, with its tokens' arrivals and then its end."""
    times = [*arrivals, arrivals[-1]]
    gaps = [after - before for before, after in pairwise(times)]
    return Request(100.0, 100.0 + times[0], 100.0 + times[-1], tokens=4, gaps=gaps, error=error)


def test_a_stream_that_keeps_its_pace_is_delivered_and_not_late():
    requests = [stream(0.5, 0.6, 0.7, 0.8), stream(0.6, 0.7, 0.8, 0.9)]
    assert PACE.late(requests) == 0
    assert PACE.delivered(requests) == 1


def test_a_stall_makes_late_what_it_held_up_and_nothing_after_it():
    assert PACE.late([stream(0.5, 0.75, 0.75, 0.8)]) == 0.25
    assert PACE.delivered([stream(0.5, 0.75, 0.75, 0.8)]) == 1


def test_a_stream_that_lags_is_late_as_a_whole_and_lacks_its_end():
    lagging = [stream(0.65, 0.75, 0.85, 0.95)]
    assert PACE.late(lagging) == 1
    assert PACE.delivered(lagging) == 0.75


def test_what_never_comes_is_late_and_not_delivered():
    requests = [stream(0.5, 0.6, 0.7, 0.8), stream(0.5, error="it died"), stream(0.5)]
    assert PACE.late(requests) == pytest.approx(6 / 12)
    assert PACE.delivered(requests) == pytest.approx(6 / 12)


def test_only_an_engine_that_keeps_a_pace_has_one():
    paced = ModelSpec.model_validate(
        {"id": "m", "engine": "scripted", "engine_args": {"ttft_s": 0.5, "tokens_per_s": 10}}
    )
    assert Pace.of(paced, 4) == PACE
    unpaced = ModelSpec.model_validate({"id": "m", "engine": "scripted", "engine_args": {}})
    assert Pace.of(unpaced, 4) is None
    assert Pace.of(ModelSpec(id="m", source="/models/m"), 4) is None
