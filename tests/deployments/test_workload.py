from __future__ import annotations

from deployments.reports import ActivityReport
from deployments.workload import HEARD_S, Workload


def told(replica: str, idle_s: float, *, model: str = "m", digest: str = "d") -> ActivityReport:
    return ActivityReport(model, digest, replica, f"node-of-{replica}", idle_s)


def test_requests_wait_at_all_gateways_together():
    workload = Workload()
    workload.gateway("g1", {"m": 2, "n": 1}, 0)
    workload.gateway("g2", {"m": 3}, 0)
    assert (workload.queued("m", 1), workload.queued("n", 1), workload.queued("x", 1)) == (5, 1, 0)
    workload.gateway("g1", {}, 2)
    assert workload.queued("m", 2) == 3


def test_a_gateway_that_says_no_more_is_forgotten():
    workload = Workload()
    workload.gateway("g1", {"m": 2}, 0)
    assert workload.queued("m", HEARD_S) == 0


def test_a_model_is_idle_for_as_long_as_its_last_replica_to_be_idle():
    workload = Workload()
    workload.replica(told("a", 10), 0)
    workload.replica(told("b", 3), 1)
    assert workload.idle("m", "d", 2, 5) == 7
    assert sorted(workload.nodes("m", "d", 5)) == ["node-of-a", "node-of-b"]


def test_a_model_with_a_replica_that_works_or_was_not_heard_of_is_not_idle():
    workload = Workload()
    workload.replica(told("a", 10), 0)
    assert workload.idle("m", "d", 2, 5) == 0
    workload.replica(told("b", 0), 5)
    assert workload.idle("m", "d", 2, 5) == 0
    assert workload.idle("m", "other", 1, 5) == 0
