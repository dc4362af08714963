"""Mistakes in model files are told with file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.services.model_files import ModelFileError, load_models
from app.settings import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def problems(where: str) -> list[str]:
    with pytest.raises(ModelFileError) as raised:
        load_models(where)
    assert str(raised.value) == "\n".join(raised.value.problems)
    return raised.value.problems


def test_the_default_models_load_from_anywhere(folder: Path):
    ids = [spec.id for spec in load_models("configs/models")]

    assert ids == ["all-minilm-l6-v2", "smollm2-135m-instruct"]


def test_files_and_folders_split_by_commas_each_once(folder: Path):
    (folder / "a.yaml").write_text("id: a\nengine: scripted\n")
    (folder / "b.yml").write_text("id: b\nengine: scripted\n")
    (folder / "notes.txt").write_text("not a model")

    assert [spec.id for spec in load_models("models/b.yml, models")] == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id: a\nengine: scripted\nreplicas: 2\n", "3: replicas: there is no such field"),
        ("id: a\nengine: scripted\nautoscaling:\n  min_replicas: -1\n", "4: autoscaling.min_replicas: Input should be"),
        ("id: a\nengine: scripted\ncapabilities: [chat, sing]\n", "3: capabilities[1]: Input should be"),
        ("engine: scripted\n", "1: id: Field required"),
        ("# a comment\nid: a\n", "2: source: engine vllm needs a source"),
        ("id: a\nengine: scripted\nautoscaling:\n  min_replicas: 3\n", "3: autoscaling: min_replicas (3) is above"),
        ("id: a\nengine: scripted\nid: b\n", "3: id: written twice"),
        ("id: a\nresources:\n  env:\n    A: x\n    A: y\n", "5: resources.env.A: written twice"),
        ("id: a\n  engine: scripted\n", "2: not valid YAML: mapping values are not allowed here"),
        ("- id: a\n", "1: expected a model: keys and values"),
        ("", "1: expected a model: keys and values"),
        ("id: a\n---\nid: b\n", "2: not valid YAML: but found another document"),
        ("id: !!python/object:os.system a\n", "1: not valid YAML: could not determine a constructor"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_field(folder: Path, text: str, problem: str):
    (folder / "x.yaml").write_text(text)

    [found] = problems("models")

    assert found.startswith(f"models/x.yaml:{problem}")


def test_all_mistakes_of_all_files_are_told_at_once(folder: Path):
    (folder / "a.yaml").write_text("id: a\nengine: scripted\nfoo: 1\nbar: 2\n")
    (folder / "b.yaml").write_bytes(b"id: \xff\n")

    assert [line.split(": ", 1)[0] for line in problems("models")] == [
        "models/a.yaml:3",
        "models/a.yaml:4",
        "models/b.yaml",
    ]


def test_a_name_that_two_models_claim_is_told_with_both_places(folder: Path):
    (folder / "a.yaml").write_text("id: a\nengine: scripted\naliases:\n  - shared\n")
    (folder / "b.yaml").write_text("id: shared\nengine: scripted\n")

    assert problems("models") == ["models/b.yaml:1: id: 'shared' is taken by the model in models/a.yaml:4"]


def test_anchors_and_merges_work(folder: Path):
    (folder / "a.yaml").write_text(
        "id: a\nengine: scripted\nautoscaling: &small\n  max_replicas: 3\nresources:\n  env: {A: '1'}\n"
    )

    assert load_models("models")[0].autoscaling.max_replicas == 3


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("nowhere", f"nowhere: no such file or folder, neither here nor in {ROOT}"),
        ("models", "models: the folder holds no model files (*.yaml)"),
        (" , ", "no model files were named"),
    ],
)
def test_where_there_is_nothing(folder: Path, where: str, problem: str):
    assert problems(where) == [problem]
