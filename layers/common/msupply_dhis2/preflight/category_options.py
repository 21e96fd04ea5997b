"""Whether the category options of the option combos that are sent take the values: sharing, dates, org units."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from msupply_dhis2.dhis2.models import CategoryOption, DataSet, OptionCombo, OrgUnit, Server, User
from msupply_dhis2.periods import Period, PeriodFormat, add_days
from msupply_dhis2.preflight.check import Check, failed, passed
from msupply_dhis2.preflight.facts import called
from msupply_dhis2.preflight.option_combos import UsedCombos
from msupply_dhis2.text import count, joined, listed

NAME = "category options"
_NAMED = 3
_CURES = {
    "not shared": 'Share the category options with the user, with data access "can capture and view".',
    "not valid then": "Extend the start or end dates of the category options in DHIS2, Maintenance, Category option.",
    "not valid there": "Add the org units to the category options in DHIS2, Maintenance, Category option, or remove that "
    "limit.",
}


@dataclass(frozen=True, slots=True)
class Sent:
    """What values are sent for: the periods of a run, the org units of the stores."""

    periods: Sequence[Period]
    org_units: Sequence[OrgUnit]


def check_category_options(
    used: UsedCombos,
    options: Mapping[str, Sequence[CategoryOption]],
    sent: Sent,
    data_set: DataSet,
    user: User,
    server: Server,
) -> Check:
    """Whether category options keep values out.

    The dates and org units of category options count for attribute option combos only, their sharing for all.

    Parameters
    ----------
    options
        The category options by the UIDs of their option combos, as far as the user may see them.
    """
    causes: dict[str, None] = {}
    details = []
    faulty = set()
    for combo in used.all:
        for option in options.get(combo.id, ()):
            faults = dict(_faults(option, sent, data_set, server) if combo in used.attribute else ())
            if option.may_write is False and server.guards_category_options and "ALL" not in user.authorities:
                faults["not shared"] = f"{user.username} may not enter data for it"
            causes |= dict.fromkeys(faults)
            faulty |= {combo.id} if faults else set()
            details += [f"{_both(combo, option)}: {fault}." for fault in faults.values()]
    number = count(len(used.all), "option combo")
    if not details:
        return passed(NAME, f"The category options of {number} take the values.")
    return failed(
        NAME,
        f"The category options of {len(faulty):,} of {number} keep values out ({joined(causes)}): DHIS2 refuses "
        f"them. {' '.join(_CURES[cause] for cause in causes)}",
        details,
    )


def _both(combo: OptionCombo, option: CategoryOption) -> str:
    return f"Option combo {called(combo)}, category option {called(option)}"


def _faults(
    option: CategoryOption, sent: Sent, data_set: DataSet, server: Server
) -> Iterator[tuple[str, str]]:
    outside = [period.label for period in sent.periods if not _is_valid(option, period, data_set, server)]
    if outside:
        start, end = option.start_date or "ever", option.end_date or "ever"
        yield (
            "not valid then",
            f"it is valid from {start} to {end}, and takes no values for {joined(outside)}",
        )
    elsewhere = [
        called(org_unit)
        for org_unit in sent.org_units
        if option.org_units and set(option.org_units).isdisjoint(org_unit.path.split("/"))
    ]
    if elsewhere:
        number = count(len(elsewhere), "org unit")
        yield (
            "not valid there",
            f"it is limited to others than {number} of stores ({listed(elsewhere, _NAMED)})",
        )


def _is_valid(option: CategoryOption, period: Period, data_set: DataSet, server: Server) -> bool:
    """Whether the option's dates have a day of the period, from 2.43 on all of its days.

    Where the data set has open periods after the end date, it is enough that a period so much earlier has.
    """
    spans = [(period.first_day, add_days(period.day_after, -1))]
    if data_set.open_periods_after_end > 0:
        periods = PeriodFormat.parse(period.type_name)
        day = period.first_day
        for _ in range(data_set.open_periods_after_end):
            day = periods.first_day(add_days(day, -1))
        # Up to 2.42 the end date is moved, so that all periods between are valid as well.
        last = add_days(periods.day_after(day), -1) if server.imports_by_group else spans[0][1]
        spans.append((day, last))
    return any(
        (option.start_date is None or option.start_date <= (first if server.imports_by_group else last))
        and (option.end_date is None or option.end_date >= (last if server.imports_by_group else first))
        for first, last in spans
    )
