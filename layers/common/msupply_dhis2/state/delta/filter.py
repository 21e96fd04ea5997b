"""Which values of a run are sent, org unit by org unit: not those that DHIS2 is known to have acknowledged.

What is computed no longer is found. Before batches go onto the queue, they are noted as on their way.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from msupply_dhis2.aws.dynamodb import ATTEMPTS, busy
from msupply_dhis2.domain.batch import Batch, Operation, Tracking
from msupply_dhis2.domain.data_value import DataValue, Identifier
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.settings import Settings
from msupply_dhis2.state.delta.record import TRACKED_FOR, Attempt, Record
from msupply_dhis2.state.delta.table import DeltaTable
from msupply_dhis2.text import listed

NAMED = 20
"""How many values that are computed no longer a run names; their number it says always."""

MOST_HELD = 40_000
"""How many values' records are held until they are noted, about 20 MB; what is more is read again."""

_SECONDS_IN_A_DAY = 86_400
_SPARED_FROM = 100
_MOST_VANISHED = 0.2
"""So much of what DHIS2 has acknowledged may vanish at once, in numbers of 100 and more, before a slip is supposed."""


@dataclass(frozen=True, slots=True)
class RunScope:
    """What a run computes, from which follows what it does not compute any longer, and what its event asks for.

    ``org_units`` are the codes of those that the run is about, ``mapped`` those of all that are mapped in mSupply, or
    ``None`` where others than the run's are not its business. ``full``: also what DHIS2 has acknowledged is sent;
    ``confirm_deletions``: also suspiciously much is deleted.
    """

    periods: Mapping[Metric, frozenset[str]]
    org_units: frozenset[str]
    mapped: frozenset[str] | None
    all_items: bool
    full: bool = False
    confirm_deletions: bool = False

    @property
    def all_periods(self) -> tuple[str, ...]:
        """Each period that any metric has."""
        return tuple(sorted(frozenset().union(*self.periods.values())))


