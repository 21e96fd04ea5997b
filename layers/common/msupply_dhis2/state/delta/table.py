"""The records of what DHIS2 has acknowledged, in a DynamoDB table of their own.

Compute writes them, before the messages go onto the queue. Push only marks those that were disturbed: where it sends
something of which nothing was noted.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from boto3.dynamodb.conditions import Key

from msupply_dhis2.aws.dynamodb import Change, change_item, query_items, read_items
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.settings import OptionComboField, Scheme, Settings
from msupply_dhis2.state.delta.record import TRACKED_FOR, Receipt, Receipts, Record
from msupply_dhis2.state.runs import read_receipts

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

KEPT_FOR = timedelta(days=400)
"""Since the last write. A period that nobody has computed for over a year is sent whole when it is computed again."""

DISTURBED_FOR = timedelta(hours=1)
"""Longer than push lives: what it was about to send when it said so has arrived by then."""

MOST_BYTES = 390_000
"""An item may have 400 KB."""

_EVERY_ORG_UNIT = " "
"""The sort key of what holds for all org units of a period: no identifier, since those are stripped of blanks."""


class Records(Protocol):
    """Where records are kept: ``DeltaTable``."""

    def read(self, target: str, period: str, org_units: Iterable[str]) -> dict[str, Record]:
        """Read the records of org units; one that is not there, or cannot be read, comes back empty."""
        ...

    def write(self, target: str, record: Record) -> bool:
        """Write a record; ``False`` where another has written it since it was read."""
        ...

    def org_units(self, target: str, period: str) -> Iterator[str]:
        """Return the org units that have a record."""
        ...

    def receipts(self, records: Iterable[Record]) -> Receipts:
        """Read what became of the sendings of records."""
        ...

    def invalidate(self, target: str, period: str, org_unit: str | None) -> None:
        """Mark an org unit, or all: something of which nothing is noted may arrive there within the hour."""
        ...

    def faults(self) -> tuple[str, ...]:
        """Return what could not be read or written, a sentence each."""
        ...


def target_of(settings: Settings) -> str:
    """Name what the values of these settings go to; other settings, other records."""
    return _target(
        settings,
        str(settings.data_set_id),
        (settings.data_set_id_scheme, settings.data_element_id_scheme, settings.org_unit_scheme),
        settings.option_combo_field,
    )


def names_of(settings: Settings) -> str:
    """Return how these settings name places in DHIS2: by others the same place may have another name."""
    schemes = [f"{row.metric}-{row.category_option_combo_id_scheme}" for row in settings.data_elements]
    return "#".join((target_of(settings), str(settings.setup), *sorted(schemes)))


def target_of_batch(batch: Batch, settings: Settings) -> str:
    """Name what a batch goes to when it is pushed by these settings."""
    return _target(
        settings,
        batch.data_set_id,
        (batch.data_set_id_scheme, batch.data_element_id_scheme, batch.org_unit_scheme),
        settings.option_combo_field,
    )


def _target(
    settings: Settings, data_set_id: str, schemes: Iterable[Scheme], option_combo_field: OptionComboField
) -> str:
    kinds = "-".join(scheme.value for scheme in schemes)
    return f"{settings.url}#{data_set_id}#{kinds}-{option_combo_field.value}"


class DeltaTable:
    """Records in DynamoDB.

    Parameters
    ----------
    table
        With the partition key ``target_period``, the sort key ``org_unit``, and the time-to-live attribute
        ``expires_at``.
    receipts
        The table in which push notes how far messages are (``runs``).
    now
        The clock, aware.
    """

    def __init__(self, table: "Table", receipts: "Table", now: datetime) -> None:
        self._table = table
        self._receipts = receipts
        self._now = now
        self._end = int((now + KEPT_FOR).timestamp())
        self._damaged: list[str] = []
        self._too_large: list[str] = []

    def read(self, target: str, period: str, org_units: Iterable[str]) -> dict[str, Record]:
        """Read the records of org units (see ``Records``).

        Raises
        ------
        AwsError
            The table cannot be read.
        """
        wanted = tuple(org_units)
        keys = [_key(target, period, org_unit) for org_unit in (*wanted, _EVERY_ORG_UNIT)]
        doing = "reading what DHIS2 has acknowledged"
        found = {str(item["org_unit"]): item for item in read_items(self._table, keys, doing)}
        disturbed = self._disturbed(period, found.get(_EVERY_ORG_UNIT))
        return {
            org_unit: self._record(period, org_unit, found.get(org_unit, {}), disturbed)
            for org_unit in wanted
        }

    def _disturbed(self, period: str, item: Any) -> float:  # noqa: ANN401 - as boto3 gives it
        try:
            return _seconds(item)
        except (ValueError, TypeError, ArithmeticError):
            self._damaged.append(f"all org units in {period}")
            return (self._now + TRACKED_FOR).timestamp()

    def _record(self, period: str, org_unit: str, item: Any, disturbed: float) -> Record:  # noqa: ANN401 - as boto3 gives it
        record = Record(period, org_unit, invalid_until=disturbed)
        try:
            version, content = item.get("version"), item.get("content")
            record.version = None if version is None else int(version)
            record.invalid_until = max(disturbed, _seconds(item))
            if content is not None:
                record.read(bytes(content))
        except (ValueError, TypeError, ArithmeticError):
            # Nothing is acknowledged then, and something may be on its way that nobody knows of any more.
            self._damaged.append(f"{org_unit} in {period}")
            return self._reset(record)
        return record

    def _reset(self, record: Record) -> Record:
        return Record(
            record.period,
            record.org_unit,
            invalid_until=(self._now + TRACKED_FOR + DISTURBED_FOR).timestamp(),
            version=record.version,
            is_reset=True,
        )

    def write(self, target: str, record: Record) -> bool:
        """Write a record (see ``Records``).

        Raises
        ------
        AwsError
            The table refused.
        """
        content = record.encoded()
        if len(content) > MOST_BYTES:
            self._too_large.append(f"{record.org_unit} in {record.period}")
            record = self._reset(record)
            content = record.encoded()
        change = Change(_key(target, record.period, record.org_unit)).set(
            {"content": content, "version": (record.version or 0) + 1, "expires_at": self._end}
        )
        if record.is_reset:
            # Later than any that push sets, so that none of those is lost by it.
            change.set({"invalid_until": int(record.invalid_until)})
        # Of one that is reset the version may be unreadable; nothing is certain for as long as what others write now matters.
        if record.version is not None or not record.is_reset:
            change.if_equal("version", record.version)
        return change_item(self._table, change, "noting what is on its way to DHIS2")

    def org_units(self, target: str, period: str) -> Iterator[str]:
        """Yield the org units that have a record (see ``Records``).

        Raises
        ------
        AwsError
            The table cannot be read.
        """
        period_key = Key("target_period").eq(_key(target, period, "")["target_period"])
        doing = "reading which org units DHIS2 has acknowledged values of"
        for item in query_items(self._table, period_key, doing, ProjectionExpression="org_unit"):
            if item["org_unit"] != _EVERY_ORG_UNIT:
                yield str(item["org_unit"])

    def receipts(self, records: Iterable[Record]) -> Receipts:
        """Read what became of the sendings of records (see ``Records``).

        Raises
        ------
        AwsError
            The table cannot be read.
        """
        batches = {batch for record in records for batch in record.attempt_ids()}
        return {
            batch: Receipt(
                progress.settled, progress.applied, progress.began.timestamp(), progress.ended.timestamp()
            )
            for batch, progress in read_receipts(self._receipts, sorted(batches)).items()
            if progress.began is not None and progress.ended is not None
        }

    def invalidate(self, target: str, period: str, org_unit: str | None) -> None:
        """Mark what was disturbed (see ``Records``).

        Raises
        ------
        AwsError
            The table refused.
        """
        until = int((self._now + DISTURBED_FOR).timestamp())
        change = Change(_key(target, period, org_unit or _EVERY_ORG_UNIT))
        change.set({"invalid_until": until, "expires_at": self._end})
        # It may be marked for longer already.
        doing = "noting that values are sent of which nothing is remembered"
        change_item(self._table, change.if_below("invalid_until", until), doing)

    def note_names(self, settings: Settings, period: str) -> None:
        """Note how places in DHIS2 are named; where they were named otherwise last, nothing is certain any more.

        Under the other names something else may have been sent to the same places.

        Raises
        ------
        AwsError
            The table cannot be read or written.
        """
        names = names_of(settings)
        key = _key(str(settings.url), period, _EVERY_ORG_UNIT)
        doing = "noting how places in DHIS2 are named"
        if any(item.get("names", names) != names for item in read_items(self._table, [key], doing)):
            # First: where this breaks off it is done again.
            self.invalidate(target_of(settings), period, None)
        change_item(self._table, Change(key).set({"names": names, "expires_at": self._end}), doing)

    def faults(self) -> tuple[str, ...]:
        """Return what could not be read or written (see ``Records``)."""
        faults = []
        if self._damaged:
            faults.append(
                f"What DHIS2 had acknowledged could not be read of {_listed(self._damaged)}: all their values are sent. "
                "It is noted anew. Where this is said again and again, delete these rows of the table."
            )
        if self._too_large:
            faults.append(
                "There is too much to remember what DHIS2 acknowledges of "
                f"{_listed(self._too_large)}: all their values are sent each time."
            )
        return tuple(faults)


def _key(target: str, period: str, org_unit: str) -> dict[str, str]:
    return {"target_period": f"{target}#{period}", "org_unit": org_unit}


def _seconds(item: Any) -> float:  # noqa: ANN401 - as boto3 gives it
    return float(item.get("invalid_until", 0)) if item else 0.0


def _listed(names: list[str]) -> str:
    unique = list(dict.fromkeys(names))
    shown = 5
    return ", ".join(unique[:shown]) + (f" and {len(unique) - shown:,} more" if len(unique) > shown else "")
