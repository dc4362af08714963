from __future__ import annotations

from deployments.activity_watch import IDLE_S, REPEAT_S, ActivityWatch


class Ear:
    """Hears."""

    def __init__(self) -> None:
        self.heard: list[float] = []

    async def activity(self, idle_s: float) -> None:
        self.heard.append(idle_s)


async def watch(ear: Ear, *looks: tuple[float, int, int]) -> list[float]:
    watching = ActivityWatch(ear)
    for now, under_way, count in looks:
        await watching.look((under_way, count), now)
    return ear.heard


async def test_work_is_told_when_it_begins_and_idleness_when_it_has_lasted():
    heard = await watch(Ear(), (0, 1, 1), (1, 1, 1), (2, 0, 1), (2 + IDLE_S / 2, 0, 1), (2 + IDLE_S, 0, 1), (9, 0, 1))
    assert heard == [0.0, IDLE_S]


async def test_requests_too_short_to_be_seen_are_work_too():
    assert await watch(Ear(), (0, 0, 1), (IDLE_S, 0, 9), (2 * IDLE_S - 0.1, 0, 9), (2 * IDLE_S + 0.1, 0, 12)) == [0.0]


async def test_it_is_told_again_for_a_manager_that_has_forgotten():
    assert await watch(Ear(), (0, 1, 1), (REPEAT_S - 1, 1, 1), (REPEAT_S, 1, 1)) == [0.0, 0.0]
