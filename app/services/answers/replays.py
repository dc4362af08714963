"""Answers that were given under an ``Idempotency-Key``, so that they can be given again."""

from __future__ import annotations

from app.services.answers.keeper import Answer
from app.services.answers.kept import FRAME, OBJECT, spliced
from app.services.idempotency import JSON, Idempotency
from app.services.relay import EVENT_STREAM

MOST_REPLAYED = 12 * 1024 * 1024
"""Bytes: one document takes them, whatever they are. Beyond it an answer is made anew, in the place of the first."""


class Replays:
    """Keeps them as their callers saw them."""

    def __init__(self, idempotency: Idempotency) -> None:
        self._idempotency = idempotency

    async def keep(self, answer: Answer) -> None:
        """The place of the attempt; see ``Keeper``. What became a response or a run is told by those.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        keeping = answer.keeping
        if keeping.attempt is None or keeping.response is not None or keeping.run is not None:
            return
        if not answer.completion.complete or len(answer.raw) > MOST_REPLAYED:
            await self._idempotency.keep_failure(keeping.attempt, keeping.process)
            return
        mark, content_type = (FRAME, EVENT_STREAM) if keeping.stream else (OBJECT, JSON)
        body = spliced(answer.raw, keeping.metadata, mark)
        await self._idempotency.keep_answer(keeping.attempt, body, content_type)
