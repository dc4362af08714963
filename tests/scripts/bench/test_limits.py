"""A short round of the benchmark of limits, beside the tests' database."""

from __future__ import annotations

import pytest

from scripts.bench.limits import MISSING, Found, arms, markdown, measure, misses, options
from scripts.bench.limits_caller import ONE_EACH, OURS, Call, run
from scripts.bench.servers import BenchError
from tests.support.mongo import MongoServer


async def test_every_way_is_measured_under_both_loads(mongodb: MongoServer):
    chosen = options(["--rounds", "1", "--processes", "2", "--rate", "20", "--seconds", "2"])
    found = measure(mongodb.uri, chosen, [OURS, ONE_EACH])
    assert [(each.load, each.arm) for each in found] == [
        ("all are let in", OURS),
        ("all are let in", ONE_EACH),
        ("most are refused", OURS),
        ("most are refused", ONE_EACH),
    ]
    assert [(each.requests, each.over) for each in found] == [(80, 0)] * 4
    assert [each.admitted for each in found] == [80, 80, 8, 8]
    assert found[0].operations < 1 <= found[1].operations
    text = markdown(found, chosen, {"processor": "x"}, [MISSING])
    assert MISSING in text
    assert len([line for line in text.splitlines() if f"| {OURS} |" in line]) == 2


def test_a_package_that_is_not_there_is_left_out_and_that_is_said(
    mongodb: MongoServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("scripts.bench.limits.find_spec", lambda _: None)
    assert arms(mongodb.uri) == ([OURS, ONE_EACH], [MISSING])


def test_a_way_that_fails_tells_why(mongodb: MongoServer):
    with pytest.raises(BenchError, match="no such way"):
        run(Call("no such way", mongodb.uri, "x", 10, 1, 5, 1), 1)


def test_what_ours_misses_is_named():
    def one(operations: float, us: float, over: int, arm: str = OURS) -> Found:
        return Found(arm, "a load", 100, 100, operations, us, over, 1.0)

    assert misses([one(0.1, 30, 0), one(0.3, 90, 0), one(0.01, 3, 0)]) == []
    assert misses([one(0.2, 10, 0)]) == ["a load: 0.200 operations a request, over the target of 0.1"]
    assert misses([one(0, 31, 0)]) == ["a load: 31.0 us a decision, over the target of 30"]
    assert misses([one(0, 1, 0), one(0, 1, 1)]) == ["a load: more were let in than the limit says"]
    assert misses([one(0, 1, 0), one(1, 500, 7, ONE_EACH)]) == []
