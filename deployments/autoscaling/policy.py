"""How many replicas a model should have: a pure function of what was seen and remembered.

Demand is told in replicas, as the largest of three: sequences against how many a replica should have, prompt tokens
that come and that wait against how many a replica clears, and cache in use against how much of it may be. It is
averaged over a short window, and then

- from none, as many start at once as the queue needs;
- a burst, demand for twice as many, is followed at once, and while it lasts nothing shrinks;
- else demand has to stay above for ``upscale_delay_s``, and has to have stayed below for ``downscale_delay_s``;
- the last one goes when it has been idle for ``downscale_to_zero_delay_s``, by its own account.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

BURST_RATIO = 2.0
"""Demand for so many times the replicas there are, or are to be, is a burst."""

LOOKED_BACK_S = 8.0
"""For so long after it ended, Serve may still tell of a queue: its look-back period, and the way there."""

CALM_WINDOWS = 10
"""So many burst windows without one end a burst."""

TOLERANCE = 0.1
"""A difference of this share of the replicas is none."""

SILENT_S = 10.0
"""A replica whose numbers have been the same old ones for so long is asked no more: Serve's own count speaks for it."""

HALF_LIFE_S = 30.0
"""After so long, what was learnt of the speed of replicas counts half."""

LEARNT_S = 5.0
"""The speed is known once it has been seen for this long."""

STEADY_S = 10.0
"""A replica shows its speed once it has had a queue for so long: before, it may just be reading what came together."""

ARRIVALS_S = 30.0
"""After so long, what has arrived counts half. Who starts a replica for a shorter rush than this has it too late."""

SPARE = 0.8
"""What arrives shall be this share of what replicas clear: at all of it, queues never end."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What the model's file asks for; see ``app.domain.model_spec.Autoscaling``."""

    sequences: float
    wait_s: float
    kv_usage: float
    burst_window_s: float
    upscale_delay_s: float
    downscale_delay_s: float
    downscale_to_zero_delay_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """The newest numbers of one replica.

    Attributes:
        at: When they were taken, by the replica's clock, in seconds.
        sequences: Running and waiting.
        waiting: Those that wait.
        waiting_tokens: Prompt tokens of sequences without a first token.
        prompt_tokens: Prompt tokens taken in since the replica's start.
        kv_usage: Share of the cache in use, 0 to 1.
        idle_s: How long it has had nothing to do.
        start_s: How long its start took.
    """

    at: float
    sequences: float = 0.0
    waiting: float = 0.0
    waiting_tokens: float = 0.0
    prompt_tokens: float = 0.0
    kv_usage: float = 0.0
    idle_s: float = 0.0
    start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Situation:
    """What there is at one moment.

    Attributes:
        now: Seconds since some moment.
        ready: Replicas that take requests.
        target: Replicas that there should be, as was decided last.
        queued: Requests that wait for a replica.
        ongoing: Requests at replicas, as Serve counts them: an upper bound.
        reports: By replica.
    """

    now: float
    ready: int
    target: int
    queued: float = 0.0
    ongoing: float = 0.0
    reports: Mapping[str, Report] = field(default_factory=dict[str, Report])
    least: int = 0
    most: int = 1


@dataclass(frozen=True, slots=True)
class Heard:
    """The last report of a replica.

    Attributes:
        report: What it said.
        came: When that came.
        queue_since: Since when it has had a queue, by its own clock; None while it has none.
    """

    report: Report
    came: float
    queue_since: float | None


@dataclass(frozen=True, slots=True)
class Memory:
    """What is carried from one decision to the next. All of it may get lost: nothing shrinks until it is back.

    Attributes:
        since: When it began.
        heard: By replica.
        cleared: Prompt tokens that replicas with a queue got through, and
        clearing_s: how long they took; older ones count less.
        arriving: Prompt tokens that come to replicas in a second, and
        listened: when that was counted last.
        demands: When and how much, over the burst window.
        peaks: Falling demands and when each was last seen: the first is the highest within the downscale delay.
        above_since: Since when demand has been above the target.
        burst_until: Until when nothing shrinks.
        quiet_since: Since when nothing has been seen to do.
        ready: Replicas that took requests, and
        grown: when they became more.
    """

    since: float
    heard: Mapping[str, Heard] = field(default_factory=dict[str, Heard])
    cleared: float = 0.0
    clearing_s: float = 0.0
    arriving: float = 0.0
    listened: float = -math.inf
    demands: tuple[tuple[float, float], ...] = ()
    peaks: tuple[tuple[float, float], ...] = ()
    above_since: float | None = None
    burst_until: float = -math.inf
    quiet_since: float | None = None
    ready: int = 0
    grown: float = -math.inf

    @property
    def clears(self) -> float | None:
        """Prompt tokens a second that a replica with a queue gets through; None until that is known."""
        return self.cleared / self.clearing_s if self.clearing_s >= LEARNT_S and self.cleared > 0 else None


def decide(targets: Targets, seen: Situation, memory: Memory | None) -> tuple[int, Memory]:
    """The number of replicas there should be, and what to remember.

    Args:
        targets: See ``Targets``.
        seen: What there is.
        memory: What the decision before this one gave; None for the first.
    """
    memory = _listen(seen, memory or Memory(since=seen.now))
    current = demand(targets, seen, memory)
    memory = _remember(targets, seen, memory, current)
    if seen.ready == 0:
        # Nobody but the queue has anything to say. It grows while they start: that alone is no reason for more.
        enough = not seen.queued or current < BURST_RATIO * seen.target
        wanted = seen.target if enough else max(seen.target, math.ceil(current))
    else:
        wanted, memory = _resize(targets, seen, memory)
    return min(max(wanted, seen.least), seen.most), memory


