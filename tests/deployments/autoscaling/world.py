"""A model as the policy sees it, tick by tick, under the work that a test gives it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from deployments.autoscaling.policy import Memory, Report, Situation, Targets, decide

TICK_S = 0.5
TARGETS = Targets(
    sequences=10,
    wait_s=2,
    kv_usage=0.8,
    burst_window_s=3,
    upscale_delay_s=10,
    downscale_delay_s=60,
    downscale_to_zero_delay_s=30,
)


@dataclass
class World:
    """Time, replicas, and the policy's last word.

    Attributes:
        start_s: How long a replica takes to start.
        silent: Whether replicas report nothing.
    """

    targets: Targets = TARGETS
    least: int = 0
    most: int = 10
    target: int = 0
    start_s: float = 0.0
    silent: bool = False
    now: float = 1000.0
    memory: Memory | None = None
    history: list[int] = field(default_factory=list[int])
    idle_since: float | None = None
    _ready_at: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self._ready_at = [self.now] * self.target

    @property
    def ready(self) -> int:
        return sum(at <= self.now for at in self._ready_at)

    def run(self, seconds: float, sequences: float = 0, queued: float = 0, **numbers: float) -> int:
        """Let so much work be there for so long; the replicas there should be after it.

        Args:
            seconds: How long.
            sequences: Of all replicas together.
            queued: Requests that wait for a replica.
            numbers: More fields of every replica's ``Report``.
        """
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            self.tick(sequences, queued, **numbers)
        return self.target

    def tick(self, sequences: float, queued: float, **numbers: float) -> None:
        if sequences or queued:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = self.now
        idle_s = 0.0 if self.idle_since is None else self.now - self.idle_since
        ready = self.ready
        report = Report(at=self.now, sequences=sequences / ready if ready else 0, idle_s=idle_s)
        report = replace(report, **numbers)
        seen = Situation(
            now=self.now,
            ready=ready,
            target=self.target,
            queued=queued,
            ongoing=sequences,
            reports={} if self.silent else {str(index): report for index in range(ready)},
            least=self.least,
            most=self.most,
        )
        target, self.memory = decide(self.targets, seen, self.memory)
        self._ready_at = sorted(self._ready_at)[:target]
        self._ready_at += [self.now + self.start_s] * (target - len(self._ready_at))
        self.target = target
        self.history.append(target)
