"""Days and months of the configured time zone, DHIS2's period labels, and the window of time of a run.

Instants are naive ``datetime`` values in UTC, days are dates in the configured time zone. Every span of time
is half open, ``[start, end)``. Near the ends of what a date can say, everything clamps instead of failing.
"""

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msupply_dhis2.errors import ConfigurationError
from msupply_dhis2.text import Choice, closest

_RESOLUTION = timedelta(microseconds=1)
_FIRST_INSTANT = datetime.combine(date.min, time.min)
_LAST_INSTANT = datetime.combine(date.max, time.max)


class Basis(Choice):
    """What a value is about: the calendar month before the run, or the day of the run."""

    PREVIOUS_MONTH = "previous_month"
    CURRENT_DAY = "current_day"


class Interval(Choice):
    """When a metric is sent: the schedules of the stack."""

    MONTHLY = "monthly"
    WEEKLY = "weekly"
    DAILY = "daily"
    FIRST_DAY_OF_MONTH = "first_day_of_month", "first day of the month"
    LAST_DAY_OF_MONTH = "last_day_of_month", "last day of the month"


def parse_time_zone(name: str) -> ZoneInfo:
    """Find a time zone by its name in the tz database."""
    try:
        return ZoneInfo(name.strip())
    # A name that is a folder (Pacific) or that leaves the database (../x) fails in ways of its own.
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"Timezone: {name!r} is not a time zone. Set the Timezone parameter of the stack to a name from "
            "the tz database, for example Pacific/Auckland, Africa/Nairobi or UTC."
        ) from error


def add_days(day: date, days: int) -> date:
    """Return the date so many days later (earlier where negative), or the first or last date there is."""
    try:
        return day + timedelta(days)
    except OverflowError:
        return date.min if days < 0 else date.max


