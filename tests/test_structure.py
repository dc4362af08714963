"""What holds the code together, read from the code itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for folder in ("app", "deployments") for path in (ROOT / folder).rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

ENVIRONMENT = {
    "app/settings.py": "the only reader of settings",
    "app/cli/serve.py": "hands the environment to the service it starts",
    "app/cli/weights.py": "hands the environment to the fetching process",
    "deployments/front.py": "must not find itself where it looks for HAProxy; has only the environment for settings",
    "deployments/local.py": "sets Ray's switches before Ray is imported",
    "deployments/engines/vllm_args.py": "chooses defaults by vLLM's switches",
    "deployments/engines/vllm_environment.py": "sets vLLM's switches before vLLM is imported",
    "deployments/prewarm/birth.py": "gives a forked process its own",
    "deployments/prewarm/environment.py": "watches what is read while vLLM is imported",
    "deployments/prewarm/host.py": "hands the environment to the server it starts",
    "deployments/prewarm/launcher.py": "tells the server what the process is to live in",
    "deployments/prewarm/process.py": "tells the keeper what the process is to live in",
    "deployments/prewarm/server.py": "remembers what it imported in",
    "deployments/weights/convert.py": "keeps transformers off the network",
    "deployments/weights/child.py": "hands the environment to its child",
}
"""Who touches the process's environment, and what for."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_the_database_is_spoken_to_in_the_storage_package_alone():
    for path in SOURCES:
        if path.is_relative_to(ROOT / "app" / "storage"):
            continue
        tree = tree_of(path)
        drivers = [name for name in imported(tree) if name.partition(".")[0] in ("motor", "pymongo", "bson")]
        calls = [
            node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "collection"
        ]
        assert not drivers, name_of(path)
        assert not calls, name_of(path)


def test_the_environment_is_touched_in_few_places():
    touching = {
        name_of(path)
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv", "os.putenv")
    }
    assert touching == set(ENVIRONMENT)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_can_be_read_in_one_go(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION_LINES, node.name


def test_middleware_is_pure_asgi():
    for path in SOURCES:
        assert "BaseHTTPMiddleware" not in path.read_text(encoding="utf-8"), name_of(path)


def test_nothing_is_global():
    for path in SOURCES:
        assert not [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Global)], name_of(path)


@pytest.mark.parametrize(
    "module", ["deployments.main", "deployments.static", "deployments.local", "app.main", "app.cli.main"]
)
def test_importing_what_starts_the_service_loads_no_engine(module: str, tmp_path: Path):
    code = f"import sys, {module}; print(sorted({{'torch', 'vllm', 'transformers'}} & set(sys.modules)))"
    environment = {"PATH": "/usr/bin:/bin", "MANTA_STATE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"


def test_importing_the_builder_touches_nothing(tmp_path: Path):
    environment = {"PATH": "/usr/bin:/bin", "MANTA_STATE_DIR": str(tmp_path / "state"), "MANTA_NO_SUCH_SETTING": "1"}
    code = "import deployments.main"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_readme(name: str):
    prefix = "" if name == "mongodb_uri" else PREFIX  # platforms set it without, so that is what users are told
    assert f"{prefix}{name.upper()}" in (ROOT / "README.md").read_text(encoding="utf-8")


FORBIDDEN = ("/work/", "/root/", "/home/")


def test_no_machines_paths_are_in_the_project():
    for path in [*SOURCES, *sorted((ROOT / "configs").rglob("*.yaml")), ROOT / "README.md", ROOT / "pyproject.toml"]:
        text = path.read_text(encoding="utf-8")
        assert not [word for word in FORBIDDEN if word in text], name_of(path)
