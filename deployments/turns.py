"""Whose turn it is where not all models fit at once. Pure: no calls.

A model that requests wait for, and that there is no room for, gets the room of models that may sleep: of those that
have nothing to do at once, and of busy ones when they have had their turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deployments.placement import Need, fits

IDLE_S = 2.0
"""How long a model has had nothing to do before its room is given away."""

TURN_S = 30.0
"""How long a model may go on working, and another has to wait for it to end."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A model that may sleep and does not.

    Attributes:
        rooms: What its replicas hold, by node.
        idle_s: For how long all of them have had nothing to do.
        ready_s: For how long it has been ready.
        queued: Requests that wait for it besides.
    """

    id: str
    rooms: tuple[tuple[str, tuple[Need, ...]], ...]
    idle_s: float
    ready_s: float
    queued: int


def who_yields(
    wanted: Iterable[Need], waiting_s: float, free: Mapping[str, Need], holders: Iterable[Holder]
) -> list[str]:
    """The models that have to sleep now to make room; none where that would not help.

    Args:
        wanted: What the one that waits needs.
        waiting_s: For how long requests have waited for it.
        free: What nodes have free.
        holders: Those that could make room.
    """
    wanted = list(wanted)
    idle = [holder for holder in holders if holder.idle_s >= IDLE_S and not holder.queued]
    busy = [holder for holder in holders if holder not in idle and waiting_s >= TURN_S and holder.ready_s >= TURN_S]
    order = sorted(idle, key=lambda holder: -holder.idle_s) + sorted(busy, key=lambda holder: -holder.ready_s)
    chosen: list[Holder] = []
    for holder in order:
        chosen.append(holder)
        if fits(wanted, _with(free, chosen)):
            break
    else:
        return []
    for holder in list(chosen):
        # One whose room is on another node, say.
        others = [each for each in chosen if each is not holder]
        if fits(wanted, _with(free, others)):
            chosen = others
    return [holder.id for holder in chosen]


def _with(free: Mapping[str, Need], holders: Iterable[Holder]) -> list[Need]:
    """What nodes would have if these slept."""
    nodes = {node: dict(amounts) for node, amounts in free.items()}
    for holder in holders:
        for node, needs in holder.rooms:
            room = nodes.setdefault(node, {})
            for need in needs:
                for name, amount in need.items():
                    room[name] = room.get(name, 0.0) + amount
    return list(nodes.values())
