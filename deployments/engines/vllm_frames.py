"""Tokens as bytes: the chunks of a plain stream, written from a template instead of built from vLLM's classes.

vLLM makes three objects and a JSON document of every token, which costs as much as all the rest of its API server. In
a plain stream (one choice, no logprobs, no tools, no reasoning) nothing but the text differs from chunk to chunk. So
vLLM's own generator makes the first chunk and everything from the last token on, errors included; between them the
first chunk is the template, and a ``Lane`` brings what it makes straight to the reader. The bytes are vLLM's, which a
test compares over a corpus.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from typing import Any

from pydantic_core import to_json

from app.services.asgi_call import Writer
from deployments.engines.vllm_app import CALL
from deployments.engines.vllm_lane import Lane

ROLE_DELTA = b'"delta":{"role":"assistant","content":""}'
TEXT_DELTA = (b'"delta":{"content":', b"}")


FindLane = Callable[[str, "Template", Writer | None], Lane | None]


class Template:
    """A chunk with a hole for its text."""

    __slots__ = ("_head", "_tail")

    def __init__(self, head: bytes, tail: bytes) -> None:
        self._head = head
        self._tail = tail

    @classmethod
    def of_role_chunk(cls, event: str | bytes) -> Template:
        """From the chunk that opens a chat's answer.

        Raises:
            ValueError: It does not look as expected: this vLLM is another one than this module was written for.
        """
        return cls._around(_bytes(event), ROLE_DELTA, *TEXT_DELTA)

    @classmethod
    def of_text_chunk(cls, event: str | bytes, text: str) -> Template:
        """From a completion's chunk that holds ``text``.

        Raises:
            ValueError: See ``of_role_chunk``.
        """
        return cls._around(_bytes(event), b'"text":' + to_json(text) + b",", b'"text":', b",")

    @classmethod
    def _around(cls, event: bytes, hole: bytes, before: bytes, after: bytes) -> Template:
        # Quotes inside of a JSON string are escaped: the hole cannot be in one.
        if event.count(hole) != 1:
            raise ValueError("a chunk of vLLM's has another shape than expected")
        head, _, tail = event.partition(hole)
        return cls(head + before, after + tail)

    def event(self, text: str) -> bytes:
        """The chunk of a text, written by the serializer that vLLM's classes use."""
        return self._head + to_json(text) + self._tail


class Feed:
    """Results handed to vLLM's generator one by one."""

    def __init__(self) -> None:
        self._results: deque[Any] = deque()
        self._error: Exception | None = None

    def give(self, result: Any) -> None:
        """What it gets next."""
        self._results.append(result)

    def fail(self, error: Exception) -> None:
        """What it meets after that."""
        self._error = error

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._results:
            return self._results.popleft()
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration


def write_plain_streams(state: Any, parse_delta: Any) -> None:
    """Have vLLM's application write its plain streams from templates.

    Args:
        state: Its state.
        parse_delta: See ``write_plain_chats``.
    """
    if (chat := getattr(state, "openai_serving_chat", None)) is not None:
        write_plain_chats(chat, parse_delta)
    if (completion := getattr(state, "openai_serving_completion", None)) is not None:
        write_plain_completions(completion)


def write_plain_chats(handler: Any, parse_delta: Any) -> None:
    """Let an ``OpenAIServingChat`` write plain streams from templates.

    Args:
        handler: It.
        parse_delta: How vLLM's ordinary parsers take a token; others may do anything.
    """
    original = handler.chat_completion_stream_generator

    def chat_completion_stream_generator(
        request: Any, results: AsyncIterator[Any], *args: Any, **kwargs: Any
    ) -> AsyncGenerator[str | bytes]:
        if not _is_plain(request) or not _passes_text(handler.parser_cls, request, parse_delta):
            return original(request, results, *args, **kwargs)
        feed = Feed()
        skips_empty = handler.parser_cls is not None
        find = partial(Lane.find, handler.engine_client.output_processor, skips_empty=skips_empty)
        return _written_chat(original(request, feed, *args, **kwargs), feed, results, find, skips_empty)

    handler.chat_completion_stream_generator = chat_completion_stream_generator


