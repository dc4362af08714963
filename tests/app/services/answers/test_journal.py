from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.errors import DatabaseUnavailable, ServiceUnavailable
from app.services.answers.journal import Journal
from app.services.answers.keeping import Keeping
from app.settings import ROOT, SettingsError

pytestmark = pytest.mark.usefixtures("clean_loop")

FRAME = b'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n'


class FakeKeeper:
    """Keeps answers in a list, unless its database is away."""

    def __init__(self) -> None:
        self.away = False
        self.impossible: set[str] = set()
        self.kept: list[tuple[str, bytes]] = []
        self.tried = 0

    async def keep(self, keeping: Keeping, raw: bytes) -> None:
        await asyncio.sleep(0)
        self.tried += 1
        if self.away:
            raise DatabaseUnavailable("away")
        if keeping.tail in self.impossible:
            raise ValueError("no database could hold it")
        self.kept.append((keeping.tail, raw))


def keeping(tail: str = "a") -> Keeping:
    return Keeping(owner="user_one", created_at_ms=1, model="m", tail=tail, conversation="conv_x")


def journal_of(root: Path, keeper: Any, **options: Any) -> Journal:
    return Journal(root / "answers", keeper, adopt_every_s=0.05, **options)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def files(root: Path) -> list[Path]:
    return list(root.glob("answers/*/*.answers"))


def folders(root: Path) -> list[Path]:
    return list(root.glob("answers/*"))


@pytest.fixture
def keeper() -> FakeKeeper:
    return FakeKeeper()


async def test_an_answer_is_on_disk_until_it_is_kept(tmp_path: Path, keeper: FakeKeeper):
    journal = journal_of(tmp_path, keeper)
    await journal.start()
    record = journal.open(keeping())
    record.write(FRAME)
    record.write(FRAME)
    (path,) = files(tmp_path)
    assert path.read_bytes() == keeping().encode() + FRAME * 2
    await record.end()
    assert keeper.kept == [("a", FRAME * 2)]
    assert files(tmp_path) == []
    await journal.close()
    assert folders(tmp_path) == []


async def test_it_ends_once(tmp_path: Path, keeper: FakeKeeper):
    journal = journal_of(tmp_path, keeper)
    await journal.start()
    record = journal.open(keeping())
    await record.end()
    record.leave()
    record.forget()
    await record.end()
    await journal.close()
    assert keeper.kept == [("a", b"")]


async def test_what_nobody_waits_for_is_kept_when_there_is_time(tmp_path: Path, keeper: FakeKeeper):
    journal = journal_of(tmp_path, keeper)
    await journal.start()
    record = journal.open(keeping())
    record.write(FRAME)
    record.leave()
    await until(lambda: keeper.kept)
    assert keeper.kept == [("a", FRAME)]
    await until(lambda: not journal.pending)
    await journal.close()


async def test_what_was_no_answer_is_forgotten(tmp_path: Path, keeper: FakeKeeper):
    journal = journal_of(tmp_path, keeper)
    await journal.start()
    journal.open(keeping()).forget()
    assert files(tmp_path) == []
    await journal.close()
    assert keeper.tried == 0


async def test_while_the_database_is_away_answers_wait_on_disk(tmp_path: Path, keeper: FakeKeeper):
    keeper.away = True
    journal = journal_of(tmp_path, keeper)
    await journal.start()
    for tail in "abc":
        record = journal.open(keeping(tail))
        record.write(FRAME)
        await record.end()
    assert journal.pending == len(files(tmp_path)) == 3
    keeper.away = False
    await until(lambda: not journal.pending)
    assert sorted(keeper.kept) == [(tail, FRAME) for tail in "abc"]
    assert files(tmp_path) == []
    await journal.close()


async def test_one_that_cannot_be_kept_does_not_keep_the_others_back(tmp_path: Path, keeper: FakeKeeper):
    keeper.impossible.add("b")
    journal = journal_of(tmp_path, keeper)
    await journal.start()
    for tail in "abc":
        await journal.open(keeping(tail)).end()
    await until(lambda: not journal.pending)
    assert [tail for tail, _ in keeper.kept] == ["a", "c"]
    await journal.close()


def unkept(root: Path) -> list[Path]:
    return sorted(root.glob("answers/*.unkept"))


def aside(root: Path) -> list[tuple[str, bytes]]:
    """What was put aside: whose it is, and what it says."""
    found = [path.read_bytes().partition(b"\n") for path in unkept(root)]
    return [(Keeping.decode(line).tail if line[:1] == b"{" else line.decode(), said) for line, _, said in found]


async def test_one_that_cannot_be_kept_is_put_aside_and_named(tmp_path: Path, keeper: FakeKeeper, caplog: Any):
    keeper.impossible.add("a")
    journal = journal_of(tmp_path, keeper)
    await journal.start()
    record = journal.open(keeping())
    record.write(FRAME)
    await record.end()
    await until(lambda: not journal.pending)
    assert aside(tmp_path) == [("a", FRAME)]
    (path,) = unkept(tmp_path)
    assert str(path) in caplog.text
    await journal.close()
    assert folders(tmp_path) == [path]


