"""Leases: one request at a time, used again while they are young, given back when they are not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from deployments import lease as module
from deployments import places
from deployments.lease import LeasePool, Place
from deployments.link.link import Link
from deployments.link.listener import Listener
from deployments.link.tickets import Ticket
from deployments.links import Links, Unreachable
from tests.support.ports import free_port

pytestmark = pytest.mark.usefixtures("clean_loop")


async def unused(*_: Any) -> None:
    """An application that nobody calls here."""


@dataclass
class Messages:
    """A call of ``ModelReplica.lease``: its ticket when there is room, then nothing until it is over."""

    serve: Serve
    ticket: Ticket | None = None
    cancelled: bool = False

    async def __anext__(self) -> Ticket:
        await self.serve.room.acquire()
        listener = self.serve.listeners[self.serve.asked % len(self.serve.listeners)]
        self.serve.asked += 1
        self.ticket, grant = listener.grant()
        self.serve.given.append(self)
        self.serve.tasks.append(asyncio.create_task(self._until(grant.over)))
        return self.ticket

    def cancel(self) -> None:
        self.cancelled = True

    async def _until(self, over: asyncio.Event) -> None:
        await over.wait()
        self.serve.ended += 1
        self.serve.room.release()


@dataclass
class Serve:
    """Stands for Serve: gives a lease whenever a replica has room for one more."""

    listeners: list[Listener]
    room: asyncio.Semaphore
    asked: int = 0
    ended: int = 0
    calls: list[Messages] = field(default_factory=list[Messages])
    given: list[Messages] = field(default_factory=list[Messages])
    tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    def ask(self) -> Messages:
        self.calls.append(messages := Messages(self))
        return messages


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Two replicas with room for one request each."""
    async with replicas("ab", 1) as made:
        yield made


@contextlib.asynccontextmanager
async def replicas(names: str, places: int) -> AsyncIterator[Serve]:
    """Replicas with so many places each."""
    listeners = [Listener(unused, name * 32, "127.0.0.1", places) for name in names]
    for listener in listeners:
        await listener.start()
    made = Serve(list(listeners), asyncio.Semaphore(places * len(names)))
    yield made
    for listener in listeners:
        await listener.stop()
    await asyncio.sleep(0.01)
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


@pytest.fixture
async def pool(serve: Serve) -> AsyncIterator[LeasePool]:
    links = Links()
    yield LeasePool(serve.ask, links)
    links.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_lease_is_used_again(serve: Serve, pool: LeasePool):
    first = await pool.acquire()
    pool.release(first)
    second = await pool.acquire()
    assert second.lease is first.lease
    pool.release(second)
    assert len(serve.calls) == 1


async def test_two_requests_at_once_have_two_leases(serve: Serve, pool: LeasePool):
    places = [await pool.acquire(), await pool.acquire()]
    assert places[0].lease is not places[1].lease
    assert {place.link.replica for place in places} == {"a" * 32, "b" * 32}
    for place in places:
        pool.release(place)


async def test_two_leases_of_a_replica_share_its_link(serve: Serve, pool: LeasePool):
    del serve.listeners[1]
    first, second = await pool.acquire(), await pool.acquire()
    assert first.link is second.link
    pool.release(first)
    pool.release(second)


async def test_an_idle_lease_is_given_back_after_a_while(
    serve: Serve, pool: LeasePool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "LINGER_S", 0.05)
    pool.release(await pool.acquire())
    assert serve.ended == 0
    await until(lambda: serve.ended == 1)
    assert (await pool.acquire()) is not None
    assert len(serve.calls) == 2


