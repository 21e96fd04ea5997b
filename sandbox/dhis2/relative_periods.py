"""DHIS2's relative periods: what ``LAST_12_MONTHS`` means today."""

import re
from datetime import date, timedelta

from sandbox.dhis2.periods import Period, period_of

_NAME = re.compile(r"(THIS|LAST)_(?:(\d+)_)?(DAY|WEEK|MONTH|BIMONTH|QUARTER|SIX_MONTH|YEAR)S?")
_TYPES = {
    "DAY": "Daily",
    "WEEK": "Weekly",
    "MONTH": "Monthly",
    "BIMONTH": "BiMonthly",
    "QUARTER": "Quarterly",
    "SIX_MONTH": "SixMonthly",
    "YEAR": "Yearly",
}


def relative_periods(name: str, today: date) -> list[Period]:
    """Return the periods of a relative one, the earliest first; none where there is no such name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return []
    period = period_of(_TYPES[match[3]], today)
    if match[1] == "THIS":
        return [period]
    found: list[Period] = []
    for _ in range(int(match[2] or 1)):
        period = period_of(period.period_type, period.first - timedelta(days=1))
        found.insert(0, period)
    return found
