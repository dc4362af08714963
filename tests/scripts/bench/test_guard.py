from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import ROOT
from scripts.bench.client import Request, Result
from scripts.bench.guard import OUTSIDE, costs, judge, listed, medians, options
from scripts.bench.history import YARDSTICK, append, read
from scripts.bench.summary import Measurement
from tests.scripts.bench.test_history import entry


def measured(cpu: dict[str, float]) -> Measurement:
    """A thousand tokens."""
    result = Result([Request(0.0, 0.1, 1.0, tokens=1000)], cpu_s=0)
    return Measurement("x", "streams", 1, 0, result, cpu)


def test_costs_are_told_by_part_and_in_all_without_the_engine():
    used = {"gateway": 0.04, "model replica": 0.03, "Serve proxy": 0.015, "HAProxy": 0.005, "Ray: raylet": 0.01}
    found = costs(measured({"scripted engine": 0.01}), measured(used))
    assert found == pytest.approx(
        {OUTSIDE: 90, "gateway": 40, "replica": 30, "proxy": 20, "control": 10, YARDSTICK: 10}
    )


def test_each_part_has_its_own_median():
    assert medians([{"a": 1.0, "b": 9.04}, {"a": 3.0, "b": 7.0}, {"a": 2.0, "b": 30.0}]) == {"a": 2.0, "b": 9.0}


def run(path: Path, *arguments: str, gateway: float = 30.0) -> int:
    """The command, once it has measured this."""
    now = entry(commit="now", token={"gateway": gateway}, request={})
    return judge(now, options(["--history", str(path), *arguments]))


def test_the_first_run_on_a_machine_has_nothing_to_compare_with_until_it_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "history.jsonl"
    assert run(path) == 2
    assert "--record" in capsys.readouterr().err
    assert run(path, "--record") == 0
    assert [each.commit for each in read(path.read_text())[0]] == ["now"]
    assert run(path) == 0


def test_a_slip_ends_with_one_unless_it_is_recorded_or_tolerated(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "history.jsonl"
    append(path, entry())
    assert run(path, gateway=45.0) == 1
    told = capsys.readouterr().out
    assert "| per token | gateway | 30.0 | 45.0 | 1.50 | WORSE |" in told
    assert "Beside abc1234 of 2026-01-02T03:04:05+00:00" in told
    assert run(path, "--tolerance", "0.6", gateway=45.0) == 0
    assert run(path, "--record", gateway=45.0) == 0
    assert run(path, gateway=45.0) == 0


def test_a_bad_line_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "history.jsonl"
    append(path, entry())
    path.write_text(path.read_text() + "torn\n")
    assert run(path) == 0
    assert "line 2: Invalid JSON" in capsys.readouterr().err


def test_the_history_is_listed():
    assert "| abc1234 | a processor, 2 cores | - | 30.0 | 20.0 | - | - | - | 1000.0 |" in listed([entry()])


def test_the_history_that_is_kept_has_no_bad_line():
    entries, problems = read((ROOT / "benchmarks" / "history.jsonl").read_text())
    assert problems == []
    assert entries
