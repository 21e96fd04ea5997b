"""DHIS2's periods: from ``202601`` to the days it holds, and from a day to the period that holds it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

_DAY = timedelta(days=1)
_WEEKDAYS = {"": 0, "Wed": 2, "Thu": 3, "Fri": 4, "Sat": 5, "Sun": 6}
_MONTHS = {"": 1, "Feb": 2, "April": 4, "July": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11}


@dataclass(frozen=True, slots=True)
class Period:
    """A period: its type (``Monthly``), its ISO name (``202601``) and its first and last day."""

    period_type: str
    iso: str
    first: date
    last: date


def parse_period(text: str) -> Period | None:
    """Read a period as DHIS2 does: ``202601`` and ``2026-01`` are the same month, ``2026-13`` is none."""
    for pattern, read in _READERS:
        match = pattern.fullmatch(text)
        if match is not None:
            try:
                return read(*match.groups(default=""))
            except ValueError:
                return None
    return None


def period_of(period_type: str, day: date) -> Period:
    """Return the period of that type that holds the day."""
    return _MAKERS[period_type](day)


def latest_open_period(period_type: str, open_future_periods: int, day: date) -> Period:
    """Return the last period for which values may be entered on that day.

    With no open future periods it is the one before the current one (docs/dhis2.md, 7).
    """
    period = period_of(period_type, day)
    if open_future_periods == 0:
        return period_of(period_type, period.first - _DAY)
    for _ in range(open_future_periods - 1):
        period = period_of(period_type, period.last + _DAY)
    return period


def _daily(day: date) -> Period:
    return Period("Daily", f"{day:%Y%m%d}", day, day)


def _week_one(year: int, weekday: int) -> date:
    """Return the first day of week 1: the week, starting on that weekday, that holds 4 January."""
    fourth = date(year, 1, 4)
    return fourth - timedelta(days=(fourth.weekday() - weekday) % 7)


def _weeks(year: int, number: int, weekday: int, length: int) -> tuple[date, date]:
    """Return the days of the nth stretch of ``length`` weeks; a number that the year lacks is a ValueError."""
    first = _week_one(year, weekday) + timedelta(weeks=length * (number - 1))
    if number < 1 or first >= _week_one(year + 1, weekday):
        raise ValueError(number)
    return first, first + timedelta(weeks=length) - _DAY


def _weekly(year: int, number: int, start: str) -> Period:
    first, last = _weeks(year, number, _WEEKDAYS[start], 1)
    name = f"Weekly{_WEEKLY_NAMES[start]}" if start else "Weekly"
    return Period(name, f"{year}{start}W{number}", first, last)


_WEEKLY_NAMES = {"Wed": "Wednesday", "Thu": "Thursday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday"}


def _biweekly(year: int, number: int) -> Period:
    return Period("BiWeekly", f"{year}BiW{number}", *_weeks(year, number, 0, 2))


def _week_of(day: date, weekday: int) -> tuple[int, int]:
    """Return the year and the number of the week that holds the day."""
    year = day.year + 1 if day >= _week_one(day.year + 1, weekday) else day.year
    if day < _week_one(year, weekday):
        year -= 1
    return year, (day - _week_one(year, weekday)).days // 7 + 1


def _months(period_type: str, iso: str, year: int, month: int, length: int) -> Period:
    """Return a period of ``length`` months from that month on."""
    after = date(year + (month - 1 + length) // 12, (month - 1 + length) % 12 + 1, 1)
    return Period(period_type, iso, date(year, month, 1), after - _DAY)


def _monthly(year: int, month: int) -> Period:
    return _months("Monthly", f"{year}{month:02}", year, month, 1)


def _part_of_year(period_type: str, iso: str, year: int, number: int, length: int) -> Period:
    """Return the nth stretch of ``length`` months of the year; a number beyond it is a ValueError."""
    if not 1 <= number <= 12 // length:
        raise ValueError(number)
    return _months(period_type, iso, year, (number - 1) * length + 1, length)


def _bimonthly(year: int, number: int) -> Period:
    return _part_of_year("BiMonthly", f"{year}{number:02}B", year, number, 2)


def _quarterly(year: int, number: int) -> Period:
    return _part_of_year("Quarterly", f"{year}Q{number}", year, number, 3)


def _quarterly_nov(year: int, number: int) -> Period:
    # The first quarter begins in November of the year before.
    years, month = divmod(10 + 3 * (number - 1), 12)
    return _months("QuarterlyNov", f"{year}NovQ{number}", year - 1 + years, month + 1, 3)


def _six_monthly(year: int, start: str, number: int) -> Period:
    first = _MONTHS[start] + 6 * (number - 1)
    # November's half years are named after the year in which the second of them lies.
    begins = year - 1 if start == "Nov" else year
    years, month = divmod(first - 1, 12)
    return _months(f"SixMonthly{start}", f"{year}{start}S{number}", begins + years, month + 1, 6)


def _yearly(year: int, start: str) -> Period:
    # November's financial year is named after the year in which it ends, the others after the start.
    begins = year - 1 if start == "Nov" else year
    return _months(f"Financial{start}" if start else "Yearly", f"{year}{start}", begins, _MONTHS[start], 12)


def _year_holding(day: date, start: str) -> Period:
    return next(
        period
        for year in (day.year + 1, day.year, day.year - 1)
        if (period := _yearly(year, start)).first <= day <= period.last
    )


def _half_holding(day: date, start: str) -> Period:
    return next(
        period
        for year in (day.year + 1, day.year, day.year - 1)
        for number in (1, 2)
        if (period := _six_monthly(year, start, number)).first <= day <= period.last
    )


def _quarter_nov_holding(day: date) -> Period:
    # Two months ahead the year is that of January to December.
    year, month = divmod(day.year * 12 + day.month + 1, 12)
    return _quarterly_nov(year, month // 3 + 1)


_READERS: list[tuple[re.Pattern[str], Callable[..., Period]]] = [
    (re.compile(r"(\d{4})(\d\d)(\d\d)"), lambda y, m, d: _daily(date(int(y), int(m), int(d)))),
    (re.compile(r"(\d{4})-(\d\d)-(\d\d)"), lambda y, m, d: _daily(date(int(y), int(m), int(d)))),
    (re.compile(r"(\d{4})(Wed|Thu|Fri|Sat|Sun)?W(\d\d?)"), lambda y, s, n: _weekly(int(y), int(n), s)),
    (re.compile(r"(\d{4})BiW(\d\d?)"), lambda y, n: _biweekly(int(y), int(n))),
    (re.compile(r"(\d{4})-?(\d\d)"), lambda y, m: _monthly(int(y), int(m))),
    (re.compile(r"(\d{4})(\d\d)B"), lambda y, n: _bimonthly(int(y), int(n))),
    (re.compile(r"(\d{4})Q([1-4])"), lambda y, n: _quarterly(int(y), int(n))),
    (re.compile(r"(\d{4})NovQ([1-4])"), lambda y, n: _quarterly_nov(int(y), int(n))),
    (re.compile(r"(\d{4})(April|Nov)?S([12])"), lambda y, s, n: _six_monthly(int(y), s, int(n))),
    (re.compile(r"(\d{4})(Feb|April|July|Aug|Sep|Oct|Nov)?"), lambda y, s: _yearly(int(y), s)),
]

_MAKERS: dict[str, Callable[[date], Period]] = {
    "Daily": _daily,
    "Weekly": lambda day: _weekly(*_week_of(day, 0), ""),
    "WeeklyWednesday": lambda day: _weekly(*_week_of(day, 2), "Wed"),
    "WeeklyThursday": lambda day: _weekly(*_week_of(day, 3), "Thu"),
    "WeeklyFriday": lambda day: _weekly(*_week_of(day, 4), "Fri"),
    "WeeklySaturday": lambda day: _weekly(*_week_of(day, 5), "Sat"),
    "WeeklySunday": lambda day: _weekly(*_week_of(day, 6), "Sun"),
    "BiWeekly": lambda day: _biweekly(_week_of(day, 0)[0], (_week_of(day, 0)[1] + 1) // 2),
    "Monthly": lambda day: _monthly(day.year, day.month),
    "BiMonthly": lambda day: _bimonthly(day.year, (day.month + 1) // 2),
    "Quarterly": lambda day: _quarterly(day.year, (day.month + 2) // 3),
    "QuarterlyNov": _quarter_nov_holding,
    "SixMonthly": lambda day: _half_holding(day, ""),
    "SixMonthlyApril": lambda day: _half_holding(day, "April"),
    "SixMonthlyNov": lambda day: _half_holding(day, "Nov"),
    "Yearly": lambda day: _year_holding(day, ""),
    "FinancialFeb": lambda day: _year_holding(day, "Feb"),
    "FinancialApril": lambda day: _year_holding(day, "April"),
    "FinancialJuly": lambda day: _year_holding(day, "July"),
    "FinancialAug": lambda day: _year_holding(day, "Aug"),
    "FinancialSep": lambda day: _year_holding(day, "Sep"),
    "FinancialOct": lambda day: _year_holding(day, "Oct"),
    "FinancialNov": lambda day: _year_holding(day, "Nov"),
}

PERIOD_TYPES = tuple(_MAKERS)
"""The period types that a data set can have."""

FIRST_RELEASES = {
    "QuarterlyNov": 38,
    "FinancialSep": 42,
    "WeeklyFriday": 43,
    "FinancialFeb": 43,
    "FinancialAug": 43,
}
"""Since which release (2.38, …) a period type is there, where it has not always been."""
