"""Where the end of a run's round is stored: what was said first, and the run, which then is seen to be over, last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from app.domain.conversation import first_title
from app.domain.item import text_of
from app.domain.round_end import Ending, RoundEnd, end_round
from app.domain.run import RunStatus
from app.domain.thread import conversation_id
from app.services.answers.keeper import Answer
from app.storage.runs import WORKED_ON
from app.storage.stores import Stores
from app.storage.users import now_ms

_ENDINGS: Final[Mapping[RunStatus, Ending]] = {"cancelled": "cancelled", "expired": "expired"}


class RoundStore:
    """Stores how rounds end."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def store(self, end: RoundEnd, by: str) -> bool:
        """Store what a process made of a round; False if it is no longer its own to store.

        Raises:
            DatabaseUnavailable: The database did not answer: some of it may be stored, and may be stored again.
        """
        stored = await self._stores.runs.by_id(end.run.id)
        if stored is None or stored.status not in WORKED_ON or stored.tail != end.run.tail:
            return False
        # A guest may have signed in meanwhile, with all that was theirs.
        await self._keep(_of(stored.owner, end))
        return await self._stores.runs.change(end.run, was=WORKED_ON, by=by)

    async def keep(self, answer: Answer) -> None:
        """See ``Keeper``: what a process was about to tell that died, of a run that somebody watched.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        run = await self._stores.runs.by_id(answer.keeping.run or "")
        if run is None or run.tail != answer.keeping.tail:
            return
        ending: Ending = "answered" if answer.completion.complete else _ENDINGS.get(run.status, "failed")
        end = end_round(run, answer.completion, ending, now_ms())
        if run.status in WORKED_ON:
            await self._keep(end)
            await self._stores.runs.change(end.run, was=WORKED_ON)
            return
        there = [await self._stores.run_steps.get(run.owner, run.id, step.id) for step in end.steps]
        if not any(there):
            # Whoever took the run over could not know what was said.
            await self._keep(end)

    async def _keep(self, end: RoundEnd) -> None:
        stores, run = self._stores, end.run
        conversation = await stores.conversations.get(run.owner, conversation_id(run.thread))
        if conversation is not None:
            await stores.items.put(run.owner, end.items)
            title = first_title(text_of(item.body) for item in end.items)
            if title is not None and conversation.title is None:
                # What was asked had nothing to read in it.
                await stores.conversations.title_if_none(run.owner, conversation.id, title)
        await stores.run_steps.put(end.steps)


def _of(owner: str, end: RoundEnd) -> RoundEnd:
    steps = [replace(step, owner=owner) for step in end.steps]
    return replace(end, run=replace(end.run, owner=owner), steps=steps)
