"""Dead replicas' slates are brought to the manager once each, and are gone when it has them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.domain.usage import Usage
from deployments.reports import ActivityReport, Remains
from deployments.slate import adoption as module
from deployments.slate.adoption import Adoption
from deployments.slate.slate import NAME, Slate
from deployments.slate.sweep import SILENT_S, Sweep

pytestmark = pytest.mark.usefixtures("clean_loop")


class Manager:
    """Takes what it is handed, but not the first times."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.taken: list[Remains] = []

    async def __call__(self, slate: str, remains: list[Remains]) -> bool:
        await asyncio.sleep(0)
        if self.refusals:
            self.refusals -= 1
            return False
        self.taken += remains
        return True


def spoil(root: Path) -> None:
    (path,) = root.glob(f"*/{NAME}")
    path.write_bytes(b"garbage")


def left(root: Path) -> list[str]:
    return [path.name for path in root.iterdir()]


def dead(root: Path, *accounts: bytes) -> None:
    """What is left of a replica with these calls."""
    slate = Slate.make(root, 4)
    for account in accounts:
        slate.line(account).gave(3)
    slate.close()


async def test_what_stands_on_it_is_delivered_and_it_is_gone(tmp_path: Path):
    manager = Manager()
    dead(tmp_path, b"a", b"b")
    assert await Adoption(tmp_path, manager).look()
    assert manager.taken == [Remains(b"a", Usage(0, 3)), Remains(b"b", Usage(0, 3))]
    assert left(tmp_path) == []


async def test_one_that_nothing_can_be_read_of_goes_without_a_word(tmp_path: Path):
    manager = Manager(refusals=1)
    dead(tmp_path, b"a")
    spoil(tmp_path)
    assert await Adoption(tmp_path, manager).look()
    assert manager.taken == []
    assert left(tmp_path) == []


async def test_what_is_not_taken_stays_for_anybody(tmp_path: Path):
    manager = Manager(refusals=1)
    dead(tmp_path, b"a")
    assert not await Adoption(tmp_path, manager).look()
    assert await Adoption(tmp_path, manager).look()
    assert [each.account for each in manager.taken] == [b"a"]


async def test_of_several_who_live_there_one_does_it(tmp_path: Path):
    manager = Manager()
    dead(tmp_path, b"a")
    dead(tmp_path, b"b")
    await asyncio.gather(*(Adoption(tmp_path, manager).look() for _ in range(4)))
    assert sorted(each.account for each in manager.taken) == [b"a", b"b"]


async def test_a_living_replicas_is_left_alone(tmp_path: Path):
    manager = Manager()
    slate = Slate.make(tmp_path, 4)
    slate.line(b"a")
    assert await Adoption(tmp_path, manager).look()
    assert manager.taken == []
    slate.close()


async def test_it_goes_on_where_there_is_no_folder_and_after_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    asked: list[str] = []

    async def refuses_first(slate: str, remains: list[Remains]) -> bool:
        asked.append(slate)
        if len(asked) == 1:
            raise RuntimeError("there is no manager")
        return True

    adoption = Adoption(tmp_path / "slates", refuses_first)
    adoption.start()
    await asyncio.sleep(0.03)
    dead(tmp_path / "slates", b"a")
    async with asyncio.timeout(10):
        while left(tmp_path / "slates"):
            await asyncio.sleep(0.01)
    adoption.stop()
    assert len(asked) == 2
    assert asked[0] == asked[1]


class Nodes:
    """Settles nodes, at a time that tests set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.refusals = 0
        self.settled: list[str] = []
        self.sweep = Sweep(self._settle, lambda: self.now)

    async def _settle(self, node: str) -> bool:
        self.settled.append(node)
        self.refusals -= 1
        return self.refusals < 0

    async def after(self, seconds: float, *alive: str) -> list[str]:
        """Which nodes are settled then."""
        self.now += seconds
        self.settled = []
        await self.sweep.look(list(alive))
        return sorted(self.settled)


def word(node: str) -> ActivityReport:
    return ActivityReport("m", "digest", "replica", node, 0.0)


async def test_nodes_are_settled_once_when_their_replicas_have_fallen_silent():
    nodes = Nodes()
    assert await nodes.after(0, "a", "b") == []
    nodes.sweep.hear(word("a"))
    assert await nodes.after(SILENT_S, "a", "b") == []
    nodes.sweep.hear(word("a"))
    assert await nodes.after(SILENT_S, "a", "b") == ["b"]
    assert await nodes.after(1, "a", "b") == ["a"]
    assert await nodes.after(1000, "a", "b") == []
    nodes.sweep.hear(word("b"))
    assert await nodes.after(SILENT_S + 1, "a", "b") == ["b"]


async def test_a_node_that_could_not_be_settled_is_tried_again_and_one_that_is_gone_is_not():
    nodes = Nodes()
    nodes.refusals = 1
    await nodes.after(0, "a", "b")
    assert await nodes.after(SILENT_S + 1, "a") == ["a"]
    assert await nodes.after(SILENT_S, "a") == []
    assert await nodes.after(1, "a") == ["a"]
