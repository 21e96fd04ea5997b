"""Compute: from mSupply's database to batches of data values on the queue.

The job, in the order in which it happens: which rows of the settings are asked for → what time means for them
→ which org units and items are mapped → each group's history → its metrics → data values → batches.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum
from itertools import groupby

from pydantic import BaseModel, ConfigDict

from msupply_dhis2.batches import Batch
from msupply_dhis2.errors import EventError, SourceError
from msupply_dhis2.events import ComputeEvent, run_id
from msupply_dhis2.mapped import MappedNames
from msupply_dhis2.mapping import (
    Claim,
    Conflict,
    DataValue,
    Identifier,
    Mapper,
    Unmapped,
    contested,
    group_items,
    group_stores,
    without_conflicts,
)
from msupply_dhis2.metrics import GroupValues, Metric, Rules, StockWarning, calculate, floor
from msupply_dhis2.outgoing import OrgUnitValues, send_values
from msupply_dhis2.periods import Basis, Calendar, Window, window
from msupply_dhis2.settings import DataElementRow, Settings
from msupply_dhis2.source import Catalogue, Scope, Source
from msupply_dhis2.stock import GroupHistory, ItemGroup, OrgUnit
from msupply_dhis2.words import count

type OpenDatabase = Callable[[], AbstractContextManager[Source]]
type Track = Callable[[Iterable[OrgUnitValues], int], Iterable[OrgUnitValues]]

EXAMPLES = 3
"""How many of what cannot be sent an error names."""


class Status(StrEnum):
    """How an invocation of compute ended."""

    SENT = "sent"
    DRY_RUN = "dry run"
    OFF = "off"
    NOTHING_TO_DO = "nothing to do"
    DATABASE_REACHED = "database reached"
    FAILED = "failed"


class ComputeResult(BaseModel):
    """What compute returns to whoever invoked it, and logs.

    ``values`` and ``batches`` count what was put on the queue (in a dry run: what would have been); ``stores``
    and ``items`` those with at least one value. ``left_out`` holds sentences; ``mapped`` answers the connection
    test's question about the database.
    """

    model_config = ConfigDict(frozen=True)

    status: Status
    message: str
    run_id: str | None = None
    as_of: datetime | None = None
    started_by: str | None = None
    stores: int = 0
    items: int = 0
    values: int = 0
    batches: int = 0
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    see_the_log: str | None = None
    mapped: MappedNames | None = None


@dataclass(slots=True)
class Tally:
    """What a run meets on its way."""

    stores: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    values: int = 0
    warnings: Counter[StockWarning] = field(default_factory=Counter)
    conflicts: Counter[Conflict] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will compute, worked out before the first movement is read."""

    scope: Scope
    windows: dict[Basis, Window]
    metrics: dict[Basis, frozenset[Metric]]
    rules: Rules
    mapper: Mapper
    contested: Mapping[Identifier, tuple[Claim, ...]]
    floor: datetime
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]


def rows_asked_for(event: ComputeEvent, settings: Settings) -> tuple[tuple[DataElementRow, Basis], ...]:
    """Give the active rows that the event asks for, each with the basis that holds for it."""
    return tuple(
        (row, event.basis_choice.of_row(row.basis))
        for row in settings.active_rows
        if (event.interval is None or row.interval is event.interval)
        and (event.metrics is None or row.metric in event.metrics)
    )


