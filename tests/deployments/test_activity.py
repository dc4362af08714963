from __future__ import annotations

from deployments.activity import HEARD_S, Activity
from deployments.reports import ActivityReport


def told(replica: str, idle_s: float, *, model: str = "m", digest: str = "d") -> ActivityReport:
    return ActivityReport(model, digest, replica, f"node-of-{replica}", idle_s)


def test_requests_wait_at_all_gateways_together():
    activity = Activity()
    activity.gateway("g1", {"m": 2, "n": 1}, 0)
    activity.gateway("g2", {"m": 3}, 0)
    assert (activity.queued("m", 1), activity.queued("n", 1), activity.queued("x", 1)) == (5, 1, 0)
    activity.gateway("g1", {}, 2)
    assert activity.queued("m", 2) == 3


def test_a_gateway_that_says_no_more_is_forgotten():
    activity = Activity()
    activity.gateway("g1", {"m": 2}, 0)
    assert activity.queued("m", HEARD_S) == 0


def test_a_model_is_idle_for_as_long_as_its_last_replica_to_be_idle():
    activity = Activity()
    activity.replica(told("a", 10), 0)
    activity.replica(told("b", 3), 1)
    assert activity.idle("m", "d", 2, 5) == 7
    assert sorted(activity.nodes("m", "d", 5)) == ["node-of-a", "node-of-b"]


def test_a_model_with_a_replica_that_works_or_was_not_heard_of_is_not_idle():
    activity = Activity()
    activity.replica(told("a", 10), 0)
    assert activity.idle("m", "d", 2, 5) == 0
    activity.replica(told("b", 0), 5)
    assert activity.idle("m", "d", 2, 5) == 0
    assert activity.idle("m", "other", 1, 5) == 0
