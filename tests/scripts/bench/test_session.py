from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.bench.servers import Ended
from scripts.bench.session import Session
from tests.scripts.bench.test_servers import SPEC, Sleeper

SECOND_TRY = """
import pathlib, sys, time
mark = pathlib.Path(sys.argv[1])
if not mark.exists():
    mark.touch()
    sys.exit("too busy")
print("up", flush=True)
time.sleep(60)
"""


class Second(Sleeper):
    """Ends at once when it is started for the first time."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", SECOND_TRY, str(self.log.parent / "tried")]


def test_a_server_that_ends_by_itself_is_started_once_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    server = Second(SPEC, tmp_path, tmp_path / "log")
    with Session(30) as session:
        session.start(server)
        assert server.processes()
        server.stop()
    assert "too busy" in capsys.readouterr().out


def test_a_server_that_ends_twice_is_given_up(tmp_path: Path):
    server = Sleeper(SPEC, tmp_path, tmp_path / "log")
    server.code = "import sys; sys.exit('no model')"
    with pytest.raises(Ended, match="no model"), Session(30) as session:
        session.start(server)
