from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.services.answers import aside
from app.services.answers.aside import Aside


def put(where: Aside, root: Path, *sizes: int) -> None:
    """Put so many aside, each of which fails anew, one after the other."""
    for number, size in enumerate(sizes):
        path = root / "1-dead" / f"{number}.answers"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * size)
        os.utime(path, (number, number))
        try:
            raise ValueError("no database could hold it")
        except ValueError:
            where.put(path, "user_one")


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("*.unkept"))


def test_they_take_so_much_and_the_oldest_go(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    put(Aside(tmp_path, 100), tmp_path, 40, 40, 40)
    assert left(tmp_path) == ["1-dead-1.unkept", "1-dead-2.unkept"]
    assert "1 answers that were put aside are deleted" in caplog.text
    assert "(there are 2)" in caplog.text


def test_they_are_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(aside, "MOST_FILES", 2)
    put(Aside(tmp_path, 100), tmp_path, 1, 1, 1, 1)
    assert left(tmp_path) == ["1-dead-2.unkept", "1-dead-3.unkept"]


def test_the_newest_stays_however_long_it_is(tmp_path: Path):
    put(Aside(tmp_path, 100), tmp_path, 40, 400)
    assert left(tmp_path) == ["1-dead-1.unkept"]
