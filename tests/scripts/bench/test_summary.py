from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.bench.client import Request, Result
from scripts.bench.memory import Footprint, rows
from scripts.bench.pace import Pace
from scripts.bench.report import Report
from scripts.bench.soak import Look
from scripts.bench.stats import Spread
from scripts.bench.summary import Kind, Measurement, summarise


def measured(
    server: str,
    seconds: float,
    round_: int = 0,
    kind: Kind = "streams",
    cpu: dict[str, float] | None = None,
    pace: Pace | None = None,
) -> Measurement:
    """Two streams of ten tokens, of which the first comes after a tenth of the time."""
    request = Request(100.0, 100.0 + seconds / 10, 100.0 + seconds, tokens=10, gaps=[seconds / 10] * 9)
    return Measurement(server, kind, 2, round_, Result([request, request], cpu_s=0.002), cpu or {}, pace=pace)


def test_servers_are_compared_by_their_medians_and_their_rounds():
    (level,) = summarise(
        [
            *(measured("bare", seconds, index) for index, seconds in enumerate((1.0, 2.0, 1.0))),
            *(measured("ours", seconds, index) for index, seconds in enumerate((2.0, 2.0, 4.0))),
        ]
    )
    bare, ours = (figures.values for figures in level.figures)
    assert bare["rate"].spread == Spread(20, 10, 20)
    assert bare["rate"].against is None
    assert ours["rate"].spread == Spread(10, 5, 10)
    assert ours["rate"].against == Spread(0.5, 0.25, 1)
    for name in ("wait_p50", "wait_p99", "gap_p50", "gap_p99"):
        assert ours[name].rounds == pytest.approx([200, 200, 400])
        assert ours[name].against == Spread(pytest.approx(2), pytest.approx(1), pytest.approx(4))


def test_processor_time_is_counted_per_token_with_the_engine_apart():
    cpu = {"vLLM worker": 0.015, "vLLM engine core": 0.005, "gateway": 0.004, "Serve proxy": 0.006}
    (level,) = summarise([measured("ours", 1.0, cpu=cpu)])
    (ours,) = level.figures
    values = {name: value.spread.median for name, value in ours.values.items() if name.endswith("_us")}
    assert values == pytest.approx({"engine_us": 1000, "serving_us": 500, "all_us": 1500, "client_us": 100})
    assert list(ours.costs) == ["vLLM worker", "Serve proxy", "vLLM engine core", "gateway"]
    assert ours.costs["gateway"] == pytest.approx(200)


def test_a_process_that_was_not_there_in_every_round_cost_nothing_in_the_others():
    rounds = [measured("ours", 1.0, index, cpu={"gateway": 0.02, name: 0.02}) for index, name in enumerate("aab")]
    (level,) = summarise(rounds)
    assert level.figures[0].costs == pytest.approx({"gateway": 1000, "a": 1000, "b": 0})


def test_whole_answers_are_counted_by_request_and_timed_to_their_end():
    (level,) = summarise([measured("ours", 1.0, kind="unary")])
    values = level.figures[0].values
    assert values["rate"].spread.median == pytest.approx(2)
    assert values["wait_p50"].spread.median == pytest.approx(1000)


def test_a_failed_request_counts_as_failed_and_for_nothing_else():
    run = measured("ours", 1.0)
    run.result.requests.append(Request(100.0, 101.0, 101.0, tokens=7, error="it died"))
    (level,) = summarise([run])
    assert level.figures[0].failed == 1
    assert level.figures[0].values["rate"].spread.median == pytest.approx(20)


def test_a_share_of_nothing_is_compared_with_nothing():
    rounds = [measured(name, 1.0, pace=Pace(0.5, 0.1, 10)) for name in ("bare", "ours")]
    (level,) = summarise(rounds)
    assert level.figures[1].values["late"].spread == Spread(0, 0, 0)
    assert level.figures[1].values["late"].against is None


def test_the_report_is_written_for_people_and_for_programs(tmp_path: Path):
    pace = Pace(0.1, 0.1, 10)
    report = Report(
        setting={"command": "overhead | tee"},
        machine={"cores": "2"},
        versions={"ray": "2.60.0"},
        commands={"bare": "python -m x", "ours": "python -m y"},
        start_s={"bare": 30.0, "ours": 40.0},
        levels=summarise(
            [
                measured("bare", 1.0, cpu={"vLLM worker": 0.01}, pace=pace),
                measured("ours", 2.0, cpu={"vLLM worker": 0.01, "gateway": 0.01}, pace=pace),
                measured("bare", 1.0, kind="rated"),
                measured("ours", 2.0, kind="rated"),
            ]
        ),
        memory={"bare": rows([Footprint(1, "server", 2**21, 2**20)], [], [], {1: 0.5}), "ours": []},
        errors=["ours, streams at 2, round 1: it died"],
        soak={"ours": [Look(0, 0.0, 2**27, 2**26), Look(5000, 250.0, 2**27, None)]},
    )
    path = tmp_path / "overhead.md"
    report.save(path)
    text = path.read_text()
    assert "| 2 | ours | 10 | 0.50 | 200.0 | 2.00 | 200.0 | 2.00 | 200.0 | 200.0 | 2.00 | 0 |" in text
    assert "| 2 | bare | 100.0 | 0.0 | 0 |" in text
    assert "| 2 | ours | 50.0 | 90.0 | 0 |" in text
    assert "| 2 | ours | 1000 | 2.00 | 500 | 500 |  | 100 | vLLM worker 500, gateway 500 | 0 |" in text
    assert "## Whole answers of two tokens, at a given rate" in text
    assert "as many as can be had" not in text
    assert "| server | 1 | 2 | - | - | 1 | - | - | 50.0 |" in text
    assert "| ours | 5000 | 250 | 128 | - |" in text
    assert "overhead / tee" in text
    assert "- ours, streams at 2, round 1: it died" in text
    values = json.loads(path.with_suffix(".json").read_text())
    assert values["levels"][0]["figures"][1]["values"]["rate"]["rounds"] == [10.0]
