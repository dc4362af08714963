"""One model between what it should be and what runs: what to do next, and what to say of it. Pure: no calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from app.domain.model_spec import ModelSpec, app_name_of
from app.domain.model_state import ModelState, PullState, StartTimes
from app.services.registry import Wanted
from deployments.applications import AppView
from deployments.reports import LogPlace, PhaseReport, following
from deployments.states import seen, state_of

BACKOFF_S = 15.0
BACKOFF_MOST_S = 600.0
"""How long after its first failure a start is tried again; twice as long after each further one, up to the second."""

SWITCH_S = 2.0
"""How long an application that requests no longer go to is kept, until every gateway knows."""

PATIENCE_S = 3.0
"""How long a new version may wait for a place before the old one makes room."""

PLACED_S = 20.0
"""How long a replica that found room may take to say its first word, before it is thought to have none after all."""

REMEMBERED = 4
"""Versions of a model whose last words are kept."""

APPEARS_S = 2.0
"""How long an application that was deployed may take to be seen, before it is deployed again."""

STRANGER_S = 15.0
"""How long an application of before this process is kept for its replicas to say what they are."""

Fits = Callable[[ModelSpec], bool]
Apps = Mapping[str, AppView]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about a model now.

    Attributes:
        deploy: The spec whose application is to be brought up, or changed in place.
        delete: Applications to be taken down.
        wake: The spec whose application shall get a replica although nobody asks for one.
    """

    deploy: ModelSpec | None = None
    delete: tuple[str, ...] = ()
    wake: ModelSpec | None = None


