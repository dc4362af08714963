"""What every process of a server holds in memory: idle, under load and after it."""

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
    """One process, or a sum of them, at three moments; None where it was not there.

    Attributes:
        idle_cpu: Share of a core that it uses while nobody asks anything.
        loaded: The most that was seen under load.
    """

    name: str
    pid: int | None
    idle_cpu: float
    idle: Footprint | None
    loaded: Footprint | None
    after: Footprint | None


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


def largest(looks: Iterable[Sequence[Footprint]]) -> list[Footprint]:
    """The most that each process held, of several looks at all of them."""
    most: dict[int, Footprint] = {}
    for look in looks:
        for each in look:
            if each.pid not in most or each.rss > most[each.pid].rss:
                most[each.pid] = each
    return list(most.values())


def rows(
    idle: Sequence[Footprint], loaded: Sequence[Footprint], after: Sequence[Footprint], idle_cpu: Mapping[int, float]
) -> list[Row]:
    """The moments side by side, the largest process first, and their sum at the end.

    Args:
        idle_cpu: Share of a core by process id.
    """
    moments = [{each.pid: each for each in moment} for moment in (idle, loaded, after)]
    known = moments[0] | moments[1] | moments[2]
    found = [
        Row(each.name, pid, idle_cpu.get(pid, 0.0), *[moment.get(pid) for moment in moments])
        for pid, each in known.items()
    ]
    found.sort(key=lambda row: -max(each.rss for each in (row.idle, row.loaded, row.after) if each is not None))
    return [*found, Row("sum", None, sum(idle_cpu.values()), *map(_sum, (idle, loaded, after)))]


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
