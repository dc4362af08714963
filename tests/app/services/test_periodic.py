from __future__ import annotations

import asyncio

import pytest

from app.errors import DatabaseUnavailable
from app.services.periodic import Periodic

pytestmark = pytest.mark.usefixtures("clean_loop")


class Act:
    """Counts how often it is done, and fails in turn."""

    def __init__(self, *errors: Exception) -> None:
        self.times = 0
        self._errors = list(errors)

    async def __call__(self) -> None:
        self.times += 1
        if self._errors:
            raise self._errors.pop(0)


async def until(act: Act, times: int) -> None:
    async with asyncio.timeout(10):
        while act.times < times:
            await asyncio.sleep(0.01)


async def test_it_is_done_again_however_it_ended(caplog: pytest.LogCaptureFixture):
    act = Act(ValueError("broken"), DatabaseUnavailable("away"))
    periodic = Periodic(act, name="counting", every_s=0.01, spread=0.5)
    periodic.start()
    periodic.start()
    await until(act, 4)
    assert await periodic.close()
    assert "counting" in caplog.text
    assert "broken" in caplog.text
    assert "away" not in caplog.text
    done = act.times
    await asyncio.sleep(0.05)
    assert act.times == done


async def test_it_is_first_done_after_a_wait_or_at_once():
    later, at_once = Act(), Act()
    for act in (later, at_once):
        periodic = Periodic(act, name="counting", every_s=3600, at_once=act is at_once)
        periodic.start()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await periodic.close()
    assert (later.times, at_once.times) == (0, 1)


async def test_one_that_was_not_started_has_nothing_to_end():
    assert not await Periodic(Act(), name="counting", every_s=1).close()


async def test_it_can_be_started_anew():
    act = Act()
    periodic = Periodic(act, name="counting", every_s=0.01, at_once=True)
    for times in (1, 2):
        periodic.start()
        await until(act, times)
        await periodic.close()
