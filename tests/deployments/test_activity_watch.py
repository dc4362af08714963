from __future__ import annotations

from deployments.activity_watch import IDLE_S, REPEAT_S, ActivityWatch


class Ear:
    """Hears."""

    def __init__(self) -> None:
        self.heard: list[float] = []

    async def activity(self, idle_s: float) -> None:
        self.heard.append(idle_s)


async def watch(*looks: tuple[float, float]) -> list[float]:
    ear = Ear()
    watching = ActivityWatch(ear)
    for now, idle_s in looks:
        await watching.look(idle_s, now)
    return ear.heard


async def test_work_is_told_when_it_begins_and_idleness_when_it_has_lasted():
    heard = await watch((0, 0), (1, 0), (2, 0.5), (3, IDLE_S / 2), (4, IDLE_S), (5, IDLE_S + 1), (6, 0))
    assert heard == [0.0, IDLE_S, 0.0]


async def test_it_is_told_again_for_a_manager_that_has_forgotten():
    assert await watch((0, 0), (REPEAT_S - 1, 0), (REPEAT_S, 0)) == [0.0, 0.0]
