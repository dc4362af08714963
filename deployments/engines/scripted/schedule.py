"""Which requests run, which wait, and when each token is due.

Every schedule is absolute: token ``k`` of a request is due ``ttft_s + k / tokens_per_s`` after the request began to
run, however late its predecessors were. A late stream catches up in one write, as a real engine's does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from app.domain.usage import NOTHING, Usage
from deployments.engines.base import EngineLoad
from deployments.engines.scripted.args import ScriptedArgs
from deployments.engines.scripted.clock import Clock
from deployments.engines.scripted.prefix_cache import PrefixCache
from deployments.engines.scripted.wire import Reading

EPSILON = 1e-9


class Run:
    """One request's sequences, which advance together: step ``k`` is token ``k`` of each that is long enough.

    A context manager: inside, the sequences run; entering waits for room. Every wait ends early with the exception
    given to ``interrupt``.

    Args:
        scheduler: Where it runs.
        lengths: Tokens of each sequence; those without tokens (embeddings) take room too.
        reading: The prompt, if there is one to read.
        texts_tokens: Tokens of what is taken in otherwise: texts that are embedded.

    Attributes:
        took: What it came to, once it has left; nothing if it never came to run.
    """

    __slots__ = (
        "_began",
        "_first",
        "_interrupted",
        "_pending",
        "_reading",
        "_scheduler",
        "_steps",
        "_target",
        "_texts_tokens",
        "lengths",
        "longest",
        "prompt_tokens",
        "size",
        "took",
    )

    def __init__(
        self, scheduler: Scheduler, lengths: list[int], reading: Reading | None = None, texts_tokens: int = 0
    ) -> None:
        self.lengths = lengths
        self.took = NOTHING
        self.prompt_tokens = reading.tokens if reading is not None else 0
        self.longest = max(lengths, default=0)
        self.size = min(len(lengths), scheduler.args.max_num_seqs)
        self._scheduler = scheduler
        self._reading = reading
        self._texts_tokens = texts_tokens
        self._began = False
        self._first = 0.0
        self._steps = 0
        self._target = 0
        self._pending: asyncio.Future[None] | None = None
        self._interrupted: Exception | None = None

    async def __aenter__(self) -> Self:
        try:
            if (room := self._scheduler.admit(self)) is not None:
                await self._wait(room)
        except BaseException:
            self._scheduler.leave(self)
            raise
        read = self._scheduler.clock.now() if self._reading is None else self._scheduler.read(self._reading)
        self._first = read + self._scheduler.args.ttft_s
        self._began = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._scheduler.leave(self)

    def interrupt(self, error: Exception) -> None:
        """End the run: its current wait, or else its next, raises ``error``."""
        if self._interrupted is not None:
            return
        self._interrupted = error
        if self._pending is not None and not self._pending.done():
            self._pending.set_exception(error)

    def generated(self) -> int:
        """Tokens generated so far, over all sequences."""
        steps = self._done()
        return sum(min(steps, length) for length in self.lengths)

    def usage(self) -> Usage:
        """What it has taken so far."""
        if not self._began:
            return NOTHING
        cached = self._reading.cached if self._reading is not None else None
        return Usage(self.prompt_tokens + self._texts_tokens, self.generated(), cached or 0)

    def running(self) -> int:
        """Sequences that have not come to their end."""
        steps = self._done()
        return sum(1 for length in self.lengths if steps < length or not length)

    def reading(self) -> bool:
        """Whether its first token is still to come."""
        return self._scheduler.clock.now() < self._first

    async def due(self, step: int) -> int:
        """Wait until token ``step`` is due; returns how many tokens are, which is at least ``step + 1``."""
        rate, clock = self._scheduler.args.tokens_per_s, self._scheduler.clock
        when = self._first + (step / rate if rate else 0)
        now = clock.now()
        if now < when:
            sleeper = asyncio.get_running_loop().create_future()
            clock.wake(when, sleeper)
            await self._wait(sleeper)
            now = clock.now()
        else:
            # Others get their turn, even where sending never waits.
            await asyncio.sleep(0)
            if self._interrupted is not None:
                raise self._interrupted
        return max(step, int((now - self._first) * rate + EPSILON)) + 1

    def hand_over(self, steps: int) -> None:
        """Count the tokens up to there as generated: they are on their way to the reader."""
        self._steps = steps

    async def reach(self, steps: int) -> None:
        """Generate so many tokens that nobody reads one by one; they count as they fall due."""
        self._target = steps
        await self.due(max(0, steps - 1))
        self._steps = steps

    async def stall(self) -> None:
        """Generate nothing more, until interrupted."""
        await self._wait(asyncio.get_running_loop().create_future())

    def _done(self) -> int:
        if self._target <= self._steps:
            return self._steps
        passed, rate = self._scheduler.clock.now() - self._first, self._scheduler.args.tokens_per_s
        if passed < 0:
            return 0
        return min(self._target, int(passed * rate + EPSILON) + 1) if rate else self._target

    async def _wait(self, future: asyncio.Future[None]) -> None:
        if self._interrupted is not None:
            raise self._interrupted
        self._pending = future
        try:
            await future
        finally:
            self._pending = None


class Scheduler:
    """Admits runs in the order they came, as long as there is room for their sequences, and counts."""

    def __init__(self, args: ScriptedArgs, clock: Clock) -> None:
        self.args = args
        self.clock = clock
        self._runs: set[Run] = set()
        self._waiting: deque[tuple[Run, asyncio.Future[None]]] = deque()
        self._room = args.max_num_seqs
        self._generated = 0
        self._prompted = 0
        self._cache = PrefixCache(args)
        self._read_until = 0.0
        self._closed: Callable[[], Exception] | None = None

    def admit(self, run: Run) -> asyncio.Future[None] | None:
        """Let the run in; or, if there is no room for it, a future to wait for.

        Raises:
            Exception: What ``close`` was given.
        """
        if self._closed is not None:
            raise self._closed()
        self._prompted += run.prompt_tokens
        if not self._waiting and run.size <= self._room:
            self._enter(run)
            return None
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((run, room))
        return room

    def leave(self, run: Run) -> None:
        """Forget the run, whether it ran or waited, and let others in."""
        if run in self._runs:
            self._runs.remove(run)
            self._room += run.size
            run.took = run.usage()
            self._generated += run.took.output_tokens
        else:
            self._waiting = deque(entry for entry in self._waiting if entry[0] is not run)
        self._admit_waiting()

    def read(self, reading: Reading) -> float:
        """Read a prompt behind those that are being read already; the time at which that is done."""
        args, now = self.args, self.clock.now()
        unread = reading.tokens
        if args.kv_blocks:
            reading.cached = self._cache.read(reading.prompt)
            unread -= reading.cached
        if not args.prefill_tokens_per_s:
            return now
        self._read_until = max(now, self._read_until) + unread / args.prefill_tokens_per_s
        return self._read_until

    def load(self) -> EngineLoad:
        """The counters at this moment; the share of its room that sequences take stands for the cache's."""
        unread = [run for run in self._runs if run.reading()] + [run for run, _ in self._waiting]
        return EngineLoad(
            running=sum(run.running() for run in self._runs),
            waiting=sum(len(run.lengths) for run, _ in self._waiting),
            generated_tokens=self._generated + sum(run.generated() for run in self._runs),
            prompt_tokens=self._prompted,
            waiting_tokens=sum(run.prompt_tokens for run in unread),
            kv_usage=1 - self._room / self.args.max_num_seqs,
        )

    def close(self, error: Callable[[], Exception]) -> None:
        """End every run, waiting ones too, and admit no more."""
        self._closed = error
        for run in [*self._runs, *(run for run, _ in self._waiting)]:
            run.interrupt(error())

    def _enter(self, run: Run) -> None:
        self._runs.add(run)
        self._room -= run.size

    def _admit_waiting(self) -> None:
        while self._waiting:
            run, room = self._waiting[0]
            if not room.done():
                if run.size > self._room:
                    return
                self._enter(run)
                room.set_result(None)
            self._waiting.popleft()
