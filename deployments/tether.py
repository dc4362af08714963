"""Children that end when their parent does, however the parent ended.

    python -m deployments.tether <module> [arguments]

The parent holds the other end of the child's standard input and never writes to it: when the parent ends, the pipe
closes. The child then gets SIGTERM, to end in order, and is ended a few seconds later if it did not.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

GRACE_S = 5.0


def main() -> None:
    """Run the module named by the first argument as ``__main__``, tethered."""
    threading.Thread(target=_follow_parent, name="tether", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _follow_parent() -> None:
    # The descriptor, not sys.stdin: a buffered reader held by a daemon thread aborts the interpreter's own exit.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    # The main thread may be deep in native code: only this ends it for certain.
    os._exit(1)


if __name__ == "__main__":
    main()
