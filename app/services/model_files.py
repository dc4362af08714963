"""Reads models from YAML files, and says of every mistake where it is: file, line, field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from app.domain.model_spec import ModelSpec
from app.services.yaml_files import ConfigFileError, Place, YamlFile, dotted, find, read_yaml
from app.settings import ROOT

SUFFIXES = (".yaml", ".yml")


class ModelFileError(ConfigFileError):
    """Model files are wrong."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file read: the model, if nothing is wrong with it."""

    file: YamlFile
    spec: ModelSpec | None = None


def load_models(where: str) -> list[ModelSpec]:
    """Read and check every model.

    Args:
        where: A folder (all its ``*.yaml``), or files and folders split by commas; each relative to the current
            folder or, where it is not there, to the project's root.

    Raises:
        ModelFileError: Something is missing or wrong; names everything that is.
    """
    files = [read_model_file(path) for path in model_paths(where)]
    problems = [problem for model in files for problem in model.file.problems]
    problems += _name_clashes(files)
    if problems:
        raise ModelFileError(problems)
    return [file.spec for file in files if file.spec is not None]


def model_paths(where: str) -> list[Path]:
    """The files that ``where`` names, in order, each once.

    Raises:
        ModelFileError: A part of it names nothing.
    """
    paths: dict[Path, None] = {}
    problems: list[str] = []
    for part in filter(None, (part.strip() for part in where.split(","))):
        path = find(part)
        if path is None:
            problems.append(f"{part}: no such file or folder, neither here nor in {ROOT}")
        elif path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
            paths.update(dict.fromkeys(found))
            if not found:
                problems.append(f"{part}: the folder holds no model files (*.yaml)")
        else:
            paths[path] = None
    if not paths and not problems:
        problems.append("no model files were named")
    if problems:
        raise ModelFileError(problems)
    return list(paths)


def read_model_file(path: Path) -> ModelFile:
    """Read one file; its mistakes are in the answer, not raised."""
    file = read_yaml(path)
    if file.problems:
        return ModelFile(file)
    if not file.is_mapping:
        file.problems.append(f"{file.shown}:1: expected a model: keys and values such as `id: my-model`")
        return ModelFile(file)
    try:
        return ModelFile(file, ModelSpec.model_validate(file.values))
    except ValidationError as error:
        file.problems.extend(file.mistakes(error))
        return ModelFile(file)


def _name_clashes(files: Iterable[ModelFile]) -> Iterator[str]:
    """Ids and aliases share one space: a name must lead to one model."""
    owners: dict[str, str] = {}
    for model in files:
        if model.spec is None:
            continue
        places: list[tuple[str, Place]] = [(model.spec.id, ("id",))]
        places += [(alias, ("aliases", index)) for index, alias in enumerate(model.spec.aliases)]
        for name, place in places:
            first = owners.setdefault(name, model.file.at(place))
            if first != model.file.at(place):
                yield f"{model.file.at(place)}: {dotted(place)}: {name!r} is taken by the model in {first}"
