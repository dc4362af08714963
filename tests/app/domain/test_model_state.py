from __future__ import annotations

import pytest

from app.domain.model_state import ModelState, StartTimes


def test_a_model_that_nobody_spoke_of_is_cold():
    assert ModelState() == ModelState("cold", replicas=0)


def test_a_start_took_what_its_phases_took():
    times = StartTimes(allocate_s=0.5, process_s=1, fetch_s=2, load_s=3, warm_s=4)
    assert times.total_s == pytest.approx(10.5)
    assert times.to_dict() == {
        "allocate_s": 0.5,
        "process_s": 1,
        "fetch_s": 2,
        "load_s": 3,
        "warm_s": 4,
        "total_s": 10.5,
    }
