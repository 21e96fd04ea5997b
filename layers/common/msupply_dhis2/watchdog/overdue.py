"""Which intervals are overdue: a schedule was due, and no run has sent what belongs to it since."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from msupply_dhis2.compute.event import parse_compute_event, rows_asked_for
from msupply_dhis2.errors import EventError
from msupply_dhis2.periods import Interval
from msupply_dhis2.settings import Settings
from msupply_dhis2.state.run import Outcome, Run
from msupply_dhis2.watchdog.schedules import Schedule

GRACE = timedelta(hours=6)
"""So long EventBridge Scheduler tries to start a run (``template.yaml``)."""


@dataclass(frozen=True, slots=True)
class Duty:
    """What is to be looked after of an interval.

    Attributes
    ----------
    interval
        Which.
    schedule
        When its runs are due.
    since
        Since when rows have this interval, and the schedule is as it is, as far as is known; aware. What was due before
        is nobody's fault.
    """

    interval: Interval
    schedule: Schedule
    since: datetime


@dataclass(frozen=True, slots=True)
class Overdue:
    """An interval whose run did not take place.

    Attributes
    ----------
    due
        When it was; aware.
    last_run
        The last one before, among those that were looked at.
    """

    interval: Interval
    due: datetime
    last_run: Run | None


def due_instants(duties: Iterable[Duty], now: datetime) -> Mapping[Interval, datetime]:
    """Return when a run of each interval should have taken place last, where one should."""
    found: dict[Interval, datetime] = {}
    for duty in duties:
        due = duty.schedule.latest(now - GRACE)
        if due is not None and due > duty.since:
            found[duty.interval] = due
    return found


def overdue(due: Mapping[Interval, datetime], runs: Iterable[Run], settings: Settings) -> tuple[Overdue, ...]:
    """Return which intervals no run has sent since they were due.

    Parameters
    ----------
    runs
        At least all that are about an instant since the first that was due.
    """
    known = sorted((run for run in runs if run.as_of is not None), key=_as_of, reverse=True)
    found = []
    for interval, instant in due.items():
        last = next((run for run in known if covers(run, interval, settings)), None)
        if last is None or _as_of(last) < instant:
            found.append(Overdue(interval, instant, last))
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


def _as_of(run: Run) -> datetime:
    assert run.as_of is not None  # noqa: S101 - tells mypy: such runs are left out before
    return run.as_of