class ModelRun:
    """What the manager remembers of a model.

    Attributes:
        wanted: What it should be; None once it is to be gone.
        serving: The spec that requests go by; while a change is on its way, the one before.
        deployed: By digest, the whole spec that was deployed last, as far as this process knows.
        asleep: Whether its replica is to go for now, to make room.
        woken: Whether it shall have a replica although nobody asks for one.
        queued: Requests that wait for it.
        queued_since: By the manager's clock, since when there have been any.
        ready_since: By the manager's clock, since when it has had a replica.
        pull: How fetching its weights ahead is doing.
        placed_at: By the manager's clock, when its replica on the way up was found to have room.
        makers: Models that go to sleep to make room for it.
    """

    def __init__(self, wanted: Wanted, now: float) -> None:
        self.wanted: Wanted | None = wanted
        self.serving = wanted.spec
        self.deployed: dict[str, str] = {}
        self.asleep = False
        self.woken = False
        self.queued = 0
        self.queued_since: float | None = None
        self.ready_since: float | None = None
        self.pull: PullState | None = None
        self.placed_at: float | None = None
        self.makers: set[str] = set()
        self._id = wanted.spec.id
        self._reports: dict[str, PhaseReport] = {}
        self._failures = 0
        self._failure: str | None = None
        self._failing = False
        self._retrying = False
        self._retry_at = 0.0
        self._switched_at = now
        self._born = now
        self._deployed_at = -math.inf
        self._pending_since: float | None = None
        self._started_at: float | None = None
        self._allocate_s: float | None = None

    def want(self, wanted: Wanted) -> None:
        """Aim at this from now on."""
        if self.wanted is None or wanted.spec.digest != self.wanted.spec.digest:
            self._forgive()
        if self.wanted is not None and wanted.enabled and not self.wanted.enabled:
            self._forgive()
        self.wanted = wanted
        self._rename(wanted.spec)

    def knows(self, digest: str) -> bool:
        """Whether a replica of this digest ever said that it is ready."""
        report = self._reports.get(digest)
        return report is not None and report.max_model_len is not None

    @property
    def log_places(self) -> list[LogPlace]:
        """Where the newest replicas of each version wrote."""
        return [report.place for report in self._reports.values() if report.place is not None]

    def learn(self, spec: ModelSpec, report: PhaseReport, now: float) -> None:
        """Take the answer of a replica that ran before this process did."""
        self.hear(replace(report, phase="served"), now)
        if self.wanted is not None and spec.digest != self.wanted.spec.digest and self.ready_since is None:
            self.serving = spec
            self._rename(self.wanted.spec)

    def expect(self, queued: int, now: float) -> None:
        """Note how many requests wait for the model."""
        self.queued = queued
        self.queued_since = (self.queued_since or now) if queued else None
        if queued and self._started_at is None and self.ready_since is None:
            self._started_at = now

    def hear(self, report: PhaseReport, now: float) -> None:
        """Take a replica's word."""
        last = self._reports.pop(report.digest, None)
        is_starting = self.wanted is not None and report.digest == self.wanted.spec.digest
        if is_starting and self._allocate_s is None and self._started_at is not None:
            self._allocate_s = max(0.0, now - self._started_at - report.age_s)
        if report.times is not None:
            report = replace(report, times=replace(report.times, allocate_s=self._allocate_s or 0.0))
        self._reports[report.digest] = following(last, report)
        for digest in list(self._reports)[:-REMEMBERED]:
            if digest != self.serving.digest:
                del self._reports[digest]
                self.deployed.pop(digest, None)

    def start_of(self, report: PhaseReport) -> StartTimes | None:
        """What the start took that ended with this report; None for any other report."""
        return self._reports[report.digest].times if report.phase == "ready" else None

    def retry(self) -> None:
        """Try again at once what failed."""
        self._forgive()
        self._retrying = True

    def fail(self, reason: str, now: float) -> None:
        """Note that it could not even be deployed."""
        self._failure = reason
        self._count_failure(now)

    def plan(self, apps: Apps, now: float, fits: Fits) -> Plan:
        """What to do, by what Serve has."""
        if self.wanted is None or not self.wanted.enabled:
            self.woken = self.asleep = False
            self._deployed_at = -math.inf
            return Plan(delete=self._names(digest for digest, app in apps.items() if not app.going))
        target = self.wanted.spec
        mine = apps.get(target.digest)
        live = mine if mine is not None and not mine.going else None
        self._watch_start(live, now)
        self._choose(target, live, apps, now, fits)
        present = [digest for digest, app in apps.items() if not app.going]
        if self.asleep:
            return Plan(deploy=target if self._is_due(apps, None, now) else None, delete=self._names(present))
        delete = [digest for digest in present if self._is_over(digest, now)]
        if live is not None and live.failed and self._retries(now):
            delete.append(target.digest)
        due = self._is_due(apps, live, now)
        if due:
            self._deployed_at = now
        if due and live is None and target.autoscaling.min_replicas:
            self._started_at = self._started_at or now
        return Plan(
            deploy=target if due else None,
            delete=self._names(delete),
            wake=target if live is not None and self._needs_waking(target, live, apps) else None,
        )

    def state(self, apps: Apps, epoch: float) -> ModelState:
        """What users see.

        Args:
            epoch: Unix seconds at which the manager's clock was at 0.
        """
        app = apps.get(self.serving.digest)
        report = self._reports.get(self.serving.digest)
        state = state_of(self.serving, app, report)
        if (told := seen(report, state)) is not None:
            self._reports[self.serving.digest] = told
        if self.wanted is None or not self.wanted.enabled:
            ending = "its last requests are ending" if _has_replicas(apps) else None
            state = replace(state, status="disabled", phase=None, progress=None, detail=ending)
        elif self._failure is not None and app is None:
            state = replace(state, status="failed", phase=None, detail=self._failure)
        elif state.status == "failed" and (self._retrying or self.serving.digest != self.wanted.spec.digest):
            state = replace(state, status="starting", phase="allocating", detail=None)
        elif self.serving.digest != self.wanted.spec.digest:
            state = replace(state, detail=self._detail_of_change(apps))
        return replace(
            state,
            queued=self.queued,
            pull=self.pull,
            retry_at=round(self._retry_at + epoch, 1) if state.status == "failed" else None,
            started_at=self._started_at and round(self._started_at + epoch, 1),
        )

    def _choose(self, target: ModelSpec, live: AppView | None, apps: Apps, now: float, fits: Fits) -> None:
        """Decide by which spec requests go."""
        if self.serving.digest == target.digest:
            return
        before = apps.get(self.serving.digest)
        worth_keeping = before is not None and before.running > 0 and not before.going
        ready = live is not None and live.running > 0
        since = self.waits_for_room(now)
        stuck = since is not None and now - since > PATIENCE_S and not fits(target)
        if ready or stuck or not worth_keeping:
            self.serving = target
            self._switched_at = now

    def _rename(self, target: ModelSpec) -> None:
        """Names are the gateways' own affair, and so is all that no replica runs by: it is true at once."""
        if self.serving.digest == target.digest:
            self.serving = target
        else:
            self.serving = self.serving.model_copy(update={"aliases": target.aliases, "owned_by": target.owned_by})

    def _watch_start(self, live: AppView | None, now: float) -> None:
        self._failing = self._failing and live is not None and live.failed
        if live is not None and live.running:
            self.ready_since = self.ready_since or now
            self.woken = False
            self._pending_since = self._started_at = self._allocate_s = self.placed_at = None
            self.makers.clear()
            self._retrying = False
            self._forgive()
            return
        self.ready_since = None
        if live is None or not live.failed:
            self._retrying = False
        if live is None or not live.pending:
            self._pending_since = self.placed_at = None
            if not self.queued:
                self._started_at = self._allocate_s = None
            return
        self._started_at = self._started_at or now
        self._pending_since = self._pending_since or now

    def waits_for_room(self, now: float) -> float | None:
        """Since when, by the manager's clock, a replica has been on its way up that has no place as far as is known."""
        if self._allocate_s is not None or (self.placed_at is not None and now - self.placed_at < PLACED_S):
            return None
        return self._pending_since

    def began_to_wait(self, now: float) -> bool:
        """Whether a replica has been on its way up since this very moment."""
        return self._pending_since == now

    def _is_over(self, digest: str, now: float) -> bool:
        assert self.wanted is not None
        if digest in (self.serving.digest, self.wanted.spec.digest) or now - self._switched_at <= SWITCH_S:
            return False
        return self.knows(digest) or now - self._born > STRANGER_S

    def _is_due(self, apps: Apps, live: AppView | None, now: float) -> bool:
        assert self.wanted is not None
        if live is not None:
            known = self.deployed.get(self.wanted.spec.digest) == self.wanted.spec.full_digest
            return not known and not live.failed and (self._failure is None or now >= self._retry_at)
        mine = apps.get(self.wanted.spec.digest)
        if (mine is not None and mine.running) or (self.asleep and apps):
            # Deployed again too soon, it would keep the replica that is to go.
            return False
        if now - self._deployed_at < APPEARS_S:
            return False
        self.asleep = False
        return self._failure is None or now >= self._retry_at

    def _needs_waking(self, target: ModelSpec, live: AppView, apps: Apps) -> bool:
        if target.autoscaling.min_replicas > 0 or live.running or live.pending or live.failed or self.asleep:
            return False
        before = apps.get(self.serving.digest)
        taking_over = self.serving.digest != target.digest and before is not None and before.running > 0
        return self.woken or taking_over

    def _retries(self, now: float) -> bool:
        if not self._failing:
            self._failing = True
            self._count_failure(now)
        return now >= self._retry_at

    def _count_failure(self, now: float) -> None:
        self._failures += 1
        self._retry_at = now + min(BACKOFF_MOST_S, BACKOFF_S * 2 ** (self._failures - 1))

    def _forgive(self) -> None:
        self._failures = 0
        self._failure = None
        self._retry_at = 0.0

    def _detail_of_change(self, apps: Apps) -> str:
        assert self.wanted is not None
        digest = self.wanted.spec.digest
        if self._failure is not None:
            return f"it goes on as it was, since the change failed: {self._failure}"
        change = state_of(self.wanted.spec, apps.get(digest), self._reports.get(digest))
        if change.status == "failed":
            return f"it goes on as it was, since the change failed: {change.detail}"
        return f"a change is on its way: {change.phase or change.status}"

    def _names(self, digests: Iterable[str]) -> tuple[str, ...]:
        return tuple(app_name_of(self._id, digest) for digest in digests)


def _has_replicas(apps: Apps) -> bool:
    return any(app.has_replicas for app in apps.values())
