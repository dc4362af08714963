"""Every snippet in the README works as it stands; a new one without a test here fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from app.domain.limit_table import LimitTable
from app.services.limit_files import load_limits
from app.services.model_files import load_models
from app.settings import Settings
from tests.support.live import CHAT, SCRIPTED, Live
from tests.support.readme import README, section, snippet, snippets

ROOT = README.parent
CLIENTS = ROOT / "tests" / "clients"
TRIED = {
    ("Start", "sh", "scripts/serve\n"): "tests/app/cli and, whole, by every test that takes `live`",
    ("Start", "sh", "scripts/test\n"): "is what runs this",
    ("Use", "sh", "curl -N"): "below",
    ("Use", "python", "OpenAI("): "below",
    ("Use", "javascript", "new OpenAI("): "below",
    ("What is kept", "python", "conversations.create"): "below",
    ("Models", "yaml", "qwen3-8b"): "below",
    ("Models", "sh", "manta config check"): "below",
    ("Models", "sh", "manta models"): "below",
    ("Who may call", "sh", "api-keys"): "below",
    ("Who may call", "sh", "MANTA_OIDC_CLIENT_ID"): "below",
    ("Who may call", "sh", "manta users"): "below",
    ("Who may call", "python", "admin.organization"): "below",
    ("Limits", "yaml", "burst: 10"): "below",
    ("Limits", "sh", "manta limits"): "below",
    ("Usage", "sh", "manta usage"): "below",
    ("Usage", "python", "usage.costs"): "below",
    ("On a cluster", "sh", "ray start"): "tests/e2e/test_cluster.py",
    ("On a cluster", "sh", "serve run"): "tests/e2e/test_cluster.py",
    ("On a cluster", "sh", "serve deploy"): "tests/e2e/test_cluster.py",
    ("Figures", "sh", "scripts/bench/overhead"): "tests/scripts/bench",
}
"""Every runnable snippet, by section, language and a part of its text, and where it is tried."""


def test_every_snippet_is_tried_somewhere() -> None:
    """The table above and the README name the same snippets."""
    runnable = [item for item in snippets() if item.language != "text"]
    for item in runnable:
        assert any((item.section, item.language) == key[:2] and key[2] in item.text for key in TRIED), (
            f"no test runs this snippet of {item.section!r}:\n{item.text}"
        )
    assert len(runnable) == len(TRIED)


def test_the_model_file_is_a_whole_model(tmp_path: Path) -> None:
    """The shortest useful model file loads, and asks for a GPU."""
    path = tmp_path / "model.yaml"
    path.write_text(snippet("Models", "yaml"))
    (spec,) = load_models(str(path))
    assert spec.resources.num_gpus == 1
    assert spec.autoscaling.min_replicas == 0


def test_the_model_files_check() -> None:
    """`manta config check` likes what is in configs/models."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = _run(snippet("Models", "sh", "config check"), environment)
    assert "smollm2-135m-instruct" in done


def test_every_setting_is_named_with_its_default_and_meaning() -> None:
    """The table of settings is the one that the code has."""
    text = README.read_text()
    for name, field in Settings.model_fields.items():
        variable = "MONGODB_URI" if name == "mongodb_uri" else f"MANTA_{name.upper()}"
        assert f"| `{variable}` |" in text, variable
        assert field.description is not None
        assert field.description in text, variable


@pytest.mark.live
def test_models_come_and_go_by_the_command_line(live: Live, tmp_path: Path) -> None:
    """Each line does what it says, on a model that takes no time."""
    file = tmp_path / "my-model.yaml"
    file.write_text("id: my-model\nengine: scripted\nresources: {num_cpus: 0.1}\n")
    script = snippet("Models", "sh", "manta models").replace("my-model.yaml", str(file))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = _run(script, {**os.environ, "PATH": path, "MANTA_STATE_DIR": str(live.state_dir)})
    for line in ("scripted-chat", "my-model: ready", "my-model is stopped.", "no weights", "my-model is removed."):
        assert line in done


@pytest.mark.live
def test_the_curl_line_streams_an_answer(live: Live) -> None:
    """Pasted into a shell, it prints chunks and the end."""
    script = snippet("Use", "sh").replace(".manta/", f"{live.state_dir}/")
    printed = _run(_here(script, live), dict(os.environ))
    assert '"delta":{"content":"' in printed
    assert "Paris" in printed
    assert printed.rstrip().endswith("data: [DONE]")


@pytest.mark.live
def test_the_python_snippet_prints_an_answer(live: Live) -> None:
    """With OpenAI's SDK."""
    script = _here(snippet("Use", "python"), live)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "OPENAI_API_KEY": live.api_key},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Paris" in done.stdout, done.stderr


@pytest.mark.live
def test_the_javascript_snippet_prints_the_length_of_a_vector(live: Live) -> None:
    """With OpenAI's SDK for JavaScript."""
    script = CLIENTS / f"readme-{os.getpid()}.mjs"
    script.write_text(_here(snippet("Use", "javascript"), live))
    try:
        printed = _run(f"node {script}", {**os.environ, "OPENAI_API_KEY": live.api_key})
    finally:
        script.unlink()
    assert printed.strip() == "384"


