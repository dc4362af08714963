"""POST /v1/completions, OpenAI's older route."""

from __future__ import annotations

import msgspec

from deployments.engines.scripted import logprobs, prompt, tokens
from deployments.engines.scripted.chat import stop_reason, stops_of
from deployments.engines.scripted.requests import CompletionRequest, Json, parse
from deployments.engines.scripted.script import Answer, Demand, Script
from deployments.engines.scripted.wire import (
    DONE,
    EXTRA,
    FINGERPRINT,
    TEXT,
    Caller,
    Frames,
    Job,
    Reading,
    event,
    interleaved,
)


def complete(body: bytes, caller: Caller, script: Script) -> Job:
    """Go on with one text, or with each of several.

    Raises:
        ApiError: The request cannot be answered as it stands.
    """
    request = parse(body, CompletionRequest)
    prompts = prompt.several(request.prompt, "prompt")
    choices = [
        (text, answer) for text in prompts for answer in script.answers(_demand(request, text), tokens.count(text))
    ]
    reading = Reading("\n".join(prompts), prompt.count_all(prompts))
    reply = CompletionReply(request, caller, script, choices, reading)
    lengths = [len(answer.pieces) for _, answer in choices]
    return Job(reply.body, lengths, reading.prompt, reply if request.stream else None, reading)


class CompletionReply:
    """The answer, whole or as a stream."""

    def __init__(
        self,
        request: CompletionRequest,
        caller: Caller,
        script: Script,
        choices: list[tuple[str, Answer]],
        reading: Reading,
    ) -> None:
        self._request = request
        self._caller = caller
        self._script = script
        self._choices = choices
        self._reading = reading
        self._frames = [self._choice_frames(index) for index in range(len(choices))] if request.stream else []

    def body(self) -> Json:
        """The whole answer."""
        choices = [
            {
                "index": index,
                "text": self._echo(text) + answer.text,
                "logprobs": self._logprobs([*self._echoed(text), *answer.pieces], 0),
                "finish_reason": _finish_reason(answer),
                **stop_reason(answer),
            }
            for index, (text, answer) in enumerate(self._choices)
        ]
        return self._envelope() | {"choices": choices, "usage": self._usage()}

    def opening(self) -> bytes:
        """The prompts, if they are to be echoed."""
        if not self._request.echo:
            return b""
        return b"".join(
            self._chunk(index, text, logprobs=self._logprobs(tokens.pieces(text), 0))
            for index, (text, _) in enumerate(self._choices)
        )

    def tokens(self, first: int, end: int) -> bytes:
        """See ``Stream.tokens``."""
        return interleaved(self._frames, first, end)

    def closing(self) -> bytes:
        """Why each choice ended, the usage if it was asked for, and the end."""
        ends = [self._chunk(index, "", _finish_reason(answer)) for index, (_, answer) in enumerate(self._choices)]
        options = self._request.stream_options
        if options is not None and options.include_usage:
            ends.append(event(self._envelope() | {"choices": [], "usage": self._usage()}))
        return b"".join([*ends, DONE])

    def _choice_frames(self, index: int) -> Frames:
        text, answer = self._choices[index]
        if self._request.logprobs is None:
            return Frames(answer.pieces, self._chunk(index, TEXT))
        offset = len(self._echo(text))
        extras: list[bytes] = []
        for piece in answer.pieces:
            extras.append(msgspec.json.encode(self._logprobs([piece], offset)))
            offset += len(piece)
        return Frames(answer.pieces, self._chunk(index, TEXT, logprobs=EXTRA), extras)

    def _chunk(self, index: int, text: str, finish: str | None = None, logprobs: Json | str | None = None) -> bytes:
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
        return event(self._envelope() | {"choices": [choice]})

    def _envelope(self) -> Json:
        return {
            "id": f"cmpl-{self._caller.request_id}",
            "object": "text_completion",
            "created": self._caller.created,
            "model": self._caller.model,
            "system_fingerprint": FINGERPRINT,
        }

    def _echo(self, text: str) -> str:
        return text if self._request.echo else ""

    def _echoed(self, text: str) -> list[str]:
        return tokens.pieces(self._echo(text))

    def _logprobs(self, pieces: list[str], offset: int) -> Json | None:
        number = self._request.logprobs
        return None if number is None else logprobs.for_completion(self._script, pieces, number, offset)

    def _usage(self) -> Json:
        completion = sum(len(answer.pieces) for _, answer in self._choices)
        return {
            "prompt_tokens": self._reading.tokens,
            "completion_tokens": completion,
            "total_tokens": self._reading.tokens + completion,
            **self._reading.details(),
        }


def _finish_reason(answer: Answer) -> str:
    return "stop" if answer.complete else "length"


def _demand(request: CompletionRequest, text: str) -> Demand:
    return Demand(
        prompt=text,
        choices=request.n or 1,
        seed=request.seed,
        max_tokens=request.max_tokens,
        min_tokens=request.min_tokens or 0,
        fill=bool(request.ignore_eos),
        stops=stops_of(request.stop),
        keep_stop=bool(request.include_stop_str_in_output),
    )
