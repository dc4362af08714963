"""What was recorded of earlier commits, and how today compares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

YARDSTICK = "engine alone"
"""A figure that no change to Manta moves: where it has grown, the machine is slower today, and all figures may grow."""

NOISE_US: Mapping[str, float] = {"token": 3.0, "request": 100.0}
"""By unit: what the same commit differs by from run to run on a small figure; less than that is never worse."""

Costs = dict[str, float]
"""Processor microseconds per unit, by part."""


class Entry(BaseModel):
    """One commit's figures on one machine.

    Attributes:
        load: What they were measured under; figures of another load are not comparable.
        token: Per token of paced streams.
        request: Per whole answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    commit: str
    date: str
    processor: str
    cores: str
    versions: dict[str, str]
    load: str
    rounds: int
    token: Costs
    request: Costs

    def is_like(self, other: Self) -> bool:
        """Whether the two can be compared."""
        return (self.processor, self.cores, self.load) == (other.processor, other.cores, other.load)


@dataclass(frozen=True, slots=True)
class Change:
    """One figure, before and now.

    Attributes:
        unit: ``token`` or ``request``.
        ratio: Now to before; None where it was nothing before.
        worse: Whether it is so much more that it counts.
    """

    unit: str
    part: str
    before: float
    now: float
    ratio: float | None
    worse: bool


def read(text: str) -> tuple[list[Entry], list[str]]:
    """All entries, oldest first, and what was wrong with the lines that are none."""
    entries: list[Entry] = []
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entries.append(Entry.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            problems.append(f"line {number}: {f'{field}: ' if field else ''}{first['msg']}")
    return entries, problems


def append(path: Path, entry: Entry) -> None:
    """Add an entry at the end of the history."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if old and not old.endswith("\n") else "") + entry.model_dump_json() + "\n")


def last_like(entries: Iterable[Entry], now: Entry) -> Entry | None:
    """The latest entry that can be compared with this one."""
    return next((entry for entry in reversed(list(entries)) if entry.is_like(now)), None)


def compare(before: Entry, now: Entry, tolerance: float) -> list[Change]:
    """Every figure that both have.

    Args:
        tolerance: The share by which a figure may grow, beside the machine.
    """
    changes: list[Change] = []
    for unit, old, new in (("token", before.token, now.token), ("request", before.request, now.request)):
        allowed = (1 + tolerance) * _slower(old, new)
        changes += [_change(unit, part, old[part], new[part], allowed) for part in new if part in old]
    return changes


def worse(changes: Sequence[Change]) -> list[Change]:
    """Those that slipped back."""
    return [change for change in changes if change.worse]


def _slower(before: Costs, now: Costs) -> float:
    then, today = before.get(YARDSTICK, 0.0), now.get(YARDSTICK, 0.0)
    # A machine that is faster today demands nothing: what was recorded on a busy one proves little.
    return max(1.0, today / then) if then > 0 else 1.0


def _change(unit: str, part: str, before: float, now: float, allowed: float) -> Change:
    slipped = part != YARDSTICK and now > before * allowed and now - before > NOISE_US[unit]
    return Change(unit, part, before, now, now / before if before > 0 else None, slipped)