@pytest.mark.live
def test_the_python_snippet_keeps_a_conversation(live: Live) -> None:
    """Two questions, each with its answer behind it."""
    done = subprocess.run(
        [sys.executable, "-c", _here(snippet("What is kept", "python"), live)],
        env={**os.environ, "OPENAI_API_KEY": live.api_key},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Paris" in done.stdout, done.stderr
    assert re.findall(r"^message (msg)_", done.stdout, re.MULTILINE) == ["msg"] * 4


@pytest.mark.live
def test_the_curl_line_makes_a_key_for_one_model(live: Live) -> None:
    """Which opens that model, and no other."""
    made = json.loads(_run(_here(snippet("Who may call", "sh", "api-keys"), live), _with_key(live)))
    assert made["models"] == ["smollm2-135m-instruct"]
    headers = {"Authorization": f"Bearer {made['key']}"}
    for model, status in ((CHAT, 200), (SCRIPTED, 403)):
        body = {"model": model, "prompt": "Hello", "max_tokens": 1}
        answer = httpx.post(f"{live.openai_url}/completions", json=body, headers=headers, timeout=120)
        assert answer.status_code == status, answer.text


def test_the_settings_for_signing_in_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported as they stand."""
    printed = _run(f"{snippet('Who may call', 'sh', 'MANTA_OIDC_CLIENT_ID')}\nexport -p", {"PATH": os.environ["PATH"]})
    for name, value in re.findall(r'declare -x (MANTA_\w+)="(.*)"', printed):
        monkeypatch.setenv(name, value.replace('\\"', '"'))
    settings = Settings.load()
    assert settings.public_url == "https://llm.example.com"
    assert settings.oidc_allowed_domains == ["example.com"]
    assert settings.oidc_client_id == "..."


@pytest.mark.live
def test_people_and_keys_are_handled_by_the_command_line(live: Live) -> None:
    """Each line does what it says."""
    script = snippet("Who may call", "sh", "manta users")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = _run(script, {**os.environ, "PATH": path, "MANTA_STATE_DIR": str(live.state_dir)})
    (key,) = re.findall(r"sk-manta-\w+", done.replace("...", ""))[:1]
    assert "ada@example.com" in done
    refused = httpx.get(f"{live.openai_url}/user/profile", headers={"Authorization": f"Bearer {key}"})
    assert refused.status_code == 401, "she was disabled in the end"


@pytest.mark.live
def test_the_sdk_makes_a_project_and_an_account_for_a_program(live: Live) -> None:
    """With OpenAI's SDK."""
    script = _here(snippet("Who may call", "python"), live).replace(".manta/", f"{live.state_dir}/")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    key = done.stdout.strip()
    assert key.startswith("sk-manta-"), done.stderr
    me = httpx.get(f"{live.openai_url}/user/profile", headers={"Authorization": f"Bearer {key}"})
    assert me.json()["name"] == "indexer"


def _with_key(live: Live) -> dict[str, str]:
    return {**os.environ, "OPENAI_API_KEY": live.api_key}


def _here(script: str, live: Live) -> str:
    assert "http://127.0.0.1:8080" in script
    return script.replace("http://127.0.0.1:8080", live.url)


def _run(script: str, environment: dict[str, str]) -> str:
    command = ["bash", "-euc", script]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_limits_shown_are_limits() -> None:
    """As the file of the table has them."""
    table = LimitTable.model_validate(yaml.safe_load(snippet("Limits", "yaml")))
    assert [(row.limit.what, row.limit.burst) for row in table.user] == [
        ("inference_requests", 10),
        ("tokens", None),
        ("spend", None),
        ("concurrent_requests", None),
    ]


def test_the_table_of_limits_is_what_the_file_says() -> None:
    """A number each."""
    table = load_limits(str(ROOT / "configs/limits.yaml"))
    rows = {
        cells[0]: [int(number.replace(" ", "")) for number in re.findall(r"\d[\d ]*(?= an? )", " ".join(cells[1:]))]
        for cells in re.findall(r"^\| ([^|]+) \|([^|]*)\|([^|]*)\|$", section("Limits"), re.MULTILINE)
    }
    assert rows["without credentials, by address"] == [row.limit.count for row in table.anonymous]
    assert rows["guests"] == [row.limit.count for row in table.guest]
    assert rows["users, all their keys together"] == [row.limit.count for row in table.user]
    assert rows["each API key, besides"] == [row.limit.count for row in table.api_key]


@pytest.mark.live
def test_limits_are_changed_by_the_command_line(live: Live) -> None:
    """Each line does what it says; the service's own limits are back in the end."""
    added = httpx.post(f"{live.openai_url}/admin/users", json={"name": "Ada"}, headers=live.auth).json()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MANTA_STATE_DIR": str(live.state_dir)}
    try:
        done = _run(snippet("Limits", "sh", "manta limits").replace("ada@example.com", added["id"]), environment)
        assert "inference requests" in done
        assert "The limits are in force" in done
        assert done.count(added["id"]) == 2
        table = httpx.get(f"{live.openai_url}/admin/limits", headers=live.auth).json()
        assert table["limits"] == load_limits(str(ROOT / "configs/limits.yaml")).to_dict()
    finally:
        assert "in force" in _run("manta limits reset --yes", environment)


@pytest.mark.live
def test_usage_is_shown_by_the_command_line(live: Live, tmp_path: Path) -> None:
    """As tables, and as a file for a spreadsheet."""
    body = {"model": SCRIPTED, "prompt": "Hello", "max_tokens": 3}
    httpx.post(f"{live.openai_url}/completions", json=body, headers=live.auth, timeout=120).raise_for_status()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = snippet("Usage", "sh", "manta usage").replace("usage.csv", str(tmp_path / "usage.csv"))
    deadline = time.monotonic() + 30
    while SCRIPTED not in _run(script, {**os.environ, "PATH": path, "MANTA_STATE_DIR": str(live.state_dir)}):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert (tmp_path / "usage.csv").read_text().startswith("date,")


@pytest.mark.live
def test_the_sdk_prints_what_was_spent(live: Live) -> None:
    """A line for each model of each day."""
    script = _here(snippet("Usage", "python"), live).replace(".manta/", f"{live.state_dir}/")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert SCRIPTED in done.stdout, done.stderr
    assert "usd" in done.stdout
