"""A leash from a child process to the process that started it, however that one ends."""

from __future__ import annotations

import os
import signal
import threading
import time

LOOK_S = 0.2


class ParentWatch:
    """Kills the process in which it is unpickled once the process that pickled it is gone.

    Unpickling comes first in a spawned process, before the imports that take it ten seconds. Not PR_SET_PDEATHSIG:
    that follows the thread which started the child, and here it is one of a pool.
    """

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return _watch, (os.getpid(),)


def _watch(parent: int) -> ParentWatch:
    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=look, name="manta-parent-watch", daemon=True).start()
    return ParentWatch()
