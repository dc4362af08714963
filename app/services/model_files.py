"""Reads models from YAML files, and says of every mistake where it is: file, line, field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from app.domain.model_spec import ModelSpec
from app.settings import ROOT

SUFFIXES = (".yaml", ".yml")
Place = tuple[str | int, ...]
"""Where a value is: keys and list positions from the top of the file."""


class ModelFileError(Exception):
    """Model files are wrong; the text has one line for every mistake."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file read: the model, or what is wrong with it.

    Attributes:
        shown: The path as its user would write it.
        lines: Line (from 1) of every value in the file.
    """

    shown: str
    spec: ModelSpec | None = None
    problems: list[str] = field(default_factory=list[str])
    lines: Mapping[Place, int] = field(default_factory=dict[Place, int])

    def at(self, place: Place) -> str:
        """``file:line`` of a value, or of the nearest one around it."""
        return f"{self.shown}:{_line(self.lines, place)}"


def load_models(where: str) -> list[ModelSpec]:
    """Read and check every model.

    Args:
        where: A folder (all its ``*.yaml``), or files and folders split by commas; each relative to the current
            folder or, where it is not there, to the project's root.

    Raises:
        ModelFileError: Something is missing or wrong; names everything that is.
    """
    files = [read_model_file(path) for path in model_paths(where)]
    problems = [problem for file in files for problem in file.problems]
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
        path = _find(part)
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
    shown = _shown(path)
    try:
        node = _compose(path.read_text(encoding="utf-8"))
        lines = dict(_walk(node, ())) if node else {}
        repeated = list(_repeated_keys(node, ())) if node else []
        if repeated:
            return ModelFile(shown, problems=[f"{shown}:{line}: {name}: written twice" for name, line in repeated])
        values = _construct(node)
    except OSError as error:
        return ModelFile(shown, problems=[f"{shown}: {error.strerror}"])
    except UnicodeDecodeError:
        return ModelFile(shown, problems=[f"{shown}: not UTF-8 text"])
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        return ModelFile(shown, problems=[_yaml_problem(shown, error)])
    if not isinstance(values, dict):
        return ModelFile(shown, problems=[f"{shown}:1: expected a model: keys and values such as `id: my-model`"])
    return _validate(shown, cast(dict[Any, Any], values), lines)


def _validate(shown: str, values: dict[Any, Any], lines: Mapping[Place, int]) -> ModelFile:
    try:
        return ModelFile(shown, ModelSpec.model_validate(values), lines=lines)
    except ValidationError as error:
        problems: list[str] = []
        for mistake in error.errors():
            place = mistake["loc"]
            message = mistake["msg"].removeprefix("Value error, ")
            if mistake["type"] == "extra_forbidden":
                message = "there is no such field"
            field_name = f"{_dotted(place)}: " if place else ""
            problems.append(f"{shown}:{_line(lines, place)}: {field_name}{message}")
        return ModelFile(shown, problems=problems, lines=lines)


def _name_clashes(files: Iterable[ModelFile]) -> Iterator[str]:
    """Ids and aliases share one space: a name must lead to one model."""
    owners: dict[str, str] = {}
    for file in files:
        if file.spec is None:
            continue
        places: list[tuple[str, Place]] = [(file.spec.id, ("id",))]
        places += [(alias, ("aliases", index)) for index, alias in enumerate(file.spec.aliases)]
        for name, place in places:
            first = owners.setdefault(name, file.at(place))
            if first != file.at(place):
                yield f"{file.at(place)}: {_dotted(place)}: {name!r} is taken by the model in {first}"


def _walk(node: yaml.Node, place: Place) -> Iterator[tuple[Place, int]]:
    """Every value's place and line."""
    yield place, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in _pairs(node):
            yield from ((below, line) for below, line in _walk(value, (*place, str(key.value))))
            # a nested block starts a line below its key: the key is what a reader looks for
            yield (*place, str(key.value)), key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(cast(list[yaml.Node], node.value)):
            yield from _walk(value, (*place, index))


def _repeated_keys(node: yaml.Node, place: Place) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in _pairs(node):
            name = str(key.value)
            if name in seen:
                yield _dotted((*place, name)), key.start_mark.line + 1
            seen.add(name)
            yield from _repeated_keys(value, (*place, name))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(cast(list[yaml.Node], node.value)):
            yield from _repeated_keys(value, (*place, index))


def _pairs(node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
    return cast(list[tuple[yaml.Node, yaml.Node]], node.value)


def _compose(text: str) -> yaml.Node | None:
    return cast(Any, yaml).compose(text, Loader=yaml.SafeLoader)


def _construct(node: yaml.Node | None) -> Any:
    if node is None:
        return None
    constructor = cast(Any, yaml.constructor.SafeConstructor())
    return constructor.construct_document(node)


def _yaml_problem(shown: str, error: Exception) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"{shown}: not YAML that can be read: {error}"
    mark = error.problem_mark or error.context_mark
    line = f":{mark.line + 1}" if mark else ""
    return f"{shown}{line}: not valid YAML: {error.problem or error.context}"


def _line(lines: Mapping[Place, int], place: Place) -> int:
    for length in range(len(place), -1, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return 1


def _dotted(place: Place) -> str:
    """``autoscaling.min_replicas``, ``capabilities[0]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def _find(part: str) -> Path | None:
    path = Path(part).expanduser()
    candidates = [path] if path.is_absolute() else [Path.cwd() / path, ROOT / path]
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _shown(path: Path) -> str:
    for base in (Path.cwd(), ROOT):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)
