"""Where weights lie: complete, or not at all.

    <cache>/<name>-<hash>/            model/ and manifest.json; exists only when complete
    <cache>/<name>-<hash>.partial/    work under way, or what a killed run left; the next run throws it away
    <cache>/<name>-<hash>.lock        held while one process works, and by its children

The manifest (sizes and SHA-256 of every file) is written last, everything is flushed to the disk, and one rename makes
the whole thing visible: whoever sees the folder sees all of it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.weights.source import WeightsError

MANIFEST = "manifest.json"
MODEL = "model"
LOCK_POLL_S = 0.5
SPARE_BYTES = 64 * 1024 * 1024
"""Left free on the disk beyond what is asked for."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One source's place in the cache."""

    cache: Path
    name: str

    @property
    def folder(self) -> Path:
        """The entry once complete."""
        return self.cache / self.name

    @property
    def model(self) -> Path:
        """What an engine is given."""
        return self.folder / MODEL

    @property
    def partial(self) -> Path:
        """Where the work happens."""
        return self.cache / f"{self.name}.partial"

    def is_complete(self) -> bool:
        """Whether every file of the manifest is there with its size."""
        try:
            manifest = json.loads((self.folder / MANIFEST).read_text())
            return all((self.model / name).stat().st_size == file["bytes"] for name, file in manifest["files"].items())
        except (OSError, ValueError, KeyError, TypeError):
            return False

    @contextmanager
    def lock(self, waiting: Callable[[], None]) -> Generator[int]:
        """Hold the entry against every other process; yields the descriptor for children to inherit.

        Args:
            waiting: Called twice a second while another process holds it.
        """
        descriptor = os.open(self.cache / f"{self.name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            while not _try_lock(descriptor):
                waiting()
                time.sleep(LOCK_POLL_S)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def workplace(self) -> Generator[Path]:
        """An empty folder to work in: gone afterwards, whatever happened."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        try:
            yield self.partial
        finally:
            shutil.rmtree(self.partial, ignore_errors=True)

    def publish(self, model: Path, source: str) -> None:
        """Make the finished ``model`` (a folder in the workplace) the entry."""
        files = {path.relative_to(model).as_posix(): path for path in sorted(model.rglob("*")) if path.is_file()}
        manifest = {"source": source, "files": {name: _describe(path) for name, path in files.items()}}
        ready = self.partial / "ready"
        ready.mkdir()
        model.rename(ready / MODEL)
        _write_durably(ready / MANIFEST, json.dumps(manifest, indent=1))
        shutil.rmtree(self.folder, ignore_errors=True)
        ready.rename(self.folder)
        _sync(self.cache)


def need_space(folder: Path, needed: int, purpose: str) -> None:
    """Refuse early when the disk that holds ``folder`` is too full.

    Raises:
        WeightsError: Fewer than ``needed`` bytes are free; says how many are missing.
    """
    missing = needed + SPARE_BYTES - shutil.disk_usage(folder).free
    if missing > 0:
        raise WeightsError(
            f"Not enough disk space for {purpose}: about {megabytes(needed)} needed below {folder}, "
            f"{megabytes(missing)} short. Free some, or set MANTA_STATE_DIR to a folder on a larger disk."
        )


@contextmanager
def disk_errors(folder: Path) -> Generator[None]:
    """Turn the operating system's complaints about the disk into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WeightsError(f"The disk that holds {folder} is full. Free some space and start again.") from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise WeightsError(f"Cannot write below {folder}: {error.strerror}.") from error
        raise


def megabytes(size: float) -> str:
    """A size in words: ``98 MB``."""
    return f"{max(1, round(size / 1e6)):,} MB".replace(",", " ")


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _sync(path)
    return {"bytes": path.stat().st_size, "sha256": digest}


def _write_durably(path: Path, text: str) -> None:
    path.write_text(text)
    _sync(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
