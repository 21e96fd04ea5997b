"""The values that the stand-in has stored, and which texts each value type takes."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sandbox.dhis2.metadata import DataElement
from sandbox.dhis2.versions import Version


class ValueKey(NamedTuple):
    """What makes a data value the same data value; UIDs, and the period's ISO name."""

    data_element: str
    period: str
    org_unit: str
    category_option_combo: str
    attribute_option_combo: str


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A row of the server's table of data values; a deleted one stays, marked."""

    value: str
    stored_by: str
    created: datetime
    last_updated: datetime
    deleted: bool = False
    comment: str | None = None


class ValueStore(Mapping[ValueKey, str]):
    """The table of data values; as a mapping it shows those that are not deleted."""

    def __init__(self) -> None:
        self.rows: dict[ValueKey, StoredValue] = {}
        self.opened: set[str] = set()

    def has_period(self, period: str) -> bool:
        """Whether the period, by its ISO name, was used before; without a value only where it was ``opened``."""
        if period not in self.opened and any(key.period == period for key in list(self.rows)):
            self.opened.add(period)
        return period in self.opened

    def __getitem__(self, key: ValueKey) -> str:
        row = self.rows[key]
        if row.deleted:
            raise KeyError(key)
        return row.value

    def __iter__(self) -> Iterator[ValueKey]:
        return (key for key, row in list(self.rows.items()) if not row.deleted)

    def __len__(self) -> int:
        return sum(not row.deleted for row in list(self.rows.values()))


_NUMBER = re.compile(r"(-?0|-?[1-9]\d*)(\.\d+)?")
_INTEGER = re.compile(r"-?(0|[1-9]\d*)")
_INTEGER_WITH_ZERO_DECIMALS = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
_ZERO = re.compile(r"0(\.0*)?")
_LARGEST_INTEGER = 2**31 - 1
_LONGEST_NUMBER = 250
"""Characters. Recorded: 41 are taken, 300 are not numeric; what is between was not tried."""

_INTEGER_RANGES = {
    "INTEGER": (-_LARGEST_INTEGER - 1, _LARGEST_INTEGER),
    "INTEGER_POSITIVE": (1, _LARGEST_INTEGER),
    "INTEGER_ZERO_OR_POSITIVE": (0, _LARGEST_INTEGER),
    "INTEGER_NEGATIVE": (-_LARGEST_INTEGER - 1, -1),
}
_NUMBER_RANGES = {"PERCENTAGE": (0, 100), "UNIT_INTERVAL": (0, 1)}
_NUMERIC_TYPES = {"NUMBER", *_INTEGER_RANGES, *_NUMBER_RANGES}
_AVERAGES = {"AVERAGE", "AVERAGE_SUM_ORG_UNIT"}

_FAULTS = {
    "NUMBER": "value_not_numeric",
    "INTEGER": "value_not_integer",
    "INTEGER_POSITIVE": "value_not_positive_integer",
    "INTEGER_ZERO_OR_POSITIVE": "value_not_zero_or_positive_integer",
    "INTEGER_NEGATIVE": "value_not_negative_integer",
    "PERCENTAGE": "value_not_percentage",
    "UNIT_INTERVAL": "value_not_unit_interval",
    "BOOLEAN": "value_not_bool",
    "TRUE_ONLY": "value_not_true_only",
}

_TRUE = {"true", "1", "t"}
_FALSE = {"false", "0", "f"}


def normalise(value: str, data_element: DataElement, version: Version) -> str | None:
    """Return the value as the server stores it, or ``None`` where the data element's value type refuses it.

    A boolean comes in several forms and is stored as true or false. From 2.43 it may be "yes" or "no" too,
    and a whole number may have decimals that are zero.
    """
    value_type = data_element.value_type
    if value_type in ("BOOLEAN", "TRUE_ONLY"):
        return _normalise_boolean(value, value_type, version)
    if value_type in _INTEGER_RANGES:
        decimals = _INTEGER_WITH_ZERO_DECIMALS.fullmatch(value)
        if version.imports_by_group and decimals:
            value = decimals[1]
        smallest, largest = _INTEGER_RANGES[value_type]
        return value if _INTEGER.fullmatch(value) and smallest <= int(value) <= largest else None
    if value_type in _NUMERIC_TYPES:
        if _NUMBER.fullmatch(value) is None or len(value) > _LONGEST_NUMBER:
            return None
        lowest, highest = _NUMBER_RANGES.get(value_type, (float("-inf"), float("inf")))
        return value if lowest <= float(value) <= highest else None
    return value


def _normalise_boolean(value: str, value_type: str, version: Version) -> str | None:
    lower = value.lower()
    if lower in _TRUE or (version.imports_by_group and lower == "yes"):
        return "true"
    if value_type == "BOOLEAN" and (lower in _FALSE or (version.imports_by_group and lower == "no")):
        return "false"
    return None


def fault_of(data_element: DataElement) -> str:
    """Return the server's key for "this is no value of that type"."""
    return _FAULTS[data_element.value_type]


def is_vanishing_zero(value: str, data_element: DataElement) -> bool:
    """Whether servers up to 2.42 do not store the value, or delete what stands there (docs/dhis2.md, 6)."""
    return (
        not data_element.zero_is_significant
        and data_element.value_type in _NUMERIC_TYPES
        and data_element.aggregation_type not in _AVERAGES
        and _ZERO.fullmatch(value) is not None
    )