class DeltaFilter:
    """Compares a run with what DHIS2 has acknowledged: ``unchanged`` values it has already, ``vanished`` are computed no longer."""

    def __init__(self, records: DeltaTable, settings: Settings, scope: RunScope, now: datetime) -> None:
        self.unchanged = 0
        self.vanished = Counter[Metric]()
        self._named: list[DataValue] = []
        self._acknowledged = 0
        self._records = records
        self._settings = settings
        self._scope = scope
        self._now = now.timestamp()
        self._until = now + TRACKED_FOR
        self._seen: set[str] = set()
        self._held: dict[tuple[str, str], Record] = {}
        self._values_held = 0
        self._to_delete: list[DataValue] = []

    def changed(
        self, org_unit: str, values: Sequence[DataValue], uncertain: Iterable[Identifier] = ()
    ) -> list[DataValue]:
        """Return which of all values that a run computes for an org unit are to be sent.

        What is ``uncertain`` is neither computed nor to be taken for vanished (see ``OrgUnitValues``). The records of what
        is to be sent are held until it is noted, so that each is read and written once.
        """
        self._seen.add(org_unit)
        by_period: dict[str, list[DataValue]] = defaultdict(list)
        for value in values:
            by_period[value.period].append(value)
        spared = frozenset(uncertain)
        to_send: list[DataValue] = []
        for period in self._scope.all_periods:
            to_send += self._changed_in(period, org_unit, by_period[period], spared)
        return to_send

    def _changed_in(
        self,
        period: str,
        org_unit: str,
        computed: Sequence[DataValue] = (),
        spared: frozenset[Identifier] = frozenset(),
    ) -> list[DataValue]:
        record = self._records.read(period, org_unit)
        receipts = self._records.receipts(record)
        is_less = record.settle(receipts, self._now)
        to_send = [
            value
            for value in computed
            if self._is_due(record, value.metric) or not record.is_known(value, receipts, self._now)
        ]
        self.unchanged += len(computed) - len(to_send)
        self._find_vanished(record, computed, spared)
        if to_send and self._values_held + len(record.entries) <= MOST_HELD:
            self._held[period, org_unit] = record
            self._values_held += len(record.entries)
        elif is_less:
            # Where another run was faster: what both have read is right, and is forgotten the next time.
            self._records.write(record)
        return to_send

    def _is_due(self, record: Record, metric: Metric) -> bool:
        if self._scope.full:
            return True
        last = record.full.get(metric)
        return last is None or self._now - last >= self._settings.full_send_every_days * _SECONDS_IN_A_DAY

    def _find_vanished(
        self, record: Record, values: Sequence[DataValue], spared: frozenset[Identifier]
    ) -> None:
        if not self._scope.all_items:
            return
        computed = {value.identifier for value in values} | spared
        schemes = {(value.data_element, value.metric): value.column.option_combo_scheme for value in values}
        for identifier, entry in record.entries.items():
            periods = self._scope.periods.get(entry.metric, frozenset())
            if entry.acknowledged is None or record.period not in periods:
                continue
            self._acknowledged += 1
            # By another scheme it may be the same place in DHIS2: deleted, it would take the new value along.
            is_same_scheme = schemes.get((identifier[0], entry.metric), entry.scheme) is entry.scheme
            if identifier in computed or not is_same_scheme:
                continue
            value = record.as_value(identifier, entry)
            self.vanished[value.metric] += 1
            if len(self._named) < NAMED:
                self._named.append(value)
            if self._settings.delete_vanished:
                self._to_delete.append(value)

    @property
    def _is_held_back(self) -> bool:
        """Whether so much has vanished that nothing is deleted before somebody has looked at it."""
        most = max(_SPARED_FROM - 1, _MOST_VANISHED * self._acknowledged)
        is_doubtful = self._settings.delete_vanished and not self._scope.confirm_deletions
        return is_doubtful and self.vanished.total() > most

    def to_delete(self) -> list[DataValue]:
        """Return the values that are to be deleted, org unit by org unit; those of whole org units are looked for now."""
        self._look_at_the_rest()
        if self._is_held_back:
            return []
        return sorted(self._to_delete, key=lambda value: (value.org_unit, value.period))

    def _look_at_the_rest(self) -> None:
        """Find what has vanished with whole org units: those without any value now, and those mapped no longer."""
        if not self._scope.all_items:
            return
        for period in self._scope.all_periods:
            for org_unit in sorted(self._records.org_units(period)):
                is_ours = org_unit in self._scope.org_units
                is_gone = self._scope.mapped is not None and org_unit not in self._scope.mapped
                if org_unit not in self._seen and (is_ours or is_gone):
                    self._changed_in(period, org_unit)

    def tracking(self) -> Tracking:
        """Return what a new batch is known by."""
        return Tracking(attempt_id=uuid4().hex, until=self._until, target=self._records.target)

    def note(self, batches: Iterable[Batch]) -> None:
        """Note batches as on their way, before they are."""
        notes: dict[tuple[str, str], list[tuple[DataValue, Attempt]]] = defaultdict(list)
        for batch in batches:
            assert batch.tracking is not None  # noqa: S101 - tells mypy: made so by whoever calls
            until = int(batch.tracking.until.timestamp())
            for index, value in enumerate(batch.values):
                sent = None if batch.operation is Operation.DELETE else value.value
                attempt = Attempt(batch.batch_id, batch.tracking.attempt_id, until, index, sent)
                notes[value.period, value.org_unit].append((value, attempt))
        for (period, org_unit), noted in notes.items():
            self._note(period, org_unit, noted)
        # In a dry run nothing was noted.
        self._held.clear()
        self._values_held = 0

    def _note(self, period: str, org_unit: str, noted: Sequence[tuple[DataValue, Attempt]]) -> None:
        held = self._held.get((period, org_unit))
        for _ in range(ATTEMPTS):
            record = held or self._records.read(period, org_unit)
            held = None
            sent = {value.metric for value, attempt in noted if attempt.value is not None}
            due = [metric for metric in sent if self._scope.all_items and self._is_due(record, metric)]
            for value, attempt in noted:
                record.note(value, attempt)
            record.full |= dict.fromkeys(due, int(self._now))
            if self._records.write(record):
                return
        raise busy(self._records.table)

    def warnings(self) -> Iterator[str]:
        """Yield what has vanished, and what is done about it."""
        if vanished := self.vanished.total():
            by_metric = ", ".join(
                f"{metric.label} {number:,}" for metric, number in self.vanished.most_common()
            )
            named = [
                f"{value.names} ({value.data_element}, {value.org_unit}, {value.period}): {value.value}"
                for value in self._named
            ]
            yield (
                f"Values that DHIS2 has acknowledged and that are no longer computed: {vanished:,} ({by_metric}). "
                f"{self._what_is_done()} They are: {listed(named, NAMED, of=vanished, by='; ')}."
            )
        yield from self._records.faults()

    def _what_is_done(self) -> str:
        if not self._settings.delete_vanished:
            return "They stay in DHIS2. To delete them, switch on Delete vanished values (delete_vanished)."
        if self._is_held_back:
            return (
                f"That is more than a fifth of the {self._acknowledged:,} that it has, so nothing is deleted. "
                "Check the settings, and the items and stores in mSupply. If all is right, invoke compute "
                'with {"manual": true, "confirm_deletions": true}.'
            )
        return "They are being deleted in DHIS2."
