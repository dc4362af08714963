from __future__ import annotations

from typing import Any

import pytest
from ray.serve.schema import ApplicationStatus

from app.domain.model_spec import ModelSpec
from app.domain.model_state import ModelState, StartTimes
from deployments.applications import AppView
from deployments.reports import PhaseReport, following
from deployments.states import seen, state_of
from tests.support.gateway import scripted

SPEC = scripted("m")
SLEEPY = scripted("m", autoscaling={"min_replicas": 0})
STATUS = ApplicationStatus
TIMES = StartTimes(load_s=34.5)


def app(status: ApplicationStatus, **replicas: int) -> AppView:
    return AppView(status, **replicas)


def report(phase: Any, spec: ModelSpec = SPEC, **fields: Any) -> PhaseReport:
    return PhaseReport(spec.id, spec.digest, phase, **fields)


READY = report("ready", max_model_len=2048, times=TIMES)


def test_a_model_that_nobody_deployed_yet_is_starting():
    assert state_of(SPEC, None, None) == ModelState("starting", "allocating")


def test_a_model_with_a_running_replica_is_ready():
    assert state_of(SPEC, app(STATUS.RUNNING, running=2), READY) == ModelState(
        "ready", replicas=2, max_model_len=2048, start=TIMES
    )


@pytest.mark.parametrize("status", [STATUS.DEPLOYING, STATUS.UNHEALTHY, STATUS.DEPLOY_FAILED])
def test_a_model_with_a_running_replica_is_ready_whatever_becomes_of_the_others(status: ApplicationStatus):
    state = state_of(SPEC, app(status, running=1, pending=1), report("failed", detail="no memory"))
    assert (state.status, state.replicas) == ("ready", 1)


def test_a_starting_model_says_what_its_replica_is_at():
    loading = report("loading", progress=0.5, detail="3 of 6 files")
    state = state_of(SPEC, app(STATUS.DEPLOYING, pending=1), loading)
    assert state == ModelState("starting", "loading", 0.5, "3 of 6 files")


def test_a_starting_model_whose_replica_has_not_spoken_yet_is_allocating():
    assert state_of(SPEC, app(STATUS.DEPLOYING, pending=1), None) == ModelState("starting", "allocating")


def test_a_model_whose_replica_is_up_and_was_not_looked_at_yet_is_still_warming():
    state = state_of(SPEC, app(STATUS.DEPLOYING, pending=1), READY)
    assert (state.status, state.phase) == ("starting", "warming")


def test_the_end_of_one_start_says_nothing_of_the_next():
    ready = state_of(SPEC, app(STATUS.RUNNING, running=1), READY)
    state = state_of(SPEC, app(STATUS.UNHEALTHY, pending=1), seen(READY, ready))
    assert state == ModelState("starting", "allocating", max_model_len=2048, start=TIMES)


def test_a_report_stays_news_until_the_model_is_seen_ready():
    starting = state_of(SPEC, app(STATUS.DEPLOYING, pending=1), READY)
    assert seen(READY, starting) is READY
    assert seen(None, starting) is None


def test_a_model_that_restarts_remembers_its_length_and_how_long_a_start_takes():
    restarting = following(READY, report("loading", progress=0.1))
    assert state_of(SPEC, app(STATUS.UNHEALTHY, pending=1), restarting) == ModelState(
        "starting", "loading", 0.1, max_model_len=2048, start=TIMES
    )


def test_a_model_that_grows_stays_as_long_as_it_was():
    growing = following(READY, report("loading", progress=0.1))
    state = state_of(SPEC, app(STATUS.DEPLOYING, running=1, pending=1), growing)
    assert (state.status, state.max_model_len) == ("ready", 2048)


def test_a_try_that_failed_is_told_while_the_next_one_starts():
    state = state_of(SPEC, app(STATUS.DEPLOYING, pending=1), report("failed", detail="no memory"))
    assert (state.status, state.phase, state.detail) == ("starting", "allocating", "the last try failed: no memory")


def test_a_model_that_could_not_be_started_says_why_in_its_replicas_words():
    state = state_of(SPEC, app(STATUS.DEPLOY_FAILED), report("failed", detail="no memory"))
    assert (state.status, state.detail) == ("failed", "no memory")


def test_where_no_replica_could_say_why_there_is_no_trace_instead():
    for given in (None, report("loading")):
        state = state_of(SPEC, app(STATUS.DEPLOY_FAILED), given)
        assert state.status == "failed"
        assert state.detail
        assert "Traceback" not in state.detail
        assert "/root" not in state.detail


def test_a_model_that_sleeps_is_cold():
    ready = report("ready", SLEEPY, max_model_len=2048, times=TIMES)
    assert state_of(SLEEPY, app(STATUS.RUNNING), ready) == ModelState("cold", max_model_len=2048, start=TIMES)
    assert state_of(SLEEPY, app(STATUS.RUNNING), None) == ModelState("cold")


def test_a_model_that_goes_to_sleep_is_draining():
    assert state_of(SLEEPY, app(STATUS.RUNNING, stopping=1), None).status == "draining"


def test_a_model_that_may_not_sleep_and_has_no_replica_waits_for_one():
    assert state_of(SPEC, app(STATUS.RUNNING), None) == ModelState("starting", "allocating")


def test_what_is_ready_now_replaces_what_was_known():
    again = report("ready", max_model_len=4096, times=TIMES)
    assert following(READY, again) is again
    assert following(None, again) is again


def test_an_application_that_is_deleted_drains_as_long_as_it_has_replicas():
    assert state_of(SPEC, app(STATUS.DELETING, running=1), READY).status == "draining"
    assert state_of(SPEC, app(STATUS.DELETING), READY).status == "starting"
