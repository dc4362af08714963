from __future__ import annotations

from collections.abc import Mapping

import pytest

from deployments.engines.scripted.books import Call
from scripts.bench.audit import Audit, Event, Truth, audit, truth_of
from scripts.bench.faults import REPLICA, spread
from scripts.bench.processes import GATEWAY

CALLS = [
    Call("a", 10, 10),
    Call("b", 0, 0),
    Call("b", 7, 7),  # the replica that had it first died of another's doing
    Call("c", 4, 6),
]


def found(events: Mapping[str, tuple[str, int]]) -> Audit:
    return audit(truth_of(CALLS), [(name, Event(*event)) for name, event in events.items()])


def test_the_books_are_summed_over_all_replicas_that_had_a_request():
    assert truth_of(CALLS) == {"a": Truth(10, 10), "b": Truth(7, 7), "c": Truth(4, 6)}


@pytest.mark.parametrize("tokens", [4, 5, 6])
def test_usage_is_exact_where_each_event_tells_what_left(tokens: int):
    exact = found({"a": ("completed", 10), "b": ("client_left", 7), "c": ("failed", tokens)})
    assert exact.faults == {}
    assert (exact.begun, exact.events, exact.unsure) == (3, 3, 1)
    assert (exact.emitted, exact.told) == ((21, 23), 17 + tokens)


def test_what_must_not_be_is_named():
    wrong = found({"b": ("completed", 8), "c": ("failed", 3), "d": ("failed", 1)})
    assert wrong.missing == ["a"]
    assert [each.partition(":")[0] for each in wrong.wrong] == ["b", "c"]
    assert [each.partition(":")[0] for each in wrong.invented] == ["d"]
    twice = audit({}, [("a", Event("failed", 0))] * 2)
    assert twice.doubles == ["a"]


def test_a_request_that_is_lost_is_counted_with_what_nobody_told():
    lost = found({"a": ("lost", 0), "b": ("completed", 7), "c": ("failed", 6)})
    assert lost.faults == {}
    assert lost.lost == (1, 10)


def test_a_request_that_no_engine_began_may_have_an_event_that_tells_nothing():
    sent = found({"a": ("completed", 10), "b": ("completed", 7), "c": ("failed", 5), "d": ("lost", 0)})
    assert sent.faults == {}
    assert sent.unbegun == {"lost": 1}


def test_faults_are_spread_evenly_over_the_requests():
    faults = spread(100, replicas=2, gateways=1, both=0, pause_s=3)
    assert [fault.at for fault in faults] == [20, 40, 60, 80]
    assert sorted(fault.kills for fault in faults) == [(), (GATEWAY,), (REPLICA,), (REPLICA,)]
    assert [fault.pause_s for fault in faults if not fault.kills] == [3]
