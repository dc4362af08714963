"""The simulation: time, work and cost add up, and both policies run in it."""

from __future__ import annotations

from random import Random

import pytest
from ray.serve import autoscaling_policy

from scripts.bench import autoscaling
from scripts.bench.arrivals import EPISODE_S, SCENARIOS, Arrivals
from scripts.bench.fleet import Clock, Fleet, Hardware, Job

HARDWARE = Hardware(prefill=100, stream=10, batch=20, cache=1000, sequences=4, places=4, start_s=5)


@pytest.fixture(autouse=True)
def serve_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy under test changes it."""
    before = autoscaling_policy._get_cold_start_scale_up_replicas
    monkeypatch.setattr(autoscaling_policy, "_get_cold_start_scale_up_replicas", before)


def fleet(replicas: int = 1) -> Fleet:
    fleet = Fleet(Clock(), HARDWARE, Random(1))
    fleet.scale(replicas)
    fleet.clock.run(HARDWARE.start_s)
    return fleet


def test_one_request_takes_its_prompt_and_its_tokens():
    alone = fleet()
    job = Job(5, prompt=100, output=50)
    alone.arrive(job)
    alone.clock.run(20)
    assert job.first == pytest.approx(6)
    assert job.end == pytest.approx(11)


def test_streams_share_what_a_replica_can():
    shared = fleet()
    jobs = [Job(5, prompt=0, output=20) for _ in range(4)]
    for job in jobs:
        shared.arrive(job)
    shared.clock.run(60)
    assert [job.end for job in jobs] == pytest.approx([9] * 4)


def test_what_does_not_fit_the_cache_waits():
    full = fleet()
    large, next_ = Job(5, prompt=700, output=100), Job(5, prompt=700, output=100)
    full.arrive(large)
    full.arrive(next_)
    full.clock.run(100)
    assert large.end is not None
    assert next_.first == pytest.approx(large.end + 7)


def test_what_no_replica_has_a_place_for_waits_at_the_gateway():
    busy = fleet()
    for _ in range(6):
        busy.arrive(Job(5, prompt=10, output=10))
    assert len(busy.queue) == 2
    busy.clock.run(100)
    assert not busy.queue


def test_a_replica_that_is_to_go_ends_what_it_has_and_is_paid_for_until_then():
    going = fleet()
    job = Job(5, prompt=100, output=50)
    going.arrive(job)
    going.scale(0)
    going.clock.run(100)
    assert job.end == pytest.approx(11)
    assert going.replica_seconds() == pytest.approx(11)


@pytest.mark.parametrize("arrivals", SCENARIOS.values(), ids=SCENARIOS)
def test_arrivals_are_ordered_and_told_by_their_seed(arrivals: Arrivals):
    jobs = arrivals(Random(1))
    assert [job.at for job in jobs] == sorted(job.at for job in jobs)
    assert 0 <= jobs[0].at < jobs[-1].at < EPISODE_S + 60
    again = arrivals(Random(1))
    assert [(job.at, job.prompt, job.output) for job in jobs] == [(job.at, job.prompt, job.output) for job in again]


def test_a_burst_from_zero_is_answered_sooner_than_by_serve_and_costs_no_more():
    theirs, ours = (autoscaling.episode("burst", arm, seed=50) for arm in ("Serve, fresh and quick", "Manta"))
    assert ours.late < theirs.late
    assert ours.good_per_1000 > theirs.good_per_1000
    assert ours == autoscaling.episode("burst", "Manta", seed=50)
