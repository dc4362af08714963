"""Where stored chat completions are kept."""

from __future__ import annotations

from typing import Any

import msgspec

from app.services.answers.keeper import MOST_BYTES, Answer
from app.storage.stored_chats import StoredChats


class StoredChatPlace:
    """The place of stored chat completions; see ``Keeper``."""

    def __init__(self, chats: StoredChats) -> None:
        self._chats = chats

    async def keep(self, answer: Answer) -> None:
        """Store the answer; one that nothing came of is none.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        keeping, completion = answer.keeping, answer.completion
        if keeping.completion_id is None:
            return
        if not any(choice.says_something for choice in completion.choices):
            for owner in answer.owners:
                await self._chats.forget(owner, keeping.completion_id, keeping.created_at_ms)
            return
        status = "completed" if completion.complete else "incomplete"
        for owner in answer.owners:
            await self._chats.finish(owner, keeping.completion_id, _body(answer), status)


def _body(answer: Answer) -> dict[str, Any]:
    # Whole answers are what they were; of streams is made what a whole one would have been.
    if not answer.keeping.stream and len(answer.raw) <= MOST_BYTES:
        return msgspec.json.decode(answer.raw)
    return answer.completion.to_dict()
