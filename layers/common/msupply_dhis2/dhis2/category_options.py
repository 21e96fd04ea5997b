"""What the category options of attribute option combos allow: by whom, for which days and in which org units.

Push and the connection test judge by the same rules. Only what every release refuses is refused here. In doubt the
server decides: about category option combos of data elements, and about periods that lie partly within an option's dates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from msupply_dhis2.dhis2.answer import Reason
from msupply_dhis2.dhis2.metadata import (
    Access,
    DataSet,
    Day,
    Identified,
    Named,
    OrgUnit,
    ReadsDhis2,
    Reference,
    Server,
)
from msupply_dhis2.dhis2.parsing import Answered, parse
from msupply_dhis2.periods import Period

_SHARING_COUNTS_FROM = (2, 41)
"""The recorded 2.40 took values for category options that the user may not write."""

_ATTRIBUTE = "attributeOptionCombo"


@dataclass(frozen=True, slots=True)
class CategoryOption(Identified):
    """A category option with its limits; without ``org_units`` it is for all of them."""

    may_write: bool | None
    start_date: date | None
    end_date: date | None
    org_units: frozenset[str]

    @property
    def is_limited(self) -> bool:
        """Whether it has any limit."""
        return (
            self.may_write is False
            or self.start_date is not None
            or self.end_date is not None
            or bool(self.org_units)
        )


class Given(NamedTuple):
    """A place for a value, in the identifiers that were given."""

    combo: str
    org_unit: str
    period: str


type Limits = Mapping[str, tuple[CategoryOption, ...]]
"""The category options that have a limit, by the UID of the option combo."""


def find_limits(client: ReadsDhis2, category_combo: str) -> Limits:
    """Find the limits of the option combos of a category combo.

    Raises
    ------
    Dhis2Error
        They cannot be read, or are not what DHIS2 answers.
    """
    path = "/api/categoryCombos"
    query = {"filter": f"id:eq:{category_combo}", "fields": _FIELDS, "paging": "false"}
    found: dict[str, tuple[CategoryOption, ...]] = {}
    for answer in parse(_CategoryComboList, client.get(path, query), path).category_combos:
        for combo in answer.category_option_combos:
            options = (_option(option) for option in combo.category_options)
            if limited := tuple(option for option in options if option.is_limited):
                found[combo.id] = limited
    return found


def option_faults(
    options: Sequence[CategoryOption],
    given: Given,
    *,
    server: Server,
    data_set: DataSet,
    org_unit: OrgUnit | None,
    period: Period | None,
) -> list[Reason]:
    """Find what the category options of an attribute option combo do not allow.

    Parameters
    ----------
    options
        Those of the option combo that have a limit.
    given
        What the words call option combo, org unit and period.
    org_unit, period
        Where and when; ``None`` where that is not known, or its days are in doubt.
    """
    faults = []
    for option in options:
        name = f"category option {option.name} ({option.id})"
        if option.may_write is False and server.version >= _SHARING_COUNTS_FROM:
            words = f"Attribute option combo not found or not accessible for writing data: `{given.combo}`"
            text = f"{words}. The user may not enter data for its {name}"
            faults.append(Reason("E7615", text, property=_ATTRIBUTE, object=given.combo))
        if period is not None and (dates := _other_dates(option, period, data_set)):
            words = f"Period: `{given.period}` is not within date range of attribute option combo: `{given.combo}`"
            text = f"{words} (its {name} {dates})"
            faults.append(Reason("E7638", text, property=_ATTRIBUTE, object=given.period))
        if org_unit is not None and org_unit.path and not _is_for(option, org_unit):
            words = f"Organisation unit: `{given.org_unit}` is not valid for attribute option combo: `{given.combo}`"
            text = f"{words} (its {name} is for other org units)"
            faults.append(Reason("E7639", text, property=_ATTRIBUTE, object=given.org_unit))
    return faults


def _other_dates(option: CategoryOption, period: Period, data_set: DataSet) -> str:
    """Say why no day of the period is within the option's dates; nothing where one may be."""
    if option.start_date is not None and period.day_after <= option.start_date:
        return f"begins on {option.start_date}"
    # A data set can keep periods open after the end.
    if (
        option.end_date is not None
        and period.first_day > option.end_date
        and not data_set.open_periods_after_option_end
    ):
        return f"ended on {option.end_date}"
    return ""


def _is_for(option: CategoryOption, org_unit: OrgUnit) -> bool:
    return not option.org_units or not option.org_units.isdisjoint(org_unit.path.split("/"))


# Answers

_FIELDS = (
    "id,categoryOptionCombos[id,categoryOptions[id,code,name,startDate,endDate,organisationUnits[id],"
    "access[data[write]]]]"
)


class _Option(Named):
    start_date: Day = None
    end_date: Day = None
    organisation_units: tuple[Reference, ...] = ()
    access: Access = Access()


class _Combo(Answered):
    id: str
    category_options: tuple[_Option, ...] = ()


class _CategoryCombo(Answered):
    category_option_combos: tuple[_Combo, ...] = ()


class _CategoryComboList(Answered):
    category_combos: tuple[_CategoryCombo, ...]


def _option(answer: _Option) -> CategoryOption:
    return CategoryOption(
        id=answer.id,
        code=answer.code,
        name=answer.name,
        may_write=answer.access.data.write,
        start_date=answer.start_date,
        end_date=answer.end_date,
        org_units=frozenset(unit.id for unit in answer.organisation_units),
    )
