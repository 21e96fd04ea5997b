"""When schedules are due, in words: what EventBridge Scheduler is told, and the next time that it starts a run."""

import re
from datetime import datetime, timedelta

from cli.console.words import ordinal, say
from msupply_dhis2.watchdog.runs import Schedule, ScheduleError, parse_schedule

_CRON = re.compile(r"cron\((\d+) (\d+) (\S+) \* (\S+) [*?]\)")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FARTHEST = timedelta(days=5 * 366)


def in_words(expression: str) -> str:
    """Return an expression as people say it: "on the 5th, 04:30"; one that is not so simple as it stands."""
    found = _CRON.fullmatch(expression.strip())
    if found is None:
        return expression
    minute, hour, day, weekday = found.groups()
    time, is_any_day, is_any_weekday = (
        f"{int(hour):02}:{int(minute):02}",
        day in {"*", "?"},
        weekday in {"*", "?"},
    )
    if is_any_day and is_any_weekday:
        return say("schedule.daily", time=time)
    if is_any_weekday and day == "L":
        return say("schedule.last_day", time=time)
    if is_any_weekday and day.isdigit():
        return say("schedule.day", day=ordinal(int(day)), time=time)
    name = _DAYS[int(weekday) - 1] if weekday in {*"1234567"} else weekday.upper()
    if is_any_day and name in _DAYS:
        return say("schedule.weekday", day=say(f"weekday.{name.lower()}"), time=time)
    return expression


def next_due(expression: str, now: datetime) -> datetime | None:
    """Return when a schedule is due next after an aware instant, in its time zone; ``None`` where that is not known."""
    # From when AWS counts a rate is not known.
    if expression.startswith("rate"):
        return None
    try:
        schedule = parse_schedule(expression, now.tzinfo)  # type: ignore[arg-type]  # of a zone, as the console has it
    except ScheduleError:
        return None
    ahead = timedelta(hours=1)
    while ahead < _FARTHEST:
        due = schedule(now + ahead)
        if due is not None and due > now:
            return _first_after(schedule, due, now)
        ahead *= 2
    return None


def _first_after(schedule: Schedule, due: datetime, now: datetime) -> datetime:
    while (earlier := schedule(due)) is not None and earlier > now:
        due = earlier
    return due


def day_in_words(instant: datetime) -> str:
    """Return a day and a time: "5 December, 04:30"."""
    return say("schedule.next", day=instant.day, month=say(f"month.{instant.month}"), time=f"{instant:%H:%M}")
