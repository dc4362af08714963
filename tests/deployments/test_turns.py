"""Who yields where not all models fit."""

from __future__ import annotations

from typing import Any

from deployments.turns import IDLE_S, TURN_S, Holder, who_yields

GPU = {"GPU": 1.0}
LONG = 10 * TURN_S


def holder(id_: str, node: str = "n1", **fields: Any) -> Holder:
    values: dict[str, Any] = {"rooms": ((node, (GPU,)),), "idle_s": 0.0, "ready_s": LONG, "queued": 0, **fields}
    return Holder(id_, **values)


def test_the_one_that_has_been_idle_longest_yields():
    idle = [holder("a", idle_s=5), holder("b", idle_s=50), holder("c", idle_s=20)]
    assert who_yields([GPU], 0, {"n1": {}}, idle) == ["b"]


def test_a_pause_between_requests_is_no_idleness():
    assert who_yields([GPU], 0, {"n1": {}}, [holder("a", idle_s=IDLE_S / 2)]) == []


def test_an_idle_one_that_requests_wait_for_is_not_idle():
    assert who_yields([GPU], 0, {"n1": {}}, [holder("a", idle_s=60, queued=1)]) == []


def test_a_busy_one_yields_when_it_has_had_its_turn_and_the_other_has_waited_for_one():
    assert who_yields([GPU], TURN_S, {"n1": {}}, [holder("a")]) == ["a"]
    assert who_yields([GPU], TURN_S - 1, {"n1": {}}, [holder("a")]) == []
    assert who_yields([GPU], LONG, {"n1": {}}, [holder("a", ready_s=TURN_S - 1)]) == []


def test_idle_ones_yield_before_busy_ones():
    assert who_yields([GPU], LONG, {"n1": {}}, [holder("busy"), holder("idle", idle_s=9)]) == ["idle"]


def test_as_many_yield_as_are_needed_and_no_more():
    three = [holder(id_, idle_s=9) for id_ in "abc"]
    assert len(who_yields([{"GPU": 2.0}], 0, {"n1": {}}, three)) == 2
    assert len(who_yields([{"GPU": 2.0}], 0, {"n1": {"GPU": 1.0}}, three)) == 1


def test_nobody_yields_where_it_would_not_help():
    apart = [holder("a", "n1", idle_s=9), holder("b", "n2", idle_s=9)]
    assert who_yields([{"GPU": 2.0}], LONG, {"n1": {}, "n2": {}}, apart) == []


def test_one_whose_room_is_on_another_node_is_spared():
    holders = [holder("far", "n2", idle_s=90), holder("a", idle_s=9), holder("b", idle_s=8)]
    assert who_yields([{"GPU": 2.0}], 0, {"n1": {}, "n2": {}}, holders) == ["a", "b"]