async def test_an_old_lease_is_not_used_again(serve: Serve, pool: LeasePool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(places, "MAX_AGE_S", 0.0)
    first = await pool.acquire()
    pool.release(first)
    await until(lambda: serve.ended == 1)
    assert (await pool.acquire()).lease is not first.lease


async def test_a_lease_on_a_dead_engine_is_not_used_again(serve: Serve, pool: LeasePool):
    first = await pool.acquire()
    first.link.retired = True
    pool.release(first)
    await until(lambda: serve.ended == 1)
    assert (await pool.acquire()).link is not first.link


async def test_who_waits_gets_a_lease_that_comes_back(serve: Serve, pool: LeasePool):
    held = [await pool.acquire(), await pool.acquire()]
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    await asyncio.sleep(0.02)
    assert not any(task.done() for task in waiting)
    pool.release(held[0])
    await asyncio.sleep(0.02)
    assert waiting[0].done(), "whoever waited longest is first"
    assert not waiting[1].done()
    assert (await waiting[0]).lease is held[0].lease
    await asyncio.sleep(0)
    assert [call.cancelled for call in serve.calls[2:]] == [False, True], "Serve must keep no place that nobody needs"
    pool.release(held[1])
    assert (await waiting[1]).lease is held[1].lease
    pool.release(await waiting[0])
    pool.release(await waiting[1])


async def test_who_stops_waiting_leaves_nothing_behind(serve: Serve, pool: LeasePool):
    held = [await pool.acquire(), await pool.acquire()]
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(0)
    assert serve.calls[2].cancelled
    pool.release(held[0])
    again = await pool.acquire()
    assert again.lease is held[0].lease
    pool.release(again)
    pool.release(held[1])


async def test_a_lease_that_comes_as_its_caller_leaves_goes_to_the_next(serve: Serve, pool: LeasePool):
    held = [await pool.acquire(), await pool.acquire()]
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0.02)
    pool.release(held[0])
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    again = await pool.acquire()
    assert again.lease is held[0].lease
    pool.release(again)
    pool.release(held[1])


async def test_what_serve_refuses_is_told_to_the_one_who_asked(pool: LeasePool, monkeypatch: pytest.MonkeyPatch):
    async def refuses(_: Messages) -> Ticket:
        raise ZeroDivisionError

    monkeypatch.setattr(Messages, "__anext__", refuses)
    with pytest.raises(ZeroDivisionError):
        await pool.acquire()


async def test_a_listener_that_cannot_be_reached_is_said_and_not_tried_again_soon(serve: Serve):
    nowhere = Ticket("c" * 32, "127.0.0.1", free_port(), 0, "token")

    async def there(_: Messages) -> Ticket:
        return nowhere

    pool = LeasePool(serve.ask, Links())
    tries = 0
    connect = Link.connect

    async def counted(ticket: Ticket) -> Any:
        nonlocal tries
        tries += 1
        return await connect(ticket)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Messages, "__anext__", there)
        patch.setattr(Link, "connect", counted)
        for _ in range(3):
            with pytest.raises(Unreachable):
                await pool.acquire()
    assert tries == 1
    assert all(call.cancelled for call in serve.calls), "each lease was given back"


async def test_leases_of_a_replica_that_died_are_dropped(serve: Serve, pool: LeasePool):
    first = await pool.acquire()
    gone = next(listener for listener in serve.listeners if listener.grant()[0].replica == first.link.replica)
    pool.release(first)
    serve.listeners.remove(gone)
    await gone.stop()  # and again when the test is over
    await until(lambda: not first.link.alive)
    second: Place = await pool.acquire()
    assert second.link.replica != first.link.replica
    pool.release(second)


async def test_a_burst_begins_on_trust_and_its_leases_follow(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FOLLOW_S", 0.03)
    async with replicas("a", 4) as serve:
        pool = LeasePool(serve.ask, Links())
        places = [await pool.acquire() for _ in range(4)]
        assert len(serve.calls) == 1, "the others did not wait for a lease of their own"
        assert [place.lease is None for place in places] == [False, True, True, True]
        await until(lambda: all(place.lease is not None for place in places))
        assert len({id(place.lease) for place in places}) == len(serve.given) == 4
        for place in places:
            pool.release(place)


async def test_trust_goes_as_far_as_the_replicas_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FOLLOW_S", 60)
    async with replicas("a", 3) as serve:
        pool = LeasePool(serve.ask, Links())
        held = [await pool.acquire() for _ in range(3)]
        serve.room = asyncio.Semaphore(0)
        waiting = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        pool.release(held[2])
        assert (await waiting).lease is None
        for place in (held[0], held[1], await waiting):
            pool.release(place)


async def test_who_waits_for_the_first_lease_goes_along_with_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FOLLOW_S", 60)
    async with replicas("a", 8) as serve:
        serve.room = asyncio.Semaphore(0)
        pool = LeasePool(serve.ask, Links())
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(5)]
        await asyncio.sleep(0.02)
        assert len(serve.calls) == 5, "Serve sees how many wait"
        serve.room.release()
        places = await asyncio.gather(*waiting)
        assert sum(place.lease is not None for place in places) == 1
        for place in places:
            pool.release(place)
        await asyncio.sleep(0.02)
        assert [call.cancelled for call in serve.calls[1:]] == [True] * 4


