"""Makes .venv hold the pinned packages. Standard library only: this runs before anything is installed.

    python scripts/bootstrap.py cpu [dev] [compat]

Each name is a list in configs/requirements. A stamp with the list's hash says that it is in place; a run that was
killed half-way leaves a mark, by which the next one starts the environment afresh (downloads are in pip's cache).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
UNFINISHED = VENV / ".manta-unfinished"
LISTS = ROOT / "configs" / "requirements"
COMPAT = ROOT / "tests" / "clients" / "python-0.28"
"""Packages whose names clash with newer ones, apart from the rest: tests put it on PYTHONPATH."""

NEEDED_BYTES = {"cpu": 8_000_000_000, "dev": 500_000_000, "compat": 10_000_000}
"""Free disk that an installation takes, downloads included."""
PLAIN_EVERY_S = 10.0

COMMAND = """\
#!{python}
import sys

sys.path.insert(0, {root!r})

from app.cli.main import main

main()
"""

UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|NameResolution|ProxyError|SSLError|ConnectionError"
    r"|Connection (?:refused|reset|aborted|broken)|Temporary failure in name resolution|Network is unreachable"
)
MISSING = re.compile(r"No matching distribution found for (?P<name>\S+)")


class BootstrapError(Exception):
    """It cannot be done; the text says why and what to do."""


def main(names: Sequence[str]) -> int:
    """Install what is missing of the lists named; the exit status."""
    lock = os.open(LISTS / "cpu.txt", os.O_RDONLY)
    try:
        _wait_for_others(lock)
        _ensure(names, lock)
    except BootstrapError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"error: cannot write to {VENV}: {error.strerror}. Is the disk full, or not yours?\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; the next start goes on from here.\n")
        return 130
    finally:
        os.close(lock)
    return 0


def _wait_for_others(lock: int) -> None:
    """Of two starts at once the second waits, then finds everything in place."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Waiting for another installation into .venv to end ...", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _ensure(names: Sequence[str], lock: int) -> None:
    if UNFINISHED.exists() or not _works():
        _make_venv()
    for name in names:
        if not _is_stamped(name):
            _install(name, lock)
    _write_command()


