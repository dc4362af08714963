from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts.bench.history import YARDSTICK, Entry, append, compare, last_like, read, worse


def entry(**changes: Any) -> Entry:
    values: dict[str, Any] = {
        "commit": "abc1234",
        "date": "2026-01-02T03:04:05+00:00",
        "processor": "a processor",
        "cores": "2",
        "versions": {"ray": "2.60.0"},
        "load": "as always",
        "rounds": 3,
        "token": {"gateway": 30.0, "replica": 20.0, YARDSTICK: 10.0},
        "request": {"gateway": 1000.0},
    }
    return Entry(**(values | changes))


def test_what_is_appended_is_read_back_in_order(tmp_path: Path):
    path = tmp_path / "benchmarks" / "history.jsonl"
    append(path, entry())
    append(path, entry(commit="def5678"))
    assert read(path.read_text()) == ([entry(), entry(commit="def5678")], [])


def test_a_history_whose_last_line_was_cut_off_can_be_appended_to(tmp_path: Path):
    path = tmp_path / "history.jsonl"
    path.write_text(entry().model_dump_json())
    append(path, entry(commit="def5678"))
    assert [each.commit for each in read(path.read_text())[0]] == ["abc1234", "def5678"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("not json", "Invalid JSON"),
        ("[1]", "line 2: "),
        ('{"commit": "abc"}', "date: Field required"),
        (entry().model_dump_json().replace("30.0", '"many"'), "token.gateway: "),
        (entry().model_dump_json().replace("30.0", "NaN"), "token.gateway: "),
        (entry().model_dump_json().replace('"rounds"', '"sounds"'), "rounds: Field required"),
    ],
)
def test_a_bad_line_is_left_out_and_named(line: str, said: str):
    entries, problems = read(f"{entry().model_dump_json()}\n{line}\n\n{entry(commit='last').model_dump_json()}\n")
    assert [each.commit for each in entries] == ["abc1234", "last"]
    (problem,) = problems
    assert problem.startswith("line 2: ")
    assert said in problem


def test_only_the_same_machine_under_the_same_load_is_compared_and_the_last_one_counts():
    now = entry()
    others = [entry(processor="another"), entry(cores="64"), entry(load="less")]
    assert last_like(others, now) is None
    assert last_like([entry(commit="first"), entry(commit="second"), *others], now) == entry(commit="second")


def test_a_figure_is_worse_if_it_grew_by_more_than_the_tolerance():
    now = entry(token={"gateway": 37.0, "replica": 23.0, YARDSTICK: 10.0}, request={"gateway": 900.0})
    changes = compare(entry(), now, 0.2)
    assert [(each.unit, each.part, each.ratio, each.worse) for each in changes] == [
        ("token", "gateway", pytest.approx(37 / 30), True),
        ("token", "replica", pytest.approx(1.15), False),
        ("token", YARDSTICK, 1, False),
        ("request", "gateway", 0.9, False),
    ]
    assert [each.part for each in worse(changes)] == ["gateway"]
    assert worse(compare(entry(), now, 0.3)) == []


def test_small_figures_may_jump():
    assert worse(compare(entry(token={"proxy": 1.0}, request={}), entry(token={"proxy": 2.5}, request={}), 0.2)) == []


@pytest.mark.parametrize(("engine", "slipped"), [(10.0, True), (12.0, True), (14.0, False), (5.0, True)])
def test_what_slows_the_engine_alone_too_is_the_machine(engine: float, slipped: bool):
    now = entry(token={"gateway": 45.0, YARDSTICK: engine}, request={})
    assert [each.part for each in worse(compare(entry(), now, 0.2))] == (["gateway"] if slipped else [])


def test_a_figure_that_was_nothing_has_no_ratio_but_can_be_worse():
    before = entry(token={"proxy": 0.0}, request={})
    (change,) = compare(before, entry(token={"proxy": 9.0, "new": 1.0}, request={}), 0.2)
    assert change.ratio is None
    assert change.worse
