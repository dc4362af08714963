"""What a scripted model answers.

Text is a stretch of the engine's own text, found by hashing prompt, seed and choice: the same request gets the same
answer, different ones mostly do not, so that answers that go to the wrong caller are noticed. Where the request
demands a form (a tool call, JSON), the answer is the value that ``values`` makes for its schema.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Literal

from app.errors import InvalidRequest
from deployments.engines.scripted import tokens
from deployments.engines.scripted.args import ScriptedArgs

AnswerKind = Literal["text", "tool", "refusal", "reasoning"]
REFUSAL = "I'm sorry, but I can't help with that."
REASONING = "They ask about the sea, so a ray may be what they want to hear of."


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request asks for, in no protocol's terms.

    Attributes:
        prompt: The whole prompt.
        choices: How many answers.
        seed: The caller's: another seed, another answer.
        max_tokens: Longest answer, if the request bounds it.
        min_tokens: Shortest text answer.
        fill: Whether text goes on up to ``max_tokens`` (or the context's end).
        stops: Texts that end an answer.
        keep_stop: Whether that text is part of the answer.
        tool: Name of the tool to call.
        json: What to answer in place of text: the tool's arguments, or a whole JSON answer.
        calls_ahead: Tools to call ahead of that one, with their arguments.
        thinks: Whether the protocol can tell what was thought.
    """

    prompt: str
    choices: int = 1
    seed: int | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    fill: bool = False
    stops: tuple[str, ...] = ()
    keep_stop: bool = False
    tool: str | None = None
    json: str | None = None
    calls_ahead: tuple[tuple[str, str], ...] = ()
    thinks: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice.

    Attributes:
        kind: What it is told as.
        pieces: Its tokens' texts; a token that only completes a stop text has none (``""``).
        complete: False if it was cut off by the bound on its tokens.
        stop: The stop text that ended it.
        tool: The tool that it calls, with its text as arguments.
        ahead: What is told before it in the same choice: what was thought, other calls.
    """

    kind: AnswerKind
    pieces: list[str]
    complete: bool = True
    stop: str | None = None
    tool: str | None = None
    ahead: tuple[Answer, ...] = ()

    @property
    def parts(self) -> tuple[Answer, ...]:
        """All of the choice, in order."""
        return (*self.ahead, self)

    @property
    def length(self) -> int:
        """Tokens of the choice."""
        return sum(len(part.pieces) for part in self.parts)

    @property
    def text(self) -> str:
        """The whole of it."""
        return "".join(self.pieces)


class Script:
    """What one engine says.

    Attributes:
        args: The engine's arguments.
    """

    def __init__(self, args: ScriptedArgs) -> None:
        self.args = args
        self._pieces = tokens.pieces("".join(f" {word}" for word in args.text.split()))
        self._starts = [index for index, piece in enumerate(self._pieces) if piece.startswith(" ")]

    def answers(self, demand: Demand, prompt_tokens: int) -> list[Answer]:
        """The choices for a request.

        Raises:
            InvalidRequest: The context is too small for the prompt, or for the answer it wants.
        """
        room = self.room(prompt_tokens, demand.max_tokens)
        ahead = self._ahead(demand, room)
        room -= sum(len(part.pieces) for part in ahead)
        answers = self._last(demand, room)
        return [replace(answer, ahead=ahead) for answer in answers] if ahead else answers

    def room(self, prompt_tokens: int, max_tokens: int | None) -> int:
        """How many tokens an answer may have.

        Raises:
            InvalidRequest: None, or fewer than the request wants.
        """
        context = self.args.max_model_len
        if prompt_tokens + (max_tokens or 0) > context or (prompt_tokens == context and max_tokens is None):
            wanted = f" and asks for up to {max_tokens} more" if max_tokens else ""
            raise InvalidRequest(
                f"This model's context is {context} tokens; the prompt has {prompt_tokens}{wanted}. Shorten it.",
                code="context_length_exceeded",
            )
        return context - prompt_tokens if max_tokens is None else max_tokens

    def fitting(self, text: str) -> int:
        """Tokens of a text that has to fit into the context as it is.

        Raises:
            InvalidRequest: It does not.
        """
        length = tokens.count(text)
        if length > self.args.max_model_len:
            self.room(length, None)
        return length

    def alternatives(self, piece: str, number: int) -> list[str]:
        """Other tokens that might have come in this one's place, for logprobs."""
        start = zlib.crc32(piece.encode()) % len(self._pieces)
        others = dict.fromkeys(islice(cycle(self._pieces), start, start + len(self._pieces)))
        others.pop(piece, None)
        return list(others)[:number]

    def _last(self, demand: Demand, room: int) -> list[Answer]:
        """What the choices end with."""
        refuse_on = self.args.refuse_on
        if demand.json is not None:
            kind: AnswerKind = "tool" if demand.tool is not None else "text"
            answer = _told(kind, demand.json, room, demand.tool)
            return [answer if demand.tool else _stopped(answer, demand)] * demand.choices
        if refuse_on is not None and refuse_on in demand.prompt:
            return [_told("refusal", REFUSAL, room)] * demand.choices
        return [_stopped(self._text(demand, choice, room), demand) for choice in range(demand.choices)]

    def _ahead(self, demand: Demand, room: int) -> tuple[Answer, ...]:
        """What each of them begins with."""
        parts: list[Answer] = []
        think_on = self.args.think_on
        if demand.thinks and think_on is not None and think_on in demand.prompt:
            parts.append(_told("reasoning", REASONING, room))
        for tool, arguments in demand.calls_ahead:
            parts.append(_told("tool", arguments, room - sum(len(part.pieces) for part in parts), tool))
        return tuple(parts)

    def _text(self, demand: Demand, choice: int, room: int) -> Answer:
        length = room if demand.fill else max(self.args.default_tokens, demand.min_tokens)
        told = f"{choice} {demand.seed} {demand.prompt}".encode()
        start = self._starts[zlib.crc32(told) % len(self._starts)]
        pieces = list(islice(cycle(self._pieces), start, start + min(length, room)))
        if pieces:
            pieces[0] = pieces[0].removeprefix(" ")
        return Answer("text", pieces, complete=length < room)


def _told(kind: AnswerKind, text: str, room: int, tool: str | None = None) -> Answer:
    told = tokens.pieces(text)
    return Answer(kind, told[:room], complete=len(told) <= room, tool=tool)


def _stopped(answer: Answer, demand: Demand) -> Answer:
    """The answer up to the stop text that is complete first; the tokens that completed it are counted."""
    text = answer.text
    found = [(text.find(stop) + len(stop), -len(stop), stop) for stop in demand.stops if stop and stop in text]
    if not found:
        return answer
    end, _, stop = min(found)
    keep = end if demand.keep_stop else end - len(stop)
    pieces: list[str] = []
    position = 0
    for piece in answer.pieces:
        if position >= end:
            break
        pieces.append(piece[: max(0, keep - position)])
        position += len(piece)
    return Answer(answer.kind, pieces, stop=stop)
