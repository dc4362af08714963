"""Reads the policy table from its file."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from app.domain.limit_table import LimitTable
from app.services.yaml_files import ConfigFileError, find, read_yaml
from app.settings import ROOT


class LimitFileError(ConfigFileError):
    """The policy's file is wrong."""


def load_limits(where: str) -> LimitTable:
    """Read and check the table.

    Args:
        where: A file, relative to the current folder or, where it is not there, to the project's root.

    Raises:
        LimitFileError: It is missing or wrong; names everything that is.
    """
    path = find(where)
    if path is None:
        raise LimitFileError([f"{where}: no such file, neither here nor in {ROOT}"])
    return read_limit_file(path)


def read_limit_file(path: Path) -> LimitTable:
    """The table in a file.

    Raises:
        LimitFileError: It is wrong; names everything that is.
    """
    file = read_yaml(path)
    if file.problems:
        raise LimitFileError(file.problems)
    if not file.is_mapping:
        raise LimitFileError([f"{file.shown}:1: expected a table: lists of limits under `user:`, `guest:` and so on"])
    try:
        return LimitTable.model_validate(file.values)
    except ValidationError as error:
        raise LimitFileError(file.mistakes(error)) from None
