"""Which variables were read while the server imported, and whether a process of that making fits another environment.

A variable that a library read while it was imported has done its work: a process that wants another value needs other
imports. So reads are recorded, and so is what libraries of native code read while they are loaded, which nobody can
see: by the prefixes of their names.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

NATIVE = (
    # the loader and the C library
    *("LD_", "MALLOC_", "GLIBC_", "LC_", "LANG", "TZ"),
    # threads
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "VECLIB_"),
    # tensors
    *("TORCH", "PYTORCH_", "C10_", "ATEN_", "DNNL_", "ONEDNN_", "KINETO_"),
    # those that look through the whole environment for names of their own
    *("TQDM_", "NETWORKX_"),
    "PYTHON",
)
"""Variables that are read unseen while libraries are loaded, by the beginnings of their names."""

HARMLESS = frozenset({"PYTHONBREAKPOINT", "LD_PRELOAD_ON_WORKERS"})
"""Variables among these that are read only when they are used."""

Environment = Mapping[str, str]


class _Recording(os._Environ[str]):  # pyright: ignore[reportPrivateUsage] - os.environ cannot be replaced by another
    """Tells which names are asked for. Whoever looks through all of them asks for none."""

    def __getitem__(self, key: str) -> str:
        self._note(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._note(key)
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        names = list(super().__iter__())
        # Who looks through all of them takes their values in this order, at once or name by name.
        self.__dict__["expected"] = deque(names)
        return iter(names)

    def _note(self, key: object) -> None:
        expected = self.__dict__.get("expected")
        if expected and expected[0] == key:
            expected.popleft()
        elif isinstance(key, str):
            self.__dict__.pop("expected", None)
            self.__dict__.setdefault("noted", set()).add(key)


@contextmanager
def recorded_reads() -> Generator[set[str]]:
    """While this lasts, the set it gives gets the names of all variables that are read in Python."""
    names: set[str] = set()
    environ = cast(Any, os.environ)
    original = type(environ)
    environ.__dict__["noted"] = names
    environ.__class__ = _Recording
    try:
        yield names
    finally:
        environ.__class__ = original
        environ.__dict__.pop("noted")
        environ.__dict__.pop("expected", None)


class Baseline:
    """The environment that something was imported in.

    Args:
        before: All of it.
        after: What the imports made of it.
        read: Names of the variables that were read.
    """

    def __init__(self, before: Environment, after: Environment, read: set[str]) -> None:
        self._before = dict(before)
        self._read = frozenset(read)
        names = before.keys() | after.keys()
        self._changed = {name: after.get(name) for name in names if before.get(name) != after.get(name)}

    def misfit(self, environment: Environment) -> str | None:
        """The first variable that was read and is another in ``environment``, or None where it fits."""
        names = sorted(self._before.keys() | environment.keys())
        return next((name for name in names if self._counts(name) and self._differs(name, environment)), None)

    def imported(self, environment: Environment) -> dict[str, str]:
        """What the imports would have made of an environment that fits."""
        changes = {
            name: value for name, value in self._changed.items() if self._before.get(name) == environment.get(name)
        }
        found = {**environment, **changes}
        return {name: value for name, value in found.items() if value is not None}

    def _differs(self, name: str, environment: Environment) -> bool:
        value = environment.get(name)
        if value == self._before.get(name) or (name in self._changed and value == self._changed[name]):
            return False
        late = LATE.get(name)
        return late is None or not late.takes(value)

    def _counts(self, name: str) -> bool:
        return name not in HARMLESS and (name in self._read or name in LATE or name.startswith(NATIVE))


class Late:
    """A variable that can also be given its say after the imports.

    Args:
        takes: Whether it can have this value, or be left out.
        apply: Give it its say in this process, whose environment is the argument.
    """

    def __init__(self, takes: Callable[[str | None], bool], apply: Callable[[Environment], None]) -> None:
        self.takes = takes
        self.apply = apply


def apply_late(environment: Environment) -> None:
    """Give variables their say that libraries have read too early, if they are imported at all."""
    for late in LATE.values():
        late.apply(environment)


def _set_threads(environment: Environment) -> None:
    torch = sys.modules.get("torch")
    if torch is not None and _is_count(count := environment.get("OMP_NUM_THREADS")):
        torch.set_num_threads(int(count or 0))


def _set_offline(environment: Environment) -> None:
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        value = environment.get("HF_HUB_OFFLINE") or environment.get("TRANSFORMERS_OFFLINE") or ""
        constants.__dict__["HF_HUB_OFFLINE"] = value.upper() in ("1", "ON", "YES", "TRUE")


def _set_compilation(environment: Environment) -> None:
    config = sys.modules.get("torch._dynamo.config")
    if config is not None:
        config.disable = environment.get("TORCH_COMPILE_DISABLE", "0") == "1"  # pyright: ignore[reportAttributeAccessIssue]


def _set_dynamic_threads(environment: Environment) -> None:
    config = sys.modules.get("torch._inductor.config")
    if config is not None:
        config.cpp.dynamic_threads = environment.get("TORCHINDUCTOR_CPP_DYNAMIC_THREADS", "0") == "1"


def _is_loaded(libraries: str | None) -> bool:
    # vLLM has its workers load PyTorch's own thread library first; that comes first here too, with PyTorch.
    loaded = Path("/proc/self/maps").read_text()
    paths = [Path(path).resolve() for path in (libraries or "").replace(":", " ").split()]
    return bool(paths) and all(f" {path}\n" in loaded for path in paths)


def _is_count(value: str | None) -> bool:
    return value is not None and value.isdecimal() and int(value) > 0


def _anything(_: str | None) -> bool:
    return True


def _nothing(_: Environment) -> None:
    return


LATE = {
    "OMP_NUM_THREADS": Late(_is_count, _set_threads),
    "HF_HUB_OFFLINE": Late(_anything, _set_offline),
    "TORCH_COMPILE_DISABLE": Late(_anything, _set_compilation),
    "TORCHINDUCTOR_CPP_DYNAMIC_THREADS": Late(_anything, _set_dynamic_threads),
    "LD_PRELOAD": Late(_is_loaded, _nothing),
    # Read when CUDA is initialised, which it is not.
    "CUDA_VISIBLE_DEVICES": Late(_anything, _nothing),
}
