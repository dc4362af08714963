"""Reads YAML files, and says of every mistake where it is: file, line, field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from app.settings import ROOT

Place = tuple[str | int, ...]
"""Where a value is: keys and list positions from the top of the file."""


class ConfigFileError(Exception):
    """Files are wrong; the text has one line for every mistake."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class YamlFile:
    """One file read: its values, or what is wrong with it.

    Attributes:
        shown: The path as its user would write it.
        lines: Line (from 1) of every value in the file.
    """

    shown: str
    values: Any = None
    problems: list[str] = field(default_factory=list[str])
    lines: Mapping[Place, int] = field(default_factory=dict[Place, int])

    @property
    def is_mapping(self) -> bool:
        """Whether it holds keys and values."""
        return isinstance(self.values, dict)

    def at(self, place: Place) -> str:
        """``file:line`` of a value, or of the nearest one around it."""
        return f"{self.shown}:{_line(self.lines, place)}"

    def mistakes(self, error: ValidationError) -> list[str]:
        """What a schema does not like, each with its place."""
        problems: list[str] = []
        for mistake in error.errors():
            place = mistake["loc"]
            message = mistake["msg"].removeprefix("Value error, ")
            if mistake["type"] == "extra_forbidden":
                message = "there is no such field"
            name = f"{dotted(place)}: " if place else ""
            problems.append(f"{self.at(place)}: {name}{message}")
        return problems


def read_yaml(path: Path) -> YamlFile:
    """Read one file; its mistakes are in the answer, not raised."""
    name = shown(path)
    try:
        node = _compose(path.read_text(encoding="utf-8"))
        lines = dict(_walk(node, ())) if node else {}
        repeated = list(_repeated_keys(node, ())) if node else []
        if repeated:
            return YamlFile(name, problems=[f"{name}:{line}: {key}: written twice" for key, line in repeated])
        return YamlFile(name, _construct(node), lines=lines)
    except OSError as error:
        return YamlFile(name, problems=[f"{name}: {error.strerror}"])
    except UnicodeDecodeError:
        return YamlFile(name, problems=[f"{name}: not UTF-8 text"])
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        return YamlFile(name, problems=[_yaml_problem(name, error)])


def find(part: str) -> Path | None:
    """The file or folder of that name: in the current folder, or else in the project's root."""
    path = Path(part).expanduser()
    candidates = [path] if path.is_absolute() else [Path.cwd() / path, ROOT / path]
    return next((candidate for candidate in candidates if candidate.exists()), None)


def shown(path: Path) -> str:
    """A path as its user would write it."""
    for base in (Path.cwd(), ROOT):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)


def dotted(place: Place) -> str:
    """``autoscaling.min_replicas``, ``capabilities[0]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


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
                yield dotted((*place, name)), key.start_mark.line + 1
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
