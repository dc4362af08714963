"""Leases: one request at a time, used again while they are young, given back when they are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from deployments import lease as module
from deployments.lease import Lease, LeasePool, Links, Unreachable
from deployments.link.listener import Listener
from deployments.link.tickets import Ticket
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
    """Two replicas with room for two leases in all."""
    listeners = [Listener(unused, name * 32, "127.0.0.1") for name in "ab"]
    for listener in listeners:
        await listener.start()
    made = Serve(list(listeners), asyncio.Semaphore(2))
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
    assert await pool.acquire() is first
    pool.release(first)
    assert len(serve.calls) == 1


async def test_two_requests_at_once_have_two_leases(serve: Serve, pool: LeasePool):
    leases = [await pool.acquire(), await pool.acquire()]
    assert leases[0] is not leases[1]
    assert {lease.link.replica for lease in leases} == {"a" * 32, "b" * 32}
    for lease in leases:
        pool.release(lease)


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
    monkeypatch.setattr(module, "MAX_AGE_S", 0.0)
    first = await pool.acquire()
    pool.release(first)
    await until(lambda: serve.ended == 1)
    assert await pool.acquire() is not first


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
    assert await waiting[0] is held[0]
    assert serve.calls[2].cancelled, "Serve must not keep a place for somebody who has one"
    pool.release(held[1])
    assert await waiting[1] is held[1]
    pool.release(held[0])
    pool.release(held[1])


async def test_who_stops_waiting_leaves_nothing_behind(serve: Serve, pool: LeasePool):
    held = [await pool.acquire(), await pool.acquire()]
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(0)
    assert serve.calls[2].cancelled
    pool.release(held[0])
    assert await pool.acquire() is held[0]
    pool.release(held[0])
    pool.release(held[1])


async def test_a_lease_that_comes_as_its_caller_leaves_goes_to_the_next(serve: Serve, pool: LeasePool):
    held = [await pool.acquire(), await pool.acquire()]
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0.02)
    pool.release(held[0])
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await pool.acquire() is held[0]
    pool.release(held[0])
    pool.release(held[1])


async def test_what_serve_refuses_is_told_to_the_one_who_asked(pool: LeasePool, monkeypatch: pytest.MonkeyPatch):
    async def refuses(_: Messages) -> Ticket:
        raise ZeroDivisionError

    monkeypatch.setattr(Messages, "__anext__", refuses)
    with pytest.raises(ZeroDivisionError):
        await pool.acquire()


async def test_a_listener_that_cannot_be_reached_is_said_and_not_tried_again_soon(serve: Serve):
    nowhere = Ticket("c" * 32, "127.0.0.1", free_port(), "token")

    async def there(_: Messages) -> Ticket:
        return nowhere

    pool = LeasePool(serve.ask, Links())
    tries = 0
    connect = module.Link.connect

    async def counted(ticket: Ticket) -> Any:
        nonlocal tries
        tries += 1
        return await connect(ticket)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Messages, "__anext__", there)
        patch.setattr(module.Link, "connect", counted)
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
    second: Lease = await pool.acquire()
    assert second.link.replica != first.link.replica
    pool.release(second)
