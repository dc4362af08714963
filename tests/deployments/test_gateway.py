from __future__ import annotations

import pytest

from app.settings import Settings, SettingsError
from deployments.gateway import path_to_replicas
from deployments.handle_path import HandlePath
from deployments.link_path import LinkPath


@pytest.mark.parametrize(("chosen", "kind"), [(None, LinkPath), ("link", LinkPath), ("handle", HandlePath)])
def test_the_setting_chooses_what_carries_the_bytes(chosen: str | None, kind: type, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MANTA_DATA_PATH", raising=False)
    if chosen is not None:
        monkeypatch.setenv("MANTA_DATA_PATH", chosen)
    assert type(path_to_replicas(Settings.load())) is kind


def test_a_way_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MANTA_DATA_PATH", "pigeon")
    with pytest.raises(SettingsError, match="MANTA_DATA_PATH"):
        Settings.load()
