"""A call has its line from its beginning until what it took is on record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from app.domain.usage import Usage
from app.services.asgi_call import Receive, Scope, Send, tally_of
from app.services.backend import EngineRequest
from deployments.link.link import Link
from deployments.orphans import Orphans
from deployments.reports import Orphan, Remains
from deployments.slate.file import read
from deployments.slate.slate import NAME, Slate
from tests.deployments.link.conftest import Behaviour, Replica, body, start
from tests.support.meter import Recorder

pytestmark = pytest.mark.usefixtures("clean_loop")

Start = Callable[[Behaviour], Awaitable[Replica]]

REQUEST = EngineRequest("/v1/completions", b"{}", "id", "m", b"account")
READ = Usage(7, 0, 3)
TOOK = Usage(7, 4, 3, 1)


async def counting(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads seven tokens, answers three in two parts, and stops at the fourth when nobody waits any more."""
    await receive()
    tally = tally_of(scope)
    tally.usage = READ
    await start(send)
    for so_far in (1, 3):
        tally.so_far = so_far
        await body(send, b"part")
    await receive()
    tally.usage = TOOK


class Written:
    """What stands on a replica's slate, as whoever adopts it would read it."""

    def __init__(self, root: Path) -> None:
        self.slate = Slate.make(root, 4)
        (self._path,) = root.glob(f"*/{NAME}")

    def __call__(self) -> list[Remains]:
        return list(read(self._path))

    async def becomes(self, *standing: Remains) -> None:
        async with asyncio.timeout(10):
            while self() != list(standing):
                await asyncio.sleep(0.005)


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    made = Written(tmp_path)
    yield made
    made.slate.close()


async def call(there: Replica, written: Written, meter: Recorder) -> tuple[Link, Callable[[], None]]:
    there.listener._unwritten._slate = written.slate  # pyright: ignore[reportPrivateUsage]
    link = await there.link()
    answer = link.send(REQUEST, meter)
    await answer.begun()
    return link, answer.close


async def test_a_line_goes_when_the_gateway_has_it_on_record(replica: Start, written: Written):
    meter = Recorder(writes=False)
    _, close = await call(await replica(counting), written, meter)
    await written.becomes(Remains(b"account", Usage(7, 3, 3)))
    close()
    assert await meter.all_heard() == [TOOK]
    assert written() == [Remains(b"account", TOOK)]
    meter.kept[0]()
    await written.becomes()


async def test_what_a_lost_gateway_leaves_stands_there_until_the_manager_has_it(replica: Start, written: Written):
    taken: list[Orphan] = []
    may_take = asyncio.Event()

    async def manager(orphans: list[Orphan]) -> None:
        await may_take.wait()
        taken.extend(orphans)

    there, orphans = await replica(counting), Orphans(manager)
    link, _ = await call(there, written, Recorder())
    link.close()
    await written.becomes(Remains(b"account", TOOK))
    orphans.take(there.orphans)
    await asyncio.sleep(0.01)
    assert written() == [Remains(b"account", TOOK)]
    may_take.set()
    await written.becomes()
    assert [(each.account, each.usage) for each in taken] == [(b"account", TOOK)]
    assert taken[0].ended_at_ms > 1_600_000_000_000
