"""The report: one record of everything, as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.bench.memory import Footprint, Row
from scripts.bench.stats import Spread
from scripts.bench.summary import Figures, Level

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Report:
    """What one run of the benchmark came to.

    Attributes:
        setting: What was measured and how: model, rounds, command, date.
        commands: How each server was started.
        start_s: Seconds from each server's start to its readiness.
        memory: What the processes of each server hold, and use while idle.
        errors: Why requests failed, or nothing.
    """

    setting: Mapping[str, str]
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    commands: Mapping[str, str]
    start_s: Mapping[str, float]
    levels: Sequence[Level]
    memory: Mapping[str, Sequence[Row]]
    errors: Sequence[str]

    def save(self, path: Path) -> None:
        """Write ``path``, and JSON beside it."""
        path.write_text(self.markdown(), encoding="utf-8")
        path.with_suffix(".json").write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def markdown(self) -> str:
        """For people."""
        sections = [
            "# Manta beside the bare engine",
            "Same machine, same engine arguments, same requests; the servers take turns.",
            _pairs({**self.setting, **self.machine, **self.versions}),
            "## Streams",
            _streams([level for level in self.levels if level.kind == "streams"]),
            "TTFT: from the request's first byte out to the first token in. Gap: between one frame of a stream and the "
            "next. CPU: processor time of all processes of a server, per token. Ratio: of the medians (in brackets, "
            "the lowest and the highest of the rounds).",
            "## Whole answers of two tokens",
            _unary([level for level in self.levels if level.kind == "unary"]),
            "## Processes (memory in MiB)",
            "RSS counts shared pages in every process, PSS splits them among those who share them.",
            *[part for name, rows in self.memory.items() for part in (f"### {name}", _memory(rows))],
            "## Starts",
            _table(
                ("server", "ready after s", "command"),
                [(name, f"{start_s:.1f}", f"`{self.commands[name]}`") for name, start_s in self.start_s.items()],
            ),
            f"## Failed requests: {len(self.errors)}",
            *[f"- {error}" for error in list(dict.fromkeys(self.errors))[:10]],
        ]
        return "\n\n".join(sections) + "\n"


def _streams(levels: Iterable[Level]) -> str:
    head = ("streams", "server", "tokens/s", "ratio", "TTFT p50 ms", "TTFT p99 ms", "gap p50 ms", "gap p99 ms")
    cpu = ("engine CPU us", "serving CPU us", "of it", "client CPU us", "failed")
    rows = [
        (
            *_rates(level, index, each),
            *[f"{value:.1f}" for value in (*each.first_ms, *(each.gap_ms or ()))],
            *_costs(each),
        )
        for level in levels
        for index, each in enumerate(level.figures)
    ]
    return _table((*head, *cpu), rows)


def _unary(levels: Iterable[Level]) -> str:
    head = ("callers", "server", "requests/s", "ratio", "answered p50 ms", "answered p99 ms")
    cpu = ("engine CPU us", "serving CPU us", "of it", "client CPU us", "failed")
    rows = [
        (*_rates(level, index, each), *[f"{value:.1f}" for value in each.first_ms], *_costs(each))
        for level in levels
        for index, each in enumerate(level.figures)
    ]
    return _table((*head, *cpu), rows)


def _rates(level: Level, index: int, each: Figures) -> tuple[str, ...]:
    ratio = _spread(level.against[index - 1], 2) if index else ""
    return str(level.level), each.server, _spread(each.rate, 0 if each.rate.median >= 100 else 1), ratio


def _costs(each: Figures) -> tuple[str, ...]:
    parts = ", ".join(f"{part} {us:.0f}" for part, us in each.serving_us.items() if us >= 0.5)
    return f"{each.engine_us:.0f}", f"{each.serving_total_us:.0f}", parts, f"{each.client_us:.0f}", str(each.failed)


def _memory(rows: Sequence[Row]) -> str:
    head = ("process", "pid", "RSS idle", "RSS after load", "PSS idle", "PSS after load", "% of a core while idle")
    return _table(
        head,
        [
            (
                row.name,
                str(row.pid or ""),
                *[_mib(each and each.rss) for each in (row.idle, row.loaded)],
                *[_mib(each and each.pss) for each in (row.idle, row.loaded)],
                f"{row.idle_cpu * 100:.1f}",
            )
            for row in rows
        ],
    )


def _mib(size: int | Footprint | None) -> str:
    return f"{size / MIB:.0f}" if isinstance(size, int) else "-"


def _spread(spread: Spread, digits: int) -> str:
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}..{spread.high:.{digits}f})"


def _pairs(values: Mapping[str, str]) -> str:
    return _table(("", ""), list(values.items()))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
