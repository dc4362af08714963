"""Failures on purpose."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deployments.engines.scripted.args import ScriptedArgs

FaultKind = Literal["die", "stall", "error"]
Die = Callable[[], None]
"""Ends the replica. Where it returns (tests), the engine counts as dead all the same."""

EXIT_CODE = 70
DEATH = "The scripted engine died, as it was told to."


def exit_process() -> None:
    """End this process at once: no clean-up, no goodbye, as a segmentation fault or the out-of-memory killer would."""
    os._exit(EXIT_CODE)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong in answers.

    Attributes:
        after: Tokens of each choice that come out before it.
        marker: Only prompts that hold this text are hit; None hits all.
        once_file: Happens only if the file does not exist, and creates it.
    """

    kind: FaultKind
    after: int
    marker: str | None = None
    once_file: Path | None = None

    def strikes(self) -> bool:
        """Whether it happens now that its moment has come; with a ``once_file`` True once among all processes."""
        if self.once_file is None:
            return True
        try:
            self.once_file.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class Faults:
    """All faults of an engine."""

    def __init__(self, args: ScriptedArgs) -> None:
        die_after = 0 if args.die_before_first_token else args.die_after_tokens
        wanted: tuple[tuple[FaultKind, int | None, str | None, Path | None], ...] = (
            ("die", die_after, args.die_on, args.die_once_file),
            ("error", args.error_after_tokens, args.error_on, None),
            ("stall", args.stall_after_tokens, args.stall_on, None),
        )
        self._faults = [
            Fault(kind, after or 0, marker, once_file)
            for kind, after, marker, once_file in wanted
            if after is not None or marker is not None
        ]

    def armed(self, prompt: str, tokens: int) -> list[Fault]:
        """The faults that lie before an answer of so many tokens, in the order of their moments."""
        hit = (fault for fault in self._faults if fault.marker is None or fault.marker in prompt)
        return sorted((fault for fault in hit if fault.after <= tokens), key=lambda fault: fault.after)
