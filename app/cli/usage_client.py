"""Reports of usage, as the command line calls for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from app.cli.admin_client import AdminClient


@dataclass(frozen=True, slots=True)
class UsageReport:
    """A report, as ``GET /v1/usage`` answers it; amounts are exact.

    Attributes:
        start: Unix seconds; likewise ``end``, which is not included.
    """

    start: int
    end: int
    currency: str
    rows: tuple[Mapping[str, Any], ...]
    totals: Mapping[str, Any]

    @classmethod
    def of(cls, text: str) -> Self:
        """From the answer."""
        values = json.loads(text, parse_float=Decimal)
        return cls(
            start=values["start"],
            end=values["end"],
            currency=values["currency"],
            rows=tuple(values["data"]),
            totals=values["totals"],
        )


class UsageClient(AdminClient):
    """Reads reports: one's own, or everybody's."""

    def usage(self, query: Mapping[str, str | int], *, everybody: bool, form: str) -> str:
        """A report as text: ``json`` or ``csv``."""
        path = "/admin/usage" if everybody else "/usage"
        return self.text("GET", path, query={**query, "format": form})
