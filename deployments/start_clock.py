"""Where the seconds of a replica's start go."""

from __future__ import annotations

import time

from app.domain.model_state import StartPhase, StartTimes
from deployments.engines.base import Report
from deployments.reporter import age_s


class PhaseClock:
    """A ``Report`` that passes on what it hears and notes when each phase began.

    Args:
        report: Hears all of it.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._process_s = age_s()
        self._begun: dict[StartPhase, float] = {}
        self._spent: dict[StartPhase, float] = {}
        self._now: StartPhase | None = None

    def __call__(self, phase: StartPhase, progress: float | None, detail: str | None) -> None:
        """See ``Report``."""
        self._enter(phase)
        self._report(phase, progress, detail)

    def times(self) -> StartTimes:
        """What each phase took, now that all of them are over; how long the process waited for comes from elsewhere."""
        self._enter(None)
        spent = self._spent
        return StartTimes(
            process_s=self._process_s,
            fetch_s=spent.get("fetching", 0.0),
            load_s=spent.get("loading", 0.0),
            warm_s=spent.get("warming", 0.0),
        )

    def _enter(self, phase: StartPhase | None) -> None:
        if phase == self._now:
            return
        now = time.monotonic()
        if self._now is not None:
            self._spent[self._now] = self._spent.get(self._now, 0.0) + now - self._begun[self._now]
        if phase is not None:
            self._begun[phase] = now
        self._now = phase
