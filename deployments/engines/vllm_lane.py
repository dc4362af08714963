"""The short way of a plain stream's tokens: from vLLM's detokenizer straight to whoever reads the answer.

vLLM wakes a task for every token of every stream, which takes it through a queue, two result objects and six
generators and coroutines to the server's ``send``: twice the work of writing the chunk itself. Once a stream has begun,
``Lane`` writes its chunks where vLLM would make a result, and the task sleeps until the end. Whatever is not just the
next text (the last token, an error, a reader who is behind) goes vLLM's way, and the lane opens again when that is
through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from app.services.asgi_call import Writer


class Chunks(Protocol):
    """Makes the chunk of a text."""

    def event(self, text: str) -> bytes:
        """The chunk."""
        ...


class Lane:
    """One request's.

    Args:
        state: vLLM's ``RequestState``.
        chunks: What a text becomes.
        writer: The answer's reader.
        skips_empty: Whether a token without text has no chunk.

    Attributes:
        tokens: How many went this way.
    """

    __slots__ = ("_chunks", "_make", "_open", "_skips_empty", "_state", "_writer", "tokens")

    def __init__(self, state: Any, chunks: Chunks, writer: Writer, *, skips_empty: bool) -> None:
        self.tokens = 0
        self._state = state
        self._chunks = chunks
        self._writer = writer
        self._skips_empty = skips_empty
        self._open = False
        # The state's own method, replaced for this one request.
        self._make: Callable[..., Any] = state.make_request_output
        state.make_request_output = self._take

    @classmethod
    def find(
        cls, processor: Any, request_id: str, chunks: Chunks, writer: Writer | None, *, skips_empty: bool
    ) -> Lane | None:
        """The lane of a running request, or None where vLLM's way is the only one.

        Args:
            processor: vLLM's ``OutputProcessor``.
            request_id: What its results are called.
            chunks: See ``Lane``.
            writer: See ``Lane``; None where the reader takes nothing but ASGI messages.
            skips_empty: See ``Lane``.
        """
        if writer is None:
            return None
        states = [processor.request_states.get(each) for each in processor.external_req_ids.get(request_id, ())]
        if len(states) != 1 or states[0] is None or not _is_plain(states[0]):
            return None
        return cls(states[0], chunks, writer, skips_empty=skips_empty)

    def open(self) -> None:
        """All that came so far has been sent: what comes next may go this way."""
        self._open = self._state.queue.output is None

    def close(self) -> None:
        """Leave the request to vLLM."""
        self._open = False
        # Of the instance, not of the class; and with it goes the cycle of the two.
        vars(self._state).pop("make_request_output", None)

    def _take(
        self, new_token_ids: list[int], pooling_output: Any, finish_reason: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """In place of ``RequestState.make_request_output``, where None means that nothing is to be queued."""
        if not self._open or finish_reason is not None or not self._writer.ready():
            self._open = False
            return self._make(new_token_ids, pooling_output, finish_reason, *args, **kwargs)
        text = self._state.detokenizer.get_next_output_text(finished=False, delta=True)
        self.tokens += len(new_token_ids)
        if text or not self._skips_empty:
            try:
                self._writer.write(self._chunks.event(text))
            except Exception as error:
                # vLLM calls this for all requests in turn: this one's failure must not be theirs.
                self._open = False
                self._state.queue.put(error)
        return None


def _is_plain(state: Any) -> bool:
    """Whether a result of this request says nothing but its text."""
    return (
        state.queue is not None
        and state.parent_req is None
        and state.detokenizer is not None
        and state.stream_interval == 1
        and state.queue.aggregate
        and not state.streaming_input
        and not state.sampling_mask_chunks
    )
