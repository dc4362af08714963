"""One model: what is done next, by what it should be and what Serve has."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ray.serve.schema import ApplicationStatus as Status

from app.domain.model_spec import ModelSpec
from app.domain.model_state import ModelState, StartTimes
from app.services.registry import Wanted
from deployments.applications import AppView
from deployments.model_run import APPEARS_S, BACKOFF_S, PATIENCE_S, STRANGER_S, SWITCH_S, ModelRun, Plan
from deployments.reports import Phase, PhaseReport
from tests.support.gateway import scripted

OLD = scripted("m")
NEW = scripted("m", engine_args={"ttft_s": 1})
SLEEPY = scripted("m", autoscaling={"min_replicas": 0})
SLEEPY_NEW = scripted("m", engine_args={"ttft_s": 1}, autoscaling={"min_replicas": 0})
UP = AppView(Status.RUNNING, running=1)
STARTING = AppView(Status.DEPLOYING, pending=1)
COLD = AppView(Status.RUNNING)
FAILED = AppView(Status.DEPLOY_FAILED)
GOING = AppView(Status.DELETING, running=1)
NOW = 1000.0


def report(spec: ModelSpec, phase: Phase, **fields: object) -> PhaseReport:
    return PhaseReport(spec.id, spec.digest, phase, **fields)  # type: ignore[arg-type]


class Bench:
    """A run, Serve as the test says, and a clock."""

    def __init__(self, spec: ModelSpec, *, deployed: bool = True) -> None:
        self.run = ModelRun(Wanted(spec), NOW)
        self.apps: dict[str, AppView] = {}
        self.now = NOW
        self.room = True
        if deployed:
            self.run.deployed[spec.digest] = spec.full_digest

    def want(self, spec: ModelSpec, *, enabled: bool = True) -> None:
        self.run.want(Wanted(spec, enabled))

    def plan(self, apps: Sequence[tuple[ModelSpec, AppView]] | None = None, after_s: float = 0.0) -> Plan:
        """What it does when Serve has these."""
        self.now += after_s
        if apps is not None:
            self.apps = {spec.digest: app for spec, app in apps}
        plan = self.run.plan(self.apps, self.now, lambda _: self.room)
        if plan.deploy is not None:
            self.run.deployed[plan.deploy.digest] = plan.deploy.full_digest
        return plan

    def state(self) -> ModelState:
        return self.run.state(self.apps, 1e9)


def changing(old: ModelSpec = OLD, new: ModelSpec = NEW, *, before: AppView = UP) -> Bench:
    """A model that ran and was changed; the change was deployed just now."""
    bench = Bench(old)
    bench.run.hear(report(old, "ready", max_model_len=8), NOW)
    bench.plan([(old, before)])
    bench.want(new)
    assert bench.plan() == Plan(deploy=new, delete=(), wake=None) or before is not UP
    return bench


def test_a_model_without_an_application_is_deployed_once():
    bench = Bench(OLD, deployed=False)
    assert bench.plan([]).deploy == OLD
    assert bench.plan([(OLD, STARTING)]) == Plan()
    assert bench.plan([(OLD, UP)]) == Plan()


def test_an_application_that_does_not_appear_is_deployed_again_but_not_at_once():
    bench = Bench(OLD, deployed=False)
    assert bench.plan([]).deploy == OLD
    assert bench.plan([], after_s=APPEARS_S - 0.1) == Plan()
    assert bench.plan([], after_s=0.2).deploy == OLD


def test_what_a_manager_before_this_one_deployed_is_told_the_numbers_once_and_kept():
    bench = Bench(OLD, deployed=False)
    assert bench.plan([(OLD, UP)]) == Plan(deploy=OLD)
    assert bench.plan([(OLD, UP)]) == Plan()


def test_numbers_that_no_replica_runs_by_are_changed_in_place():
    bench = Bench(OLD)
    bench.plan([(OLD, UP)])
    more = scripted("m", autoscaling={"downscale_delay_s": 5})
    bench.want(more)
    assert bench.plan() == Plan(deploy=more)
    assert bench.run.serving == more


def test_a_change_serves_when_it_is_ready_and_then_the_version_before_it_goes():
    bench = changing()
    assert bench.plan([(OLD, UP), (NEW, STARTING)], after_s=60) == Plan()
    assert bench.run.serving.digest == OLD.digest
    assert (bench.state().status, bench.state().detail) == ("ready", "a change is on its way: allocating")
    assert bench.plan([(OLD, UP), (NEW, UP)]) == Plan()
    assert bench.run.serving == NEW
    assert bench.plan(after_s=SWITCH_S + 0.1).delete == (OLD.app_name,)


def test_new_names_are_true_at_once():
    bench = changing(new=scripted("m", engine_args={"ttft_s": 1}, aliases=["nick"]))
    assert bench.run.serving.aliases == ["nick"]
    assert bench.run.serving.digest == OLD.digest


def test_a_change_that_fails_leaves_the_version_before_it_serving_and_is_tried_again():
    bench = changing()
    bench.run.hear(report(NEW, "failed", detail="no memory"), NOW)
    assert bench.plan([(OLD, UP), (NEW, FAILED)], after_s=60) == Plan()
    assert bench.run.serving.digest == OLD.digest
    assert bench.state().detail == "it goes on as it was, since the change failed: no memory"
    assert bench.plan(after_s=BACKOFF_S + 0.1).delete == (NEW.app_name,)
    assert bench.plan([(OLD, UP)]).deploy == NEW


def test_a_change_for_which_there_is_no_room_takes_the_place_of_the_version_before_it():
    bench = changing()
    bench.room = False
    assert bench.plan([(OLD, UP), (NEW, STARTING)]) == Plan()
    assert bench.plan(after_s=PATIENCE_S + 0.1) == Plan()
    assert bench.run.serving == NEW
    assert bench.plan(after_s=SWITCH_S + 0.1).delete == (OLD.app_name,)


def test_a_change_that_has_its_place_and_takes_its_time_leaves_the_version_before_it_serving():
    bench = changing()
    bench.room = False
    bench.plan([(OLD, UP), (NEW, STARTING)])
    bench.run.placed_at = bench.now
    bench.plan(after_s=2 * PATIENCE_S)
    bench.run.hear(report(NEW, "loading", age_s=1), bench.now)
    assert bench.plan(after_s=300) == Plan()
    assert bench.run.serving.digest == OLD.digest


def test_a_model_in_the_middle_of_a_change_that_makes_room_goes_with_both_versions():
    bench = changing(SLEEPY, SLEEPY_NEW)
    bench.run.asleep = True
    assert set(bench.plan([(SLEEPY, UP), (SLEEPY_NEW, STARTING)]).delete) == {SLEEPY.app_name, SLEEPY_NEW.app_name}
    assert bench.plan([(SLEEPY, GOING)], after_s=APPEARS_S) == Plan()
    assert bench.plan([]).deploy == SLEEPY_NEW


def test_a_sleeper_whose_start_failed_has_failed_and_is_tried_again():
    bench = Bench(SLEEPY)
    bench.run.hear(report(SLEEPY, "failed", detail="no luck"), NOW)
    bench.plan([(SLEEPY, AppView(Status.UNHEALTHY, gave_up=True))])
    assert (bench.state().status, bench.state().detail) == ("failed", "no luck")
    assert bench.plan(after_s=BACKOFF_S + 0.1).delete == (SLEEPY.app_name,)


def test_what_failed_is_tried_at_once_where_somebody_says_so():
    bench = Bench(OLD)
    bench.plan([(OLD, FAILED)])
    bench.run.retry()
    assert bench.state().status == "starting"
    assert bench.plan().delete == (OLD.app_name,)


def test_a_change_of_a_model_that_sleeps_wakes_nobody():
    bench = changing(SLEEPY, SLEEPY_NEW, before=COLD)
    assert bench.plan([(SLEEPY, COLD), (SLEEPY_NEW, COLD)]).wake is None
    assert bench.run.serving == SLEEPY_NEW


def test_a_change_of_a_model_that_could_sleep_and_works_is_woken_to_take_over():
    bench = changing(SLEEPY, SLEEPY_NEW)
    assert bench.plan([(SLEEPY, UP), (SLEEPY_NEW, COLD)]).wake == SLEEPY_NEW
    assert bench.run.serving.digest == SLEEPY.digest


def test_after_a_restart_a_version_that_still_serves_is_asked_for_before_it_goes():
    bench = Bench(NEW)
    assert bench.plan([(OLD, UP), (NEW, STARTING)], after_s=SWITCH_S + 1).delete == ()
    bench.run.learn(OLD, report(OLD, "ready", max_model_len=8), bench.now)
    bench.plan()
    assert bench.run.serving == OLD
    bench.plan([(OLD, UP), (NEW, UP)])
    assert bench.plan(after_s=SWITCH_S + 1).delete == (OLD.app_name,)


def test_an_application_that_never_says_what_it_is_goes_in_the_end():
    bench = Bench(NEW)
    assert bench.plan([(OLD, UP), (NEW, UP)], after_s=SWITCH_S + 1).delete == ()
    assert bench.plan(after_s=STRANGER_S).delete == (OLD.app_name,)


def test_a_start_that_failed_is_tried_again_and_each_time_later():
    bench = Bench(OLD)
    waits: list[float] = []
    for _ in range(3):
        bench.run.hear(report(OLD, "failed", detail="no luck"), bench.now)
        assert bench.plan([(OLD, FAILED)]).delete == ()
        state = bench.state()
        assert (state.status, state.detail) == ("failed", "no luck")
        assert state.retry_at is not None
        waits.append(round(state.retry_at - 1e9 - bench.now))
        assert bench.plan(after_s=waits[-1] - 0.1).delete == ()
        assert bench.plan(after_s=0.2).delete == (OLD.app_name,)
        assert bench.plan([]).deploy == OLD
    assert waits == [BACKOFF_S, 2 * BACKOFF_S, 4 * BACKOFF_S]
    bench.plan([(OLD, UP)])
    assert bench.plan([(OLD, FAILED)]).delete == ()
    assert bench.state().retry_at == pytest.approx(bench.now + 1e9 + BACKOFF_S, abs=0.2)


def test_what_could_not_even_be_deployed_has_failed_and_is_tried_again():
    bench = Bench(OLD, deployed=False)
    assert bench.plan([]).deploy == OLD
    bench.run.fail("it could not be deployed: ValueError", bench.now)
    assert bench.plan().deploy is None
    assert (bench.state().status, bench.state().detail) == ("failed", "it could not be deployed: ValueError")
    assert bench.plan(after_s=BACKOFF_S + 0.1).deploy == OLD


def test_a_change_is_tried_at_once_whatever_failed_before():
    bench = Bench(OLD)
    bench.plan([(OLD, FAILED)])
    bench.want(NEW)
    assert bench.state().status == "starting"
    assert bench.plan().deploy == NEW


def test_a_model_that_is_switched_off_goes_with_all_its_versions():
    bench = changing()
    bench.want(NEW, enabled=False)
    assert set(bench.plan([(OLD, UP), (NEW, STARTING)]).delete) == {OLD.app_name, NEW.app_name}
    assert (bench.state().status, bench.state().detail) == ("disabled", "its last requests are ending")
    bench.apps = {}
    assert bench.plan() == Plan()
    assert bench.state().status == "disabled"
    bench.want(NEW)
    assert bench.plan().deploy == NEW


def test_a_model_that_is_removed_is_deleted():
    bench = Bench(OLD)
    bench.run.wanted = None
    assert bench.plan([(OLD, UP)]).delete == (OLD.app_name,)
    assert bench.plan([(OLD, GOING)]) == Plan()


def test_a_model_that_makes_room_comes_back_asleep():
    bench = Bench(SLEEPY)
    bench.plan([(SLEEPY, UP)])
    bench.run.asleep = True
    assert bench.plan().delete == (SLEEPY.app_name,)
    assert bench.plan([(SLEEPY, GOING)]) == Plan()
    assert bench.state().status == "draining"
    assert bench.plan([(SLEEPY, AppView(Status.DELETING))], after_s=APPEARS_S) == Plan()
    assert bench.plan([]).deploy == SLEEPY
    assert bench.plan([(SLEEPY, COLD)]) == Plan()
    assert bench.state().status == "cold"


def test_a_model_that_is_started_is_woken_until_it_is_up():
    bench = Bench(SLEEPY)
    assert bench.plan([(SLEEPY, COLD)]).wake is None
    bench.run.woken = True
    assert bench.plan().wake == SLEEPY
    assert bench.plan([(SLEEPY, STARTING)]).wake is None
    assert bench.plan([(SLEEPY, UP)]).wake is None
    assert bench.plan([(SLEEPY, COLD)]).wake is None


def test_a_start_is_timed_from_the_first_request_that_waited():
    bench = Bench(SLEEPY)
    bench.plan([(SLEEPY, COLD)])
    bench.run.expect(2, bench.now)
    assert bench.state().queued == 2
    bench.plan([(SLEEPY, STARTING)], after_s=1)
    assert bench.run.waits_for_room(bench.now) is not None
    bench.now += 2
    bench.run.hear(report(SLEEPY, "loading", age_s=1.0), bench.now)
    assert bench.run.waits_for_room(bench.now) is None
    bench.now += 4
    times = StartTimes(process_s=1.0, load_s=4.0)
    bench.run.hear(report(SLEEPY, "ready", max_model_len=8, age_s=5.0, times=times), bench.now)
    bench.plan([(SLEEPY, UP)])
    assert bench.state().start == StartTimes(allocate_s=2.0, process_s=1.0, load_s=4.0)
    assert bench.state().started_at is None
