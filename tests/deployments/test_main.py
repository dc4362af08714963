from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ray.serve import Application
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

from app.services.limit_files import load_limits
from app.services.model_files import ModelFileError
from app.settings import PREFIX, ROOT, Settings, SettingsError
from deployments.main import AppArgs, build


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    monkeypatch.delenv("MONGODB_URI", raising=False)
    monkeypatch.setenv("MANTA_STATE_DIR", str(tmp_path / "state"))


def built(**args: Any) -> Application:
    """What ``serve run deployments.main:build key=value ...`` makes."""
    application = call_user_app_builder_with_args_if_necessary(build, args)
    assert isinstance(application, Application)
    return application


def gateway(application: Application) -> Any:
    return application._bound_deployment  # pyright: ignore[reportPrivateUsage]


def test_without_arguments_the_environment_decides(tmp_path: Path):
    settings, limits, manager, database = gateway(built()).init_args
    assert settings.state_dir == tmp_path / "state"
    assert limits == load_limits(settings.limits)
    assert isinstance(manager, Application)
    assert gateway(manager).name == "ModelManager"
    assert gateway(database).name == "EmbeddedDatabase"
    assert [spec["id"] for spec in gateway(manager).init_args[1]] == ["all-minilm-l6-v2", "smollm2-135m-instruct"]


def test_arguments_arrive_as_text_and_win_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MANTA_GATEWAY_REPLICAS", "2")
    other = tmp_path / "other"
    application = built(state_dir=str(other), gateway_replicas="3", anonymous_inference="false", profile="development")
    settings = gateway(application).init_args[0]
    assert (settings.state_dir, settings.gateway_replicas, settings.admits_anonymous) == (other, 3, False)
    assert gateway(application).num_replicas == 3


def test_the_gateways_number_of_replicas_is_fixed():
    deployment = gateway(built())
    assert deployment.num_replicas == 1
    assert deployment._deployment_config.autoscaling_config is None


def test_a_relative_state_directory_is_the_same_for_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    settings, _, manager, database = gateway(built(state_dir="here")).init_args
    assert settings.state_dir == tmp_path / "here"
    assert gateway(manager).init_args[0].weights == tmp_path / "here" / "weights"
    assert gateway(database).init_args == (str(tmp_path / "here"),)


def test_a_database_that_is_named_is_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MONGODB_URI", "mongodb://there")
    settings, _, _, database = gateway(built()).init_args
    assert database is None
    assert settings.mongodb_uri.get_secret_value() == "mongodb://there"


def test_every_build_has_the_same_secret(tmp_path: Path):
    secrets = {gateway(built()).init_args[0].secret() for _ in range(2)}
    assert len(secrets) == 1
    assert (tmp_path / "state" / "secret-key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "args",
    [{"colour": "grey"}, {"gateway_replicas": "many"}, {"gateway_replicas": "0"}, {"anonymous_inference": "perhaps"}],
)
def test_wrong_arguments_are_refused_by_name(args: dict[str, str]):
    with pytest.raises(ValidationError, match=next(iter(args))):
        built(**args)


def test_wrong_settings_are_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MANTA_COLOUR", "grey")
    with pytest.raises(SettingsError, match="MANTA_COLOUR"):
        built()


def test_wrong_models_are_refused_by_file(tmp_path: Path):
    (tmp_path / "m.yaml").write_text("id: m\nengine: scripted\ncolour: grey\n")
    with pytest.raises(ModelFileError, match=r"m\.yaml:3: colour"):
        built(models=str(tmp_path / "m.yaml"))


def test_every_argument_is_a_setting_and_is_described():
    for name, field in AppArgs.model_fields.items():
        assert name in Settings.model_fields
        assert field.description


def test_what_serve_build_points_at_is_an_application():
    from deployments import static

    assert isinstance(static.application, Application)


def test_the_builders_annotation_is_a_class():
    """With ``from __future__ import annotations`` it would be a string, and Serve would validate nothing."""
    assert build.__annotations__["args"] is AppArgs
    assert "from __future__ import annotations\n" not in (ROOT / "deployments" / "main.py").read_text().split('"""')[2]
