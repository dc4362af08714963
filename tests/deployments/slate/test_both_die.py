"""Of requests whose gateway and replica are killed in the same instant, each event tells the tokens that had left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.services.usage.ledger import UsageLedger
from app.storage.database import Database
from app.storage.stores import Stores
from deployments.engines.scripted.books import read
from deployments.orphan_usage import OrphanUsage
from deployments.slate.adoption import Adoption
from scripts.bench.audit import Event, audit, truth_of
from tests.support.doomed import BRIEF, PROMPT, WANTED
from tests.support.mongo import MongoServer

ROOT = Path(__file__).resolve().parents[3]
CHUNKS = 60


@pytest.fixture
def doomed(mongodb: MongoServer, database_name: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.support.doomed", mongodb.uri, database_name, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        yield process
        process.kill()


def kill_midway(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    seen = 0
    while seen < CHUNKS:
        heard = os.read(process.stdout.fileno(), 4096)
        assert heard, "it ended by itself"
        seen += len(heard)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


async def settle(stores: Stores, folder: Path) -> None:
    """What goes on on the node of the replica, and on the gateway's."""
    usage = OrphanUsage(lambda _: None, stores.usage_remains)
    assert await Adoption(folder / "slates", usage.keep).look()
    ledger = UsageLedger(stores.usage_events, folder / "usage", every_s=0.01, adopt_every_s=0.02, grace_s=0.1)
    await ledger.start()
    async with asyncio.timeout(60):
        while len(os.listdir(folder / "usage")) > 1:  # noqa: PTH208 - the other one is the adopter's own
            await asyncio.sleep(0.02)
    await ledger.close()


async def test_each_event_has_the_tokens_that_the_engine_gave_out(
    doomed: subprocess.Popen[bytes], database: Database, stores: Stores, tmp_path: Path
):
    await asyncio.to_thread(kill_midway, doomed)
    await settle(stores, tmp_path)
    events = await database.collection("usage_events").find({}).to_list(None)
    found = audit(
        truth_of(read(tmp_path / "books")),
        [(each["_id"], Event(each["status"], each["output_tokens"])) for each in events],
    )
    assert found.faults == {}
    assert found.lost == (0, 0)
    least, most = found.emitted
    assert CHUNKS / 2 < least <= found.told <= most
    assert found.statuses == {"completed": 2, "failed": len(WANTED) - 2}
    streamed = [each for each in events if each["output_tokens"] > BRIEF]
    assert len(streamed) == sum(stream for tokens, stream in WANTED if tokens > BRIEF)
    assert {each["input_tokens"] for each in streamed} == {len(PROMPT.split())}
