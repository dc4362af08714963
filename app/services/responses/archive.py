"""The responses that are kept: got, deleted, cancelled; and what becomes of those whose answer is over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from app.domain.item import Item
from app.domain.page import Page, PageRequest
from app.domain.response import failed
from app.domain.stored_response import StoredResponse
from app.errors import InvalidRequest, NotFound
from app.services.answers.keeper import Answer, Keeper
from app.services.answers.keeping import Keeping
from app.services.jobs import Jobs, Why
from app.services.liveness import DeadProcess, Liveness
from app.services.persist import persist
from app.services.responses.feeds import Feeds
from app.services.responses.jobs import ResponseJobs
from app.services.responses.translation import Translation
from app.storage.stores import Stores

logger = logging.getLogger("manta")

_Try = tuple[str, int]
"""A response, and when it was begun: under an ``Idempotency-Key`` it may be begun again, with the same id."""

GONE = "The gateway that worked on this response is gone. Try again."
GIVE_UP_AT_ONCE = 100
MOST_DISCARDS = 1000
CANCEL_POLL_S = 0.25


class ResponseArchive:
    """Responses, whoever works on them.

    Args:
        grace_s: How long after a process's death somebody may yet find what it had answered, in seconds.
        per_owner: How many of somebody's may be under way in the background at once.

    Attributes:
        background: Those that are worked on without their callers.
        feeds: What is streamed of those.
    """

    def __init__(  # noqa: PLR0913 - wired in one place
        self, stores: Stores, keeper: Keeper, jobs: Jobs, liveness: Liveness, *, grace_s: float, per_owner: int
    ) -> None:
        self.background = ResponseJobs(stores.responses, jobs, per_owner=per_owner)
        self.feeds = Feeds(stores.responses, stores.response_events)
        self._stores = stores
        self._responses = stores.responses
        self._jobs = jobs
        self._liveness = liveness
        self._grace_s = grace_s
        self._translations: dict[_Try, Translation] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        keeper.add("response", self._keep)
        liveness.add_heir(self._give_up)

    async def get(self, owner: str, id_: str) -> StoredResponse:
        """One that is theirs.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such.
        """
        found = await self._responses.get(owner, id_)
        if found is None:
            raise NotFound("You have no response with this id.", code="response_not_found")
        return found

    async def delete(self, owner: str, id_: str) -> None:
        """Delete a response, and what is of it alone; work on it ends.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such.
        """
        await self.get(owner, id_)
        # Itself at last: for as long as it is there, the rest can be deleted again.
        await self._delete_rest(owner, id_)
        await self._responses.delete(owner, id_)
        if (job := self._jobs.get(id_)) is not None:
            job.end(Why.LOST)
            await asyncio.wait((job.task,))
            await self._delete_rest(owner, id_)

    async def cancel(self, owner: str, id_: str) -> StoredResponse:
        """End work on a response in the background; the response as it is then. One that is over stays as it is.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: It is not in the background.
            NotFound: There is none such.
        """
        if not (await self.get(owner, id_)).background:
            raise InvalidRequest(
                "Only a response that was made with `background` can be cancelled. To end another, close its stream.",
                param="response_id",
            )
        marked = await self._responses.mark_cancelled(owner, id_)
        if marked is None or marked.is_over or await self._jobs.cancel(id_):
            return await self.get(owner, id_)
        # Whoever works on it looks at the mark with every heartbeat.
        for _ in range(int(2 * self._liveness.beat_s / CANCEL_POLL_S)):
            await asyncio.sleep(CANCEL_POLL_S)
            if (found := await self.get(owner, id_)).is_over:
                return found
        return await self.get(owner, id_)

    async def inputs(self, owner: str, id_: str, page: PageRequest) -> Page[Item]:
        """What went into a response.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on an item that is not in the list.
            NotFound: There is no such response.
        """
        await self.get(owner, id_)
        return await self._stores.items.of_response(owner, id_, "input", page)

    def expect(self, keeping: Keeping, translation: Translation) -> None:
        """Have a response become what this says, once its answer is kept."""
        self._translations[_try_of(keeping)] = translation

    def closed(self, keeping: Keeping) -> None:
        """Nobody reads the answer any more: unless it was over, it becomes what was written down of it."""
        translation = self._translations.get(_try_of(keeping))
        if translation is not None and not translation.is_over:
            self.forget(keeping)

    def forget(self, keeping: Keeping) -> None:
        """Whatever was expected of a response, it is no more."""
        self._translations.pop(_try_of(keeping), None)

    def discard(self, response: StoredResponse, inputs: Sequence[Item]) -> asyncio.Task[None] | None:
        """Delete a response whose answer never began, and what was asked, as soon as may be."""
        if len(self._tasks) >= MOST_DISCARDS:
            logger.warning("What was begun in vain is left: there is too much of it")
            return None

        async def discard() -> None:
            stored = await self._responses.find(response.id)
            if stored is not None and stored.created_at_ms != response.created_at_ms:
                # It was asked for once more, and that went well.
                return
            owner = response.owner if stored is None else stored.owner
            for item in inputs:
                if item.conversation is not None:
                    await self._stores.items.delete(owner, item.conversation, item.id)
            if stored is None or await self._responses.delete(owner, response.id, response.created_at_ms):
                await self._delete_rest(owner, response.id)

        task = asyncio.create_task(persist(discard), name=f"discard {response.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def undo(self, response: StoredResponse, inputs: Sequence[Item]) -> None:
        """The same, and wait for it if the database answers."""
        if (task := self.discard(response, inputs)) is not None:
            await asyncio.wait((task,), timeout=1)

    async def close(self) -> None:
        """Begin nothing more; what is left is given up by others."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _delete_rest(self, owner: str, id_: str) -> None:
        await self._stores.response_events.delete(id_)
        await self._stores.items.delete_of_response(owner, id_)

    async def _keep(self, answer: Answer) -> None:
        """See ``Keeper``."""
        id_ = answer.keeping.response
        assert id_ is not None
        keeping = answer.keeping
        translation = self._translations.get(_try_of(keeping))
        if translation is None:
            stored = await self._responses.find(id_)
            if stored is None:
                # It was deleted meanwhile.
                await self._delete_rest(answer.owners[-1], id_)
                return
            translation = Translation(stored.body, keeping.tail)
            translation.read_back(answer.raw, answer.completion)
        elif not translation.is_over:
            translation.finish()
        kept = await self._responses.finish(
            id_, translation.response, runner=keeping.process, created_at_ms=keeping.created_at_ms
        )
        self.forget(keeping)
        if not kept and await self._responses.find(id_) is None:
            await self._delete_rest(answer.owners[-1], id_)

    async def _give_up(self, dead: DeadProcess) -> bool:
        """The heir of what dead processes answered to callers: somebody may have the journal, and then has the time."""
        left = await self._responses.of_runner(dead.id, GIVE_UP_AT_ONCE, background=False)
        if not left or dead.for_s < self._grace_s:
            return not left
        for response in left:
            lost = failed(response.body, GONE, "server_error")
            await self._responses.give_up(response, {**lost, "status": "failed"})
        logger.warning("%d responses of a process that died are lost", len(left))
        return len(left) < GIVE_UP_AT_ONCE


def _try_of(keeping: Keeping) -> _Try:
    return keeping.response or "", keeping.created_at_ms
