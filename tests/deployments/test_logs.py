from __future__ import annotations

from pathlib import Path

from deployments.logs import LINE_CHARACTERS, tail


def test_the_end_of_every_file_is_read_without_rays_own_lines(tmp_path: Path):
    one, two = tmp_path / "worker.out", tmp_path / "worker.err"
    one.write_text(":job_id:01\n:actor_name:X\na\nb\n")
    two.write_bytes(b"c\xff\n" + b"d" * (LINE_CHARACTERS + 9))
    assert tail((str(one), str(two)), 3) == ["b", "c\ufffd", "d" * LINE_CHARACTERS]
    assert tail((str(tmp_path / "gone"),), 3) == []
