"""What replicas tell the manager."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from app.domain.model_state import PullState, StartPhase, StartTimes
from app.domain.usage import Usage

Phase = StartPhase | Literal["ready", "served", "failed"]


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where a replica's output goes.

    Attributes:
        replica: The replica's actor id, in hex.
        node: Ray's id of its node, in hex.
        paths: The files there.
    """

    replica: str
    node: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """What a replica says of its start.

    Attributes:
        phase: Where it is, ``ready`` at the end, ``failed`` if it gave up; ``served`` once it was seen running.
        progress: Share of the phase that is done, 0 to 1, or None.
        detail: In words.
        max_model_len: In tokens; known from the first ``ready`` on.
        age_s: How long the replica's process had lived.
        times: What the last start that got to ``ready`` took.
        place: Where the replica's log lies.
    """

    model: str
    digest: str
    phase: Phase
    progress: float | None = None
    detail: str | None = None
    max_model_len: int | None = None
    age_s: float = 0.0
    times: StartTimes | None = None
    place: LogPlace | None = None


@dataclass(frozen=True, slots=True)
class ActivityReport:
    """Whether a replica has anything to do.

    Attributes:
        replica: Its actor id, in hex.
        node: Ray's id of its node, in hex.
        idle_s: For how long it has had nothing to do; 0 while it works.
    """

    model: str
    digest: str
    replica: str
    node: str
    idle_s: float


@dataclass(frozen=True, slots=True)
class PullReport:
    """How far a node is with fetching a model's weights."""

    model: str
    node: str
    state: PullState


@dataclass(frozen=True, slots=True)
class Orphan:
    """What a request took whose gateway is gone, or may be: nobody else can say it.

    Attributes:
        account: Its ``UsageDraft``, encoded.
        ended_at_ms: In epoch milliseconds.
    """

    account: bytes
    usage: Usage
    ended_at_ms: int


@dataclass(frozen=True, slots=True)
class Remains:
    """How far a request had come at a replica that died, or what it took there, if its gateway may not have heard.

    Attributes:
        account: Its ``UsageDraft``, encoded.
        usage: What is known to have been taken for it; of its answer, what had left.
    """

    account: bytes
    usage: Usage


def following(last: PhaseReport | None, report: PhaseReport) -> PhaseReport:
    """The newest report, with what an earlier one of the same spec knew: another replica may have got further."""
    if last is None or report.phase == "ready":
        return report
    return replace(report, max_model_len=last.max_model_len, times=last.times, place=report.place or last.place)