class Calendar:
    """The days of one time zone.

    A day begins at its midnight: the first one where the clock shows it twice, the first instant of the day
    where it is skipped. A date that the time zone left out altogether (2011-12-30 in Pacific/Apia) begins
    and ends at the same instant, and no instant belongs to it.
    """

    def __init__(self, time_zone: ZoneInfo) -> None:
        self.time_zone = time_zone
        self._starts: dict[date, datetime] = {}
        self._midnights: dict[tuple[datetime, datetime], tuple[datetime, ...]] = {}

    def start_of_day(self, day: date) -> datetime:
        """Return the instant at which a day begins; each is worked out once."""
        if day not in self._starts:
            self._starts[day] = self.instant_at(datetime.combine(day, time.min))
        return self._starts[day]

    def instant_at(self, local: datetime) -> datetime:
        """Return the first instant at which the clock shows a time (naive, local) or a later one.

        So a time that the clock shows twice is the first of the two, and one that it skips is the instant at which
        it was put forward.
        """
        start = _shown(local, self.time_zone, UTC)
        if _shown(start, UTC, self.time_zone) == local or start == _FIRST_INSTANT:
            return start
        # The time is skipped. Read with the clock of before and of after the gap (PEP 495), it is an instant
        # after and before it; between the two lies the one that is looked for.
        early = _shown(local, self.time_zone, UTC, fold=1)
        microseconds = range((start - early) // _RESOLUTION)
        return early + _RESOLUTION * bisect_left(
            microseconds, local, key=lambda later: _shown(early + _RESOLUTION * later, UTC, self.time_zone)
        )

    def parse_instant(self, text: str) -> datetime:
        """Read an instant, aware, as somebody has typed it: a date (its first midnight) or a date and time.

        Without an offset in the text it is read as ``instant_at`` reads the times of a database.
        """
        moment = datetime.fromisoformat(text.strip())
        return moment if moment.tzinfo else self.instant_at(moment).replace(tzinfo=UTC)

    def local_after(self, instant: datetime) -> datetime:
        """Return the first time on the clock (naive, local) that stands for a later instant than this one.

        It is the next that the clock shows; but while it shows times for the second time, the first that it has not
        shown before.
        """
        local = _shown(instant, UTC, self.time_zone)
        microseconds = range(2 * timedelta(days=1) // _RESOLUTION)
        return local + _RESOLUTION * bisect_right(
            microseconds, instant, key=lambda later: self.instant_at(local + _RESOLUTION * later)
        )

    def day_of(self, instant: datetime) -> date:
        """Return the day that an instant belongs to: ``start_of_day(day) <= instant`` and before the next."""
        day = _shown(instant, UTC, self.time_zone).date()
        # Where a clock is turned back over midnight, it shows the day before for a second time.
        while day < date.max and self.start_of_day(add_days(day, 1)) <= instant:
            day = add_days(day, 1)
        return day

    def midnights(self, start: datetime, end: datetime) -> tuple[datetime, ...]:
        """Return the midnights of ``[start, end]``, both ends included, earliest first.

        Each pair of neighbours is one whole day. A date that the time zone left out has none.
        """
        if (start, end) not in self._midnights:
            # No clock is a whole day before or behind UTC.
            first, last = max(1, start.toordinal() - 1), min(date.max.toordinal(), end.toordinal() + 1)
            starts = [self.start_of_day(date.fromordinal(ordinal)) for ordinal in range(first, last + 1)]
            midnights = [midnight for midnight in starts if start <= midnight <= end]
            self._midnights[start, end] = tuple(dict.fromkeys(midnights))
        return self._midnights[start, end]


def _shown(local: datetime, there: tzinfo, here: tzinfo, fold: int = 0) -> datetime:
    """Return what the clock shows here (naive) when it shows a time there, or the first or last that it can show."""
    instant = local.replace(tzinfo=there, fold=fold)
    try:
        return instant.astimezone(here).replace(tzinfo=None, fold=0)
    except OverflowError:
        return _FIRST_INSTANT if instant.year == date.min.year else _LAST_INSTANT


@dataclass(frozen=True, slots=True)
class PeriodFormat:
    """How the periods of a data set are cut and labelled (the setting "Period format"): by a pattern, or a DHIS2 period type.

    A period has ``months``, or ``weeks``, or is a day; labels are those of DHIS2, `2026W5` or `2026AprilS1`, in the ISO calendar.

    Months are counted from the month ``first`` of a year that may not be the calendar's. DHIS2 names a year from November, and
    its parts, after the calendar year in which it ends (``year_shift`` 1), every other one after that in which it begins.

    Weeks begin on the weekday ``first`` (Monday is 0), and are numbered as ISO 8601 does: by the year of their fourth day. Of
    pairs of weeks 1 is with 2 and so on. Week 53 begins a 27th pair, whose second week is week 1 of the next year. That week
    belongs to two periods then. A day of it is labelled as DHIS2 does: with the first period of its own year.
    """

    text: str
    template: str
    months: int = 0
    weeks: int = 0
    first: int = 1
    year_shift: int = 0

    @staticmethod
    def parse(text: str) -> "PeriodFormat":
        """Find a format by its pattern (``YYYYMM``) or the name of a DHIS2 period type (``Monthly``, in any case).

        A ``ValueError`` says why it is neither, and what is allowed.
        """
        word = text.strip()
        if found := _PATTERNS.get(word) or _PERIOD_TYPES.get(word.lower()):
            return found
        raise _not_understood(word)

    @property
    def shorter_than_month(self) -> bool:
        """Whether a period is part of a month: a day, a week or two weeks."""
        return not self.months

    @property
    def longer_than_month(self) -> bool:
        """Whether a period has more than one month."""
        return self.months > 1

    def first_day(self, day: date) -> date:
        """Return the first day of the period that holds a day."""
        if self.months:
            return _month(day, -((day.month - self.first) % self.months))
        if self.weeks:
            _, week = self._week(day)
            return add_days(day, -((day.weekday() - self.first) % 7 + (week - 1) % self.weeks * 7))
        return day

    def day_after(self, day: date) -> date:
        """Return the first day after the period that holds a day."""
        first = self.first_day(day)
        return _month(first, self.months) if self.months else add_days(first, 7 * self.weeks or 1)

    def label(self, day: date) -> str:
        """Return the label of the period that holds a day."""
        year, number = day.year, 1
        if self.months:
            years, months = divmod(day.month - self.first, 12)
            year, number = year + years + self.year_shift, months // self.months + 1
        elif self.weeks:
            year, week = self._week(day)
            number = (week - 1) // self.weeks + 1
        return self.template.format(year=year, number=number, day=day)

    def _week(self, day: date) -> tuple[int, int]:
        """Return the year of a day's week, and the week's number in it."""
        fourth_day = add_days(day, 3 - (day.weekday() - self.first) % 7)
        return fourth_day.year, (fourth_day.timetuple().tm_yday - 1) // 7 + 1


def _month(day: date, later: int) -> date:
    """Return the first day of the month so many months later, or the first or last date there is."""
    year, month = divmod(day.year * 12 + day.month - 1 + later, 12)
    if date.min.year <= year <= date.max.year:
        return date(year, month + 1, 1)
    return date.min if later < 0 else date.max


_PATTERNS = {
    each.text: each
    for each in (
        PeriodFormat("YYYYMM", "{year:04d}{day:%m}", months=1),
        PeriodFormat("YYYY-MM", "{year:04d}-{day:%m}", months=1),
        PeriodFormat("YYYYMMDD", "{year:04d}{day:%m%d}"),
        PeriodFormat("YYYY-MM-DD", "{year:04d}-{day:%m-%d}"),
        PeriodFormat("YYYY", "{year:04d}", months=12),
    )
}
"""The only ones that DHIS2 takes apart; of any other it says that the period is invalid."""

# Up to 2.37 DHIS2 has no QuarterlyNov, up to 2.41 no FinancialSep, up to 2.42 no WeeklyFriday, FinancialFeb and
# FinancialAug. Its TwoYearly has no label, so that no value can be sent for it.
_PERIOD_TYPES = {
    each.text.lower(): each
    for each in (
        PeriodFormat("Daily", "{year:04d}{day:%m%d}"),
        PeriodFormat("Weekly", "{year:04d}W{number}", weeks=1, first=0),
        PeriodFormat("WeeklyWednesday", "{year:04d}WedW{number}", weeks=1, first=2),
        PeriodFormat("WeeklyThursday", "{year:04d}ThuW{number}", weeks=1, first=3),
        PeriodFormat("WeeklyFriday", "{year:04d}FriW{number}", weeks=1, first=4),
        PeriodFormat("WeeklySaturday", "{year:04d}SatW{number}", weeks=1, first=5),
        PeriodFormat("WeeklySunday", "{year:04d}SunW{number}", weeks=1, first=6),
        PeriodFormat("BiWeekly", "{year:04d}BiW{number}", weeks=2, first=0),
        PeriodFormat("Monthly", "{year:04d}{day:%m}", months=1),
        PeriodFormat("BiMonthly", "{year:04d}{number:02d}B", months=2),
        PeriodFormat("Quarterly", "{year:04d}Q{number}", months=3),
        PeriodFormat("QuarterlyNov", "{year:04d}NovQ{number}", months=3, first=11, year_shift=1),
        PeriodFormat("SixMonthly", "{year:04d}S{number}", months=6),
        PeriodFormat("SixMonthlyApril", "{year:04d}AprilS{number}", months=6, first=4),
        PeriodFormat("SixMonthlyNov", "{year:04d}NovS{number}", months=6, first=11, year_shift=1),
        PeriodFormat("Yearly", "{year:04d}", months=12),
        PeriodFormat("FinancialFeb", "{year:04d}Feb", months=12, first=2),
        PeriodFormat("FinancialApril", "{year:04d}April", months=12, first=4),
        PeriodFormat("FinancialJuly", "{year:04d}July", months=12, first=7),
        PeriodFormat("FinancialAug", "{year:04d}Aug", months=12, first=8),
        PeriodFormat("FinancialSep", "{year:04d}Sep", months=12, first=9),
        PeriodFormat("FinancialOct", "{year:04d}Oct", months=12, first=10),
        PeriodFormat("FinancialNov", "{year:04d}Nov", months=12, first=11, year_shift=1),
    )
}

_MEANT = {
    **dict.fromkeys(("MMYYYY", "YYYYM", "YYYYMMM"), "YYYYMM"),
    **dict.fromkeys(("DDMMYYYY", "MMDDYYYY"), "YYYYMMDD"),
    **dict.fromkeys(("YYYYW", "YYYYWW", "YYYYWWW"), "Weekly"),
    **dict.fromkeys(("YYYYQ", "YYYYQQ"), "Quarterly"),
}
"""What is meant by the letters of other systems' patterns."""


def _not_understood(text: str) -> ValueError:
    letters = "".join(filter(str.isalpha, text.upper()))
    types = [each.text for each in _PERIOD_TYPES.values()]
    known = {name.upper(): name for name in (*_PATTERNS, *types)}
    meant = _MEANT.get(letters) or known.get(closest(letters, known, cutoff=0.8) or "")
    return ValueError(
        f"is {text!r}, which DHIS2 does not understand.{f' Did you mean {meant}?' if meant else ''} "
        f"Write one of: {', '.join(_PATTERNS)}; or the name of a DHIS2 period type: {', '.join(types)}."
    )


@dataclass(frozen=True, slots=True)
class Period:
    """A period of a DHIS2 period type: its label as DHIS2 writes it, its first day and the first day after it."""

    type_name: str
    label: str
    first_day: date
    day_after: date


_DASHED = re.compile(r"\d{4}-\d\d(-\d\d)?", re.ASCII)
_PADDED_WEEK = re.compile(r"(\d{4}(?:Wed|Thu|Fri|Sat|Sun|Bi)?W)0(\d)", re.ASCII)
_YEARS = range(date.min.year + 2, date.max.year - 1)


@lru_cache(maxsize=1024)
def find_period(label: str) -> Period | None:
    """Find the period that a label means to DHIS2; ``None`` where it means none.

    DHIS2 also takes ``2026-01`` for ``202601``, ``2026-01-05`` for ``20260105`` and ``2026W05`` for ``2026W5``.
    """
    if _DASHED.fullmatch(label):
        label = label.replace("-", "")
    label = _PADDED_WEEK.sub(r"\1\2", label)
    year = re.match(r"\d{4}", label, re.ASCII)
    return _periods_named_after(int(year[0])).get(label) if year and int(year[0]) in _YEARS else None


@lru_cache(maxsize=16)
def _periods_named_after(year: int) -> dict[str, Period]:
    """Return the periods of all types by label, as far as they are named after a year; some lie in its neighbours."""
    periods = {}
    for period_type in _PERIOD_TYPES.values():
        day = period_type.first_day(date(year - 1, 1, 1))
        while day.year <= year + 1:
            label, day_after = period_type.label(day), period_type.day_after(day)
            if label.startswith(f"{year:04d}"):
                periods[label] = Period(period_type.text, label, day, day_after)
            day = period_type.first_day(day_after)
    return periods


@dataclass(frozen=True)
class Window:
    """One basis at one instant: all that the metrics need to know about time.

    Stock is looked at at ``snapshot``: the end of the previous month, or the instant of the run (``as_of``). Its day is
    ``snapshot_date``, and ``period`` the label of the period that holds that. Up to then last the month of opening and closing
    stock, and the flow that received, issued, adjustments and days out of stock are about.
    """

    basis: Basis
    as_of: datetime
    snapshot: datetime
    snapshot_date: date
    month_start: datetime
    flow_start: datetime
    period: str
    calendar: Calendar


def window(basis: Basis, as_of: datetime, calendar: Calendar, period_format: PeriodFormat) -> Window:
    """Return what a basis means at the (aware) instant of a run.

    Flows cover the period of the label up to the snapshot. On a previous month basis a label shorter than a
    month cannot hold a month's flows: they cover the month, and the settings say that it does not fit.
    """
    if as_of.tzinfo is None:
        raise ValueError("The instant of a run must have a time zone.")
    snapshot = as_of = _shown(as_of, as_of.tzinfo, UTC, as_of.fold)
    day = calendar.day_of(as_of)
    is_past = basis is Basis.PREVIOUS_MONTH
    if is_past:
        snapshot, day = calendar.start_of_day(day.replace(day=1)), add_days(day.replace(day=1), -1)
    month = day.replace(day=1)
    return Window(
        basis=basis,
        as_of=as_of,
        snapshot=snapshot,
        snapshot_date=day,
        month_start=calendar.start_of_day(month),
        flow_start=calendar.start_of_day(
            month if is_past and period_format.shorter_than_month else period_format.first_day(day)
        ),
        period=period_format.label(day),
        calendar=calendar,
    )
