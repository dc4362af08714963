"""What is streamed of responses in the background: written to the database as it comes, read from anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence

from app.domain.stored_response import StoredResponse
from app.errors import DatabaseUnavailable, NotFound
from app.services.responses.events import TERMINAL, EventWriter
from app.storage.response_events import MOST_EVENTS, EventBatch, ResponseEvents
from app.storage.responses import Responses

logger = logging.getLogger("manta")

BLANK = b"\n\n"
WAITING = b": waiting for the response\n\n"

KEPT_S = 24 * 3600
"""How long events can be read, from when they were made."""

MOST_REMEMBERED = 256 * 1024
"""Bytes of events that a response in the background takes at the most: what is older is read from the database."""

FIRST_POLL_S = 0.02
POLL_S = 0.25
RETRY_S = 0.5


class Feed:
    """Of one response that is worked on in this process.

    Events wait while the last ones are being written, and are written together: no timer holds any back.

    Attributes:
        batches: The last of those that are written, in order.
        dropped: How many there were before them.
        closed: Whether nothing more comes.
    """

    def __init__(self, events: ResponseEvents, response: StoredResponse, first: int) -> None:
        self.batches: deque[EventBatch] = deque()
        self.dropped = 0
        self.closed = False
        self._events = events
        self._response = response
        self._next = first
        self._size = 0
        self._waiting: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._written = asyncio.Event()
        self._task = asyncio.create_task(self._write(), name=f"events of {response.id}")

    def add(self, events: bytes) -> None:
        """Have whole events written."""
        if events:
            self._waiting.extend(event + BLANK for event in events.split(BLANK)[:-1])
            self._more.set()

    def has_behind(self, number: int) -> bool:
        """Whether what is behind a number is here, and nobody has to ask the database."""
        return not self.dropped or self.batches[0].first <= number + 1

    async def drained(self) -> None:
        """Return when all that was added is written, however long the database is away."""
        while self._waiting and not self.closed:
            await self.changed()

    async def changed(self) -> None:
        """Return when more is written, or nothing more comes."""
        written = self._written
        if not self.closed:
            await written.wait()

    async def close(self) -> None:
        """Let readers look elsewhere; what is not written yet never is."""
        self.closed = True
        self._task.cancel()
        self._written.set()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _write(self) -> None:
        try:
            await self._write_on()
        except Exception:
            # Whoever waits for it waits no longer: the response is what counts.
            logger.exception("Events of the response %s cannot be kept", self._response.id)
            self.closed = True
            self._written.set()

    async def _write_on(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                count = min(len(self._waiting), MOST_EVENTS)
                data = b"".join(self._waiting[at] for at in range(count))
                response = self._response
                batch = EventBatch(response.id, response.attempt, self._next, self._next + count - 1, data)
                try:
                    await self._events.put(response.owner, batch, time.time() + KEPT_S)
                except DatabaseUnavailable:
                    await asyncio.sleep(RETRY_S)
                    continue
                for _ in range(count):
                    self._waiting.popleft()
                self._next += count
                self._remember(batch)
                written, self._written = self._written, asyncio.Event()
                written.set()

    def _remember(self, batch: EventBatch) -> None:
        self.batches.append(batch)
        self._size += len(batch.data)
        while self._size > MOST_REMEMBERED and len(self.batches) > 1:
            self._size -= len(self.batches.popleft().data)
            self.dropped += 1


class Feeds:
    """The feeds of this process, and how those of others are read."""

    def __init__(self, responses: Responses, events: ResponseEvents) -> None:
        self._responses = responses
        self._events = events
        self._feeds: dict[str, Feed] = {}

    @contextlib.asynccontextmanager
    async def feeding(self, response: StoredResponse, first: int) -> AsyncGenerator[Feed]:
        """A feed for as long as the response is worked on here."""
        feed = self._feeds[response.id] = Feed(self._events, response, first)
        try:
            yield feed
        finally:
            if self._feeds.get(response.id) is feed:
                del self._feeds[response.id]
            await feed.close()

    async def read(self, owner: str, id_: str, after: int, keepalive_s: float) -> AsyncGenerator[bytes]:
        """A response's events behind a number, to its last one, wherever it is worked on; comments in between.

        Work on it may be begun anew meanwhile: then it goes on with the events of that.
        """
        said = time.monotonic()
        async for events in self._events_behind(owner, id_, after):
            now = time.monotonic()
            if events:
                yield events
            elif now - said >= keepalive_s:
                yield WAITING
            else:
                continue
            said = now

    async def _events_behind(self, owner: str, id_: str, number: int) -> AsyncGenerator[bytes]:
        """The same, with nothing in place of comments, a few times a second."""
        wait_s = FIRST_POLL_S
        while True:
            if (feed := self._feeds.get(id_)) is not None and feed.has_behind(number):
                # What is written from here on is read without asking the database.
                async for batch in _of_feed(feed):
                    if batch is not None and batch.last > number:
                        yield _behind(batch, number)
                        number = batch.last
                    else:
                        yield b""
            try:
                # Before its events: those of one that is over are all there.
                response = await self._responses.get(owner, id_)
                batches: Sequence[EventBatch] = ()
                if response is not None:
                    batches = await self._events.after(id_, response.attempt, number)
                over = response is None or (response.is_over and not batches)
                last = await self._last_event(response, number) if over else b""
            except DatabaseUnavailable:
                yield b""
                await asyncio.sleep(RETRY_S)
                continue
            if over:
                yield last
                return
            for batch in batches:
                yield _behind(batch, number)
                number = batch.last
            if not batches:
                yield b""
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, POLL_S)

    async def _last_event(self, response: StoredResponse | None, number: int) -> bytes:
        """What ends every stream; nothing for whoever had it."""
        if response is None:
            return NotFound("This response was deleted.").event()
        last = await self._events.last_number(response.id)
        # Events are not kept for ever, and those of one that is over are as many as they were.
        ends = last + 1 if last >= 0 else number + 1
        if number >= ends:
            return b""
        return EventWriter(ends).event(TERMINAL[response.status], response=response.body)


async def _of_feed(feed: Feed) -> AsyncGenerator[EventBatch | None]:
    """Its batches, and None in place of those that are long in coming; up to its end, or where it forgot the next."""
    at = feed.dropped
    while True:
        while feed.dropped <= at < feed.dropped + len(feed.batches):
            yield feed.batches[at - feed.dropped]
            at += 1
        if feed.closed or at < feed.dropped:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await feed.changed()
                continue
        yield None


def _behind(batch: EventBatch, number: int) -> bytes:
    """Those events of a batch that are behind a number."""
    skipped = number + 1 - batch.first
    return batch.data if skipped <= 0 else b"".join(part + BLANK for part in batch.data.split(BLANK)[skipped:-1])