async def test_a_short_request_on_trust_needs_no_lease(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FOLLOW_S", 0.03)
    async with replicas("a", 4) as serve:
        pool = LeasePool(serve.ask, Links())
        first = await pool.acquire()
        for _ in range(3):
            pool.release(await pool.acquire())
        await asyncio.sleep(0.05)
        assert len(serve.calls) == 1
        pool.release(first)


async def test_one_request_is_trusted_to_a_replica_that_has_been_quiet(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(places, "MAX_AGE_S", 0.05)
    monkeypatch.setattr(module, "FOLLOW_S", 60)
    async with replicas("a", 4) as serve:
        pool = LeasePool(serve.ask, Links())
        pool.release(await pool.acquire())
        await asyncio.sleep(0.06)
        first = await pool.acquire()
        assert first.lease is None
        await until(lambda: serve.ended == 1)
        serve.room = asyncio.Semaphore(0)
        waiting = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0.02)
        assert not waiting.done(), "it may have filled up meanwhile"
        serve.room.release()
        for place in (first, await waiting):
            pool.release(place)


async def test_a_quiet_replica_is_leased_anew_even_when_its_request_was_short(monkeypatch: pytest.MonkeyPatch):
    """Or Serve would take a model for idle that has a short request now and then."""
    monkeypatch.setattr(places, "MAX_AGE_S", 0.05)
    async with replicas("a", 4) as serve:
        pool = LeasePool(serve.ask, Links())
        pool.release(await pool.acquire())
        await asyncio.sleep(0.06)
        pool.release(await pool.acquire())
        assert len(serve.calls) == 1
        await until(lambda: len(serve.given) == 2)
        await asyncio.sleep(0.05)
        assert len(serve.calls) == 2


async def test_a_renewal_that_serve_refuses_is_not_tried_again_until_the_next_request(
    monkeypatch: pytest.MonkeyPatch,
):
    async def refuses(_: Messages) -> Ticket:
        raise ZeroDivisionError

    monkeypatch.setattr(places, "MAX_AGE_S", 0.05)
    async with replicas("a", 4) as serve:
        pool = LeasePool(serve.ask, Links())
        pool.release(await pool.acquire())
        await asyncio.sleep(0.06)
        monkeypatch.setattr(Messages, "__anext__", refuses)
        pool.release(await pool.acquire())
        await asyncio.sleep(0.1)
        assert len(serve.calls) == 2


async def test_nobody_is_trusted_to_a_replica_that_has_been_quiet_for_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(places, "MAX_AGE_S", 0.02)
    monkeypatch.setattr(places, "MEMORY_S", 0.03)
    async with replicas("a", 4) as serve:
        pool = LeasePool(serve.ask, Links())
        first = await pool.acquire()
        await asyncio.sleep(0.06)
        second = await pool.acquire()
        assert second.lease is not None
        assert len(serve.calls) == 2
        pool.release(first)
        pool.release(second)


async def test_a_lease_on_another_replica_does_not_count_for_a_request_on_trust(monkeypatch: pytest.MonkeyPatch):
    """Or Serve would see the load where it is not."""
    monkeypatch.setattr(module, "FOLLOW_S", 0.01)
    async with replicas("ab", 4) as serve:
        pool = LeasePool(serve.ask, Links())
        first, trusted = await pool.acquire(), await pool.acquire()
        assert trusted.link is first.link
        await until(lambda: trusted.lease is not None)
        assert trusted.lease is not None
        assert trusted.lease.link is trusted.link
        assert len(serve.given) == 3, "one of them on the other replica"
        third = await pool.acquire()
        assert third.link is not first.link, "which is there for the next"
        for place in (first, trusted, third):
            pool.release(place)


async def test_while_serve_has_none_to_give_those_on_trust_ask_seldom(monkeypatch: pytest.MonkeyPatch):
    async def refuses(_: Messages) -> Ticket:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "FOLLOW_S", 0.005)
    async with replicas("a", 4) as serve:
        pool = LeasePool(serve.ask, Links())
        held = [await pool.acquire()]
        monkeypatch.setattr(Messages, "__anext__", refuses)
        held.append(await pool.acquire())
        await asyncio.sleep(0.1)
        assert len(serve.calls) == 2
        for place in held:
            pool.release(place)
