"""The records of what DHIS2 has acknowledged, in a DynamoDB table of their own.

It has the partition key ``target_period``, the sort key ``org_unit``, and the time-to-live attribute ``expires_at``. Compute
writes the records, before the messages go onto the queue. Push only invalidates: where it sends something of which nothing was
noted. A row for each address and period tells what holds for all its org units.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from boto3.dynamodb.conditions import Key

from msupply_dhis2.aws.dynamodb import MOST_BYTES, Change, Table, change_item, query_items, read_items
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.settings import Settings
from msupply_dhis2.state.delta.record import TRACKED_FOR, Receipts, Record
from msupply_dhis2.state.runs import read_receipts
from msupply_dhis2.text import listed

KEPT_FOR = timedelta(days=400)
"""Since the last write. A period that nobody has computed for over a year is sent whole when it is computed again."""

INVALID_FOR = timedelta(hours=1)
"""Longer than push lives: what it was about to send when it said so has arrived by then."""

_NAMED = 5
_DAMAGED = (ValueError, TypeError, ArithmeticError)


def target_of(settings: Settings, batch: Batch | None = None) -> str:
    """Name what the values of these settings, or of a batch that is pushed by them, go to; other settings, other records."""
    to = batch or settings.destination
    schemes = to.data_set_id_scheme, to.data_element_id_scheme, to.org_unit_scheme
    return f"{settings.url}#{to.data_set_id}#{'-'.join((*schemes, settings.option_combo_field))}"


def names_of(settings: Settings) -> str:
    """Return how these settings name places in DHIS2: by others the same place may have another name."""
    schemes = [f"{row.metric}-{row.category_option_combo_id_scheme}" for row in settings.data_elements]
    return "#".join((target_of(settings), str(settings.setup), *sorted(schemes)))


class DeltaTable:
    """Records in DynamoDB of what goes to one target, and the table of runs, in which push notes how far messages are."""

    def __init__(self, table: Table, receipts: Table, now: datetime, target: str) -> None:
        self.table = table
        self.target = target
        self._receipts = receipts
        self._now = now
        self._end = now + KEPT_FOR
        self._damaged: list[str] = []
        self._too_large: list[str] = []

    def read(self, period: str, org_unit: str) -> Record:
        """Read the record of an org unit; one that is not there, or cannot be read, comes back empty."""
        keys = self._period_key(period), self._key(period, org_unit)
        found = {str(item["target_period"]): item for item in read_items(self.table, keys)}
        of_period, item = (found.get(key["target_period"], {}) for key in keys)
        record = Record(period, org_unit)
        try:
            record.invalid_until = _seconds(of_period)
        except _DAMAGED:
            self._damaged.append(f"all org units in {period}")
            record.invalid_until = (self._now + TRACKED_FOR).timestamp()
        try:
            version, content = item.get("version"), item.get("content")
            record.version = None if version is None else int(version)
            record.invalid_until = max(record.invalid_until, _seconds(item))
            if content is not None:
                record.read(bytes(content))
        except _DAMAGED:
            # Nothing is acknowledged then, and something may be on its way that nobody knows of any more.
            self._damaged.append(f"{org_unit} in {period}")
            return self._reset(record)
        return record

    def _reset(self, record: Record) -> Record:
        until = (self._now + TRACKED_FOR + INVALID_FOR).timestamp()
        return Record(
            record.period, record.org_unit, invalid_until=until, version=record.version, is_reset=True
        )

    def write(self, record: Record) -> bool:
        """Write a record; ``False`` where another has written it since it was read."""
        content = record.encoded()
        if len(content) > MOST_BYTES:
            self._too_large.append(f"{record.org_unit} in {record.period}")
            record = self._reset(record)
            content = record.encoded()
        change = (
            Change(self._key(record.period, record.org_unit))
            .set({"content": content, "version": (record.version or 0) + 1})
            .keep_until(self._end)
        )
        if record.is_reset:
            # Later than any that push sets, so that none of those is lost by it.
            change.set({"invalid_until": int(record.invalid_until)})
        # Of one that is reset the version may be unreadable; and while what others write now matters nothing is certain.
        if record.version is not None or not record.is_reset:
            change.if_equal("version", record.version)
        return change_item(self.table, change)

    def org_units(self, period: str) -> Iterator[str]:
        """Yield the org units that have a record."""
        rows = Key("target_period").eq(self._key(period, "")["target_period"])
        for item in query_items(self.table, rows, ProjectionExpression="org_unit"):
            yield str(item["org_unit"])

    def receipts(self, record: Record) -> Receipts:
        """Read what became of the attempts of a record."""
        return read_receipts(self._receipts, sorted(set(record.attempts())))

    def invalidate(self, period: str, org_unit: str | None) -> None:
        """Mark an org unit, or all: something of which nothing is noted may arrive there within the hour."""
        until = int((self._now + INVALID_FOR).timestamp())
        key = self._period_key(period) if org_unit is None else self._key(period, org_unit)
        change = Change(key).set({"invalid_until": until}).keep_until(self._end)
        # It may be marked for longer already.
        change_item(self.table, change.if_below("invalid_until", until))

    def note_names(self, settings: Settings, period: str) -> None:
        """Note how places in DHIS2 are named; where they were named otherwise last, nothing is certain any more.

        Under the other names something else may have been sent to the same places.
        """
        names, key = names_of(settings), self._period_key(period)
        if any(item.get("names", names) != names for item in read_items(self.table, [key])):
            # First: where this breaks off it is done again.
            self.invalidate(period, None)
        change_item(self.table, Change(key).set({"names": names}).keep_until(self._end))

    def _key(self, period: str, org_unit: str) -> dict[str, str]:
        return {"target_period": f"{self.target}#{period}", "org_unit": org_unit}

    def _period_key(self, period: str) -> dict[str, str]:
        """Return the key of what holds for all org units of a period: it stands beside no org unit."""
        return {"target_period": self.target.partition("#")[0], "org_unit": period}

    def faults(self) -> tuple[str, ...]:
        """Return what could not be read or written, a sentence each."""
        faults = []
        if self._damaged:
            faults.append(
                f"The record of what DHIS2 has acknowledged cannot be read for {_named(self._damaged)}: all their values "
                "are sent, and a new record is made. If this happens again, delete these rows of the table."
            )
        if self._too_large:
            faults.append(
                f"There are too many values to remember what DHIS2 acknowledges of {_named(self._too_large)}: all their "
                "values are sent each time."
            )
        return tuple(faults)


def _named(records: Iterable[str]) -> str:
    return listed(list(dict.fromkeys(records)), _NAMED)


def _seconds(item: Mapping[str, Any]) -> float:
    return float(item.get("invalid_until", 0))
