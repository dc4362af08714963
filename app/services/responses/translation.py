"""An engine's chat on its way to becoming a response."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from app.domain.completion import Completion
from app.errors import ApiError, ServerError
from app.services.answers.kept import DONE
from app.services.backend import EngineResponse
from app.services.engine_errors import is_refusal
from app.services.responses.translator import ENDED, Translator

logger = logging.getLogger("manta")

BLANK = b"\n\n"
JSON = "application/json"


class Translation:
    """A translation that ends once: for whoever keeps the response, or whoever sends it on."""

    def __init__(self, response: Mapping[str, Any], tail: str, *, first: int = 0) -> None:
        self._translator = Translator(response, tail, first=first)
        self._end: bytes | None = None
        self._began = False
        self.queue = self._translator.queue
        self.feed = self._translator.feed

    @property
    def is_over(self) -> bool:
        """Whether the response is as it will stay."""
        return self._end is not None

    @property
    def response(self) -> dict[str, Any]:
        """The response, so far."""
        return self._translator.response

    @property
    def error(self) -> ApiError | None:
        """What went wrong, as its caller is told; the response itself knows fewer codes."""
        return self._translator.error

    def start(self, *, created: bool = True) -> bytes:
        """The events of its beginning, if they were not told yet; see ``Translator``."""
        began, self._began = self._began, True
        return b"" if began else self._translator.start(created=created)

    def finish(self) -> bytes:
        """The last events, the engine's stream being over."""
        return self._ended(self._translator.finish)

    def fail(self, error: ApiError) -> bytes:
        """The last events, something having gone wrong."""
        return self._ended(lambda: self._translator.fail(error))

    def cancel(self) -> bytes:
        """The last event, somebody having asked for it."""
        return self._ended(self._translator.cancel)

    def read_back(self, raw: bytes, completion: Completion) -> None:
        """Come to the end of what was written down of an engine's stream, which may have broken off anywhere."""
        self.start()
        self.feed(raw)
        choice = completion.first
        whole = completion.complete or completion.error or (choice is not None and choice.finish_reason is not None)
        self._ended(self._translator.finish if whole else self._translator.break_off)

    def _ended(self, end: Callable[[], bytes]) -> bytes:
        if self._end is None:
            self._end = end()
        return self._end


class Told:
    """An engine's stream that never fails: where it breaks off, it says what went wrong, as engines do.

    Where it does not, it says when it ended. So whatever is made of the stream later on, of what was written down, says
    the same.

    Attributes:
        error: What it was.
    """

    def __init__(self, inner: EngineResponse) -> None:
        self.status = inner.status
        self.content_type = inner.content_type
        self.error: ApiError | None = None
        self._inner = inner

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        chunk = BLANK
        try:
            async for chunk in self._inner:
                if chunk.endswith(DONE):
                    yield chunk[: -len(DONE)] + ENDED + str(int(time.time())).encode() + BLANK + DONE
                else:
                    yield chunk
            return
        except ApiError as error:
            self.error = error
        except Exception:
            logger.exception("an answer under way failed")
            self.error = ServerError("The answer failed on our side. What came before is all there is; try again.")
        # A frame that was cut off must not swallow the error.
        yield (b"" if chunk.endswith(BLANK) else BLANK) + self.error.event()

    async def aclose(self) -> None:
        """Stop the work behind it."""
        await self._inner.aclose()


class Translated:
    """An ``EngineResponse`` in the form of the Responses API.

    Args:
        inner: The engine's chat, as a stream; it says in it what goes wrong.
        told: Where that can be asked for.
        translation: Of this answer.
        stream: Whether its reader wants events.
        on_end: Gets all that its reader is sent, before the last of it is; None if nobody needs it.
        on_close: Called when nobody reads it any more.
    """

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        inner: EngineResponse,
        told: Told,
        translation: Translation,
        *,
        stream: bool,
        on_end: Callable[[bytes], Awaitable[None]] | None,
        on_close: Callable[[], Awaitable[None]],
    ) -> None:
        self.status = inner.status
        self.content_type = inner.content_type if stream or is_refusal(inner) else JSON
        self._inner = inner
        self._told = told
        self._translation = translation
        self._stream = stream
        self._on_end = on_end
        self._on_close = on_close

    def __aiter__(self) -> AsyncIterator[bytes]:
        if is_refusal(self._inner):
            return aiter(self._inner)
        return self._streamed() if self._stream else self._whole()

    async def aclose(self) -> None:
        """Stop the work behind it."""
        try:
            await self._on_close()
        finally:
            await self._inner.aclose()

    async def _streamed(self) -> AsyncGenerator[bytes]:
        translation = self._translation
        on_end, sent = self._on_end, list[bytes]()
        yield self._noted(translation.start(), sent)
        async for chunk in self._inner:
            if events := translation.feed(chunk):
                yield self._noted(events, sent)
        end = self._noted(translation.finish(), sent)
        if on_end is not None and translation.response["status"] != "failed":
            await on_end(b"".join(sent))
        yield end

    def _noted(self, events: bytes, sent: list[bytes]) -> bytes:
        if self._on_end is not None:
            sent.append(events)
        return events

    async def _whole(self) -> AsyncGenerator[bytes]:
        translation = self._translation
        translation.start()
        async for chunk in self._inner:
            translation.feed(chunk)
        translation.finish()
        response = translation.response
        if response["status"] == "failed":
            raise self._told.error or translation.error or ServerError(response["error"]["message"])
        body = msgspec.json.encode(response)
        if self._on_end is not None:
            await self._on_end(body)
        yield body
