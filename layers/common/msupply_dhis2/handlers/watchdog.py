"""The watchdog on AWS: once a day it looks at runs, messages and schedules, fixes what it can, and tells the rest.

What an alarm cannot see is that something did *not* happen, and it cannot name what. So the watchdog writes to the topic of
the alarms itself; that it is silent is an alarm of CloudWatch.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.dynamodb import Change, change_item, read_item
from msupply_dhis2.aws.environment import WatchdogEnvironment
from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.errors import DamagedRowError, MsupplyDhis2Error
from msupply_dhis2.handlers.invocation import ERROR, INFO, LogEvent, RunsInvocation, dead_letters_of
from msupply_dhis2.handlers.orders import grouped
from msupply_dhis2.periods import Interval, parse_time_zone
from msupply_dhis2.settings import Settings
from msupply_dhis2.state.connections import written_in
from msupply_dhis2.state.run import RUNS_KEPT_FOR, Run
from msupply_dhis2.text import count
from msupply_dhis2.watchdog.runs import (
    Overdue,
    ScheduleError,
    due_instant,
    overdue,
    parse_schedule,
    why_unfinished,
)

FOR_ALL_ELSE_SECONDS = 120.0
"""Kept of the function's time when queues are searched: to look at runs and schedules, and to tell what was found."""

LOOKED_BACK = timedelta(days=120)
"""Runs of so long ago are looked at, whether they ended: so long dead letters of them may be sent again."""

BEGINNING = timedelta(hours=1)
"""So young a run that seems to be done may only be about to note its parts."""

_MOST_SAID = 20
"""Findings that are told in full; a message of the topic holds 256 KB."""

_STATE = {"id": "watchdog"}


