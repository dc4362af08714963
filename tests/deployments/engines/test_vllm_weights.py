"""Weights that cannot be served are found before vLLM is imported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.domain.model_spec import ModelSpec
from deployments.engines.base import EngineDead
from deployments.engines.vllm_weights import check_weights

SPEC = ModelSpec(id="m", source="file:///models/m")
HEADER = json.dumps({"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})


def safetensors(header: str = HEADER, data: bytes = bytes(8)) -> bytes:
    return len(header).to_bytes(8, "little") + header.encode() + data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(safetensors())
    return tmp_path


def test_a_whole_model_passes(folder: Path) -> None:
    check_weights(SPEC, str(folder))


def test_a_hub_id_is_left_to_vllm() -> None:
    check_weights(SPEC, "org/name")


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(EngineDead, match="weights of m are gone"):
        check_weights(SPEC, str(tmp_path / "gone"))


def test_a_folder_that_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(EngineDead, match=r"no config\.json"):
        check_weights(SPEC, str(tmp_path))


def test_a_model_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(EngineDead, match="no file of weights"):
        check_weights(SPEC, str(folder))
    check_weights(SPEC.model_copy(update={"engine_args": {"load_format": "dummy"}}), str(folder))


@pytest.mark.parametrize(
    "content",
    [b"", b"x" * 100, safetensors()[:-1], safetensors() + b"more", safetensors('{"w": 1}'), safetensors("no json")],
)
def test_weights_that_are_damaged(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(EngineDead, match=r"damaged: model\.safetensors"):
        check_weights(SPEC, str(folder))
