"""From single measurements to what is reported of each server at each level: medians of rounds, and their ratios."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scripts.bench.client import Request, Result
from scripts.bench.pace import Pace
from scripts.bench.processes import ENGINE, PARTS
from scripts.bench.stats import Spread, percentile, ratio

Kind = Literal["streams", "unary", "rated"]
"""Streams at once; whole answers of so many callers, as fast as they come; whole answers at so many a second."""

MS = 1e3
US = 1e6


@dataclass(frozen=True, slots=True)
class Measurement:
    """One job against one server in one round.

    Attributes:
        level: Streams or callers at once, or requests a second.
        cpu: Processor seconds of the server's processes meanwhile, by name, beyond what they use while idle.
        pace: When the tokens of its streams were due, where the engine keeps a pace.
    """

    server: str
    kind: Kind
    level: int
    round: int
    result: Result
    cpu: Mapping[str, float]
    pace: Pace | None = None

    @property
    def good(self) -> list[Request]:
        """What was answered well."""
        return [each for each in self.result.requests if each.error is None]

    @property
    def units(self) -> int:
        """Tokens of streams; requests of whole answers."""
        return sum(each.tokens for each in self.good) if self.kind == "streams" else len(self.good)

    def values(self) -> dict[str, float]:
        """What is reported of it, by name.

        Raises:
            ValueError: Nothing succeeded.
        """
        streams = self.kind == "streams"
        waits = [(each.first if streams else each.last) - each.sent for each in self.good]
        found = {"rate": self.units / self.result.seconds, **_tails("wait", waits)}
        if gaps := [gap for each in self.good for gap in each.gaps]:
            found |= _tails("gap", gaps)
        if self.pace is not None and streams:
            found["delivered"] = self.pace.delivered(self.result.requests)
            found["late"] = self.pace.late(self.result.requests)
        engine_s = sum(seconds for name, seconds in self.cpu.items() if PARTS.get(name) == ENGINE)
        costs = {
            "engine": engine_s,
            "serving": sum(self.cpu.values()) - engine_s,
            "all": sum(self.cpu.values()),
            "client": self.result.cpu_s,
        }
        return found | {f"{name}_us": seconds / self.units * US for name, seconds in costs.items()}

    def costs(self) -> dict[str, float]:
        """Processor microseconds per unit, by the names of processes."""
        return {name: seconds / self.units * US for name, seconds in self.cpu.items()}


@dataclass(frozen=True, slots=True)
class Value:
    """Something that was measured once a round.

    Attributes:
        against: Compared with the first server; None for that server itself, and where there is nothing to divide by.
    """

    rounds: list[float]
    spread: Spread
    against: Spread | None


@dataclass(frozen=True, slots=True)
class Figures:
    """One server at one level, all rounds together.

    Attributes:
        values: ``rate`` (tokens per second of streams, else requests), ``wait_p50`` and ``wait_p99`` (milliseconds to
            the first token; of a whole answer, to its end), ``gap_p50`` and ``gap_p99`` (between frames), ``delivered``
            and ``late`` (shares, of paced streams), and processor microseconds per token or request: ``engine_us`` of
            the engine's own processes, ``serving_us`` of all others, ``all_us``, ``client_us``.
        costs: Median processor microseconds per token or request of each process, the largest first.
        failed: Requests without a good answer.
    """

    server: str
    values: dict[str, Value]
    costs: dict[str, float]
    failed: int


@dataclass(frozen=True, slots=True)
class Level:
    """All servers at one level; each is compared with the first of them."""

    kind: Kind
    level: int
    figures: list[Figures]


def summarise(measurements: Sequence[Measurement]) -> list[Level]:
    """Every level in the order it was first measured in.

    Raises:
        ValueError: Nothing succeeded somewhere.
    """
    servers = list(dict.fromkeys(each.server for each in measurements))
    places: dict[tuple[Kind, int], None] = dict.fromkeys((each.kind, each.level) for each in measurements)
    levels: list[Level] = []
    for kind, level in places:
        here = [each for each in measurements if (each.kind, each.level) == (kind, level)]
        runs = [sorted((each for each in here if each.server == name), key=lambda run: run.round) for name in servers]
        first = _by_name(run.values() for run in runs[0])
        levels.append(Level(kind, level, [_figures(each, first if index else None) for index, each in enumerate(runs)]))
    return levels


def _figures(runs: Sequence[Measurement], first: Mapping[str, list[float]] | None) -> Figures:
    values = {
        name: Value(rounds, Spread.of(rounds), _against(rounds, (first or {}).get(name)))
        for name, rounds in _by_name(run.values() for run in runs).items()
    }
    costs = _by_name((run.costs() for run in runs), missing=0.0)
    return Figures(
        server=runs[0].server,
        values=values,
        costs=_largest_first({name: Spread.of(rounds).median for name, rounds in costs.items()}),
        failed=sum(len(run.result.errors) for run in runs),
    )


def _by_name(rounds: Iterable[Mapping[str, float]], missing: float | None = None) -> dict[str, list[float]]:
    """One list a name; a name that a round does not know is left out of it, or counts as ``missing``."""
    taken = list(rounds)
    names = dict.fromkeys(name for each in taken for name in each)
    if missing is not None:
        return {name: [each.get(name, missing) for each in taken] for name in names}
    return {name: [each[name] for each in taken if name in each] for name in names}


def _against(rounds: Sequence[float], first: Sequence[float] | None) -> Spread | None:
    if first is None or len(first) != len(rounds) or not all(first):
        return None
    return ratio(rounds, first)


def _largest_first(costs: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(costs.items(), key=lambda item: -item[1]))


def _tails(name: str, seconds: Sequence[float]) -> dict[str, float]:
    return {f"{name}_p50": percentile(seconds, 0.5) * MS, f"{name}_p99": percentile(seconds, 0.99) * MS}