def write_plain_completions(handler: Any) -> None:
    """Let an ``OpenAIServingCompletion`` write plain streams from templates."""
    original = handler.completion_stream_generator

    def completion_stream_generator(
        request: Any, inputs: list[Any], results: AsyncIterator[Any], *args: Any, **kwargs: Any
    ) -> AsyncGenerator[str | bytes]:
        if not _is_plain(request) or len(inputs) != 1:
            return original(request, inputs, results, *args, **kwargs)
        feed = Feed()
        find = partial(Lane.find, handler.engine_client.output_processor, skips_empty=False)
        return _written_completion(original(request, inputs, feed, *args, **kwargs), feed, results, find)

    handler.completion_stream_generator = completion_stream_generator


async def _written_chat(
    events: AsyncGenerator[str], feed: Feed, results: AsyncIterator[Any], find: FindLane, skips_empty: bool
) -> AsyncGenerator[str | bytes]:
    template: Template | None = None
    lane: Lane | None = None
    prompt: Any = None
    tokens = 0
    try:
        try:
            async for result in results:
                if template is None:
                    prompt = result.prompt_token_ids
                    feed.give(_opening(result))
                    event = await anext(events)
                    template = Template.of_role_chunk(event)
                    yield event
                    lane = find(result.request_id, template, CALL.get().writer)
                for output in result.outputs:
                    if output.finish_reason is not None:
                        feed.give(_whole(result, prompt, tokens + (lane.tokens if lane else 0)))
                        continue
                    text = output.text
                    if text or (not skips_empty and (output.token_ids or tokens)):
                        yield template.event(text)
                    tokens += len(output.token_ids)
                if lane is not None:
                    lane.open()
        except Exception as error:
            # vLLM's generator knows what to say.
            feed.fail(error)
        async for event in events:
            yield event
    finally:
        if lane is not None:
            lane.close()
        await events.aclose()


async def _written_completion(
    events: AsyncGenerator[str], feed: Feed, results: AsyncIterator[Any], find: FindLane
) -> AsyncGenerator[str | bytes]:
    template: Template | None = None
    lane: Lane | None = None
    first: Any = None
    tokens = 0
    try:
        try:
            async for index, result in results:
                first = first or result
                for output in result.outputs:
                    if output.finish_reason is not None:
                        so_far = tokens + (lane.tokens if lane else 0)
                        feed.give((index, _like(first, _whole(result, first.prompt_token_ids, so_far))))
                        continue
                    text = output.text
                    if template is not None:
                        yield template.event(text)
                        tokens += len(output.token_ids)
                    elif text or output.token_ids:
                        feed.give((index, _like(first, result)))
                        event = await anext(events)
                        template = Template.of_text_chunk(event, text)
                        yield event
                        lane = find(result.request_id, template, CALL.get().writer)
                if lane is not None:
                    lane.open()
        except Exception as error:
            feed.fail(error)
        async for event in events:
            yield event
    finally:
        if lane is not None:
            lane.close()
        await events.aclose()


def _is_plain(request: Any) -> bool:
    """Whether nothing but the text differs from chunk to chunk."""
    options = request.stream_options
    return (
        request.n in (None, 1)
        and (request.logprobs is None or request.logprobs is False)
        and not request.echo
        and not request.return_token_ids
        and not (options is not None and options.continuous_usage_stats)
    )


def _passes_text(parser_cls: Any, request: Any, parse_delta: Any) -> bool:
    """Whether a parser, if there is one, hands every token's text on as it is."""
    if parser_cls is None:
        return True
    tools = parser_cls.tool_parser_cls
    return (
        not request.tools
        and request.tool_choice in (None, "none")
        and parser_cls.reasoning_parser_cls is None
        and parser_cls.parse_delta is parse_delta
        and not (tools is not None and tools.engine_based_streaming)
    )


def _opening(result: Any) -> Any:
    """The first result, without what was generated."""
    opening = copy.copy(result)
    opening.outputs = []
    return opening


def _whole(result: Any, prompt: Any, tokens: int) -> Any:
    """The last result, as if all tokens had come with it: vLLM's generator counts them."""
    result.prompt_token_ids = prompt
    for output in result.outputs:
        output.token_ids = [0] * tokens + list(output.token_ids)
    return result


def _like(first: Any, result: Any) -> Any:
    """A result with what only the very first one says."""
    result.prompt_token_ids = first.prompt_token_ids
    result.num_cached_tokens = first.num_cached_tokens
    return result


def _bytes(event: str | bytes) -> bytes:
    return event if isinstance(event, bytes) else event.encode()
