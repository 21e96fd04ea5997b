"""The steps of a run: its own values, and earlier months that are computed again.

Stores synchronise late and back-date. So a monthly run may compute the months before its own once more (the setting
``restate_months``), and a manual event may ask for a range of months. Each month is a step of its own, with the values
that a run on the first day of the following month would have sent had everything been known by then.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from msupply_dhis2.errors import EventError
from msupply_dhis2.periods import Basis, Calendar, PeriodFormat

FIRST_YEAR = 2000
MOST_MONTHS = 120
"""Ten years in one event: more is more likely a slip than meant."""

_RANGE = re.compile(r"(\d{4})-(\d\d)(?:\s*\.\.\s*(\d{4})-(\d\d))?", re.ASCII)
_LONGER_THAN_A_MONTH = timedelta(32)


@dataclass(frozen=True, slots=True)
class MonthRange:
    """Whole months, both ends included, each given by its first day. Written ``2025-01..2025-12``, or ``2025-01``."""

    first: date
    last: date

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a range; a ValueError says what is wrong with it, and what to write."""
        match = _RANGE.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                f"'{text}' is neither a month nor a range of months: write 2025-01, or 2025-01..2025-12"
            )
        first = _month(text, match[1], match[2])
        last = _month(text, match[3], match[4]) if match[3] else first
        if last < first:
            raise ValueError(
                f"'{text}' ends before it begins: write the earlier month first, {last:%Y-%m}..{first:%Y-%m}"
            )
        months = cls(first, last)
        if (number := len(months.months())) > MOST_MONTHS:
            raise ValueError(
                f"'{text}' holds {number} months, and one event may hold {MOST_MONTHS}: send several events, one "
                "after the other"
            )
        return months

    def __str__(self) -> str:
        """Write it as it is read."""
        return f"{self.first:%Y-%m}..{self.last:%Y-%m}" if self.last > self.first else f"{self.first:%Y-%m}"

    def months(self) -> tuple[date, ...]:
        """Return the first day of each month, the oldest first."""
        months = [self.first]
        while months[-1] < self.last:
            months.append(_after(months[-1]))
        return tuple(months)


def _month(text: str, year: str, month: str) -> date:
    try:
        first_day = date(int(year), int(month), 1)
    except ValueError:
        raise ValueError(f"'{text}': there is no month {year}-{month}") from None
    if first_day.year < FIRST_YEAR:
        raise ValueError(f"'{text}' lies before the year {FIRST_YEAR}: is the year right?")
    return first_day


def _after(month: date) -> date:
    return (month + _LONGER_THAN_A_MONTH).replace(day=1)


def _before(month: date) -> date:
    return (month - timedelta(1)).replace(day=1)


class MonthStep(BaseModel):
    """A part of a run, whose values are on the queue before the next step begins.

    Attributes
    ----------
    month
        The month that is computed again, as ``2025-01``: of the rows of the settings only those on the basis
        *previous month* are then worked. ``None`` is the run's own step, with all its rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: AwareDatetime
    month: str | None = None


def month_steps_of_range(
    months: MonthRange, now: datetime, calendar: Calendar, period: PeriodFormat
) -> tuple[MonthStep, ...]:
    """Return a step for each month of a range, the oldest first; an EventError where a month is not over yet."""
    latest = _last_month(now, calendar)
    if months.last > latest:
        raise EventError(
            f"months: {months.last:%Y-%m} is not over yet. The last month that is: {latest:%Y-%m}. For the current "
            'month leave months out: {"manual": true} is about today.'
        )
    return tuple(_step(month, calendar) for month in _ends(months.months(), latest, period))


def month_steps_before(
    number: int, as_of: datetime, calendar: Calendar, period: PeriodFormat
) -> tuple[MonthStep, ...]:
    """Return a step for each of so many months before the month of a monthly run, the oldest first."""
    own = _last_month(as_of, calendar)
    months = [own]
    for _ in range(number):
        months.append(_before(months[-1]))
    ends = _ends(reversed(months[1:]), own, period)
    return tuple(_step(month, calendar) for month in ends if month != own)


def _last_month(instant: datetime, calendar: Calendar) -> date:
    """Return the last month that is over at an instant."""
    return _before(calendar.day_of(instant.astimezone(UTC).replace(tzinfo=None)).replace(day=1))


def _ends(months: Iterable[date], latest: date, period: PeriodFormat) -> Iterable[date]:
    """Return of each period the last month that is over, even where it is not among these months.

    Where a period has more than one month, a later month's values replace an earlier one's.
    """

    def label(month: date) -> str:
        return period.label(_after(month) - timedelta(1))

    ends: dict[date, None] = {}
    for month in months:
        end = month
        while end < latest and label(_after(end)) == label(month):
            end = _after(end)
        ends[end] = None
    return ends


def _step(month: date, calendar: Calendar) -> MonthStep:
    as_of = calendar.start_of_day(_after(month)).replace(tzinfo=UTC).astimezone(calendar.time_zone)
    return MonthStep(as_of=as_of, month=f"{month:%Y-%m}")


def rows_of_past[Row](rows: Sequence[tuple[Row, Basis]]) -> tuple[tuple[Row, Basis], ...]:
    """Keep the rows that a month that is over has values for."""
    return tuple((row, basis) for row, basis in rows if basis is Basis.PREVIOUS_MONTH)