async def test_of_what_a_dead_process_left_too(tmp_path: Path, keeper: FakeKeeper):
    keeper.away = True
    journal = journal_of(tmp_path, keeper)
    await journal.start()
    for tail in "abc":
        await journal.open(keeping(tail)).end()
    files(tmp_path)[0].with_name("00000009.answers").write_bytes(b"nobody understands this\n" + FRAME)
    await journal.close()
    keeper.away, keeper.impossible = False, {"b"}
    other = journal_of(tmp_path, keeper)
    await other.start()
    await until(lambda: len(unkept(tmp_path)) == 2 and not files(tmp_path))
    assert [tail for tail, _ in keeper.kept] == ["a", "c"]
    assert aside(tmp_path) == [("b", b""), ("nobody understands this", FRAME)]
    await other.close()


async def test_what_is_being_kept_while_its_process_ends_is_there_for_the_next(tmp_path: Path):
    hanging = HangingKeeper()
    journal = journal_of(tmp_path, hanging)
    await journal.start()
    record = journal.open(keeping())
    ending = asyncio.create_task(record.end())
    await asyncio.sleep(0)
    await journal.close()
    assert len(files(tmp_path)) == 1
    ending.cancel()
    await asyncio.gather(ending, return_exceptions=True)


class HangingKeeper:
    """One whose database does not say a word."""

    async def keep(self, *_: Any) -> None:
        await asyncio.Event().wait()


async def test_what_is_in_memory_takes_room_too(tmp_path: Path, keeper: FakeKeeper, monkeypatch: Any):
    keeper.away = True
    journal = journal_of(tmp_path, keeper, most_mb=1)
    await journal.start()
    record = journal.open(keeping())
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _full)
        record.write(b"x" * 1024 * 1024)
    await record.end()
    with pytest.raises(ServiceUnavailable):
        journal.check_room()
    await journal.close()


async def test_so_much_may_wait_and_no_more(tmp_path: Path, keeper: FakeKeeper):
    keeper.away = True
    journal = journal_of(tmp_path, keeper, most_mb=1)
    with pytest.raises(ServiceUnavailable):
        journal.check_room()
    await journal.start()
    journal.check_room()
    record = journal.open(keeping())
    record.write(b"x" * 1024 * 1024)
    journal.check_room()
    await record.end()
    with pytest.raises(ServiceUnavailable) as refused:
        journal.check_room()
    assert refused.value.headers == {"Retry-After": "30"}
    keeper.away = False
    await until(lambda: not journal.pending)
    journal.check_room()
    await journal.close()


async def test_what_the_disk_does_not_take_is_in_memory(tmp_path: Path, keeper: FakeKeeper, monkeypatch: Any):
    journal = journal_of(tmp_path, keeper)
    await journal.start()
    record = journal.open(keeping())
    record.write(FRAME)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _full)
        record.write(FRAME)
    # Behind a gap nothing may be written.
    record.write(FRAME)
    await record.end()
    assert keeper.kept == [("a", FRAME * 3)]
    await journal.close()


def _full(*_: object) -> int:
    raise OSError(28, "No space left on device")


async def test_a_folder_that_cannot_be_made_is_told_at_the_start(tmp_path: Path, keeper: FakeKeeper):
    (tmp_path / "answers").write_text("in the way")
    with pytest.raises(SettingsError, match="Answers cannot be written"):
        await journal_of(tmp_path, keeper).start()


async def test_what_a_process_leaves_the_next_one_keeps(tmp_path: Path, keeper: FakeKeeper):
    keeper.away = True
    journal = journal_of(tmp_path, keeper)
    await journal.start()
    await journal.open(keeping("a")).end()
    under_way = journal.open(keeping("b"))
    under_way.write(FRAME)
    await journal.close()
    assert len(files(tmp_path)) == 2
    keeper.away = False
    other = journal_of(tmp_path, keeper)
    await other.start()
    await until(lambda: len(keeper.kept) == 2)
    await until(lambda: len(folders(tmp_path)) == 1)
    await other.close()
    assert keeper.kept == [("a", b""), ("b", FRAME)]


DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from app.services.answers.journal import Journal
from app.services.answers.keeping import Keeping

async def main():
    journal = Journal(Path(sys.argv[1]) / "answers", None)
    await journal.start()
    for tail in "abc":
        record = journal.open(Keeping(owner="user_one", created_at_ms=1, model="m", tail=tail, conversation="conv_x"))
        record.write(b'data: {"choices":[{"delta":{"content":"Hello"}}]}\\n\\n')
    (record.path.parent / "00000009.answers").write_bytes(b'{"owner":')
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_a_killed_process_was_at_is_kept_once_by_one_of_the_others(tmp_path: Path, keeper: FakeKeeper):
    died = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", DIE, str(tmp_path)], cwd=ROOT, check=False, timeout=60
    )
    assert died.returncode == -9
    assert len(files(tmp_path)) == 4
    keeper.away = True
    journals = [journal_of(tmp_path, keeper) for _ in range(3)]
    await asyncio.gather(*(journal.start() for journal in journals))
    await until(lambda: keeper.tried >= 2)
    assert len(files(tmp_path)) == 4
    keeper.away = False
    await until(lambda: not files(tmp_path))
    assert keeper.kept == [(tail, FRAME) for tail in "abc"]
    for journal in journals:
        await journal.close()
