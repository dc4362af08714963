from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.domain.usage import Usage
from app.services.usage.folder import SpoolFolder
from app.services.usage.records import Segment, count, read_drafts, read_events
from app.services.usage.spool import DRAFT_FILES, SEGMENT_BYTES, Spool
from tests.support.usage import draft, event


def folder_of(root: Path) -> Path:
    (path,) = root.iterdir()
    return path


def names_in(path: Path) -> list[str]:
    return [one.request_id for one in read_drafts(path)]


def test_what_is_read_is_what_was_written(tmp_path: Path):
    segment = Segment(tmp_path / "1.events")
    events = [event(f"req_{number}", Usage(number, 2), owner="user_ü") for number in range(10)]
    for one in events:
        segment.append(one)
    segment.close()
    assert list(read_events(segment.path)) == events
    assert count(segment.path) == 10


def test_a_torn_end_costs_the_torn_record_alone(tmp_path: Path):
    segment = Segment(tmp_path / "1.events")
    sizes = [segment.append(event(f"req_{number}")) for number in range(3)]
    segment.close()
    whole = segment.path.read_bytes()
    for length in range(len(whole)):
        segment.path.write_bytes(whole[:length])
        names = [one.request_id for one in read_events(segment.path)]
        expected = sum(length >= sum(sizes[: number + 1]) for number in range(3))
        assert names == ["req_0", "req_1", "req_2"][:expected]


@pytest.mark.parametrize("tail", [bytes(64), b"\xff" * 64, b"\x05\x00\x00\x00wrong"], ids=["zeros", "ones", "checksum"])
def test_garbage_at_the_end_is_no_record(tmp_path: Path, tail: bytes):
    segment = Segment(tmp_path / "1.drafts")
    segment.append(draft("one"))
    segment.close()
    with segment.path.open("ab") as file:
        file.write(tail)
    assert names_in(segment.path) == ["one"]


def test_half_a_record_on_a_full_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    segment = Segment(tmp_path / "1.events")
    segment.append(event("one"))
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr("app.services.usage.records.os.write", lambda file, data: write(file, data[:20]))
        with pytest.raises(OSError, match="No space left"):
            segment.append(event("two"))
    segment.append(event("three"))
    segment.close()
    assert [one.request_id for one in read_events(segment.path)] == ["one", "three"]


def test_a_record_of_another_version_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    segment = Segment(tmp_path / "1.events")
    segment.append(event("one"))
    segment.append(draft("what an event is not"))
    segment.append(event("two"))
    segment.close()
    assert [one.request_id for one in read_events(segment.path)] == ["one", "two"]
    assert "cannot be read" in caplog.text


def test_a_folder_is_adopted_when_its_process_is_gone_and_by_one_alone(tmp_path: Path):
    folder = SpoolFolder.make(tmp_path)
    assert list(SpoolFolder.adopt(tmp_path)) == []
    folder.close()
    (adopted,) = SpoolFolder.adopt(tmp_path)
    assert adopted.path == folder.path
    assert list(SpoolFolder.adopt(tmp_path)) == []
    adopted.remove()
    assert list(tmp_path.iterdir()) == []
    assert list(SpoolFolder.adopt(tmp_path)) == []


def test_what_is_no_spool_is_left_alone(tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".half-made").mkdir()
    (tmp_path / ".half-made" / "lock").write_text("")
    assert list(SpoolFolder.adopt(tmp_path)) == []


def test_events_are_sealed_by_length_and_deleted_one_file_at_a_time(tmp_path: Path):
    spool = Spool(tmp_path)
    number = 0
    while len(spool.sealed) < 2:
        spool.append_event(event(f"req_{number}"))
        number += 1
    assert all(SEGMENT_BYTES <= sealed.size < SEGMENT_BYTES + 1000 for sealed in spool.sealed)
    assert sum(sealed.records for sealed in spool.sealed) == number
    assert spool.bytes == sum(sealed.size for sealed in spool.sealed)
    spool.delete_first()
    spool.delete_first()
    assert spool.bytes == 0
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_drafts_take_no_more_room_than_what_is_under_way_needs(tmp_path: Path):
    spool = Spool(tmp_path)
    spool.append_draft(draft("long"))
    for number in range(30_000):
        spool.append_draft(draft(f"req_{number:06d}"))
        if number % 7000 != 0:
            spool.settle(f"req_{number:06d}")
    files = sorted(folder_of(tmp_path).glob("*.drafts"))
    assert len(files) <= DRAFT_FILES
    assert spool.bytes == sum(path.stat().st_size for path in files)
    kept = {name for path in files for name in names_in(path)}
    under_way = {"long", *(f"req_{number:06d}" for number in range(0, 30_000, 7000))}
    assert under_way <= kept
    for request_id in under_way:
        spool.append_event(event(request_id))
    assert len(list(folder_of(tmp_path).glob("*.drafts"))) == 1
    spool.seal()
    spool.delete_first()
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_under_way_is_left_at_the_end(tmp_path: Path):
    spool = Spool(tmp_path)
    spool.append_draft(draft("one"))
    spool.append_draft(draft("one"))
    spool.append_draft(draft("two"))
    spool.close()
    (left,) = SpoolFolder.adopt(tmp_path)
    (path,) = left.files("drafts")
    assert names_in(path) == ["one", "one", "two"]
    left.close()
