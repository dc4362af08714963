"""One JSON line per request, and the service's own words, to standard error."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.msgspec import MsgspecFormatter

FORMAT = "{asctime}{levelname}{name}{message}"
RENAMED = {"asctime": "time", "levelname": "level", "name": "logger"}


def configure_logging() -> None:
    """Send what ``manta`` loggers say to standard error as JSON; safe to call more than once."""
    logger = logging.getLogger("manta")
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(MsgspecFormatter(FORMAT, style="{", rename_fields=RENAMED, timestamp=False))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
