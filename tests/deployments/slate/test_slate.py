"""What stands on a slate is what its calls had come to, however its process ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.domain.usage import Usage
from app.services.usage.folder import SpoolFolder
from deployments.reports import Remains
from deployments.slate.file import ACCOUNT, LINE, ROOM, read
from deployments.slate.slate import NAME, Slate

ROOT = Path(__file__).resolve().parents[3]


def file_of(root: Path) -> Path:
    (path,) = root.glob(f"*/{NAME}")
    return path


def standing(root: Path) -> list[Remains]:
    return list(read(file_of(root)))


def test_a_line_tells_how_far_its_call_has_come(tmp_path: Path):
    line = Slate.make(tmp_path, 4).line(b"account")
    assert standing(tmp_path) == [Remains(b"account", Usage())]
    line.begins(Usage(7, cached_tokens=3))
    line.gave(1)
    line.gave(2)
    assert standing(tmp_path) == [Remains(b"account", Usage(7, 2, 3))]
    line.ends(Usage(7, 5, 3, 1), at_ms=9)
    assert standing(tmp_path) == [Remains(b"account", Usage(7, 5, 3, 1))]
    assert (line.account, line.usage, line.ended_at_ms) == (b"account", Usage(7, 5, 3, 1), 9)


def test_a_line_that_was_wiped_is_another_calls_and_knows_nothing_of_the_last(tmp_path: Path):
    slate = Slate.make(tmp_path, 4)
    first = slate.line(b"a long account")
    first.ends(Usage(7, 5, 3, 1), at_ms=9)
    first.wipe()
    assert standing(tmp_path) == []
    slate.line(b"short")
    first.gave(8)
    first.wipe()
    assert standing(tmp_path) == [Remains(b"short", Usage())]
    assert len(slate) == 1


def test_what_has_no_room_goes_on_without_a_line_and_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    slate = Slate.make(tmp_path, 4)
    lines = [slate.line(b"%d" % number) for number in range(200)]
    lines.append(slate.line(b"x" * (ROOM + 1)))
    for line in lines:
        line.gave(3)
    assert len(standing(tmp_path)) == len(slate) == 72
    assert caplog.text.count("not written down") == 1
    for line in lines:
        line.wipe()
    slate.line(b"x" * ROOM)
    assert [each.account for each in standing(tmp_path)] == [b"x" * ROOM]


def test_what_is_nobodys_account_has_no_line(tmp_path: Path):
    slate = Slate.make(tmp_path, 4)
    slate.line(b"").gave(3)
    assert len(slate) == 0


def test_where_none_can_be_made_calls_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").touch()
    line = Slate.make(tmp_path / "file", 4).line(b"account")
    line.gave(3)
    line.ends(Usage(1, 3), at_ms=9)
    line.wipe()
    assert line.usage == Usage(1, 3)
    assert "cannot be written down" in caplog.text


def test_at_its_end_an_empty_one_goes_and_another_one_stays(tmp_path: Path):
    empty, kept = Slate.make(tmp_path, 4), Slate.make(tmp_path, 4)
    kept.line(b"account")
    empty.close()
    kept.close()
    assert standing(tmp_path) == [Remains(b"account", Usage())]


@pytest.mark.parametrize("at", [ACCOUNT, ACCOUNT + 6])
def test_a_line_that_is_not_whole_is_left_out_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, at: int
):
    slate = Slate.make(tmp_path, 4)
    slate.line(b"account")
    slate.line(b"another")
    with file_of(tmp_path).open("r+b") as file:
        file.seek(LINE + at)
        file.write(b"\xff")
    assert [each.account for each in standing(tmp_path)] == [b"another"]
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("data", [b"", b"garbage", b"\xff" * 4096])
def test_what_is_no_slate_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes):
    path = tmp_path / NAME
    path.write_bytes(data)
    assert list(read(path)) == []
    assert "no slate" in caplog.text


def test_it_outlives_a_process_that_is_killed(tmp_path: Path):
    command = [sys.executable, "-m", "tests.support.marks", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert list(SpoolFolder.adopt(tmp_path)) == [], "it lives"
        os.kill(process.pid, signal.SIGKILL)
        told = int((first + process.stdout.read()).split()[-1])
    (remains,) = standing(tmp_path)
    assert remains.account == b"under way"
    assert told <= remains.usage.output_tokens <= told + 1000
    (folder,) = SpoolFolder.adopt(tmp_path)
    folder.remove()
    assert list(tmp_path.iterdir()) == []