def compute(
    event: ComputeEvent,
    *,
    settings: Settings,
    as_of: datetime,
    calendar: Calendar,
    open_database: OpenDatabase,
    send: Callable[[Batch], None],
    track: Track = lambda org_units, _: org_units,
) -> ComputeResult:
    """Do what an event asks for.

    Parameters
    ----------
    as_of
        The instant of the run, aware: ``events.instant_of_run``.
    open_database
        Opens one consistent, read-only snapshot of mSupply's database.
    send
        Takes each batch as soon as it is made.
    track
        Wraps the stream of org units, with their number, to show progress.

    Raises
    ------
    SettingsError, EventError, SourceError
        Nothing that a user can be told about leaves as anything else.
    """
    name = run_id(event, as_of)
    if not settings.use_dhis2 and not event.dry_run:
        return _nothing(
            event, as_of, name, Status.OFF, "Use DHIS2 is off in the settings: nothing was computed or sent."
        )
    settings.require_complete()
    rows = rows_asked_for(event, settings)
    if not rows:
        return _nothing(event, as_of, name, Status.NOTHING_TO_DO, _why_no_row(event))

    tally = Tally()
    with open_database() as source:
        plan = make_plan(event, rows, settings=settings, as_of=as_of, calendar=calendar, source=source)
        org_units = track(values_of_org_units(source, plan, tally), len(plan.scope.org_units))
        outgoing = send_values(
            org_units,
            run_id=name,
            as_of=as_of,
            settings=settings,
            metrics=len(rows),
            send=None if event.dry_run else send,
        )
        warnings = (*plan.warnings, *source.warnings(), *_sentences(tally.warnings))
    conflicts = tuple(conflict.sentence(number) for conflict, number in tally.conflicts.items())
    return ComputeResult(
        status=Status.DRY_RUN if event.dry_run else Status.SENT,
        message=_summary(event, tally, outgoing.batches),
        run_id=name,
        as_of=as_of,
        started_by=event.started_by,
        stores=len(tally.stores),
        items=len(tally.items),
        values=tally.values,
        batches=outgoing.batches,
        left_out=(*plan.left_out, *conflicts),
        warnings=warnings,
    )


def _nothing(event: ComputeEvent, as_of: datetime, name: str, status: Status, message: str) -> ComputeResult:
    return ComputeResult(
        status=status, message=message, run_id=name, as_of=as_of, started_by=event.started_by
    )


def _why_no_row(event: ComputeEvent) -> str:
    limits = []
    if event.interval:
        limits.append(f"with the interval '{event.interval.value}'")
    if event.metrics:
        limits.append(f"for {', '.join(metric.label for metric in event.metrics)}")
    return (
        f"No active row of 'Data elements to push' {' '.join(limits)}: nothing to compute. "
        "To send it, tick Active and choose the interval in the settings."
    )


def _summary(event: ComputeEvent, tally: Tally, batches: int) -> str:
    counts = (
        f"{count(tally.values, 'value')} of {count(len(tally.stores), 'store')} and "
        f"{count(len(tally.items), 'item')} in {count(batches, 'batch', 'batches')}"
    )
    if event.dry_run:
        return f"Dry run: {counts}. Nothing was sent."
    return f"{counts}, on the way to DHIS2."


@dataclass(frozen=True, slots=True)
class Mapped:
    """Which stores and items of mSupply have identifiers for DHIS2, and which have none that can be sent."""

    catalogue: Catalogue
    org_units: tuple[OrgUnit, ...]
    item_groups: tuple[ItemGroup, ...]
    unmapped: tuple[Unmapped, ...]


def read_mapped(source: Source, settings: Settings, rows: Sequence[DataElementRow]) -> Mapped:
    """Read which stores and items are mapped, for these rows of the settings.

    Raises
    ------
    SourceError
        No store or no item is.
    """
    catalogue = source.catalogue(
        store_field=settings.store_field_reference,
        item_fields=settings.item_fields,
        include_field=settings.include_field,
    )
    org_units, unmapped_stores = group_stores(catalogue.stores, settings)
    item_groups, unmapped_items = group_items(catalogue.items, rows, settings)
    _require_any("store", org_units, unmapped_stores)
    _require_any("item", item_groups, unmapped_items)
    return Mapped(catalogue, org_units, item_groups, (*unmapped_stores, *unmapped_items))


