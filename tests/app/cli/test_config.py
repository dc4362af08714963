"""``manta config check`` and ``manta version``."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli.main import build_cli


def manta(*arguments: str) -> Result:
    return CliRunner().invoke(build_cli(), list(arguments))


def test_the_shipped_models_have_no_mistakes():
    result = manta("config", "check", "--models", "configs/models")

    assert result.exit_code == 0, result.output
    assert "smollm2-135m-instruct (also jan-v1-4b" in result.output
    assert "2 models, no mistakes found." in result.output


def test_every_mistake_is_named_at_once(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("id: a\nengine: scripted\nautoscaling:\n  min_replicas: -1\n")
    (tmp_path / "b.yaml").write_text("id: b\nengine: other\n")

    result = manta("config", "check", "--models", str(tmp_path))

    assert result.exit_code == 2
    assert "a.yaml:4: autoscaling.min_replicas: Input should be greater than or equal to 0" in result.stderr
    assert "b.yaml:2: engine: Input should be 'vllm' or 'scripted'" in result.stderr


def test_unknown_setting_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MANTA_PROT", "8080")

    result = manta("config", "check")

    assert result.exit_code == 2
    assert "Unknown setting MANTA_PROT" in result.stderr


def test_stop_and_status_do_not_go_together():
    result = manta("serve", "--stop", "--status")

    assert result.exit_code == 2
    assert "do not go together" in result.stderr


def test_version_names_manta_and_what_it_stands_on():
    result = manta("version")

    assert result.exit_code == 0
    assert result.output.startswith("manta 0.")
    assert "\nray 2." in result.output


def test_more_requests_than_an_engine_runs_at_once_are_doubted(tmp_path: Path):
    text = "id: a\nengine: scripted\nengine_args: {max_num_seqs: 8}\nlimits: {max_ongoing_requests: 32}\n"
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text("id: b\nengine: scripted\nengine_args: {max_num_seqs: 8}\n")

    result = manta("config", "check", "--models", str(tmp_path))

    assert result.exit_code == 0
    assert "a: limits.max_ongoing_requests is 32, but its engine runs 8 at once" in result.stderr
    assert "b: " not in result.stderr
