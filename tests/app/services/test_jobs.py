from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from app.errors import ServiceUnavailable
from app.services.jobs import Job, JobKind, Jobs, Why
from app.services.liveness import Liveness
from app.storage.database import Database
from app.storage.processes import Processes


@dataclass
class Sleepers:
    """Jobs that do nothing until they are ended or woken."""

    runners: dict[str, str] = field(default_factory=dict[str, str])
    marked: set[str] = field(default_factory=set[str])
    ended: list[tuple[str, Why | None]] = field(default_factory=list[tuple[str, Why | None]])
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def of(self, runner: str, limit: int) -> Sequence[str]:
        return [id_ for id_, whose in self.runners.items() if whose == runner][:limit]

    async def claim(self, id_: str, runner: str, old_runner: str) -> bool:
        if self.runners.get(id_) != old_runner:
            return False
        self.runners[id_] = runner
        return True

    async def lost(self, runner: str, ids: Collection[str]) -> Collection[str]:
        return [id_ for id_ in ids if self.runners.get(id_) != runner]

    async def cancelled(self, runner: str) -> Collection[str]:
        return [id_ for id_ in self.marked if self.runners.get(id_) == runner]

    async def run(self, job: Job) -> None:
        try:
            await self.wake.wait()
        finally:
            self.ended.append((job.id, job.why))
            if job.why is not Why.CLOSING:
                self.runners.pop(job.id, None)


class Process:
    """One process's jobs."""

    def __init__(self, database: Database, kind: JobKind, limit: int = 10) -> None:
        self.liveness = Liveness(Processes(database), dead_s=20)
        self.jobs = Jobs(self.liveness, limit=limit)
        self.jobs.add_kind(kind)


@pytest_asyncio.fixture
async def process(database: Database, sleepers: Sleepers) -> AsyncIterator[Process]:
    made = Process(database, sleepers)
    yield made
    await made.jobs.close()


@pytest.fixture
def sleepers() -> Sleepers:
    return Sleepers()


def begin(process: Process, sleepers: Sleepers, id_: str) -> Job:
    sleepers.runners[id_] = process.liveness.id
    return process.jobs.begin(sleepers, id_)


async def test_a_job_goes_on_until_it_is_over(process: Process, sleepers: Sleepers):
    job = begin(process, sleepers, "a")
    assert process.jobs.get("a") is job
    await asyncio.sleep(0)
    sleepers.wake.set()
    await job.task
    assert sleepers.ended == [("a", None)]
    assert process.jobs.get("a") is None


async def test_one_that_is_here_is_cancelled_at_once_also_before_its_first_step(process: Process, sleepers: Sleepers):
    begin(process, sleepers, "a")
    assert await process.jobs.cancel("a")
    begin(process, sleepers, "b")
    await asyncio.sleep(0)
    assert await process.jobs.cancel("b")
    assert sleepers.ended == [("a", Why.CANCELLED), ("b", Why.CANCELLED)]
    assert not await process.jobs.cancel("a")


async def test_one_that_others_marked_is_cancelled_by_a_look(process: Process, sleepers: Sleepers):
    marked, other = begin(process, sleepers, "a"), begin(process, sleepers, "b")
    sleepers.marked = {"a"}
    await process.jobs.look()
    await asyncio.wait((marked.task,))
    assert sleepers.ended == [("a", Why.CANCELLED)]
    assert not other.task.done()


async def test_one_that_was_lost_to_others_is_ended(process: Process, sleepers: Sleepers):
    job = begin(process, sleepers, "a")
    sleepers.runners["a"] = "somebody else"
    await process.jobs.look()
    await asyncio.wait((job.task,))
    assert sleepers.ended == [("a", Why.LOST)]


async def test_what_one_leaves_on_ending_another_takes_over(process: Process, database: Database, sleepers: Sleepers):
    other = Process(database, sleepers)
    other.liveness.start()
    await other.liveness.me()
    begin(other, sleepers, "a")
    await asyncio.sleep(0)
    await other.jobs.close()
    await other.liveness.close()
    assert sleepers.ended == [("a", Why.CLOSING)]

    await process.liveness.round()
    job = process.jobs.get("a")
    assert job is not None
    assert job.taken_over
    assert sleepers.runners == {"a": process.liveness.id}
    await process.liveness.round()
    assert not await Processes(database).get(other.liveness.id)


async def test_no_more_are_taken_on_than_there_is_room_for(database: Database, sleepers: Sleepers):
    processes = Processes(database)
    await processes.beat("dead")
    await processes.leave("dead")
    sleepers.runners = {"a": "dead", "b": "dead", "c": "dead"}
    one = Process(database, sleepers, limit=2)
    try:
        await one.liveness.round()
        assert sleepers.runners == {"a": one.liveness.id, "b": one.liveness.id, "c": "dead"}
        with pytest.raises(ServiceUnavailable):
            one.jobs.check_room()
        assert await processes.get("dead")
        await one.jobs.cancel("a")
        one.jobs.check_room()
        await one.liveness.round()
        assert sleepers.runners["c"] == one.liveness.id
    finally:
        await one.jobs.close()


async def test_a_job_that_fails_is_logged_and_gone(
    process: Process, sleepers: Sleepers, caplog: pytest.LogCaptureFixture
):
    class Broken(Sleepers):
        async def run(self, job: Job) -> None:
            raise RuntimeError("its own fault")

    job = process.jobs.begin(Broken(), "a")
    await asyncio.wait((job.task,))
    assert process.jobs.get("a") is None
    assert "The job a failed" in caplog.text
