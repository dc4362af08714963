from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from app.services.oidc.fetcher import ProviderTrouble
from app.services.oidc.kept import FRESH_S, RENEW_EVERY_S, RETRY_S, Kept


@dataclass
class Source:
    """What is fetched: how often it was, or trouble."""

    now: float = 1000.0
    fetched: int = 0
    down: bool = False
    held: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.held.set()
        self.kept = Kept(self.fetch, lambda: self.now)

    async def fetch(self) -> int:
        self.fetched += 1
        mine = self.fetched
        await self.held.wait()
        if self.down:
            raise ProviderTrouble(f"down at {mine}")
        return mine


@pytest.fixture
async def source() -> Source:
    return Source()


async def test_it_is_fetched_once_and_again_when_it_is_old(source: Source):
    assert [await source.kept.get() for _ in range(3)] == [1, 1, 1]
    source.now += FRESH_S - 1
    assert await source.kept.get() == 1
    source.now += 1
    assert await source.kept.get() == 2


async def test_who_misses_something_has_it_fetched_anew_once_a_minute(source: Source):
    assert await source.kept.get() == 1
    assert [await source.kept.renewed() for _ in range(3)] == [1, 1, 1], "it was fetched just now"
    source.now += RENEW_EVERY_S
    assert [await source.kept.renewed() for _ in range(3)] == [2, 2, 2]


async def test_a_fetch_that_fails_takes_nothing_away(source: Source):
    await source.kept.get()
    source.down = True
    source.now += FRESH_S
    assert await source.kept.get() == 1
    assert await source.kept.renewed() == 1
    assert source.fetched == 2, "a provider that is down is not asked each time"
    source.down = False
    source.now += RENEW_EVERY_S
    assert await source.kept.get() == 3


async def test_while_there_is_nothing_trouble_is_shared_for_a_moment(source: Source):
    source.down = True
    for _ in range(3):
        with pytest.raises(ProviderTrouble, match="down at 1"):
            await source.kept.get()
    source.down = False
    source.now += RETRY_S
    assert await source.kept.get() == 2


async def test_many_who_ask_at_once_share_one_fetch(source: Source):
    source.held.clear()
    asking = [asyncio.create_task(source.kept.get()) for _ in range(10)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    source.held.set()
    assert await asyncio.gather(*asking[1:]) == [1] * 9
    assert source.fetched == 1


async def test_closing_waits_for_what_is_under_way(source: Source):
    source.held.clear()
    asking = asyncio.create_task(source.kept.get())
    await asyncio.sleep(0)
    closing = asyncio.create_task(source.kept.close())
    await asyncio.sleep(0)
    assert not closing.done()
    source.held.set()
    await closing
    assert await asking == 1
