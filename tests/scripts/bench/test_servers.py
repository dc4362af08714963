from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest
import yaml

from app.domain.model_spec import ModelSpec
from app.services.model_files import load_models
from scripts.bench.servers import BareServer, BenchError, HandleServer, MantaServer, Server, flags

SPEC = ModelSpec(id="tiny", source="/models/tiny", engine_args={"max_model_len": 64, "dtype": "float32"})


class Sleeper(Server):
    """A server that starts a child and then does as told."""

    name = "sleeper"
    code = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); print('up', flush=True); time.sleep(60)"

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code]

    def environment(self) -> dict[str, str]:
        return {}

    def waits_for(self) -> str | None:
        return None if "up" in self.log.read_text() else "not up"


def test_engine_arguments_become_flags():
    arguments = {"max_model_len": 64, "enforce_eager": True, "enable_x": False, "dtype": "float32", "o": {"a": 1}}
    expected = ["--max-model-len", "64", "--enforce-eager", "--no-enable-x", "--dtype", "float32", "--o", '{"a": 1}']
    assert flags(arguments) == expected


def test_both_servers_get_the_same_model_and_engine_arguments(tmp_path: Path):
    bare, manta = (kind(SPEC, tmp_path, tmp_path / "log") for kind in (BareServer, MantaServer))
    command = " ".join(bare.command)
    for part in ("--model /models/tiny", "--served-model-name tiny", "--max-model-len 64", "--dtype float32"):
        assert part in command
    (spec,) = load_models(manta.environment()["MANTA_MODELS"])
    assert spec == SPEC


def test_manta_checks_keys_and_sees_no_setting_of_the_callers(tmp_path: Path):
    manta = MantaServer(SPEC, tmp_path, tmp_path / "log")
    assert manta.environment()["MANTA_ANONYMOUS_INFERENCE"] == "false"
    assert manta.headers == {}
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "api-key").write_text("sk-x\n")
    assert manta.headers == {"authorization": "Bearer sk-x"}
    assert yaml.safe_load((tmp_path / "model.yaml").read_text())["id"] == "tiny"


def test_the_two_mantas_differ_by_what_carries_their_bytes(tmp_path: Path):
    link, handle = (kind(SPEC, tmp_path, tmp_path / "log").environment() for kind in (MantaServer, HandleServer))
    assert link.pop("MANTA_DATA_PATH") == "link"
    assert handle.pop("MANTA_DATA_PATH") == "handle"
    assert link == handle


def test_stopping_a_server_ends_its_children_too(tmp_path: Path):
    server = Sleeper(SPEC, tmp_path, tmp_path / "log")
    server.start(30, print)
    pids = [process.pid for process in server.processes()]
    assert len(pids) == 2
    server.stop()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    server.stop()


def test_a_server_that_ends_by_itself_is_reported_with_its_last_words(tmp_path: Path):
    server = Sleeper(SPEC, tmp_path, tmp_path / "log")
    server.code = "import sys; sys.exit('no model')"
    with pytest.raises(BenchError, match=r"ended by itself \(status 1\)(?s:.*)no model"):
        server.start(30, print)
    server.stop()


def test_a_server_that_never_answers_is_given_up(tmp_path: Path):
    server = Sleeper(SPEC, tmp_path, tmp_path / "log")
    server.code = "import time; time.sleep(60)"
    with pytest.raises(BenchError, match=r"does not answer after (?s:.*)not up"):
        server.start(0, print)
    server.stop()
