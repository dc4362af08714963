"""Whose processes are whose: what each process of a server is there for, and what it has cost."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

import psutil

ENGINE = "engine"
GATEWAY = "gateway"
CONTROL = "control"

ROLES: tuple[tuple[str, str, str], ...] = (
    # what its command line begins with or holds, its name in reports, the part of the server it belongs to
    (r"VLLM::Engine|VLLM_Engine", "vLLM engine core", ENGINE),
    (r"VLLM::(CPU)?Worker|VLLM_Worker|VLLM::", "vLLM worker", ENGINE),
    (r"vllm\.entrypoints\.openai\.api_server", "vLLM API server", "front"),
    (r"^ray::(Serve)?Replica:gateway:Gateway", GATEWAY, "gateway"),
    (r"^ray::(Serve)?Replica:model-", "model replica", "replica"),
    (r"^ray::ProxyActor", "Serve proxy", "proxy"),
    (r"^ray::HAProxy", "HAProxy's manager", "proxy"),
    (r"haproxy", "HAProxy", "proxy"),
    (r"^ray::ServeController", "Serve controller", CONTROL),
    (r"^ray::(Serve)?Replica:gateway:ModelManager", "model manager", CONTROL),
    (r"^ray::(Serve)?Replica:gateway:EmbeddedDatabase", "database keeper", CONTROL),
    (r"prewarm/launcher\.py", "pre-warmed replica's launcher", "replica"),
    (r"prewarm/host\.py", "pre-warmed server's host", CONTROL),
    (r"deployments\.prewarm\.server", "pre-warmed server or keeper", CONTROL),
    (r"scripts\.bench\.scripted_server", "scripted engine", "front"),
    (r"secantus", "database", CONTROL),
    (r"deployments\.local", "launcher (Ray driver)", CONTROL),
    (r"gcs_server", "Ray: control store", CONTROL),
    (r"raylet/raylet", "Ray: raylet", CONTROL),
    (r"^ray::DashboardAgent|dashboard_agent|dashboard/agent", "Ray: node agent", CONTROL),
    (r"^ray::RuntimeEnvAgent|runtime_env/agent", "Ray: environment agent", CONTROL),
    (r"log_monitor", "Ray: log monitor", CONTROL),
    (r"dashboard", "Ray: dashboard", CONTROL),
    (r"autoscaler/_private/monitor", "Ray: autoscaler", CONTROL),
    (r"^ray::IDLE", "Ray: idle worker", CONTROL),
    (r"^ray::", "Ray: other actor", CONTROL),
    (r"resource_tracker", "Python resource tracker", CONTROL),
)

PARTS = {name: part for _, name, part in ROLES}

Cpu = Mapping[int, tuple[str, float]]
"""By process id: its name, and the processor time it has used, in seconds."""


def role(command: str) -> tuple[str, str]:
    """Name and part of a process with this command line; its own first word where nothing is known."""
    for pattern, name, part in ROLES:
        if re.search(pattern, command):
            return name, part
    return (command.split() or ["?"])[0].rpartition("/")[2][:40], CONTROL


def command_of(process: psutil.Process) -> str:
    """What it calls itself.

    Raises:
        psutil.Error: It is gone.
    """
    return " ".join(process.cmdline()) or process.name()


def cpu(processes: Iterable[psutil.Process]) -> Cpu:
    """What each has used up to now; those that are gone are left out."""
    used: dict[int, tuple[str, float]] = {}
    for process in processes:
        try:
            times = process.cpu_times()
            used[process.pid] = (role(command_of(process))[0], times.user + times.system)
        except psutil.Error:
            continue
    return used


def spent(before: Cpu, after: Cpu) -> dict[str, float]:
    """Processor seconds between two looks, by name. What ended in between is lost; what began counts whole."""
    total: defaultdict[str, float] = defaultdict(float)
    for pid, seconds in spent_by_process(before, after).items():
        total[after[pid][0]] += seconds
    return dict(total)


def spent_by_process(before: Cpu, after: Cpu) -> dict[int, float]:
    """The same by process id."""
    return {pid: seconds - before.get(pid, (name, 0.0))[1] for pid, (name, seconds) in after.items()}


def by_part(names: Mapping[str, float]) -> dict[str, float]:
    """What is known by the names of processes, summed by the parts that they belong to."""
    total: defaultdict[str, float] = defaultdict(float)
    for name, value in names.items():
        total[PARTS.get(name, CONTROL)] += value
    return dict(total)
