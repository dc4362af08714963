from __future__ import annotations

from typing import Any

import pytest

from deployments import start_clock as module
from deployments.start_clock import PhaseClock


def test_each_phase_gets_its_seconds_and_everything_is_passed_on(monkeypatch: pytest.MonkeyPatch):
    moments = iter((10.0, 13.0, 20.0, 21.0))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(moments))
    monkeypatch.setattr(module, "age_s", lambda: 1.5)
    heard: list[Any] = []
    clock = PhaseClock(lambda *report: heard.append(report))
    for phase in ("fetching", "fetching", "loading", "warming"):
        clock(phase, 0.5, "words")
    times = clock.times()
    assert (times.process_s, times.fetch_s, times.load_s, times.warm_s) == (1.5, 3.0, 7.0, 1.0)
    assert heard[0] == ("fetching", 0.5, "words")
    assert len(heard) == 4


def test_a_phase_that_never_came_took_no_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "age_s", lambda: 0.0)
    assert PhaseClock(lambda *_: None).times().total_s == 0
