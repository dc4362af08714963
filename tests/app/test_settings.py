from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app.settings import PREFIX, ROOT, Settings, SettingsError


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    monkeypatch.delenv("MONGODB_URI", raising=False)


def test_every_setting_is_described_and_has_a_default():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert not field.is_required(), name


def test_an_empty_environment_gives_the_defaults():
    settings = Settings.load()
    assert settings.state_dir == ROOT / ".manta"
    assert settings.mongodb_uri is None
    assert settings.admits_anonymous is False
    assert settings.principal_cache_s == 10


def test_a_variable_of_the_same_name_sets_a_setting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MANTA_GATEWAY_REPLICAS", "3")
    monkeypatch.setenv("MANTA_CORS_ORIGINS", '["https://example.org"]')
    settings = Settings.load()
    assert settings.gateway_replicas == 3
    assert settings.cors_origins == ["https://example.org"]


def test_overrides_win_over_the_environment_unless_they_are_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MANTA_GATEWAY_REPLICAS", "3")
    assert Settings.load(gateway_replicas=2).gateway_replicas == 2
    assert Settings.load(gateway_replicas=None).gateway_replicas == 3


@pytest.mark.parametrize("name", ["MONGODB_URI", "MANTA_MONGODB_URI"])
def test_the_database_is_named_with_the_prefix_or_without(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, "mongodb://there")
    uri = Settings.load().mongodb_uri
    assert uri is not None
    assert uri.get_secret_value() == "mongodb://there"


def test_the_variable_with_our_prefix_wins(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MONGODB_URI", "mongodb://the-platform")
    monkeypatch.setenv("MANTA_MONGODB_URI", "mongodb://ours")
    uri = Settings.load().mongodb_uri
    assert uri is not None
    assert uri.get_secret_value() == "mongodb://ours"


def test_the_database_can_be_named_by_an_override():
    uri = Settings.load(mongodb_uri="mongodb://here").mongodb_uri
    assert uri is not None
    assert uri.get_secret_value() == "mongodb://here"


def test_an_unknown_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MANTA_GATEWAY_REPLICA", "3")
    with pytest.raises(SettingsError, match=r"Unknown setting MANTA_GATEWAY_REPLICA\b.*MANTA_GATEWAY_REPLICAS"):
        Settings.load()


def test_variables_of_others_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MANTARAY", "x")
    monkeypatch.setenv("NOT_MANTA_X", "x")
    Settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MANTA_GATEWAY_REPLICAS", "0"),
        ("MANTA_GATEWAY_REPLICAS", "many"),
        ("MANTA_PRINCIPAL_CACHE_S", "11"),
        ("MANTA_ANONYMOUS_INFERENCE", "perhaps"),
        ("MANTA_CORS_ORIGINS", "https://example.org"),
        ("MANTA_CORS_ORIGINS", "{}"),
        ("MANTA_REQUEST_EXTRAS", '["top_q"]'),
        ("MANTA_SECRET_KEY", ""),
        ("MANTA_CURRENCY", "USD"),
        ("MANTA_CURRENCY", "dollars"),
    ],
)
def test_a_wrong_value_is_refused_with_the_settings_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        Settings.load()


def test_an_override_that_is_no_setting_is_refused():
    with pytest.raises(SettingsError, match="MANTA_COLOUR"):
        Settings.load(colour="grey")


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        Settings.load().models = "elsewhere"  # type: ignore[misc]


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MANTA_SECRET_KEY", "a-very-secret-value-of-some-length")
    monkeypatch.setenv("MONGODB_URI", "mongodb://user:hidden@there")
    settings = Settings.load()
    assert settings.secret() == b"a-very-secret-value-of-some-length"
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "a-very-secret" not in text
        assert "hidden" not in text


def test_there_is_no_secret_before_one_was_made():
    with pytest.raises(SettingsError, match="MANTA_SECRET_KEY"):
        Settings.load().secret()
    assert Settings.load(secret_key=SecretStr("s" * 32)).secret() == b"s" * 32


def test_weights_lie_in_the_state_directory_unless_told_otherwise(tmp_path: Path):
    assert Settings.load(state_dir=tmp_path).weights == tmp_path / "weights"
    assert Settings.load(state_dir=tmp_path, weights_dir=tmp_path / "w").weights == tmp_path / "w"


def test_a_relative_state_directory_means_the_same_in_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings.load(state_dir=Path("state"))
    monkeypatch.chdir("/")
    assert settings.state_dir == tmp_path / "state"


@pytest.mark.parametrize(
    ("profile", "anonymous_inference", "admitted"),
    [
        ("production", None, False),
        ("development", None, True),
        ("production", True, True),
        ("development", False, False),
    ],
)
def test_the_profile_decides_on_the_anonymous_where_nothing_else_does(
    profile: str, anonymous_inference: bool | None, admitted: bool
):
    assert Settings.load(profile=profile, anonymous_inference=anonymous_inference).admits_anonymous is admitted


@pytest.mark.parametrize("issuer", ["https://accounts.example.com", "http://localhost:4000", "http://[::1]:4000/a"])
def test_a_provider_is_spoken_to_encrypted_or_on_this_machine(issuer: str):
    assert Settings.load(oidc_issuer=issuer).oidc_issuer == issuer


@pytest.mark.parametrize("issuer", ["http://accounts.example.com", "http://10.0.0.1", "ftp://localhost", "http://[::1"])
def test_a_provider_that_anybody_on_the_way_could_be_is_refused(issuer: str):
    with pytest.raises(SettingsError, match="MANTA_OIDC_ISSUER"):
        Settings.load(oidc_issuer=issuer)
