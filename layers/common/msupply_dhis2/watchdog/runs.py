"""Which runs did not take place when their schedule was due, and what to say about those that do not end.

The expressions of schedules are those of EventBridge Scheduler: ``cron(…)`` with six fields, ``rate(…)`` and ``at(…)``. Its cron
differs from everybody else's in the last two: days of the week are counted from 1, Sunday, and there is a year.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from operator import itemgetter
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from msupply_dhis2.compute.event import parse_compute_event, rows_asked_for
from msupply_dhis2.errors import EventError
from msupply_dhis2.periods import Calendar, Interval
from msupply_dhis2.settings import Settings
from msupply_dhis2.state.connections import written_in
from msupply_dhis2.state.run import COMPUTED_WITHIN, Outcome, Run, event_of
from msupply_dhis2.text import count

GRACE = timedelta(hours=6)
"""So long EventBridge Scheduler tries to start a run (``template.yaml``)."""

QUEUE_KEEPS = timedelta(days=12)
"""So long the queue keeps a message (``template.yaml``)."""


_FIELDS = 6
_RATE = re.compile(r"(\d+) +(minute|hour|day)s?")
_MOST_LOOKED_BACK = 2_000
"""Instants that are looked at for one in a year of the schedule: more than five years of a daily one."""

type Schedule = Callable[[datetime], datetime | None]
"""Returns the last instant at which something was due, before an aware instant; ``None`` where there was none."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """An interval whose run did not take place when it was due (aware), and the last run before, among those looked at."""

    interval: Interval
    due: datetime
    last_run: Run | None


def due_instant(schedule: Schedule, since: datetime, now: datetime) -> datetime | None:
    """Return when a run should have taken place last, where one should.

    What was due before rows had the interval and the schedule was as it is (``since``) is nobody's fault.
    """
    due = schedule(now - GRACE)
    return due if due is not None and due > since else None


def overdue(due: Mapping[Interval, datetime], runs: Iterable[Run], settings: Settings) -> tuple[Overdue, ...]:
    """Return which intervals no run has sent since they were due.

    The runs are at least all that are about an instant since the first that was due.
    """
    known = sorted(
        ((run.as_of, run) for run in runs if run.as_of is not None), key=itemgetter(0), reverse=True
    )
    found = []
    for interval, instant in due.items():
        last = next((each for each in known if covers(each[1], interval, settings)), None)
        if last is None or last[0] < instant:
            found.append(Overdue(interval, instant, last[1] if last else None))
    return tuple(found)


def covers(run: Run, interval: Interval, settings: Settings) -> bool:
    """Return whether a run stands for one of an interval's own.

    It does where it asked for all rows of the interval, each on its own basis, for all stores and items, and was computed:
    its own runs do, and a manual push of everything ``as_in_settings``.
    """
    if run.outcome is Outcome.FAILED:
        return False
    try:
        event = parse_compute_event(json.loads(run.event))
    except (EventError, ValueError):
        # Noted by another version, whose events were others.
        return False
    if event.stores or event.items or event.months:
        return False
    asked = rows_asked_for(event, settings)
    return all((row, row.basis) in asked for row in settings.active_rows if row.interval is interval)


def why_unfinished(run: Run, now: datetime, time_zone: ZoneInfo) -> str | None:
    """Return what a run that is not done waits for, and what to do, where it is open for too long."""
    if run.started_at is None or now - run.started_at < COMPUTED_WITHIN:
        return None
    said = [f"The run {run.run_id} began on {written_in(run.started_at, time_zone)} and has not ended."]
    if run.parts_open:
        said.append(
            f"{count(run.parts_open, 'part')} of it could not be computed yet: {run.message or 'the log of compute says why.'}"
        )
    waiting = count(run.counts.waiting, "value")
    if run.counts.waiting and now - run.started_at > QUEUE_KEEPS:
        said.append(
            f"{waiting} of it would be waiting on the queue, which keeps nothing for more than {QUEUE_KEEPS.days} days. "
            "They are lost, unless dead letters of the run were sent again lately."
        )
    elif run.counts.waiting:
        said.append(
            f"{waiting} of it wait to be sent. Test the connection (make test-connection): it says whether sending is "
            "paused, and why. If it is not paused, read the log of push."
        )
    said.append(f"If that does not help, compute it again: make push EVENT='{event_of(run)}'")
    return " ".join(said)


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