def make_plan(
    event: ComputeEvent,
    rows: Sequence[tuple[DataElementRow, Basis]],
    *,
    settings: Settings,
    as_of: datetime,
    calendar: Calendar,
    source: Source,
) -> Plan:
    """Read which stores and items are mapped, and work out what will be computed for them.

    Raises
    ------
    SourceError
        No store or no item is mapped.
    EventError
        The event limits the run to a store or item that is not sent.
    """
    mapped = read_mapped(source, settings, [row for row, _ in rows])
    catalogue, org_units = mapped.catalogue, mapped.org_units
    # All of them: an item that only another run sends may claim what this one is about to send.
    item_groups, _ = group_items(catalogue.items, settings.active_rows, settings)
    contested_identifiers = contested(item_groups, settings)
    scope = Scope(
        org_units=limit_org_units(org_units, event.stores),
        item_groups=limit_items(item_groups, event.items, contested_identifiers),
    )
    windows = {
        basis: window(basis, as_of, calendar, settings.period)
        for basis in dict.fromkeys(basis for _, basis in rows)
    }
    rules = Rules(
        expiring_within_days=settings.expiring_within_days,
        include_returns=settings.include_returns,
        consumption=catalogue.preferences,
    )
    stores = [store for org_unit in scope.org_units for store in org_unit.stores]
    return Plan(
        scope=scope,
        windows=windows,
        metrics={
            basis: frozenset(row.metric for row, basis_of_row in rows if basis_of_row is basis)
            for basis in windows
        },
        rules=rules,
        mapper=Mapper(settings, tuple(rows), windows),
        contested=contested_identifiers,
        floor=floor(windows.values(), stores, rules),
        left_out=_left_out(catalogue, mapped.unmapped),
        warnings=(*_about_items(settings, catalogue), *settings.warnings(), *catalogue.warnings),
    )


def _require_any(what: str, mapped: Sequence[object], unmapped: Sequence[Unmapped]) -> None:
    if mapped:
        return
    examples = " ".join(f"{subject.subject}: {subject.reason}" for subject in unmapped[:EXAMPLES])
    raise SourceError(
        f"No {what} of mSupply has an identifier that can be sent. {examples}".strip()
        if examples
        else f"No {what} of mSupply has a value in the fields that the active rows of this run ask for. Fill them "
        "in in mSupply, or correct 'Data elements to push'."
    )


def _about_items(settings: Settings, catalogue: Catalogue) -> Iterator[str]:
    if settings.include_field is None:
        yield "include_field is not set: every item with a reference is included."
    elif catalogue.items_not_included:
        yield f"Items that are not ticked in {settings.include_field} and not sent: {catalogue.items_not_included:,}."
    if catalogue.items_without_reference:
        yield (
            f"Items without a value in {' or '.join(settings.item_fields)}, which are not sent: "
            f"{catalogue.items_without_reference:,}."
        )


def _left_out(catalogue: Catalogue, unmapped: Iterable[Unmapped]) -> tuple[str, ...]:
    return (
        *(f"{left_out.kind} {left_out.name}: {left_out.reason}" for left_out in catalogue.left_out),
        *(f"{subject.subject}: {subject.reason}" for subject in unmapped),
    )


def limit_org_units(org_units: tuple[OrgUnit, ...], wanted: Sequence[str] | None) -> tuple[OrgUnit, ...]:
    """Keep the org units that hold a wanted store (by code, name, id or org unit)."""
    names = {
        org_unit: {
            name for store in org_unit.stores for name in (store.code, store.name, store.id, store.org_unit)
        }
        for org_unit in org_units
    }
    return _limited("stores", names, wanted)


def limit_items(
    groups: tuple[ItemGroup, ...],
    wanted: Sequence[str] | None,
    contested_identifiers: Mapping[Identifier, tuple[Claim, ...]],
) -> tuple[ItemGroup, ...]:
    """Keep the item groups that hold a wanted item (by code, name, id or reference).

    Those that claim the same data element as one of them come along: whether both are in one org unit is
    seen only there.
    """
    names = {
        place: {
            name for item in group.items for name in (item.code, item.name, item.id, *item.fields.values())
        }
        for place, group in enumerate(groups)
    }
    kept = {id(groups[place]) for place in _limited("items", names, wanted)}
    for claims in contested_identifiers.values():
        if any(id(claim.group) in kept for claim in claims):
            kept |= {id(claim.group) for claim in claims}
    return tuple(group for group in groups if id(group) in kept)


