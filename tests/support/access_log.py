"""The line that is logged for a request: after its last byte has left, so a client may have to wait for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest


async def access_line(caplog: pytest.LogCaptureFixture) -> Any:
    """The only access log record of this test; its fields are attributes."""
    async with asyncio.timeout(10):
        while not (lines := [record for record in caplog.records if record.name == "manta.access"]):
            await asyncio.sleep(0.01)
    (line,) = lines
    return line
