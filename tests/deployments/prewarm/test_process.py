"""Processes that a keeper forks are to multiprocessing what those of spawn are."""

from __future__ import annotations

import json

from tests.deployments.prewarm.conftest import Node

LIBRARY = """
import os, signal, sys, time
def tell(pipe, word):
    pipe.send((word, os.getpid(), os.getppid(), "a_module_that_reads" in sys.modules, os.environ.get("SET_LATER"),
               __import__("multiprocessing").parent_process().pid))
def fail():
    sys.exit(9)
def sleep(pipe):
    pipe.send(os.getpid())
    time.sleep(60)
"""
HEAD = """
import json, multiprocessing, os, sys
from multiprocessing.connection import wait
from deployments.prewarm.process import context, is_prewarmed
import a_library
assert is_prewarmed()
context = context()
"""


def run(node: Node, script: str) -> object:
    (node.folder / "a_library.py").write_text(LIBRARY)
    node.serve()
    status, out, err = node.run(HEAD + script)
    assert status == 0, err
    return json.loads(out)


def test_it_gets_its_arguments_and_the_environment_of_that_moment(node: Node) -> None:
    script = """
os.environ["SET_LATER"] = "yes"
ours, theirs = context.Pipe()
process = context.Process(target=a_library.tell, args=(theirs, "word"))
process.start()
word, pid, parent, warm, later, parent_process = ours.recv()
process.join()
same = [pid == process.pid, parent == os.getppid(), parent_process == os.getpid()]
print(json.dumps([word, warm, later, same, process.exitcode]))
"""
    assert run(node, script) == ["word", True, "yes", [True, True, True], 0]


def test_its_end_is_seen_and_its_status_told(node: Node) -> None:
    script = """
failing = context.Process(target=a_library.fail)
failing.start()
ended = wait([failing.sentinel], 20)
ours, theirs = context.Pipe()
sleeping = context.Process(target=a_library.sleep, args=(theirs,))
sleeping.start()
ours.recv()
alive = sleeping.is_alive()
sleeping.kill()
sleeping.join()
print(json.dumps([len(ended), failing.exitcode, alive, sleeping.exitcode, multiprocessing.active_children()]))
"""
    assert run(node, script) == [1, 9, True, -9, []]


def test_where_the_environment_no_longer_fits_it_is_one_of_spawn(node: Node) -> None:
    script = """
if __name__ == "__main__":
    os.environ["READ_AT_IMPORT"] = "another"
    ours, theirs = context.Pipe()
    process = context.Process(target=a_library.tell, args=(theirs, "word"))
    process.start()
    word, pid, parent, warm, later, parent_process = ours.recv()
    process.join()
    print(json.dumps([word, warm, parent == os.getpid(), process.exitcode]))
"""
    (node.folder / "a_library.py").write_text(LIBRARY)
    node.serve()
    status, out, err = node.run(
        HEAD.replace("assert is_prewarmed()", "").replace(
            "context = context()", "context = context() if is_prewarmed() else None"
        )
        + script
    )
    assert status == 0, err
    assert json.loads(out) == ["word", False, True, 0]
    assert "READ_AT_IMPORT is not what the server imported with" in err
