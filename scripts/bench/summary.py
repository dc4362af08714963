"""From single measurements to what is reported of each server at each level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from scripts.bench.client import Request, Result
from scripts.bench.processes import ENGINE
from scripts.bench.stats import Spread, percentile, ratio

Kind = Literal["streams", "unary"]
MS = 1e3
US = 1e6


@dataclass(frozen=True, slots=True)
class Measurement:
    """One job against one server in one round.

    Attributes:
        level: Streams, or callers, at once.
        cpu: Processor seconds of the server's processes meanwhile, by part.
    """

    server: str
    kind: Kind
    level: int
    round: int
    result: Result
    cpu: dict[str, float]

    @property
    def units(self) -> int:
        """Tokens of streams; requests of whole answers."""
        good = [each for each in self.result.requests if each.error is None]
        return sum(each.tokens for each in good) if self.kind == "streams" else len(good)

    @property
    def rate(self) -> float:
        """Units per second."""
        return self.units / self.result.seconds


@dataclass(frozen=True, slots=True)
class Figures:
    """One server at one level, all rounds together.

    Attributes:
        rate: Tokens per second of streams, requests per second of whole answers.
        first_ms: Median and 99th percentile of the time to the first token; of a whole answer, to its end.
        gap_ms: The same of the time between frames; None for whole answers.
        engine_us: Processor time of the engine's own processes per unit.
        serving_us: The same of all other processes of the server, by part.
        client_us: The same of the client.
        failed: Requests without a good answer.
    """

    server: str
    rounds: list[float]
    rate: Spread
    first_ms: tuple[float, float]
    gap_ms: tuple[float, float] | None
    engine_us: float
    serving_us: dict[str, float]
    client_us: float
    failed: int

    @property
    def serving_total_us(self) -> float:
        """Everything that is not the engine."""
        return sum(self.serving_us.values())


@dataclass(frozen=True, slots=True)
class Level:
    """All servers at one level; ``against`` compares rates with the first of them."""

    kind: Kind
    level: int
    figures: list[Figures]
    against: list[Spread] = field(default_factory=list[Spread])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summarise(measurements: Sequence[Measurement]) -> list[Level]:
    """Every level in the order it was first measured in.

    Raises:
        ValueError: Nothing succeeded somewhere.
    """
    servers = list(dict.fromkeys(each.server for each in measurements))
    levels: list[Level] = []
    places: dict[tuple[Kind, int], None] = dict.fromkeys((each.kind, each.level) for each in measurements)
    for kind, level in places:
        here = [each for each in measurements if (each.kind, each.level) == (kind, level)]
        figures = [_figures([each for each in here if each.server == server]) for server in servers]
        first = figures[0].rounds
        levels.append(Level(kind, level, figures, [ratio(each.rounds, first) for each in figures[1:]]))
    return levels


def _figures(runs: Sequence[Measurement]) -> Figures:
    runs = sorted(runs, key=lambda run: run.round)
    requests = [each for run in runs for each in run.result.requests]
    good = [each for each in requests if each.error is None]
    units = sum(run.units for run in runs)
    parts = {part for run in runs for part in run.cpu}
    cpu_us = {part: sum(run.cpu.get(part, 0.0) for run in runs) / units * US for part in sorted(parts)}
    gaps = [gap for each in good for gap in each.gaps]
    rates = [run.rate for run in runs]
    return Figures(
        server=runs[0].server,
        rounds=rates,
        rate=Spread.of(rates),
        first_ms=_tails([_waited(each, runs[0].kind) for each in good]),
        gap_ms=_tails(gaps) if gaps else None,
        engine_us=cpu_us.pop(ENGINE, 0.0),
        serving_us=cpu_us,
        client_us=sum(run.result.cpu_s for run in runs) / units * US,
        failed=len(requests) - len(good),
    )


def _waited(request: Request, kind: Kind) -> float:
    return (request.first if kind == "streams" else request.last) - request.sent


def _tails(seconds: Sequence[float]) -> tuple[float, float]:
    return percentile(seconds, 0.5) * MS, percentile(seconds, 0.99) * MS
