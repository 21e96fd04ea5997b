"""The data values of a step of a run, org unit by org unit, and their way onto the queue, in batches."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain, groupby

from msupply_dhis2.compute.plan import RunPlan
from msupply_dhis2.domain.batch import Age, Batch, Operation, Strip, encode, small_enough
from msupply_dhis2.domain.choices import CustomerReceived
from msupply_dhis2.domain.data_value import DataValue, Identifier
from msupply_dhis2.domain.report import GroupReports
from msupply_dhis2.domain.stock import GroupHistory, ItemGroup, Kind, OrgUnit
from msupply_dhis2.mapping import Collision, Mapper, without_collisions
from msupply_dhis2.metrics.calculate import GroupValues, calculate, floor
from msupply_dhis2.metrics.ledger import StockWarning
from msupply_dhis2.metrics.reports import NotSent, report_values, sentences
from msupply_dhis2.settings import Settings, Setup
from msupply_dhis2.source.base import Source
from msupply_dhis2.source.customers import customers_of
from msupply_dhis2.state.delta.filter import DeltaFilter

MOST_ROWS_NAMED = 10_000
"""How many rows that cannot be read are named: a table that is damaged as a whole must not fill the memory."""

_PAYLOADS_OF_A_STRIP = 8
"""At least, where only what changed is sent: so a payload that is not full, which each strip may end with, is rare."""


@dataclass(frozen=True, slots=True)
class OrgUnitValues:
    """All data values of one org unit, none of them twice, and what could not be computed for it.

    ``uncertain`` is what several items claim, and what would be computed from rows that cannot be read: nobody knows
    what it would be.
    """

    org_unit: OrgUnit
    values: list[DataValue]
    uncertain: frozenset[Identifier] = frozenset()


@dataclass(slots=True, kw_only=True)
class Publisher:
    """Puts the values of a step on the queue; it holds no more than a strip of org units.

    ``metrics`` is how many the step has: with option combos an org unit has as many values for one data element. In a dry
    run ``send`` is ``None``, and ``batches`` counts those that would have been sent. Without a ``delta``, which knows what
    DHIS2 has, everything is sent. ``claim`` takes values before they are sent, so that nothing older replaces them in DHIS2.
    """

    run_id: str
    as_of: datetime
    settings: Settings
    metrics: int
    send: Callable[[Batch], None] | None
    age: Age | None = None
    delta: DeltaFilter | None = None
    claim: Callable[[Iterable[DataValue]], None] | None = None
    while_off: bool = False
    batches: int = field(default=0, init=False)
    deletions: int = field(default=0, init=False)
    _strip: Strip = field(init=False)

    def __post_init__(self) -> None:
        """Begin the first strip."""
        self._strip = Strip(
            maximum_values=self.settings.items_per_payload,
            values_per_cell=self.metrics if self.settings.setup is Setup.CATEGORY_OPTION_COMBO else 1,
            # The record of an org unit is written for each strip that has values of it.
            payloads=0 if self.delta is None else _PAYLOADS_OF_A_STRIP,
        )

    def add(self, computed: OrgUnitValues) -> None:
        """Take the values of an org unit; they leave when enough org units are held."""
        to_send = computed.values
        if self.delta is not None:
            # All, and before looking: what an older run notes from now on is superseded, what it noted before is seen.
            if self.claim is not None:
                self.claim(computed.values)
            to_send = self.delta.changed(computed.org_unit.code, computed.values, computed.uncertain)
        self._strip.add(to_send)
        if self._strip.is_full:
            self._publish(self._strip, Operation.IMPORT, is_last=False)

    def flush(self) -> None:
        """Put what is held on the queue, and then what is to be deleted."""
        self._publish(self._strip, Operation.IMPORT, is_last=True)
        if self.delta is None:
            return
        if to_delete := self.delta.to_delete():
            strip = Strip(maximum_values=self.settings.items_per_payload)
            strip.add(to_delete)
            self._publish(strip, Operation.DELETE, is_last=True)
            self.deletions = len(to_delete)

    def _publish(self, strip: Strip, operation: Operation, *, is_last: bool) -> None:
        # With a delta all that is imported is claimed already.
        if self.claim is not None and (self.delta is None or operation is Operation.DELETE):
            self.claim(chain.from_iterable(strip.org_units))
        make = partial(
            encode,
            run_id=self.run_id,
            as_of=self.as_of,
            destination=self.settings.destination,
            operation=operation,
            tracking=None if self.delta is None else self.delta.tracking(),
            age=self.age,
            while_off=self.while_off,
        )
        made = [batch for payload in strip.cut(is_last=is_last) for batch in small_enough(payload, make)]
        self.batches += len(made)
        if self.delta is not None:
            # All at once, so that each record is written once; and before the first of them is sent.
            self.delta.note(made if self.send else ())
        if self.send is not None:
            for batch in made:
                self.send(batch)


@dataclass(slots=True)
class Tally:
    """What is met on the way to the values, and what the steps come to, all together.

    ``stores``, ``customers`` and ``items`` are the ids of those with at least one value. ``groups`` are pairs of an org
    unit and an item reference, of which some were skipped, because a row that counts for them cannot be read;
    ``unreadable_rows`` are sentences about these rows, ``collided`` about what several items claim, ``notes`` about all else.
    """

    stores: set[str] = field(default_factory=set)
    customers: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    periods: set[str] = field(default_factory=set)
    values: int = 0
    batches: int = 0
    already_stored: int = 0
    vanished: int = 0
    deletions: int = 0
    groups: int = 0
    unreadable_groups: int = 0
    unreadable_rows: dict[str, None] = field(default_factory=dict)
    collided: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    # Of the step that is being worked.
    warnings: Counter[StockWarning] = field(default_factory=Counter)
    collisions: Counter[Collision] = field(default_factory=Counter)
    not_sent: Counter[NotSent] = field(default_factory=Counter)

    def note(self, of_bases: Iterable[GroupValues]) -> None:
        """Count the warnings of a group, and what is not sent: on two bases it is one line."""
        not_sent = Counter[NotSent]()
        for values in of_bases:
            if values.warnings:
                self.warnings.update(values.warnings)
            if values.not_sent:
                not_sent |= Counter(values.not_sent)
        if not_sent:
            self.not_sent.update(not_sent)

    def skip(self, rows: Iterable[str]) -> None:
        """Skip a group because of rows that cannot be read, and name them as far as there are not too many."""
        self.unreadable_groups += 1
        for row in rows:
            if len(self.unreadable_rows) < MOST_ROWS_NAMED:
                self.unreadable_rows[row] = None

    def end_step(self, publisher: Publisher, data_warnings: Iterable[str], month: str) -> None:
        """Add what a step came to; ``month`` is written before its sentences, because two may be odd in different ways."""
        said = [*data_warnings]
        said += [f"{warning}: {number:,}." for warning, number in sorted(self.warnings.items())]
        said += sentences(self.not_sent)
        if publisher.delta is not None:
            said += publisher.delta.warnings()
            self.already_stored += publisher.delta.unchanged
            self.vanished += publisher.delta.vanished.total()
        self.notes += [f"{month}{each}" for each in said]
        self.collided += [f"{month}{what.sentence(number)}" for what, number in self.collisions.items()]
        self.batches += publisher.batches
        self.deletions += publisher.deletions
        for counter in (self.warnings, self.collisions, self.not_sent):
            counter.clear()


def values_of_org_units(
    every_group: Iterable[GroupHistory | GroupReports], plan: RunPlan, mapper: Mapper, tally: Tally
) -> Iterator[OrgUnitValues]:
    """Stream the data values of groups, one org unit after the other, and count what is met on the way."""
    windows = mapper.windows
    tally.periods |= {window.period for window in windows.values()}
    first_snapshot = min(window.snapshot for window in windows.values())
    metrics = {basis: {row.metric for row, its in mapper.rows if its is basis} for basis in windows}
    for org_unit, groups in groupby(every_group, key=lambda history: history.org_unit):
        # Of a group no more is kept than this: its history would fill the memory.
        computed: list[tuple[set[str], set[str], list[DataValue]]] = []
        present: list[ItemGroup] = []
        unreadable: set[Identifier] = set()
        for history in groups:
            tally.groups += 1
            present.append(history.item_group)
            if history.unreadable and (rows := rows_that_count(history, first_snapshot)):
                tally.skip(rows)
                unreadable |= mapper.identifiers(history.item_group)
                continue
            values = {
                basis: calculate(history, window, plan.rules, metrics[basis])
                if isinstance(history, GroupHistory)
                else report_values(history, window, metrics[basis])
                for basis, window in windows.items()
            }
            tally.note(values.values())
            stores = {pair.store.id for pair in history.pairs}
            items = {pair.item.id for pair in history.pairs}
            computed.append((stores, items, mapper.data_values(history, values)))
        every = [value for _, _, of_group in computed for value in of_group]
        kept, collisions = without_collisions(every, present, plan.collisions)
        refused = {collision.identifier for collision in collisions}
        for stores, items, of_group in computed:
            if of_group and not (refused and refused.issuperset(value.identifier for value in of_group)):
                (tally.stores if org_unit.kind is Kind.STORE else tally.customers).update(stores)
                tally.items |= items
        tally.values += len(kept)
        tally.collisions.update(collisions)
        yield OrgUnitValues(org_unit, kept, frozenset(refused | unreadable))


def groups_of(source: Source, plan: RunPlan, mapper: Mapper) -> Iterator[GroupHistory | GroupReports]:
    """Stream what values are made of: the histories of stores, then the reports of customers, where they are sent."""
    windows = mapper.windows
    streams: list[Iterator[GroupHistory] | Iterator[GroupReports]] = []
    if stores := plan.scope.stores:
        streams.append(source.histories(plan.scope, floor(windows.values(), stores, plan.rules)))
    if plan.customers.org_units:
        supplied = mapper.settings.customer_received is CustomerReceived.SUPPLIED
        streams.append(customers_of(source).reports(plan.customers, windows, supplied=supplied))
    return chain.from_iterable(streams)


def rows_that_count(history: GroupHistory | GroupReports, snapshot: datetime) -> list[str]:
    """Name the unreadable rows of a group, but for those that count for earlier stock only."""
    return [str(row) for row in history.unreadable if row.until is None or row.until >= snapshot]
