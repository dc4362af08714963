"""What the command line gives up with."""

from __future__ import annotations


class CliError(Exception):
    """Cannot go on: the text says why and what to do, and is all that is shown.

    Args:
        message: One or a few sentences.
        exit_code: What the process ends with.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
