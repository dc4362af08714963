"""What every process of a server holds in memory, idle and after the load, and what it uses of a core while idle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from scripts.bench.processes import command_of, role


@dataclass(frozen=True, slots=True)
class Footprint:
    """One process. Bytes.

    Attributes:
        rss: Resident memory: pages shared with others count whole.
        pss: The same with shared pages split among those who share them; None where it cannot be read.
    """

    pid: int
    name: str
    rss: int
    pss: int | None


@dataclass(frozen=True, slots=True)
class Row:
    """One process, or a sum of them, at both moments; None where it was not there.

    Attributes:
        idle_cpu: Share of a core that it uses while nobody asks anything.
    """

    name: str
    pid: int | None
    idle_cpu: float
    idle: Footprint | None
    loaded: Footprint | None


def footprints(processes: Iterable[psutil.Process]) -> list[Footprint]:
    """Every process now; those that are gone are left out."""
    found: list[Footprint] = []
    for process in processes:
        try:
            name = role(command_of(process))[0]
            found.append(Footprint(process.pid, name, process.memory_info().rss, _pss(process)))
        except psutil.Error:
            continue
    return found


def rows(idle: Sequence[Footprint], loaded: Sequence[Footprint], idle_cpu: Mapping[int, float]) -> list[Row]:
    """Both moments side by side, the largest first, and their sum at the end.

    Args:
        idle_cpu: Share of a core by process id.
    """
    before, after = {each.pid: each for each in idle}, {each.pid: each for each in loaded}
    found = [
        Row(either.name, pid, idle_cpu.get(pid, 0.0), before.get(pid), after.get(pid))
        for pid, either in (before | after).items()
    ]
    found.sort(key=lambda row: -max(each.rss for each in (row.idle, row.loaded) if each is not None))
    return [*found, Row("sum", None, sum(idle_cpu.values()), _sum(idle), _sum(loaded))]


def _sum(parts: Sequence[Footprint]) -> Footprint:
    shares = [each.pss for each in parts if each.pss is not None]
    return Footprint(0, "sum", sum(each.rss for each in parts), sum(shares) if len(shares) == len(parts) else None)


def _pss(process: psutil.Process) -> int | None:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        raise
    except (psutil.Error, AttributeError):
        return None
