"""Arguments of tests as hypothesis shows them where one failed: in a line, so that the cause is not lost among them."""

from __future__ import annotations

from typing import Any


class Brief:
    """What is shown by its ``repr`` alone, a dataclass too, whose fields hypothesis would go through otherwise."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))
