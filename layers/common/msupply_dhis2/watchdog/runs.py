"""Which runs did not take place, and what to say about those that do not end."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from zoneinfo import ZoneInfo

from msupply_dhis2.compute.event import parse_compute_event, rows_asked_for
from msupply_dhis2.errors import EventError
from msupply_dhis2.periods import Interval
from msupply_dhis2.settings import Settings
from msupply_dhis2.state.connections import written_in
from msupply_dhis2.state.run import COMPUTED_WITHIN, Outcome, Run, event_of
from msupply_dhis2.text import count
from msupply_dhis2.watchdog.schedules import Schedule

GRACE = timedelta(hours=6)
"""So long EventBridge Scheduler tries to start a run (``template.yaml``)."""

QUEUE_KEEPS = timedelta(days=12)
"""So long the queue keeps a message (``template.yaml``)."""


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
            "Unless dead letters of it were sent again lately, they are lost on the way."
        )
    elif run.counts.waiting:
        said.append(
            f"{waiting} of it wait to be sent. Test the connection (make test-connection): it says whether sending is "
            "paused, and why; if it is not, the log of push says what stands in the way."
        )
    said.append(f"Where that does not help, compute it again: make push EVENT='{event_of(run)}'")
    return " ".join(said)
