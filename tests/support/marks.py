"""A process of its own with a slate: it marks tokens as fast as it can, and says so, until it is killed.

Run with the folder of slates. Each line that it writes is how many tokens it had marked by then.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deployments.slate.slate import Slate


def main() -> None:
    """Mark."""
    slate = Slate.make(Path(sys.argv[1]), 4)
    done, under_way = slate.line(b"done"), slate.line(b"under way")
    done.wipe()
    tokens = 0
    while True:
        tokens += 1
        under_way.gave(tokens)
        if tokens % 1000 == 0:
            print(tokens, flush=True)


if __name__ == "__main__":
    main()