def _limited[T](what: str, names: dict[T, set[str]], wanted: Sequence[str] | None) -> tuple[T, ...]:
    if wanted is None:
        return tuple(names)
    known = {_folded(name): name for its_names in names.values() for name in its_names}
    unknown = [name for name in wanted if _folded(name) not in known]
    if unknown:
        raise EventError(
            "\n".join(
                f"{what}: '{name}' is none of the {what} that are sent.{_nearest(name, known)}"
                for name in unknown
            )
        )
    asked = {_folded(name) for name in wanted}
    return tuple(thing for thing, its_names in names.items() if asked & set(map(_folded, its_names)))


def _nearest(name: str, known: Mapping[str, str]) -> str:
    near = get_close_matches(_folded(name), sorted(known), n=1) or [
        whole for whole in sorted(known) if _folded(name) in whole
    ]
    return f" Did you mean '{known[near[0]]}'?" if near else ""


def _folded(name: str) -> str:
    return name.strip().casefold()


def values_of_org_units(source: Source, plan: Plan, tally: Tally) -> Iterator[OrgUnitValues]:
    """Stream the data values, one org unit after the other, and count what is met on the way."""
    histories = source.histories(plan.scope, plan.floor)
    for org_unit, groups in groupby(histories, key=lambda history: history.org_unit):
        computed: list[DataValue] = []
        about: list[tuple[set[str], set[str], list[DataValue]]] = []
        present: list[ItemGroup] = []
        for history in groups:
            values = list(_values_of_group(history, plan, tally))
            computed.extend(values)
            present.append(history.item_group)
            about.append(
                (
                    {pair.store.id for pair in history.pairs},
                    {pair.item.id for pair in history.pairs},
                    values,
                )
            )
        kept, conflicts = without_conflicts(computed, present, plan.contested)
        refused = {conflict.identifier for conflict in conflicts}
        for stores, items, values in about:
            if any(value.identifier not in refused for value in values):
                tally.stores |= stores
                tally.items |= items
        tally.values += len(kept)
        tally.conflicts.update(conflicts)
        yield OrgUnitValues(org_unit, kept)


def _values_of_group(history: GroupHistory, plan: Plan, tally: Tally) -> Iterator[DataValue]:
    values: dict[Basis, GroupValues] = {}
    for basis, window_of_basis in plan.windows.items():
        values[basis] = calculate(history, window_of_basis, plan.rules, plan.metrics[basis])
        tally.warnings.update(values[basis].warnings)
    return plan.mapper.data_values(history, values)


def _sentences(warnings: Counter[StockWarning]) -> Iterator[str]:
    for warning, number in sorted(warnings.items()):
        yield f"{warning.meaning}: {number:,}."


def check_database(open_database: OpenDatabase, settings: Settings | None) -> ComputeResult:
    """Open mSupply's database and see which stores and items are mapped; the connection test asks for it.

    Parameters
    ----------
    settings
        ``None`` where they cannot be read: then only that the database answers is seen.

    Raises
    ------
    SourceError
        As ``compute`` would.
    """
    with open_database() as source:
        if settings is None or not settings.item_fields:
            return ComputeResult(
                status=Status.DATABASE_REACHED,
                message="mSupply's database answers. Which stores and items are mapped will be seen when the "
                "settings are complete.",
            )
        mapped = read_mapped(source, settings, settings.active_rows)
    stores = sum(len(org_unit.stores) for org_unit in mapped.org_units)
    items = sum(len(group.items) for group in mapped.item_groups)
    return ComputeResult(
        status=Status.DATABASE_REACHED,
        message=f"mSupply's database answers; mapped there: {count(stores, 'store')} and {count(items, 'item')}.",
        stores=stores,
        items=items,
        mapped=MappedNames.of(
            mapped.org_units, mapped.item_groups, _left_out(mapped.catalogue, mapped.unmapped), settings
        ),
    )
