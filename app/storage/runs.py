"""The collection ``runs``: those of a thread by their turns, and those that are not over by who works at them.

``active`` is there while a run is not over, and no other of its thread may have it: a thread has one run at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from app.domain.page import Page, PageRequest
from app.domain.run import LastError, Run, RunOrder, RunStatus, Tokens
from app.storage.database import Collection as Documents
from app.storage.database import Database, Document, built, change_one, delete_some
from app.storage.windows import Place, Windowed
from app.storage.written import json_text, pairs

WORKED_ON: Final[tuple[RunStatus, ...]] = ("queued", "in_progress", "cancelling")
"""What a run is while a job is at it."""

_PLAIN: Final = ("owner", "key_id", "thread", "assistant", "status", "tail", "streamed", "incomplete")
_NUMBERS: Final = (
    "created_at_ms",
    "expires_at_ms",
    "started_at_ms",
    "ended_at_ms",
    "round_at_ms",
    "turn",
    "told",
)
_NOT_CHANGED: Final = frozenset(("owner", "thread", "assistant", "order", "created_at_ms", "metadata"))


class Runs:
    """Runs: what they were told, and how far they are."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._runs: Documents = database.collection("runs")

    async def prepare(self) -> None:
        """Make the indexes that lists, jobs and uniqueness rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        by_turn = [("owner", ASCENDING), ("thread", ASCENDING), ("turn", ASCENDING)]
        async with self._database.operation():
            await self._runs.create_index(by_turn, name="turn")
            await self._runs.create_index([("active", ASCENDING)], name="active", unique=True, sparse=True)
            await self._runs.create_index([("runner", ASCENDING)], name="runner", sparse=True)
            await self._runs.create_index([("owner", ASCENDING), ("runner", ASCENDING)], name="owner_runner")

    async def insert(self, run: Run, runner: str) -> bool:
        """Store a new run, as a process's job; False if its thread has one that is not over.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        document = _document(run) | {"_id": run.id, "active": run.thread, "runner": runner}
        try:
            async with self._database.operation():
                await self._insert(document)
        except _Taken:
            return False
        return True

    async def get(self, owner: str, thread: str, id_: str) -> Run | None:
        """One run of somebody's thread.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"_id": {"$eq": id_}, "owner": {"$eq": owner}, "thread": {"$eq": thread}}
        async with self._database.operation():
            return built(_run, await self._runs.find_one(where))

    async def by_id(self, id_: str) -> Run | None:
        """One run, for who works at it.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return built(_run, await self._runs.find_one({"_id": {"$eq": id_}}))

    async def active(self, thread: str) -> Run | None:
        """The run of a thread that is not over.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return built(_run, await self._runs.find_one({"active": {"$eq": thread}}))

    async def list(self, owner: str, thread: str, page: PageRequest, turns: int) -> Page[Run]:
        """Runs of a thread that has had so many turns.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a run that is not in the list.
        """

        async def fetch(low: int, high: int) -> Sequence[Run]:
            where = {"owner": owner, "thread": thread, "turn": {"$gte": low, "$lt": high}}
            async with self._database.operation():
                return [_run(document) for document in await self._runs.find(where).to_list(None)]

        async def find(id_: str) -> Place | None:
            run = await self.get(owner, thread, id_)
            return run and (run.turn, run.id)

        return await Windowed(fetch, lambda run: (run.turn, run.id), find, turns).page(page)

    async def change(
        self, run: Run, *, was: Iterable[RunStatus], by: str | None = None, runner: str | None = None
    ) -> bool:
        """Store a run as it is now, if it still has one of these statuses; whether it had.

        Args:
            run: As it is now.
            was: The statuses.
            by: The process that has to be at work at it; None for no matter whom.
            runner: Who works at it from now on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        # Not what stays as it is, and not what others may change meanwhile.
        document = {name: value for name, value in _document(run).items() if name not in _NOT_CHANGED}
        gone: dict[str, str] = {} if run.status in WORKED_ON else {"runner": "", "cancel": ""}
        if run.is_over:
            gone["active"] = ""
        if runner is not None:
            document["runner"] = runner
        update: Document = {"$set": document}
        if gone:
            update["$unset"] = gone
        where: Document = {"_id": {"$eq": run.id}, "status": {"$in": sorted(was)}}
        if by is not None:
            where["runner"] = by
        async with self._database.operation():
            return (await self._runs.update_one(where, update)).matched_count == 1

    async def set_metadata(self, owner: str, thread: str, id_: str, metadata: Mapping[str, str]) -> Run | None:
        """Write on a run; the run as changed, or None if there is none such.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"_id": {"$eq": id_}, "owner": {"$eq": owner}, "thread": {"$eq": thread}}
        async with self._database.operation():
            document = await change_one(self._runs, where, {"$set": {"metadata": pairs(metadata)}})
        return built(_run, document)

    async def ask_to_cancel(self, id_: str) -> Run | None:
        """Have whoever works at a run end it; the run, or None if nobody works at it.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"_id": {"$eq": id_}, "status": {"$in": sorted(WORKED_ON)}}
        async with self._database.operation():
            document = await change_one(self._runs, where, {"$set": {"status": "cancelling", "cancel": True}})
        return built(_run, document)

    async def delete_some(self, owner: str, thread: str) -> bool:
        """Delete some runs of a thread; whether there may be more.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"owner": {"$eq": owner}, "thread": {"$eq": thread}}
        async with self._database.operation():
            return await delete_some(self._runs, where)

    async def jobs_of(self, runner: str, limit: int) -> Sequence[str]:
        """The ids of some runs that a process works at.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return await self._ids({"runner": {"$eq": runner}}, limit)

    async def count_jobs(self, owner: str) -> int:
        """How many of somebody's runs are worked at.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return await self._runs.count_documents({"owner": {"$eq": owner}, "runner": {"$gt": ""}})

    async def claim(self, id_: str, runner: str, old_runner: str) -> bool:
        """Have another process work at a run; False if the old one does no more.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        where = {"_id": {"$eq": id_}, "runner": {"$eq": old_runner}}
        async with self._database.operation():
            return (await self._runs.update_one(where, {"$set": {"runner": runner}})).matched_count == 1

    async def still_of(self, runner: str, ids: Collection[str]) -> set[str]:
        """Those of these runs that a process works at.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return set(await self._ids({"_id": {"$in": sorted(ids)}, "runner": {"$eq": runner}}, len(ids)))

    async def cancelled_of(self, runner: str) -> Collection[str]:
        """The ids of those runs of a process that somebody asked to be cancelled.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return await self._ids({"runner": {"$eq": runner}, "cancel": True}, None)

    async def _ids(self, where: Document, limit: int | None) -> list[str]:
        async with self._database.operation():
            cursor = self._runs.find(where, {"_id": True})
            found = await (cursor if limit is None else cursor.limit(limit)).to_list(limit)
        return [document["_id"] for document in found]

    async def _insert(self, document: Document) -> None:
        try:
            await self._runs.insert_one(document)
        except DuplicateKeyError:
            raise _Taken from None


class _Taken(Exception):
    """The thread has a run that is not over."""


def _document(run: Run) -> Document:
    return {
        **{name: getattr(run, name) for name in (*_PLAIN, *_NUMBERS)},
        "order": json_text(run.order),
        "metadata": pairs(run.metadata),
        "calls": json_text(list(run.calls)),
        "tokens": [run.tokens.prompt, run.tokens.completion],
        "error": run.error and run.error.to_dict(),
    }


def _run(document: Document) -> Run:
    plain: dict[str, Any] = {name: document[name] for name in (*_PLAIN, *_NUMBERS)}
    # The driver has a class of its own for numbers that are long.
    plain |= {name: int(plain[name]) for name in _NUMBERS if plain[name] is not None}
    return Run(
        id=document["_id"],
        **plain,
        order=msgspec.json.decode(document["order"], type=RunOrder),
        metadata=dict(document["metadata"]),
        calls=msgspec.json.decode(document["calls"]),
        tokens=Tokens(*document["tokens"]),
        error=None if document["error"] is None else LastError(**document["error"]),
    )
