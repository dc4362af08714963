"""Which limits bind a request, by the table and by what the caller was given besides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from app.domain.limit_table import EACH, LimitRow, LimitTable, Plan, own_rows
from app.domain.limits import REQUESTS, Bound
from app.domain.model_spec import ModelSpec
from app.domain.principal import Principal

Bounds = tuple[Bound, ...]

MAX_KNOWN = 10_000
"""Callers whose bounds are kept ready."""

NO_PLAN = Plan()


@dataclass(frozen=True, slots=True)
class Policy:
    """A table, and the bounds that follow from it for everybody.

    Whatever hangs on a person is counted in one document, theirs, their keys' limits too: so one step checks and takes
    all of it. Projects, models and the whole organization have documents of their own.
    """

    table: LimitTable
    _known: dict[tuple[Principal, str, str], Bounds]

    @classmethod
    def of(cls, table: LimitTable) -> Policy:
        """The policy of a table."""
        return cls(table, {})

    def of_request(self, caller: Principal, *, inference: bool) -> Bounds:
        """What binds any request, or one to a model, before it is read."""
        return self._remembered(caller, "inference" if inference else "any", None)

    def of_work(self, caller: Principal, spec: ModelSpec) -> Bounds:
        """What binds a request to a model besides, now that it is known which and how much."""
        return self._remembered(caller, "work", spec)

    def of_caller(self, caller: Principal) -> Bounds:
        """All that binds a caller whatever they ask for."""
        return tuple(
            bound for bound in self._all(caller, None) if not bound.subject.startswith(("organization", "model:"))
        )

    def plan_of(self, caller: Principal) -> Plan:
        """What an admin gave them; an unknown one is none."""
        return self.table.plans.get(caller.plan, NO_PLAN) if caller.plan else NO_PLAN

    def _remembered(self, caller: Principal, stage: str, spec: ModelSpec | None) -> Bounds:
        key = (caller, stage, spec.id if spec else "")
        if (found := self._known.get(key)) is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            found = self._known[key] = tuple(self._of_stage(caller, stage, spec))
        return found

    def _of_stage(self, caller: Principal, stage: str, spec: ModelSpec | None) -> Iterator[Bound]:
        if stage == "work":
            first = set(self._of_stage(caller, "inference", None))
            yield from (bound for bound in self._all(caller, spec) if bound not in first)
            return
        # No more is known of a request before it is read.
        wanted = REQUESTS if stage == "inference" else {"requests"}
        yield from (bound for bound in self._all(caller, None) if bound.limit.what in wanted)

    def _all(self, caller: Principal, spec: ModelSpec | None) -> Iterator[Bound]:
        """Those of one document next to each other; the narrowest first."""
        subject = caller.tenant if caller.kind == "anonymous" else f"user:{caller.tenant}"
        yield from _bounds(subject, "all", "your", self._rows_of_person(caller), spec)
        if caller.key_id is not None:
            yield from _bounds(subject, caller.key_id, "this API key's", self._rows_of_key(caller), spec)
        if caller.project_id is not None and not self._is_lifted(caller):
            yield from _bounds(f"project:{caller.project_id}", "all", "your project's", self.table.project, spec)
        if spec is not None:
            names = (spec.id, *spec.aliases)
            rows = next((self.table.models[name] for name in names if name in self.table.models), ())
            yield from _bounds(f"model:{spec.id}", "all", "this model's", rows, spec)
        yield from _bounds("organization", "all", "this organization's", self.table.organization, spec)

    def _is_lifted(self, caller: Principal) -> bool:
        return caller.key_limits == "none"

    def _rows_of_person(self, caller: Principal) -> tuple[LimitRow, ...]:
        if caller.kind == "anonymous":
            return self.table.anonymous
        if self._is_lifted(caller) or caller.user_limits == "none":
            return ()
        if caller.role == "guest":
            usual = self.table.guest
        else:
            plan = self.plan_of(caller)
            usual = self.table.user if plan.user is None else plan.user
        return _replaced(usual, own_rows(caller.user_limits)) if caller.user_limits else usual

    def _rows_of_key(self, caller: Principal) -> tuple[LimitRow, ...]:
        if self._is_lifted(caller):
            return ()
        plan = self.plan_of(caller)
        usual = self.table.api_key if plan.api_key is None else plan.api_key
        if caller.user_limits == "none":
            usual = ()
        if not caller.key_limits or caller.key_limits == "none":
            return usual
        own = own_rows(caller.key_limits)
        # What people give their keys narrows; only admins may give more than the table does.
        return _replaced(usual, own) if caller.key_limits_by_admin else _narrowed(usual, own)


def _bounds(subject: str, scope: str, holder: str, rows: Iterable[LimitRow], spec: ModelSpec | None) -> Iterator[Bound]:
    for row in rows:
        if row.model is None:
            yield Bound(subject, _name(scope, row), row.limit, holder)
        elif spec is not None and row.model in (EACH, spec.id, *spec.aliases):
            # A count of its own for each row: one of every model, and one of this, may both be for a request.
            counted = f"{EACH}:{_escaped(spec.id)}" if row.model == EACH else _escaped(row.model)
            yield Bound(subject, f"{_name(scope, row)}:{counted}", row.limit, holder)


def _name(scope: str, row: LimitRow) -> str:
    return f"{scope}:{row.what}" + (f"/{row.per}" if row.per else "")


def _escaped(name: str) -> str:
    """As a field's name in a document may be."""
    return quote(name, safe="/").replace(".", "%2E")


def _replaced(usual: tuple[LimitRow, ...], own: tuple[LimitRow, ...]) -> tuple[LimitRow, ...]:
    kinds = {row.kind for row in own}
    return (*(row for row in usual if row.kind not in kinds), *own)


def _narrowed(usual: tuple[LimitRow, ...], own: tuple[LimitRow, ...]) -> tuple[LimitRow, ...]:
    counts = {row.kind: row for row in usual}
    tighter = tuple(row for row in own if row.kind not in counts or row.limit.count < counts[row.kind].limit.count)
    return _replaced(usual, tighter)
