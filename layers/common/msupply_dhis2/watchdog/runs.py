"""Which runs did not take place when their schedule was due, and what to say about those that do not end.

The expressions of schedules are those of EventBridge Scheduler: ``cron(…)`` with six fields, ``rate(…)`` and ``at(…)``. Its cron
differs from everybody else's in the last two: days of the week are counted from 1, Sunday, and there is a year.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from msupply_dhis2.compute.event import EARLIEST, parse_noted_event, rows_asked_for
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
    """Return which intervals no run has sent since they were due; ``runs``: at least all that are about an instant since."""
    last: dict[Interval, Run] = {}
    for run in sorted(runs, key=lambda run: run.as_of or EARLIEST):
        last |= {interval: run for interval in due if covers(run, interval, settings)}
    return tuple(
        Overdue(interval, instant, last.get(interval))
        for interval, instant in due.items()
        if interval not in last or (last[interval].as_of or EARLIEST) < instant
    )


def covers(run: Run, interval: Interval, settings: Settings) -> bool:
    """Return whether a run stands for one of an interval's own.

    It does where it asked for all rows of the interval, each on its own basis, for all stores and items, and was computed:
    its own runs do, and a manual push of everything ``as_in_settings``.
    """
    event = parse_noted_event(run.event)
    if run.outcome is Outcome.FAILED or event is None or event.stores or event.items or event.months:
        return False
    asked = rows_asked_for(event, settings)
    return all((row, row.basis) in asked for row in settings.active_rows if row.interval is interval)


def why_unfinished(run: Run, now: datetime, time_zone: ZoneInfo) -> str | None:
    """Return what a run that is not done waits for, and what to do, where it is open for too long."""
    if run.started_at is None or now - run.started_at < COMPUTED_WITHIN:
        return None
    said = f"The run {run.run_id} began on {written_in(run.started_at, time_zone)} and has not ended."
    if run.parts_open:
        why = run.message or "the log of compute says why."
        said += f" {count(run.parts_open, 'part')} of it could not be computed yet: {why}"
    waiting = count(run.counts.waiting, "value")
    if run.counts.waiting and now - run.started_at > QUEUE_KEEPS:
        said += (
            f" {waiting} of it waited for more than the {QUEUE_KEEPS.days} days of the queue. They are lost, unless dead "
            "letters of the run were sent again lately."
        )
    elif run.counts.waiting:
        said += (
            f" {waiting} of it wait to be sent. Test the connection (make test-connection): it says whether sending is "
            "paused, and why. If it is not paused, read the log of push."
        )
    return f"{said} If that does not help, compute it again: make push EVENT='{event_of(run)}'"


class ScheduleError(ValueError):
    """An expression that cannot be understood here."""


def parse_schedule(expression: str, time_zone: ZoneInfo) -> Schedule:
    """Read an expression of EventBridge Scheduler.

    A ScheduleError where it is none, or one that only AWS understands (``W``, the working day nearest to a day).
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
    fields = text.upper().replace("?", "*").split()
    if len(fields) != _FIELDS:
        raise ValueError(f"it has {len(fields)} fields and not {_FIELDS}")
    *first, weekday, year = fields
    # The days of the week from 0; names stay, and so do the numbers after # and /.
    weekday = re.sub(r"(?<![#/\d])[1-7](?!\d)", lambda digit: str(int(digit[0]) - 1), weekday)
    expression = " ".join((*first, weekday))
    # It is read now, so that a fault is told before anything is looked for.
    CronSim(expression, datetime.now(time_zone))
    years = _years(year)

    def latest(before: datetime) -> datetime | None:
        earlier = CronSim(expression, before.astimezone(time_zone), reverse=True)
        some = islice(earlier, _MOST_LOOKED_BACK)
        return next((due for due in some if years is None or due.year in years), None)

    return latest


def _years(field: str) -> frozenset[int] | None:
    if field == "*":
        return None
    ranges = [part.partition("-") for part in field.split(",")]
    return frozenset(year for first, _, last in ranges for year in range(int(first), int(last or first) + 1))
