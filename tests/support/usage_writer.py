"""A process that writes usage as fast as it can, until it is killed or has written much: then it waits for that.

After every event it adds a byte to its standard output, so that whoever killed it knows how many it had written.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from app.domain.usage import Usage
from app.services.usage.ledger import UsageLedger
from app.storage.database import Database
from app.storage.usage_events import UsageEvents
from tests.support.usage import draft

MOST = 10_000
"""On a busy machine its end comes late."""


async def main(uri: str, name: str, folder: str, at_once: str) -> None:
    database = Database(uri, name, timeout_s=2, pool_size=4)
    ledger = UsageLedger(UsageEvents(database), Path(folder))
    await ledger.start()
    waiting: list[tuple[str, int]] = []
    for number in range(MOST):
        request_id = f"req_{number:07d}"
        ledger.open(draft(request_id))
        waiting.append((request_id, number))
        if len(waiting) > int(at_once):
            done, count = waiting.pop(0)
            ledger.write(draft(done).event(Usage(count, 1), "completed"))
            os.write(1, b".")
        if number % 50 == 0:
            await asyncio.sleep(0.002)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
