"""From a source line to something an engine can load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from app.settings import ROOT
from deployments.weights.cache import CacheEntry, disk_errors, need_space
from deployments.weights.child import run_tethered
from deployments.weights.package import Progress, download, extract
from deployments.weights.source import HubSource, LocalSource, PackageSource, WeightsError, parse

Report = Callable[[Literal["fetching"], float | None, str | None], None]
"""Called with the phase, the share of the whole fetch that is done (0 to 1) or None, and a sentence."""

GROWTH = 6
"""Bytes of bfloat16 weights per byte of GGUF, at most, for the usual quantizations."""


def fetch(source: str, cache: Path, report: Report) -> str:
    """Make sure that a source's weights are here, and say where.

    Takes them from the cache when they are complete there; else works under a lock, so that of several processes one
    fetches and the others wait. Blocks: call it in a thread.

    Args:
        source: See ``source.parse``.
        cache: Folder of all weights; made if missing.
        report: Told how far it is; what it raises ends the fetch and leaves nothing half-done behind.

    Returns:
        A local path, or a hub id (``org/name``) for vLLM to fetch itself.

    Raises:
        WeightsError: The weights cannot be had; the message says why and what to do.
    """
    parsed = parse(source, ROOT)
    match parsed:
        case HubSource():
            return parsed.repo
        case LocalSource():
            if not parsed.path.exists():
                raise WeightsError(f"Source {source!r}: nothing lies at {parsed.path}. For a hub id write hf://...")
            return str(parsed.path)
        case PackageSource():
            return str(_from_package(parsed, source, cache, report))


def _from_package(source: PackageSource, text: str, cache: Path, report: Report) -> Path:
    entry = CacheEntry(cache, source.cache_name)
    with disk_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with entry.lock(lambda: report("fetching", None, "waiting for another process that fetches it")) as lock:
            if not entry.is_complete():
                with entry.workplace() as workplace:
                    entry.publish(_make(source, workplace, lock, report), text)
    return entry.model


def _make(source: PackageSource, workplace: Path, lock: int, report: Report) -> Path:
    """Download, unpack and where needed convert; each step is a stretch of one progress from 0 to 1."""
    downloaded = 0.5 if source.is_gguf else 0.9
    unpacked = 0.55 if source.is_gguf else 1.0
    wheel = download(source, workplace, lock, _stretch(report, 0.0, downloaded))
    taken = extract(wheel, source, workplace / "taken", _stretch(report, downloaded, unpacked))
    shutil.rmtree(wheel.parent)
    if taken.is_dir():
        return taken
    if not source.is_gguf:
        return taken.parent
    target = workplace / "converted"
    convert(taken, target, lock, _stretch(report, unpacked, 1.0))
    return target


def convert(gguf: Path, target: Path, lock: int, progress: Progress) -> None:
    """Convert a GGUF file in a child process; see ``deployments.weights.convert``.

    Raises:
        WeightsError: It failed: in the converter's own last words.
    """
    need_space(gguf.parent, gguf.stat().st_size * GROWTH, f"converting {gguf.name}")

    last: list[str] = []

    def tick(lines: Sequence[str]) -> None:
        last[:] = [line for line in lines[-20:] if line]
        state = _last_state(lines)
        progress(state.get("progress", 0.0), f"converting {gguf.name}: {state.get('detail', 'starting')}")

    code = run_tethered("deployments.weights.convert", [str(gguf), str(target)], env={}, lock=lock, tick=tick)
    if code != 0:
        if any("No space left on device" in line for line in last):
            raise WeightsError(f"The disk became full while converting {gguf.name}. Free some and start again.")
        raise WeightsError(f"Could not convert {gguf.name}: {last[-1][:300] if last else f'ended with {code}'}")


def _last_state(lines: Sequence[str]) -> dict[str, Any]:
    for line in reversed(lines):
        if line.startswith("{"):
            return json.loads(line)
    return {}


def _stretch(report: Report, start: float, end: float) -> Progress:
    def progress(share: float | None, detail: str) -> None:
        report("fetching", None if share is None else round(start + share * (end - start), 4), detail)

    return progress
