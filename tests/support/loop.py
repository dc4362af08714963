"""What a test may not leave behind in the event loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was imported to collect the tests is there to stay: not every look for garbage goes through it again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """At the interpreter's end it is garbage like everything."""
    gc.unfreeze()


@pytest_asyncio.fixture
async def clean_loop() -> AsyncIterator[None]:
    """Fails a test after which a task still runs, or an exception that nobody looked at was thrown away."""
    lost: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: lost.append(context))
    before = asyncio.all_tasks()
    try:
        yield
        for _ in range(3):
            await asyncio.sleep(0)
        left = {task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()}
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(handler)
    assert not left
    assert not lost
