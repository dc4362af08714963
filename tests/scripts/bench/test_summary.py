from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.bench.client import Request, Result
from scripts.bench.memory import Footprint, rows
from scripts.bench.report import Report
from scripts.bench.stats import Spread
from scripts.bench.summary import Kind, Measurement, summarise


def measured(server: str, seconds: float, round_: int = 0, kind: Kind = "streams", **cpu: float) -> Measurement:
    """Two streams of ten tokens, of which the first comes after a tenth of the time."""
    request = Request(100.0, 100.0 + seconds / 10, 100.0 + seconds, tokens=10, gaps=[seconds / 10] * 9)
    return Measurement(server, kind, 2, round_, Result([request, request], cpu_s=0.002), cpu)


def test_servers_are_compared_by_their_medians_and_their_rounds():
    (level,) = summarise(
        [
            *(measured("bare", seconds, index) for index, seconds in enumerate((1.0, 2.0, 1.0))),
            *(measured("ours", seconds, index) for index, seconds in enumerate((2.0, 2.0, 4.0))),
        ]
    )
    bare, ours = level.figures
    assert bare.rate == Spread(20, 10, 20)
    assert ours.rate == Spread(10, 5, 10)
    assert level.against == [Spread(0.5, 0.25, 1)]
    assert ours.first_ms == pytest.approx((200, 400))
    assert ours.gap_ms == pytest.approx((200, 400))


def test_processor_time_is_counted_per_token_with_the_engine_apart():
    (level,) = summarise([measured("ours", 1.0, engine=0.02, gateway=0.004, proxy=0.006)])
    (ours,) = level.figures
    assert ours.engine_us == pytest.approx(1000)
    assert ours.serving_us == pytest.approx({"gateway": 200, "proxy": 300})
    assert ours.serving_total_us == pytest.approx(500)
    assert ours.client_us == pytest.approx(100)


def test_whole_answers_are_counted_by_request_and_timed_to_their_end():
    (level,) = summarise([measured("ours", 1.0, kind="unary")])
    assert level.figures[0].rate.median == pytest.approx(2)
    assert level.figures[0].first_ms == pytest.approx((1000, 1000))


def test_a_failed_request_counts_as_failed_and_for_nothing_else():
    run = measured("ours", 1.0)
    run.result.requests.append(Request(100.0, 101.0, 101.0, tokens=7, error="it died"))
    (level,) = summarise([run])
    assert level.figures[0].failed == 1
    assert level.figures[0].rate.median == pytest.approx(20)


def test_the_report_is_written_for_people_and_for_programs(tmp_path: Path):
    report = Report(
        setting={"command": "overhead | tee"},
        machine={"cores": "2"},
        versions={"ray": "2.60.0"},
        commands={"bare": "python -m x", "ours": "python -m y"},
        start_s={"bare": 30.0, "ours": 40.0},
        levels=summarise([measured("bare", 1.0, engine=0.01), measured("ours", 2.0, engine=0.01, gateway=0.01)]),
        memory={"bare": rows([Footprint(1, "server", 2**21, 2**20)], [], {1: 0.5}), "ours": []},
        errors=["ours, streams at 2, round 1: it died"],
    )
    path = tmp_path / "overhead.md"
    report.save(path)
    text = path.read_text()
    assert "| 2 | ours | 10.0 (10.0..10.0) | 0.50 (0.50..0.50) |" in text
    assert "| server | 1 | 2 | - | 1 | - | 50.0 |" in text
    assert "overhead / tee" in text
    assert "- ours, streams at 2, round 1: it died" in text
    values = json.loads(path.with_suffix(".json").read_text())
    assert values["levels"][0]["figures"][1]["rounds"] == [10.0]
