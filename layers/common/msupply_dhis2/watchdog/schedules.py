"""When a schedule was due last.

The expressions are those of EventBridge Scheduler: ``cron(…)`` with six fields, ``rate(…)`` and ``at(…)``. Its cron differs
from everybody else's in the last two: days of the week are counted from 1, Sunday, and there is a year.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from msupply_dhis2.periods import Calendar

_FIELDS = 6
_RATE = re.compile(r"(\d+) +(minute|hour|day)s?")
_MOST_LOOKED_BACK = 2_000
"""Instants that are looked at for one in a year of the schedule: more than five years of a daily one."""

type Schedule = Callable[[datetime], datetime | None]
"""Returns the last instant at which something was due, before an aware instant; ``None`` where there was none."""


class ScheduleError(ValueError):
    """An expression that cannot be understood here."""


def parse_schedule(expression: str, time_zone: ZoneInfo) -> Schedule:
    """Read an expression of EventBridge Scheduler.

    Raises
    ------
    ScheduleError
        It is none, or one that only AWS understands (``W``, the working day nearest to a day).
    """
    kind, _, rest = expression.strip().partition("(")
    said = rest.removesuffix(")").strip()
    if kind == "rate" and (match := _RATE.fullmatch(said)):
        every = timedelta(**{f"{match[2]}s": int(match[1])})
        # From when AWS counts is not known: some instant of the last such time.
        return lambda before: before - every
    try:
        if kind == "at":
            instant = Calendar(time_zone).parse_instant(said)
            return lambda before: instant if instant < before else None
        if kind == "cron":
            return _cron(said, time_zone)
    except (ValueError, CronSimError) as error:
        raise ScheduleError(f"{expression} cannot be read: {error}") from error
    raise ScheduleError(f"{expression} is neither cron(…) nor rate(…) nor at(…)")


def _cron(text: str, time_zone: ZoneInfo) -> Schedule:
    fields = text.upper().split()
    if len(fields) != _FIELDS:
        raise ValueError(f"it has {len(fields)} fields and not {_FIELDS}")
    minute, hour, day, month, weekday, year = fields
    expression = " ".join((minute, hour, _any(day), month, _weekdays(weekday)))
    # It is read now, so that a fault is told before anything is looked for.
    CronSim(expression, datetime.now(time_zone))
    years = _years(year)

    def latest(before: datetime) -> datetime | None:
        earlier = CronSim(expression, before.astimezone(time_zone), reverse=True)
        some = islice(earlier, _MOST_LOOKED_BACK)
        return next((due for due in some if years is None or due.year in years), None)

    return latest


def _any(field: str) -> str:
    return "*" if field == "?" else field


def _weekdays(field: str) -> str:
    """Count the days of the week from 0; names stay, and so do the numbers after ``#`` and ``/``."""
    return re.sub(r"(?<![#/\d])[1-7](?!\d)", lambda digit: str(int(digit[0]) - 1), _any(field))


def _years(field: str) -> frozenset[int] | None:
    if field in {"*", "?"}:
        return None
    years: set[int] = set()
    for part in field.split(","):
        first, _, last = part.partition("-")
        years.update(range(int(first), int(last or first) + 1))
    return frozenset(years)
