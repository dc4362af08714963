"""Replicas of a language model in virtual time: what an autoscaler has to work with, without any machine.

A replica reads prompts one after the other, then writes all its answers side by side, each as fast as one may be or as
its share of the whole allows. A request is let in when there is a place for it and room in the cache for all of its
tokens. What does not fit waits at the replica; what no replica has a place for waits at the gateway.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random


@dataclass(frozen=True, slots=True)
class Hardware:
    """What one replica can do. The defaults are of the order of an 8B model on one small GPU; nobody measured them.

    Attributes:
        prefill: Prompt tokens a second.
        stream: Tokens a second of one answer, at most.
        batch: Tokens a second of all answers, at most.
        cache: Tokens of prompts and answers that may be under way.
        sequences: Answers at once.
        places: Requests at once, with those that wait at the replica.
        start_s: From being asked for to being ready.
    """

    prefill: float = 4000
    stream: float = 30
    batch: float = 600
    cache: int = 40_000
    sequences: int = 64
    places: int = 64
    start_s: float = 40


@dataclass(slots=True, eq=False)
class Job:
    """One request and what became of it. Times are seconds; tokens as they are known beforehand."""

    at: float
    prompt: int
    output: int
    first: float | None = None
    end: float | None = None


class Clock:
    """Virtual time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call it then."""
        heapq.heappush(self._events, (when, next(self._order), call))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until:
            self.now, _, call = heapq.heappop(self._events)
            call()
        self.now = until


@dataclass(eq=False)
class Replica:
    """One replica, from its being asked for to its end."""

    clock: Clock
    hardware: Hardware
    name: int
    freed: Callable[[], None]
    began: float
    ready: bool = False
    ended: float | None = None
    leaving: bool = False
    prompted: int = 0
    last_end: float = 0.0
    waiting: deque[Job] = field(default_factory=deque["Job"])
    reading: Job | None = None
    writing: list[tuple[float, int, Job]] = field(default_factory=list["tuple[float, int, Job]"])
    cached: int = 0
    _written: float = 0.0
    _since: float = 0.0
    _epoch: int = 0
    _order: count[int] = field(default_factory=count)

    @property
    def jobs(self) -> int:
        """Requests that are there."""
        return len(self.waiting) + len(self.writing) + (self.reading is not None)

    @property
    def waiting_tokens(self) -> int:
        """Prompt tokens without a first token of their answer."""
        return sum(job.prompt for job in self.waiting) + (self.reading.prompt if self.reading else 0)

    def take(self, job: Job) -> None:
        """Accept a request."""
        self.prompted += job.prompt
        self.waiting.append(job)
        self._read_next()

    def _read_next(self) -> None:
        if self.reading is not None or not self.waiting or len(self.writing) >= self.hardware.sequences:
            return
        job = self.waiting[0]
        if self.cached and self.cached + job.prompt + job.output > self.hardware.cache:
            return
        self.waiting.popleft()
        self.cached += job.prompt + job.output
        self.reading = job
        self.clock.at(self.clock.now + job.prompt / self.hardware.prefill, self._read)

    def _read(self) -> None:
        assert self.reading is not None
        job, self.reading = self.reading, None
        job.first = self.clock.now
        self._advance()
        heapq.heappush(self.writing, (self._written + job.output, next(self._order), job))
        self._wake()
        self._read_next()

    def _advance(self) -> None:
        if self.writing:
            self._written += (self.clock.now - self._since) * self._pace()
        self._since = self.clock.now

    def _pace(self) -> float:
        return min(self.hardware.stream, self.hardware.batch / len(self.writing))

    def _wake(self) -> None:
        self._epoch += 1
        if self.writing:
            epoch = self._epoch
            when = self.clock.now + max(0.0, self.writing[0][0] - self._written) / self._pace()
            self.clock.at(when, lambda: self._write(epoch))

    def _write(self, epoch: int) -> None:
        if epoch != self._epoch:
            return
        self._advance()
        while self.writing and self.writing[0][0] <= self._written + 1e-6:
            job = heapq.heappop(self.writing)[2]
            job.end = self.last_end = self.clock.now
            self.cached -= job.prompt + job.output
        self._wake()
        self._read_next()
        self.freed()


class Fleet:
    """The replicas of a model and the gateway in front of them."""

    def __init__(self, clock: Clock, hardware: Hardware, random: Random) -> None:
        self.clock = clock
        self.hardware = hardware
        self.target = 0
        self.changes = 0
        self.queue: deque[Job] = deque()
        self.replicas: list[Replica] = []
        self.gone: list[Replica] = []
        self._random = random
        self._names = count()

    @property
    def ready(self) -> list[Replica]:
        """Those that take requests."""
        return [each for each in self.replicas if each.ready and not each.leaving]

    def arrive(self, job: Job) -> None:
        """A request at the gateway."""
        self.queue.append(job)
        self._dispatch()

    def scale(self, target: int) -> None:
        """Start replicas, or have the least busy ones leave when they are done."""
        if target == self.target:
            return
        self.target = target
        self.changes += 1
        staying = [each for each in self.replicas if not each.leaving]
        for _ in range(target - len(staying)):
            replica = Replica(self.clock, self.hardware, next(self._names), self._dispatch, self.clock.now)
            self.replicas.append(replica)
            self.clock.at(self.clock.now + self.hardware.start_s, lambda replica=replica: self._start(replica))
        for replica in sorted(staying, key=lambda each: (each.ready, each.jobs))[: max(0, len(staying) - target)]:
            replica.leaving = True
        self._let_go()

    def replica_seconds(self) -> float:
        """All that was paid for, starts and ends included."""
        return sum((each.ended or self.clock.now) - each.began for each in [*self.gone, *self.replicas])

    def _start(self, replica: Replica) -> None:
        replica.ready = True
        replica.last_end = self.clock.now
        self._dispatch()

    def _dispatch(self) -> None:
        self._let_go()
        while self.queue:
            free = [each for each in self.ready if each.jobs < self.hardware.places]
            if not free:
                return
            # As Serve does: the better of two.
            two = self._random.sample(free, min(2, len(free)))
            min(two, key=lambda each: each.jobs).take(self.queue.popleft())

    def _let_go(self) -> None:
        for replica in [each for each in self.replicas if each.leaving and not each.jobs]:
            replica.ended = self.clock.now
            self.replicas.remove(replica)
            self.gone.append(replica)