def demand(targets: Targets, seen: Situation, memory: Memory) -> float:
    """How many replicas the work there is needs."""
    reports = _speaking(seen, memory)
    sequences = sum(report.sequences for report in reports)
    if len(reports) < seen.ready:
        sequences = max(sequences, seen.ongoing)
    # Serve tells of a queue for as long as it looks back: what waited before a replica came is what it has now.
    fresh = seen.now - memory.grown < LOOKED_BACK_S
    requests = max(sequences, seen.queued) if fresh else sequences + seen.queued
    work = requests / targets.sequences
    cache = sum(report.kv_usage for report in reports) / targets.kv_usage
    if (flow := _flow(targets, seen, memory, reports)) is None:
        return max(work, cache)
    # Where there are too few, requests pile up that those on their way will soon be through with.
    return max(min(work, seen.ready), min(flow, requests), cache)


def _flow(targets: Targets, seen: Situation, memory: Memory, reports: list[Report]) -> float | None:
    """Replicas for what arrives and what waits, where any waits; None where it is not known how fast they are."""
    waiting = sum(report.waiting for report in reports)
    if (clears := memory.clears) is None or not waiting:
        return None
    tokens = sum(report.waiting_tokens for report in reports)
    tokens += seen.queued * tokens / waiting
    # A replica that is still to start takes no part in anything before it has.
    horizon_s = targets.wait_s + max(report.start_s for report in reports)
    return memory.arriving / (clears * SPARE) + tokens / (clears * horizon_s)


def _speaking(seen: Situation, memory: Memory) -> list[Report]:
    return [each.report for each in memory.heard.values() if seen.now - each.came < SILENT_S]


def _listen(seen: Situation, memory: Memory) -> Memory:
    heard: dict[str, Heard] = {}
    cleared = clearing_s = arrived = 0.0
    for replica, report in seen.reports.items():
        before = memory.heard.get(replica)
        if before is None:
            heard[replica] = Heard(report, seen.now, report.at if report.waiting else None)
            continue
        if before.report.at == report.at:
            heard[replica] = before
            continue
        since = (report.at if before.queue_since is None else before.queue_since) if report.waiting else None
        heard[replica] = Heard(report, seen.now, since)
        arrived += max(0.0, report.prompt_tokens - before.report.prompt_tokens)
        if since is not None and before.report.at - since >= STEADY_S:
            cleared += max(0.0, _done(report) - _done(before.report))
            clearing_s += report.at - before.report.at
    keep = 0.5 ** (clearing_s / len(heard) / HALF_LIFE_S) if clearing_s else 1.0
    fade = 0.5 ** (max(0.0, seen.now - memory.listened) / ARRIVALS_S)
    return replace(
        memory,
        arriving=memory.arriving * fade + arrived * math.log(2) / ARRIVALS_S,
        listened=seen.now,
        ready=seen.ready,
        grown=seen.now if seen.ready > memory.ready else memory.grown,
        heard=heard,
        cleared=memory.cleared * keep + cleared,
        clearing_s=memory.clearing_s * keep + clearing_s,
    )


def _done(report: Report) -> float:
    return report.prompt_tokens - report.waiting_tokens


def _remember(targets: Targets, seen: Situation, memory: Memory, current: float) -> Memory:
    now = seen.now
    demands = (*((at, value) for at, value in memory.demands if now - at < targets.burst_window_s), (now, current))
    if not seen.ready:
        # What wakes replicas keeps them: nothing before it thins it out.
        demands = demands[-1:]
    smooth = _mean(demands)
    kept = (each for each in memory.peaks if each[1] > smooth and now - each[0] <= targets.downscale_delay_s)
    quiet = not current and not seen.ongoing
    return replace(
        memory,
        demands=demands,
        peaks=(*kept, (now, smooth)),
        quiet_since=(now if memory.quiet_since is None else memory.quiet_since) if quiet else None,
    )


def _resize(targets: Targets, seen: Situation, memory: Memory) -> tuple[int, Memory]:
    now, target, smooth = seen.now, seen.target, _mean(memory.demands)
    wanted = _replicas(smooth, target)
    if wanted > target:
        above_since = now if memory.above_since is None else memory.above_since
        memory = replace(memory, above_since=above_since)
        burst = smooth >= BURST_RATIO * target and now - above_since >= targets.burst_window_s
        if burst:
            memory = replace(memory, burst_until=now + CALM_WINDOWS * targets.burst_window_s)
        if burst or now - above_since >= targets.upscale_delay_s:
            return wanted, replace(memory, above_since=None)
        return target, memory
    memory = replace(memory, above_since=None)
    idle = _idle_s(seen, memory)
    if idle > targets.burst_window_s:
        memory = replace(memory, burst_until=-math.inf)
    if now < memory.burst_until:
        return target, memory
    if target <= 1:
        return (0 if seen.least == 0 and idle >= targets.downscale_to_zero_delay_s else target), memory
    if now - memory.since < targets.downscale_delay_s:
        return target, memory
    return min(target, max(1, _replicas(memory.peaks[0][1], target))), memory


def _replicas(demanded: float, target: int) -> int:
    return target if abs(demanded - target) <= TOLERANCE * target else math.ceil(demanded)


def _idle_s(seen: Situation, memory: Memory) -> float:
    """For how long nobody has had anything to do."""
    if seen.queued:
        return 0.0
    speaking = _speaking(seen, memory)
    idle = min((report.idle_s for report in speaking), default=math.inf)
    if len(speaking) < seen.ready:
        idle = min(idle, 0.0 if memory.quiet_since is None else seen.now - memory.quiet_since)
    return idle


def _mean(demands: tuple[tuple[float, float], ...]) -> float:
    return sum(value for _, value in demands) / len(demands)
