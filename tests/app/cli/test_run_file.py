"""What the run file says of a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.cli.errors import CliError
from app.cli.run_file import ProcessId, Run, RunFile, service_url

US = ProcessId.of(os.getpid())
REUSED = ProcessId(os.getpid(), US.create_time - 1000)


def run(*, service: ProcessId | None = US, launcher: ProcessId = US, detached: bool = False, ready: bool = True) -> Run:
    return Run("id", "127.0.0.1", 8080, launcher, service, detached=detached, ready=ready)


def test_a_run_is_read_as_it_was_written(tmp_path: Path):
    file = RunFile(tmp_path / "run.json")

    written = file.write(run())

    assert file.read() == written


def test_no_file_is_no_run(tmp_path: Path):
    assert RunFile(tmp_path / "run.json").read() is None


def test_garbage_is_an_error_that_names_the_file(tmp_path: Path):
    file = RunFile(tmp_path / "run.json")
    file.path.write_text("{")

    with pytest.raises(CliError, match=r"run\.json cannot be read"):
        file.read()


def test_an_id_that_was_used_again_is_another_process():
    assert US.alive
    assert not REUSED.alive


@pytest.mark.parametrize(
    ("case", "serving"),
    [
        (run(), True),
        (run(service=None), False),
        (run(service=REUSED), False),
        (run(launcher=REUSED), False),
        (run(launcher=REUSED, detached=True), True),
        (run(launcher=REUSED, detached=True, ready=False), False),
    ],
    ids=["watched", "not started", "dead", "orphan", "detached", "orphaned before it was ready"],
)
def test_who_counts_as_serving(case: Run, serving: bool):
    assert case.is_serving is serving


def test_only_one_launcher_claims_a_state_folder(tmp_path: Path):
    file = RunFile(tmp_path / "run.json")
    with file.claimed(), pytest.raises(CliError, match="Another start is under way"), file.claimed():
        pass
    with file.claimed():
        pass


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80")],
)
def test_the_address_that_a_caller_here_uses(host: str, url: str):
    assert service_url(host, 80) == url