def run(context: LambdaContext, *, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Look after everything once; return a sentence, and what somebody has to do, a text each (``findings``)."""
    watchdog = _Watchdog(context, logger, metrics)
    findings = watchdog.look()
    to_do = f"{count(len(findings), 'thing')} to do"
    for finding in findings:
        watchdog.log(LogEvent.WATCHDOG_FOUND, ERROR, finding)
    if findings:
        _mail(watchdog.environment, to_do, findings)
    watchdog.count("WatchdogFindings", len(findings))
    # Last: where anything before it broke off, the watchdog has been silent.
    watchdog.count("WatchdogLooked", 1)
    message = f"{to_do}." if findings else "Nothing to do."
    said = f"The watchdog has looked. {message}"
    watchdog.log(LogEvent.WATCHDOG_LOOKED, INFO, said, findings=len(findings))
    return {"message": message, "findings": findings}


def _mail(environment: WatchdogEnvironment, to_do: str, findings: list[str]) -> None:
    said = [f"{number}. {finding}" for number, finding in enumerate(findings[:_MOST_SAID], 1)]
    if more := len(findings) - len(said):
        said.append(f"And {more:,} more: see the log /{environment.stack_name}/watchdog.")
    client, subject = clients.sns(), f"{environment.stack_name[:60]}: {to_do}"
    with aws_faults("telling the topic of the alarms", client):
        client.publish(TopicArn=environment.alert_topic, Subject=subject, Message="\n\n".join(said))


class _Watchdog(RunsInvocation[WatchdogEnvironment]):
    kept_seconds = FOR_ALL_ELSE_SECONDS

    def __init__(self, context: LambdaContext, logger: Logger, metrics: Metrics) -> None:
        super().__init__(WatchdogEnvironment.read(), context, logger, metrics)
        self._now = datetime.now(UTC)
        self._time_zone = parse_time_zone(self.environment.timezone)
        self._damaged: dict[str, str] = {}

    def look(self) -> list[str]:
        """Look at one thing after the other; that one cannot be looked at does not hide the next."""
        findings: list[str] = []
        # What lies among the dead letters is counted first: a run may have ended with it.
        for look in (self._dead_letters, self._unfinished_runs, self._overdue_intervals):
            try:
                findings += look()
            except MsupplyDhis2Error as error:
                findings.append(f"The watchdog could not check everything: {error}")
        return [*findings, *self._damaged.values()]

    def _recent_runs(self, since: datetime) -> Iterator[Run]:
        """Read the runs since an instant; one whose row is damaged is told of, and the others are looked at all the same."""
        for run_id in self.runs.recent(since):
            try:
                run = self.runs.run(run_id)
            except DamagedRowError as error:
                self._damaged[run_id] = str(error)
                continue
            if run is not None:
                yield run

    def _dead_letters(self) -> Iterator[str]:
        """Take up what SQS moved to the dead letters, and tell what is expired."""
        walk = dead_letters_of(self).walk(self._now)
        yield from (f"Dead letters are expired. {group}" for group in grouped(walk.expired, self.runs))
        yield from walk.faults
        if not walk.is_all:
            why = "there was no time, or some are hidden for up to 15 minutes"
            yield f"The watchdog did not see all dead letters: {why}. Check again: make watchdog"

    def _unfinished_runs(self) -> list[str]:
        """Close runs that are done, which nobody said; return what is to be said of those that are not."""
        found = []
        for run in self._recent_runs(self._now - LOOKED_BACK):
            if run.ended_at is not None or run.started_at is None:
                continue
            if run.is_done and self._now - run.started_at >= BEGINNING:
                self.end_if_done(run.run_id)
            elif not run.is_done and (why := why_unfinished(run, self._now, self._time_zone)):
                found.append(why)
        self.count("RunsUnfinished", len(found))
        return found

    def _overdue_intervals(self) -> list[str]:
        settings = self.read_settings()
        due, found = self._due(settings)
        if due:
            runs = self._recent_runs(max(min(due.values()), self._now - RUNS_KEPT_FOR))
            missing = overdue(due, runs, settings)
            found += [self._overdue_sentence(each, settings) for each in missing]
            self.count("IntervalsOverdue", len(missing))
        return found

    def _due(self, settings: Settings) -> tuple[dict[Interval, datetime], list[str]]:
        """Find when each interval was due, and remember since when its schedule is as it is; and tell what cannot be read."""
        is_sent = settings.use_dhis2 and self.environment.schedules_state == "ENABLED"
        intervals = {row.interval for row in settings.active_rows} if is_sent else set()
        item = read_item(self.table, _STATE) or {}
        before = item.get("intervals")
        state, due, faults = dict[str, Any](), dict[Interval, datetime](), list[str]()
        for interval in sorted(intervals):
            expression = str(getattr(self.environment, f"{interval}_schedule"))
            schedule = f"{expression} {self._time_zone.key}"
            known = before.get(interval) if isinstance(before, Mapping) else None
            since = _known_since(known, schedule) or self._now
            state[interval.value] = {"schedule": schedule, "since": since.isoformat()}
            try:
                instant = due_instant(parse_schedule(expression, self._time_zone), since, self._now)
            except ScheduleError as error:
                faults.append(
                    f"The watchdog cannot check whether the {_named(interval)} runs take place: {error}. Write the "
                    "schedule in another way (make deploy, or sam deploy --guided)."
                )
            else:
                due |= {} if instant is None else {interval: instant}
        if state != before:
            change_item(self.table, Change(_STATE).set({"intervals": state}))
        return due, faults

    def _overdue_sentence(self, missing: Overdue, settings: Settings) -> str:
        interval, zone, stack = missing.interval, self._time_zone, self.environment.stack_name
        metrics = sorted(row.metric.value for row in settings.active_rows if row.interval is interval)
        event = {"interval": interval, "scheduled_time": missing.due.astimezone(UTC).isoformat()}
        last = missing.last_run and missing.last_run.as_of
        said = f"; the last one that was computed is of {written_in(last, zone)}" if last else ""
        return (
            f"The {_named(interval)} run of {written_in(missing.due, zone)} did not take place, or failed{said}. So DHIS2 "
            f"lacks newer values of {', '.join(metrics)}. See whether the schedule {stack}-{interval.replace('_', '-')} is "
            f"enabled (EventBridge → Schedules), whether {stack}-failed-runs holds its event, and what the log of compute "
            f"says. Then compute it: make push EVENT='{json.dumps(event)}'"
        )


def _known_since(known: object, schedule: str) -> datetime | None:
    """Return since when a schedule is known; what cannot be read is noted anew."""
    match known:
        case {"schedule": str(noted), "since": str(since)} if noted == schedule:
            with suppress(ValueError):
                instant = datetime.fromisoformat(since)
                return instant if instant.tzinfo is not None else None
    return None


def _named(interval: Interval) -> str:
    return f'"{interval.replace("_", " ")}"'
