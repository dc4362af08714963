"""What it costs to turn a chat's stream into a response's events: processor microseconds a token.

The frames are the scripted engine's, one token each, and come one by one or in lots; those that are parsed differ from
each other in more than their text. Rounds take turns. Writes the table to .manta/bench/translate.md; ends with 1 if a
token that comes alone in a plain frame costs more than the target.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

from app.domain.response import new_response
from app.schemas.responses import parse
from app.services.responses.translator import Translator
from app.settings import ROOT
from deployments.engines.scripted.args import DEFAULT_TEXT
from deployments.engines.scripted.wire import DONE, FINGERPRINT, Json, event
from scripts.bench import tables
from scripts.bench.machine import machine, versions
from scripts.bench.options import count
from scripts.bench.outputs import place, publish, verdict
from scripts.bench.session import interruptible
from scripts.bench.stats import Spread, ratio
from scripts.bench.summary import US

TARGET_US = 3.0
LOT = 16
PLAIN = "text"
WORDS = [f" {word}" for word in DEFAULT_TEXT.split()]
TAIL = "0" * 32


def main() -> int:
    """Run the benchmark; 0 if plain tokens were within the target."""
    chosen = options()
    return interruptible(lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    about = machine()
    found = measure(chosen.rounds, chosen.tokens)
    record = {"machine": about, "versions": versions(), "us": found}
    publish(place(chosen.output), markdown(found, chosen, about), record)
    return verdict(misses(found, chosen.target))


def measure(rounds: int, tokens: int) -> dict[str, list[float]]:
    """Microseconds a token, by kind of stream, of all rounds."""
    streams = kinds(tokens)
    found: dict[str, list[float]] = {name: [] for name in streams}
    for number in range(rounds):
        # In turn, then the other way round: what drifts with time meets all alike.
        for name in [*streams][:: 1 if number % 2 == 0 else -1]:
            found[name].append(cost(streams[name], tokens))
    return found


def kinds(tokens: int) -> dict[str, list[bytes]]:
    """Streams as chunks, by what is particular of them."""
    words = list(islice(cycle(WORDS), tokens))
    text = [_frame({"content": word}) for word in words]
    quoted = [_frame({"content": f'"{word}"\n'}) for word in words]
    parsed = [_frame({"content": word}, created=number) for number, word in enumerate(words)]
    arguments = [_frame({"tool_calls": [{"index": 0, "function": {"arguments": word}}]}) for word in words]
    rows = [{"token": word, "logprob": -1.0, "bytes": list(word.encode()), "top_logprobs": []} for word in words]
    rated = [_frame({"content": row["token"]}, logprobs={"content": [row], "refusal": None}) for row in rows]
    streams = {
        PLAIN: text,
        f"text, {LOT} tokens at once": _in_lots(text),
        "text with quotes and ends of lines": quoted,
        "arguments of a call": arguments,
        "text, every frame parsed": parsed,
        f"text, every frame parsed, {LOT} tokens at once": _in_lots(parsed),
        "text with log probabilities": rated,
    }
    return {name: [*chunks, _frame({}, finish="stop") + DONE] for name, chunks in streams.items()}


def cost(chunks: Sequence[bytes], tokens: int) -> float:
    """Processor microseconds a token of one whole stream."""
    shown = parse({"model": "m", "input": "x"}).shown
    translator = Translator(new_response(f"resp_{TAIL}", 0, shown), TAIL)
    began = time.process_time()
    translator.start()
    for chunk in chunks:
        translator.feed(chunk)
    translator.finish()
    return (time.process_time() - began) / tokens * US


def misses(found: Mapping[str, Sequence[float]], target: float) -> list[str]:
    """What is not as it should be, in words."""
    us = Spread.of(found[PLAIN]).median
    return [f"{PLAIN}: {us:.2f} us a token, over the target of {target:g}"] if us > target else []


def markdown(found: Mapping[str, Sequence[float]], chosen: argparse.Namespace, about: Mapping[str, str]) -> str:
    """For people."""
    setting = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["scripts/bench/translate", *sys.argv[1:]]),
        "rounds": str(chosen.rounds),
        "tokens a stream": str(chosen.tokens),
        "target": f"{chosen.target:g} us for a token in a plain frame of its own",
    }
    lines = [[name, _told(Spread.of(values)), _told(ratio(values, found[PLAIN]))] for name, values in found.items()]
    parts = [
        "# From chats to responses",
        tables.pairs({**setting, **about, **versions()}),
        "Processor microseconds a token, whole streams, beginning and end included: medians of rounds (in brackets, "
        "the lowest and the highest round); ratios, of those medians to the first line's (in brackets, within a "
        "round).",
        tables.table(["stream", "us a token", "ratio"], lines),
    ]
    return "\n\n".join(parts)


def _in_lots(frames: Sequence[bytes]) -> list[bytes]:
    return [b"".join(frames[at : at + LOT]) for at in range(0, len(frames), LOT)]


def _frame(delta: Json, *, finish: str | None = None, logprobs: Json | None = None, created: int = 0) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    envelope = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": created, "model": "m"}
    return event(envelope | {"system_fingerprint": FINGERPRINT, "choices": [choice]})


def _told(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}..{spread.high:.2f})"


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench/translate", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=count, default=9)
    add("--tokens", type=count, default=10_000, help="of each stream")
    add("--target", type=float, default=TARGET_US, help="microseconds that a plain token may cost; default: 3")
    add("--output", type=Path, default=ROOT / ".manta" / "bench" / "translate.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