def _works() -> bool:
    """Whether the environment's Python runs and fits: the one that it was made from may be gone."""
    check = "import sys, pip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
    try:
        return subprocess.run([_python(), "-c", check], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _make_venv() -> None:
    ours = not VENV.exists() or UNFINISHED.exists() or any(VENV.glob(".manta-*"))
    if not ours:
        raise BootstrapError(f"{VENV} exists, was not made by this script and does not work. Move it away.")
    print("Making the Python environment in .venv ...", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    UNFINISHED.touch()
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)
    if made.returncode != 0 or not _works():
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        raise BootstrapError(
            f"{sys.executable} cannot make an environment with pip. On Debian and Ubuntu: apt install {version}-venv. "
            f"It said: {(made.stdout + made.stderr).strip()[-300:] or 'nothing'}"
        )


def _install(name: str, lock: int) -> None:
    requirements = _requirements(name)
    _need_space(NEEDED_BYTES[name])
    # a kill from here on may leave a package half-written, which pip would take for whole
    UNFINISHED.touch()
    _stamp(name).unlink(missing_ok=True)
    target = ["--target", str(COMPAT), "--upgrade"] if name == "compat" else []
    command = [_python(), "-m", "pip", "install", "--no-deps", "--no-input", "--progress-bar", "off", *target]
    if name == "compat":
        shutil.rmtree(COMPAT, ignore_errors=True)
    Installation(name, len(requirements)).run([*command, "-r", str(LISTS / f"{name}.txt")], lock)
    _stamp(name).write_text(_hash(name))
    UNFINISHED.unlink()


class Installation:
    """One run of pip, and what is shown of it."""

    def __init__(self, name: str, total: int) -> None:
        self._name = name
        self._total = total
        self._before = _installed()
        self._lines: list[str] = []
        self._began = time.monotonic()
        self._shown = 0.0

    def run(self, command: Sequence[str], lock: int) -> None:
        """Run it to its end; it holds the lock too, so that no other run begins while a killed one's pip writes.

        Raises:
            BootstrapError: It failed.
        """
        env = {**os.environ, "PYTHONUNBUFFERED": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=env,
            pass_fds=(lock,),
        )
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        try:
            while process.poll() is None:
                self._show()
                time.sleep(0.2)
        finally:
            process.terminate()
            process.wait()
            reader.join()
            if process.stdout:
                process.stdout.close()
        if process.returncode != 0:
            self._end_line()
            raise BootstrapError(_why("\n".join(self._lines)))
        self._show(last=True)

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            self._lines.append(line.rstrip())

    def _show(self, *, last: bool = False) -> None:
        now = time.monotonic()
        terminal = sys.stdout.isatty()
        if not last and not terminal and now - self._shown < PLAIN_EVERY_S:
            return
        self._shown = now
        text = f"Installing packages ({self._name}.txt): {self._state(last=last)}, {now - self._began:.0f} s"
        # one line that moves on a terminal, a line now and then elsewhere
        sys.stdout.write(f"\r\033[K{text}" if terminal else f"{text}\n")
        if last:
            self._end_line()
        sys.stdout.flush()

    def _end_line(self) -> None:
        if sys.stdout.isatty():
            sys.stdout.write("\n")

    def _state(self, *, last: bool) -> str:
        if last:
            return f"done, {self._total} packages"
        lines = list(self._lines)
        if any(line.startswith("Installing collected") for line in lines):
            # pip is silent while it unpacks: count what has appeared
            return f"unpacked {min(_installed() - self._before, self._total)} of {self._total}"
        collected = [line.split()[1] for line in lines if line.startswith(("Collecting ", "Requirement already"))]
        current = f" ({collected[-1]})" if collected else ""
        return f"fetched {max(len(collected) - 1, 0)} of {self._total}{current}"


def _installed() -> int:
    return sum(1 for _ in VENV.glob("lib/python*/site-packages/*.dist-info"))


def _why(output: str) -> str:
    missing = MISSING.search(output)
    if UNREACHABLE.search(output):
        return (
            "The package index cannot be reached: is this machine online? Behind a mirror or proxy, set PIP_INDEX_URL "
            "or HTTPS_PROXY as for any pip. The next start goes on from here."
        )
    if "No space left on device" in output:
        return "The disk is full. Free about 8 GB and start again."
    if missing and missing["name"].startswith("torch=="):
        return (
            f"{missing['name']} was not found. It is PyTorch's CPU build, which PyTorch keeps in an index of its own: "
            "set PIP_EXTRA_INDEX_URL to the CPU wheel index that PyTorch's installation page names, and start again."
        )
    if missing:
        return f"{missing['name']} was not found in the package index (for Python {sys.version.split()[0]})."
    last = [line for line in output.splitlines() if line.strip()][-3:]
    return "pip failed:\n  " + "\n  ".join(last)


def _need_space(needed: int) -> None:
    free = shutil.disk_usage(VENV).free
    if free < needed:
        raise BootstrapError(
            f"The packages need about {needed / 1e9:.1f} GB of disk below {ROOT}; {(needed - free) / 1e9:.1f} GB more "
            "have to be free."
        )


def _write_command() -> None:
    """``.venv/bin/manta``: the command line, from anywhere."""
    path = VENV / "bin" / "manta"
    text = COMMAND.format(python=_python(), root=str(ROOT))
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        path.chmod(0o755)


def _requirements(name: str) -> list[str]:
    lines = (LISTS / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _hash(name: str) -> str:
    return hashlib.sha256("\n".join(_requirements(name)).encode()).hexdigest()


def _is_stamped(name: str) -> bool:
    stamp = _stamp(name)
    in_place = name != "compat" or COMPAT.exists()
    return in_place and stamp.exists() and stamp.read_text() == _hash(name)


def _stamp(name: str) -> Path:
    return VENV / f".manta-{name}"


def _python() -> str:
    return str(VENV / "bin" / "python")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
