"""The report: one record of everything, as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from scripts.bench import tables
from scripts.bench.memory import Row
from scripts.bench.soak import Look
from scripts.bench.summary import Kind, Level
from scripts.bench.tables import Column

TOKENS = (
    Column("rate", "tokens/s", 0),
    Column("wait_p50", "TTFT p50 ms"),
    Column("wait_p99", "TTFT p99 ms"),
    Column("gap_p50", "ITL p50 ms", ratio=False),
    Column("gap_p99", "ITL p99 ms"),
)
OFFERED = (
    Column("delivered", "% of offered tokens delivered", ratio=False, scale=100),
    Column("late", "% of frames late", ratio=False, scale=100),
)
ANSWERS = (
    Column("rate", "requests/s"),
    Column("wait_p50", "answered p50 ms"),
    Column("wait_p99", "answered p99 ms"),
)
COSTS = (
    Column("all_us", "all", 0),
    Column("engine_us", "engine", 0, ratio=False),
    Column("serving_us", "not engine", 0),
    Column("client_us", "client", 0, ratio=False),
)
ABOUT_STREAMS = (
    "TTFT: from the moment a request was due to its first token. ITL: between one frame of a stream and the next. "
    "Values are medians of rounds (in brackets, the lowest and the highest round); ratios, of those medians to the "
    "first server's (in brackets, within a round)."
)
ABOUT_OFFERED = (
    "The engine owes each token at a fixed moment, counted from when its request was due. Delivered: the tokens that "
    "were there one token's interval after their stream's last one was due. Late: the frames that came more than one "
    "interval after they were due themselves."
)
ABOUT_COSTS = (
    "Processor time, microseconds per token or request, beyond what a process uses while idle. Engine: processes that "
    "are nothing else; the scripted engine lives in the replica. Client: this benchmark's own, on the same cores."
)


@dataclass(frozen=True, slots=True)
class Report:
    """What one run of the benchmark came to.

    Attributes:
        setting: What was measured and how: model, rounds, command, date.
        commands: How each server was started.
        start_s: Seconds from each server's start to its readiness.
        memory: What the processes of each server hold, and use while idle.
        errors: Why requests failed, or nothing.
        soak: How much a gateway holds after how many requests, by server, if that was looked at.
    """

    setting: Mapping[str, str]
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    commands: Mapping[str, str]
    start_s: Mapping[str, float]
    levels: Sequence[Level]
    memory: Mapping[str, Sequence[Row]]
    errors: Sequence[str]
    soak: Mapping[str, Sequence[Look]] = field(default_factory=dict[str, "Sequence[Look]"])

    def save(self, path: Path) -> None:
        """Write ``path``, and JSON beside it."""
        path.write_text(self.markdown(), encoding="utf-8")
        path.with_suffix(".json").write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def markdown(self) -> str:
        """For people."""
        sections = [
            "# Manta beside the bare engine",
            "Same machine, same engine arguments, same requests; the servers take turns.",
            tables.pairs({**self.setting, **self.machine, **self.versions}),
            *self._streams(),
            *self._answers("unary", "Whole answers of two tokens, as many as can be had", "callers"),
            *self._answers("rated", "Whole answers of two tokens, at a given rate", "requests/s asked"),
            *self._soaked(),
            "## Processes (memory in MiB)",
            "RSS counts shared pages in every process, PSS splits them among those who share them. Under load: the "
            "most that was seen at the highest number of streams.",
            *[part for name, rows in self.memory.items() for part in (f"### {name}", tables.of_memory(rows))],
            "## Starts",
            tables.table(
                ("server", "ready after s", "command"),
                [(name, f"{start_s:.1f}", f"`{self.commands[name]}`") for name, start_s in self.start_s.items()],
            ),
            f"## Failed requests: {len(self.errors)}",
            *[f"- {error}" for error in list(dict.fromkeys(self.errors))[:10]],
        ]
        return "\n\n".join(sections) + "\n"

    def _streams(self) -> list[str]:
        levels = self._of("streams")
        if not levels:
            return []
        sections = ["## Streams", tables.of_levels(levels, "streams", TOKENS), ABOUT_STREAMS]
        if any("late" in each.values for level in levels for each in level.figures):
            sections += [tables.of_levels(levels, "streams", OFFERED), ABOUT_OFFERED]
        return [*sections, _costs(levels, "streams"), ABOUT_COSTS]

    def _answers(self, kind: Kind, title: str, what: str) -> list[str]:
        levels = self._of(kind)
        if not levels:
            return []
        return [f"## {title}", tables.of_levels(levels, what, ANSWERS), _costs(levels, what)]

    def _soaked(self) -> list[str]:
        if not self.soak:
            return []
        lines = [
            (name, str(look.requests), f"{look.rate:.0f}", tables.mib(look.rss), tables.mib(look.pss))
            for name, looks in self.soak.items()
            for look in looks
        ]
        head = ("server", "requests so far", "requests/s", "gateway RSS MiB", "gateway PSS MiB")
        return ["## The gateway's memory", tables.table(head, lines)]

    def _of(self, kind: Kind) -> list[Level]:
        return [level for level in self.levels if level.kind == kind]


def _costs(levels: Sequence[Level], what: str) -> str:
    apart = any(each.values["engine_us"].spread.high for level in levels for each in level.figures)
    columns = [column for column in COSTS if apart or column.name not in ("engine_us", "serving_us")]
    return tables.of_levels(levels, what, columns, "each process")
