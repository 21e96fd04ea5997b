"""Reading back which values are stored in DHIS2."""

from collections.abc import Collection, Iterator, Sequence
from itertools import batched

from msupply_dhis2.dhis2.parsing import Answered, ReadsDhis2, parse
from msupply_dhis2.domain.data_value import DataValueKey
from msupply_dhis2.periods import find_period

_PATH = "/api/dataValueSets"
_ORG_UNITS_A_CALL = 100
_PERIODS_A_CALL = 50
"""With 20 characters each in the address an org unit and a period, far below the 7,000 that always pass."""


def read_stored(
    client: ReadsDhis2, data_set_id: str, keys: Collection[DataValueKey]
) -> dict[DataValueKey, str]:
    """Return what DHIS2 holds for keys of a data set, all in UIDs; a key without a value is absent.

    Raises
    ------
    Dhis2Error
        It cannot be read, or not by this user.
    """
    wanted = frozenset(keys)
    return {
        key: value
        for query in _queries(data_set_id, wanted)
        for key, value in _stored_in(parse(_DataValueSet, client.get(_PATH, query), _PATH))
        if key in wanted
    }


def _queries(data_set_id: str, keys: Collection[DataValueKey]) -> Iterator[dict[str, str | Sequence[str]]]:
    """Yield the queries that cover all keys; org units with the same periods are asked for together."""
    periods_of: dict[str, set[str]] = {}
    for key in keys:
        periods_of.setdefault(key.org_unit, set()).add(key.period)
    org_units_with: dict[frozenset[str], list[str]] = {}
    for org_unit, periods in sorted(periods_of.items()):
        org_units_with.setdefault(frozenset(periods), []).append(org_unit)
    for same_periods, org_units in org_units_with.items():
        for some_periods in batched(sorted(same_periods), _PERIODS_A_CALL, strict=False):
            for some_org_units in batched(org_units, _ORG_UNITS_A_CALL, strict=False):
                yield {"dataSet": data_set_id, "period": some_periods, "orgUnit": some_org_units}


class _Row(Answered):
    data_element: str
    period: str | None = None
    org_unit: str | None = None
    category_option_combo: str
    attribute_option_combo: str
    value: str | None = None
    deleted: bool = False


class _DataValueSet(Answered):
    """From 2.43 what is the same for all rows stands at the top only; where nothing is stored there are no rows."""

    period: str | None = None
    org_unit: str | None = None
    data_values: tuple[_Row, ...] = ()


def _stored_in(answer: _DataValueSet) -> Iterator[tuple[DataValueKey, str]]:
    for row in answer.data_values:
        period, org_unit = row.period or answer.period, row.org_unit or answer.org_unit
        if row.deleted or row.value is None or period is None or org_unit is None:
            continue
        found = find_period(period)
        yield (
            DataValueKey(
                row.data_element,
                found.label if found else period,
                org_unit,
                row.category_option_combo,
                row.attribute_option_combo,
            ),
            row.value,
        )
