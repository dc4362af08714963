"""Tables as CSV (RFC 4180) that a spreadsheet can open without running what is in them."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence

FORMULA = frozenset("=+-@")
"""What makes a spreadsheet take a cell for something to compute, or to call."""

Cell = str | int | None


def csv_text(rows: Iterable[Sequence[Cell]]) -> str:
    """Rows as lines. Texts that look like formulas are quoted as spreadsheets do it, with ``'`` before them."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([_safe(cell) for cell in row] for row in rows)
    return text.getvalue()


def _safe(cell: Cell) -> Cell:
    if not isinstance(cell, str):
        return cell
    # also wide forms of the characters, and what is hidden behind spaces and line ends
    first = unicodedata.normalize("NFKC", cell).lstrip()[:1]
    return f"'{cell}" if first in FORMULA or cell[:1] in ("\t", "\r", "\n", "\0") else cell
