"""A node's server gives a process with everything imported to whom it fits, and to all others a plain start."""

from __future__ import annotations

import signal
import time

import psutil

from tests.deployments.prewarm.conftest import Node

GONE_S = 10
SLEEP = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n"
THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"


def test_a_process_is_born_with_what_the_server_imported(node: Node) -> None:
    node.serve()
    told = node.told()
    assert told["born"]
    assert told["argv"][1:] == [f"--node-id={node.name}"]
    assert told["cwd"] == str(node.folder)
    assert told["said"] == ""


def test_no_variable_of_one_process_is_seen_in_another(node: Node) -> None:
    node.serve()
    first = node.told({"OF_ONE_MODEL": "secret"})
    second = node.told({"OF_ANOTHER": "value"})
    assert first["environment"]["OF_ONE_MODEL"] == "secret"
    assert "OF_ONE_MODEL" not in second["environment"]
    assert second["environment"]["OF_ANOTHER"] == "value"
    assert first["born"]
    assert second["born"]


def test_a_variable_that_was_read_while_importing_means_a_plain_start_where_it_is_another(node: Node) -> None:
    node.serve()
    told = node.told({"READ_AT_IMPORT": "another"})
    assert not told["born"]
    assert told["environment"]["READ_AT_IMPORT"] == "another"
    assert "READ_AT_IMPORT is not what the server imported with" in told["said"]


def test_a_variable_that_native_libraries_read_does_too(node: Node) -> None:
    node.serve()
    assert "MALLOC_ARENA_MAX" in node.told({"MALLOC_ARENA_MAX": "1"})["said"]


def test_without_a_server_a_worker_starts_plainly(node: Node) -> None:
    told = node.told()
    assert not told["born"]
    assert "no server on this node" in told["said"]


def test_a_server_that_cannot_import_says_so_and_workers_start_plainly(node: Node) -> None:
    node.serve("there_is_no_such_module")
    assert not node.told()["born"]
    assert "there_is_no_such_module" in (node.folder / "log").read_text()


def test_a_server_with_a_thread_refuses_to_fork(node: Node) -> None:
    (node.folder / "a_thread.py").write_text(THREAD)
    node.serve("a_thread")
    assert not node.told()["born"]
    assert "2 threads of Python are running" in (node.folder / "log").read_text()


def test_the_launcher_ends_as_the_process_ends(node: Node) -> None:
    node.serve()
    assert node.run("raise SystemExit(7)")[0] == 7
    assert node.run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")[0] == -signal.SIGKILL
    status, _, said = node.run("raise ValueError('told')")
    assert status == 1
    assert "ValueError: told" in said


def test_signals_are_passed_on(node: Node) -> None:
    node.serve()
    script = (
        "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: exit(5))\nprint(1, flush=True)\ntime.sleep(60)"
    )
    with node.start(script) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        worker.terminate()
        assert worker.wait(GONE_S) == 5


def test_a_process_ends_with_its_launcher(node: Node) -> None:
    node.serve()
    with node.start(SLEEP) as worker:
        assert worker.stdout is not None
        born = psutil.Process(int(worker.stdout.readline()))
        keeper = born.parent()
        worker.kill()
    assert keeper is not None
    assert not psutil.wait_procs([born, keeper], timeout=GONE_S)[1]


def test_what_a_process_leaves_behind_ends_with_it(node: Node) -> None:
    node.serve()
    script = "import subprocess\nchild = subprocess.Popen(['sh', '-c', 'sleep 60 & echo $!'], stdout=subprocess.PIPE)\n"
    status, out, _ = node.run(script + "print(int(child.stdout.readline()), flush=True)\n")
    assert status == 0
    deadline = time.monotonic() + GONE_S
    while psutil.pid_exists(int(out)):
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.05)


def test_a_killed_keeper_takes_its_process_along(node: Node) -> None:
    node.serve()
    with node.start(SLEEP) as worker:
        assert worker.stdout is not None
        born = psutil.Process(int(worker.stdout.readline()))
        keeper = born.parent()
        assert keeper is not None
        keeper.kill()
        assert worker.wait(GONE_S) == 1
    assert not psutil.wait_procs([born], timeout=GONE_S)[1]


def test_a_killed_server_leaves_its_processes_and_further_ones_start_plainly(node: Node) -> None:
    node.serve()
    with node.start(SLEEP) as worker:
        assert worker.stdout is not None
        born = psutil.Process(int(worker.stdout.readline()))
        assert node.server is not None
        node.server.kill()
        node.server.wait()
        assert not node.told()["born"]
        assert born.is_running()
        worker.kill()
    assert not psutil.wait_procs([born], timeout=GONE_S)[1]


def test_who_comes_while_it_imports_waits(node: Node) -> None:
    (node.folder / "a_slow_module.py").write_text("import time\ntime.sleep(1)\n")
    node.serve("a_slow_module,a_module_that_reads")
    assert node.told()["born"]


def test_several_are_born_at_once(node: Node) -> None:
    node.serve()
    workers = [node.start(SLEEP) for _ in range(3)]
    born = {int(worker.stdout.readline()) for worker in workers if worker.stdout is not None}
    assert len(born) == len({psutil.Process(pid).ppid() for pid in born}) == 3
    for worker in workers:
        with worker:
            worker.kill()
