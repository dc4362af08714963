"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scripts.bench.memory import Row
from scripts.bench.stats import Spread
from scripts.bench.summary import Level, Value

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Column:
    """A value of ``Figures`` in a table.

    Attributes:
        ratio: Whether it is also compared with the first server.
        scale: What it is multiplied with: 100 for percent.
    """

    name: str
    heading: str
    digits: int = 1
    ratio: bool = True
    scale: float = 1.0


def of_levels(levels: Iterable[Level], what: str, columns: Sequence[Column], costs: str | None = None) -> str:
    """One row for each server at each level.

    Args:
        what: What the levels are.
        costs: The heading under which the processes' costs are told, if they are.
    """
    head = [what, "server"]
    for column in columns:
        head += [column.heading, "ratio"] if column.ratio else [column.heading]
    lines: list[list[str]] = []
    for level in levels:
        for each in level.figures:
            line = [str(level.level), each.server]
            for column in columns:
                line += _cells(each.values.get(column.name), column)
            if costs is not None:
                line.append(", ".join(f"{name} {us:.0f}" for name, us in each.costs.items() if us >= 0.5))
            lines.append([*line, str(each.failed)])
    return table([*head, *([costs] if costs else []), "failed"], lines)


def of_memory(rows: Sequence[Row]) -> str:
    """One row for each process of a server."""
    head = ("process", "pid", "RSS idle", "under load", "after", "PSS idle", "under load", "after", "% of a core idle")
    lines: list[tuple[str, ...]] = []
    for row in rows:
        moments = (row.idle, row.loaded, row.after)
        sizes = [*[each and each.rss for each in moments], *[each and each.pss for each in moments]]
        lines.append((row.name, str(row.pid or ""), *[mib(size) for size in sizes], f"{row.idle_cpu * 100:.1f}"))
    return table(head, lines)


def pairs(values: Mapping[str, str]) -> str:
    """Two columns without a heading."""
    return table(("", ""), list(values.items()))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Any table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def mib(size: int | None) -> str:
    """So many MiB; a dash where nobody knows."""
    return "-" if size is None else f"{size / MIB:.0f}"


def spread_cell(spread: Spread, digits: int, scale: float = 1.0) -> str:
    """A median, with the lowest and the highest where they are others."""
    median, low, high = (f"{value * scale:.{digits}f}" for value in (spread.median, spread.low, spread.high))
    return median if low == high else f"{median} ({low}..{high})"


def _cells(value: Value | None, column: Column) -> list[str]:
    told = "-" if value is None else spread_cell(value.spread, column.digits, column.scale)
    if not column.ratio:
        return [told]
    return [told, "" if value is None or value.against is None else spread_cell(value.against, 2)]
